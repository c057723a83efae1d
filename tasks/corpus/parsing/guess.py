"""The encoding of bytes that declare none: chardet's candidates of the web, taken only where the evidence is clear.

chardet 7 names candidates with a confidence; we read each as browsers do (the WHATWG's labels: ISO-8859-1 is
windows-1252), drop those whose text no person would write, and take the best where the next that reads otherwise is
well behind. On 14 short sentences of 11 languages charset-normalizer was wrong 6 times, this never.
"""

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from tasks.corpus.gate.signals import encoding_damage

_GUESS_BYTES = 200_000
_MIN_LEAD = 1.05
_MIN_LEAD_OF_ONE_SIGN = 0.6
"""Added where a single byte is no ASCII, half of it for two, and so on: few signs prove little. Of parts of 15
sentences kept apart (four words and more) 10 of 273 were read wrong without it, `mardi à midi` in cp1252 as
`mardi ŕ midi`, 1 with 0.4, none with this, which refuses 34 that were read."""
_MIN_LEAD_OF_IDEOGRAPHS = 1.5
"""Nearly every pair of bytes is an ideograph somewhere."""
_IDEOGRAPHS = "\u3000"
_MAX_ODD_WORDS = 0.1
_MIN_CONFIDENCE = 0.03
_LABELS = {"CP932": "shift_jis", "CP949": "euc-kr"}
"""Names of chardet's that are no labels of the web."""
_SCRIPTS = ("LATIN", "CYRILLIC", "GREEK", "HEBREW", "ARABIC", "THAI")


@dataclass(frozen=True, slots=True)
class _Candidate:
    encoding: str
    confidence: float
    text: str


def guess_encoding(data: bytes) -> str | None:
    """Return the name of the codec that surely reads the bytes, None where none does surely."""
    candidates = list(_candidates(data[:_GUESS_BYTES]))
    if not candidates or candidates[0].confidence < _MIN_CONFIDENCE:
        return None
    best = candidates[0]
    rival = next((other for other in candidates[1:] if other.text != best.text), None)
    lead = _MIN_LEAD + _MIN_LEAD_OF_ONE_SIGN / sum(byte > 0x7F for byte in data[:_GUESS_BYTES])
    if max(best.text, default="") >= _IDEOGRAPHS:
        lead = _MIN_LEAD_OF_IDEOGRAPHS
    if rival is not None and best.confidence < lead * rival.confidence:
        return None
    return best.encoding


def _candidates(data: bytes) -> Iterator[_Candidate]:
    """Readings in the order of chardet's confidence, without those that read as nobody writes."""
    import webencodings
    from chardet import EncodingEra, detect_all

    era = EncodingEra.MODERN_WEB | EncodingEra.LEGACY_ISO
    for guess in detect_all(data, encoding_era=era, ignore_threshold=True, max_bytes=_GUESS_BYTES):
        label = webencodings.lookup(_LABELS.get(guess["encoding"] or "", guess["encoding"] or ""))
        if label is None:
            continue
        try:
            text = label.codec_info.decode(data, "strict")[0]
        except UnicodeDecodeError as error:
            if error.start < len(data) - 4:  # a letter that the limit cut in two is no fault
                continue
            text = label.codec_info.decode(data[: error.start], "strict")[0]
        if not _is_odd(text):
            yield _Candidate(label.codec_info.name, guess["confidence"], text)


def _is_odd(text: str) -> bool:
    """Whether a text is what another encoding makes of it: control characters, `Ã©`, words of two alphabets."""
    if encoding_damage(text) or any("\x7f" <= character < "\xa0" for character in text):
        return True
    words = [word for word in text[:20_000].split() if not word.isascii()]
    return sum(map(_is_odd_word, words)) > _MAX_ODD_WORDS * len(words)


def _is_odd_word(word: str) -> bool:
    """For instance `«аполните`, cut off from its first letter, `sociķt¶` with a sign inside, `kůň` as `kùò` is none."""
    letters = word.strip("«»„“”‚‘’\"'()[].,;:!?…–—-")  # noqa: RUF001
    scripts = {script for letter in letters if letter.isalpha() and (script := _script(letter))}
    signs = any(
        unicodedata.category(sign) in {"So", "Sk", "Sc", "Sm", "No", "Po"}
        for sign in letters[1:-1]
        if "\x7f" < sign < "\u2000"
    )
    capitals = any(
        one.islower() and other.isupper() and not (one.isascii() and other.isascii())
        for one, other in pairwise(letters)
    )
    unbalanced = word.count("«") != word.count("»") and word[:1] == "«" and letters[:1].islower()
    return len(scripts) > 1 or signs or capitals or unbalanced


def _script(letter: str) -> str:
    name = unicodedata.name(letter, "").partition(" ")[0]
    return name if name in _SCRIPTS else ""
