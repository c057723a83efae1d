"""What the document gate measures in a text: encoding damage, hidden text, boilerplate, language.

Formulas only: no file, no Great Expectations. Each pattern starts at a literal or a bounded run, so that a hostile text
of ten megabytes costs linear time.
"""

import re
from collections.abc import Callable
from functools import cache

UNDETERMINED = "und"
"""The language code (ISO 639-2) of a text that is too short to tell."""


# --- encoding damage ---


def encoding_damage(text: str) -> float:
    """Return the share of characters, in [0, 1], that are U+FFFD or, to ftfy, UTF-8 read in another encoding."""
    if text.isascii():
        return 0.0
    return sum(len(match.group()) for match in _damage().finditer(text)) / len(text)


@cache
def _damage() -> re.Pattern[str]:
    from ftfy.badness import BADNESS_RE  # a fifth of a second

    # One U+FFFD alone is none to ftfy.
    return re.compile(f"(?:{BADNESS_RE.pattern})|(?:\ufffd)", BADNESS_RE.flags)


# --- hidden text ---

_STYLED = re.compile(
    r"<([A-Za-z][A-Za-z0-9]{0,15})\b[^<>]{0,500}\bstyle\s{0,5}=\s{0,5}[\"']([^\"'<>]{0,500})[\"'][^<>]{0,500}>"
)
_INVISIBLE = re.compile(
    r"display\s*:\s*none|visibility\s*:\s*hidden|opacity\s*:\s*0(?![.\d])|font-size\s*:\s*0(?![.\d])", re.I
)
_WHITE = re.compile(r"(?<![-\w])color\s*:\s*(?:white\b|#fff(?:fff)?\b)", re.I)
_MAX_HIDDEN_ELEMENT = 20_000


def hidden_characters(text: str) -> int:
    """Characters inside HTML elements that a browser would not show: `display:none`, size 0, white on no background."""
    if "style" not in text:
        return 0
    return sum(
        _inner_length(text, match.group(1), match.end()) for match in _STYLED.finditer(text) if _hides(match.group(2))
    )


def _hides(style: str) -> bool:
    return bool(_INVISIBLE.search(style) or (_WHITE.search(style) and "background" not in style))


def _inner_length(text: str, tag: str, start: int) -> int:
    end = text.find(f"</{tag}", start, start + _MAX_HIDDEN_ELEMENT)
    return max(end - start, 0)


# --- boilerplate ---

_LINK = re.compile(r"!?\[[^\[\]]{0,300}\]\([^()\s]{0,1000}\)|<?https?://\S{1,1000}")
_PHRASE = re.compile(
    r"all rights reserved|accept (?:all )?cookies|(?:we|site|website) uses? cookies|privacy policy"
    r"|terms of (?:use|service)"
    r"|subscribe to our newsletter|sign up for our|skip to (?:main )?content|back to top"
    r"|share (?:this|on) (?:page|twitter|facebook)"
    r"|click here to|follow us on|table of contents|previous page|next page|copyright \(?[c\u00a9]",
    re.I,
)
_WORD_CHARACTER = re.compile(r"\w")


def boilerplate_share(text: str) -> float:
    """Share of characters, in [0, 1], in lines that are only links or badges, stock phrases, or repeats of such lines.

    A line of more than 300 characters is prose, whatever it mentions.
    """
    total = boilerplate = 0
    for line in text.splitlines():
        length = len(line.strip())
        total += length
        if 0 < length <= 300 and _is_boilerplate(line):
            boilerplate += length
    return boilerplate / total if total else 0.0


def _is_boilerplate(line: str) -> bool:
    if "://" in line or "](" in line:
        return not _WORD_CHARACTER.search(_LINK.sub("", line.replace("[![", "![")))
    return bool(_PHRASE.search(line))


# --- language ---

_NOT_PROSE = re.compile(r"```.{0,5000}?```|`[^`\n]{0,300}`|https?://\S{1,1000}|<[^<>]{0,500}>|[^\w\s']|\d", re.S)
_ENGLISH = frozenset(
    {
        "the",
        "and",
        "with",
        "this",
        "that",
        "from",
        "which",
        "are",
        "were",
        "have",
        "you",
        "your",
        "for",
        "when",
        "their",
    }
)
_MAX_PROSE = 600
_MIN_LETTERS = 40
_MIN_ENGLISH_WORDS = 4


def language(text: str) -> str:
    """ISO 639-1 code of the beginning of the prose, or `und` where it is too short to tell.

    Four different words that only English has settle it; else py3langid is asked, which costs a hundred times more.
    """
    if len(_ENGLISH.intersection(text[: 2 * _MAX_PROSE].lower().split())) >= _MIN_ENGLISH_WORDS:
        return "en"
    prose = " ".join(_NOT_PROSE.sub(" ", text[: 8 * _MAX_PROSE]).split())[:_MAX_PROSE]
    if sum(map(str.isalpha, prose)) < _MIN_LETTERS and prose.isascii():
        return UNDETERMINED
    return _identify(prose) if prose else UNDETERMINED


@cache
def _identifier() -> Callable[[str], tuple[str, float]]:
    import py3langid

    classify: Callable[[str], tuple[str, float]] = py3langid.classify
    return classify


def _identify(prose: str) -> str:
    return str(_identifier()(prose)[0])
