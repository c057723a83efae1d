"""Texts to search terms: words, identifiers and signs, cut in one way in the index and in a question.

The full-text index holds these terms separated by blanks and changes nothing about them. For instance
`Use --dry-run with C++ in Häuser` gives `use --dry-run dry run with c++ in haus`, and `提交报销单` gives its signs and
`提交 交报 报销 销单`: languages without blanks are cut into pairs, which need no dictionary and mix in one index.
"""

import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING

import regex

if TYPE_CHECKING:
    from snowballstemmer import Stemmer

TERMS_VERSION = "2"
"""Part of the fingerprint of a release: raise it when the same text gives other terms."""

MAX_TERM_CHARACTERS = 200
MAX_QUESTION_TERMS = 64
"""A question is cut to its first distinct terms: 5,000 cost 0.4 seconds a search."""
_MIN_HUMP = 3
"""`OpenAI` and `iPhone` stay whole, `LoraConfig` is also `lora` and `config`."""
_CASED_ACRONYM = range(2, 6)

_STOP_WORDS = """
a about an and any are as at be been but by can could did do does for from had has have how i if in into is it its me my
no not of on or our should so such that the their then there these they this to us was we were what when where which who
whom whose why will with would you your
"""
STOP_WORDS = frozenset(_STOP_WORDS.split())
"""Dropped from a question that has other words; the index holds them, so that `The Who` can be asked for."""

_DENSE = r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Hangul}\u30fc]"
_CLUSTERED = r"[\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]"
_LETTER = rf"(?:(?!{_DENSE}|{_CLUSTERED})[\w\p{{M}}])"
_TOKEN = regex.compile(
    rf"(?P<dense>{_DENSE}+)|(?P<clustered>{_CLUSTERED}+)"
    rf"|(?P<flag>(?<![\w\p{{M}}\-])--?[A-Za-z]{_LETTER}*(?:-{_LETTER}+)*)"
    rf"|(?P<dotted>(?<![\w\p{{M}}.)\]])\.[A-Za-z]{_LETTER}+)"
    rf"|(?P<number>\d{{1,3}}(?:,\d{{3}})+(?!\w|,\d))"
    rf"|(?P<word>{_LETTER}+(?:[.\-/:@'’+]{_LETTER}+)*(?:\+\+|\#(?!{_LETTER}))?)"  # noqa: RUF001
)
_PART = regex.compile(r"[^\W_]+")
_HUMP = regex.compile(r"\p{Lu}+(?!\p{Ll})|\p{Lu}?\p{Ll}+|\d+")
_IDEOGRAPH = regex.compile(r"\p{Han}")
_CLUSTER = regex.compile(r"\X")
_POSSESSIVE = regex.compile(r"['’]s$")  # noqa: RUF001
_ACCENT = regex.compile(r"[\u0300-\u036f]")
_NAME = regex.compile(r"-{1,2}\w.*|\.[a-z].*|.*[a-z\d]_[a-z\d].*|.*::.*|[a-z]+(?:\.[a-z_]\w+)+|[a-z]+(?:\+\+|\#)")
"""A term that somebody typed with its signs: a flag, an ending, an identifier; not a hyphenated word or a number."""
_STEMMED_SCRIPTS = {"CYRILLIC": "russian", "GREEK": "greek", "ARABIC": "arabic", "DEVANAGARI": "hindi"}


def document_terms(text: str, language: str) -> str:
    """Return the terms of a text as the index holds them: in order, separated by blanks."""
    return " ".join(_terms(text, language, whole_text=True))


def question_terms(question: str, language: str) -> tuple[str, ...]:
    """Return the distinct terms of a question, stop words left out where others remain."""
    terms = dict.fromkeys(_terms(question, language, whole_text=False))
    content = [term for term in terms if term not in _stop_terms(language)]
    return tuple((content or list(terms))[:MAX_QUESTION_TERMS])


def question_names(question: str, language: str) -> tuple[str, ...]:
    """Return the terms of a question that were typed with their signs: whoever asks so wants no look-alike.

    For instance `what does --dry-run do in max_retries of C++` gives `--dry-run`, `max_retries` and `c++`.
    """
    return tuple(term for term in question_terms(question, language) if _NAME.fullmatch(term))


@lru_cache(maxsize=8)
def _stop_terms(language: str) -> frozenset[str]:
    return STOP_WORDS | {_stem(word, language) for word in STOP_WORDS}


def _terms(text: str, language: str, *, whole_text: bool) -> Iterator[str]:
    normal = unicodedata.normalize("NFKC", text)
    for match in _TOKEN.finditer(normal):
        token = match[0]
        if match.lastgroup in ("dense", "clustered"):
            yield from _pairs(token, singles=whole_text)
        elif match.lastgroup == "number":
            yield token.replace(",", "")
        else:
            yield from _word_terms(token, language)


def _pairs(run: str, *, singles: bool) -> Iterator[str]:
    """Neighbouring signs of a run; single ideographs too in the index, for a question of one."""
    signs = _CLUSTER.findall(run)
    if len(signs) == 1:
        yield run
    elif singles:
        yield from _IDEOGRAPH.findall(run)
    for first, second in pairwise(signs):
        yield first + second


@lru_cache(maxsize=200_000)
def _word_terms(token: str, language: str) -> tuple[str, ...]:
    """The whole token, if it is more than a word, and its words.

    For instance `pytest.mark.timeout` gives itself, `pytest`, `mark`, `timeout`; `IT` gives `it` and, since that is a
    stop word, `IT`.
    """
    token = _POSSESSIVE.sub("", token)
    parts = _PART.findall(token)
    whole = _folded(token)
    is_word = len(parts) == 1 and parts[0] == token
    if is_word and whole in STOP_WORDS and token.isupper() and len(token) in _CASED_ACRONYM:
        return whole, token
    words = [] if whole[-1:] in ("+", "#") and len(whole.rstrip("+#")) == 1 else list(_part_terms(parts, language))
    names = [] if is_word else [whole, *([whole.lstrip("-")] if whole.startswith("-") and len(parts) > 1 else [])]
    return tuple(term for term in dict.fromkeys([*names, *words]) if 0 < len(term) <= MAX_TERM_CHARACTERS)


def _part_terms(parts: list[str], language: str) -> Iterator[str]:
    for part in parts:
        humps: list[str] = _HUMP.findall(part)
        if len(humps) > 1 and "".join(humps) == part and min(map(len, humps)) >= _MIN_HUMP:
            yield _folded(part)
            yield from (_stem(_folded(hump), language) for hump in humps)
        else:
            yield _stem(_folded(part), language)


def _folded(word: str) -> str:
    decomposed = unicodedata.normalize("NFKD", word.casefold())
    return unicodedata.normalize("NFC", _ACCENT.sub("", decomposed))


def _stem(word: str, language: str) -> str:
    if not word.isalpha() and not regex.fullmatch(r"[\p{L}\p{M}]+", word):
        return word
    script = unicodedata.name(word[0], "LATIN").split(" ")[0]
    stemmer = _stemmer(_STEMMED_SCRIPTS.get(script, language.lower() if script == "LATIN" else ""))
    return str(stemmer.stemWord(word)) if stemmer else word


@lru_cache(maxsize=16)
def _stemmer(language: str) -> "Stemmer | None":
    import snowballstemmer

    return snowballstemmer.stemmer(language) if language in snowballstemmer.algorithms() else None
