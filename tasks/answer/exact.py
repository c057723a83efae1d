"""Exact terms of a sentence: identifiers, flags, numbers with units, addresses, names; and whether a text holds them.

No paraphrase may change these. Capitals and diacritics do not count, signs do: `C#` is not `C++`, `-5` is not `5`.
`5 GB` is `5GB`, `1,000` is `1000`.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from tasks.answer.markdown import code_spans

Kind = Literal["identifier", "number", "address", "name"]

_URL = re.compile(r"https?://[^\s<>()\[\]`\"']+|www\.[^\s<>()\[\]`\"']+")
_NUMBER = re.compile(
    r"(?<![\w.#])(?P<sign>[-\u2212](?=[\d.]))?(?P<currency>[$\u20ac\u00a3\u00a5]\s?)?"
    r"(?P<digits>v?\d+(?:,\d{3})+(?:\.\d+)?|v?\d+(?:\.\d+)*)"
    r"(?:\s?(?P<unit>[%\u2030\u00b0\u20ac$\u00a3]|[A-Za-z\u00b5\u03bc]+(?:/[A-Za-z]+)?))?(?![\w-]*_)"
)
_FLAG = re.compile(r"(?<![\w-])--?[A-Za-z][\w-]*")
_IDENTIFIER = re.compile(r"@?[A-Za-z_][\w]*(?:[.\-/:]+[A-Za-z_]\w*)*(?:\+\+|#)?")
_LATIN_ABBREVIATION = re.compile(r"\b(?:e\.g|i\.e|etc|vs|a\.k\.a|cf|p\.m|a\.m)\b", re.IGNORECASE)
_OPENING = re.compile(r"(?:^|[.:;!?\u00b7|])[\s*_\"'()\[\u201c-]*$")
_UNIT_NAMES = """
    ms millisecond milliseconds
    s sec secs second seconds
    min mins minute minutes
    h hr hrs hour hours
    day days
    week weeks
    month months
    year years
    b byte bytes
    kb
    mb
    gb
    tb
    kib
    mib
    gib
    % percent
    km
    m
    cm
    mm
    km/h
    kg
    g
    mg
    eur \u20ac euro euros
    usd $ dollar dollars
    gbp \u00a3 pounds
    mhz
    ghz
"""
_UNITS = {name: line.split()[0] for line in _UNIT_NAMES.strip().splitlines() for name in line.split()}
_WORD_NUMBERS = {
    "one": "1", "once": "1", "two": "2", "twice": "2", "three": "3", "four": "4", "five": "5", "six": "6", "seven": "7",
    "eight": "8", "nine": "9", "ten": "10", "eleven": "11", "twelve": "12",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class ExactTerm:
    """A term that must stand as it is in what was read.

    Attributes:
        text: as it was written.
        key: as it is compared.
        unit: of a number; empty where it has none.
    """

    text: str
    key: str
    kind: Kind
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What texts offer to exact terms.

    Attributes:
        folded: the texts, folded.
        words: their identifiers and words, folded.
        numbers: number to the units that stand with it; an empty unit where it stands alone.
    """

    folded: str
    words: frozenset[str]
    numbers: dict[str, frozenset[str]]


def folded(text: str) -> str:
    """Without capitals and diacritics, signs in one form."""
    decomposed = unicodedata.normalize("NFKD", text.replace("\u2212", "-").replace("\u2019", "'"))
    return "".join(char for char in decomposed if not unicodedata.combining(char)).casefold()


def exact_terms(sentence: str) -> list[ExactTerm]:
    """The exact terms of a sentence, in order, each once; its markers are taken out already."""
    terms: dict[ExactTerm, None] = {}
    spans = code_spans(sentence, 0, len(sentence))
    for start, end in spans:
        terms.update((term, None) for term in _of_code(sentence[start:end].strip("`")))
    prose = _without(sentence, spans)
    terms.update((term, None) for term in _of_prose(prose))
    return list(terms)


def _without(text: str, spans: Sequence[tuple[int, int]]) -> str:
    for start, end in reversed(spans):
        text = f"{text[:start]} \u00b7 {text[end:]}"
    return text


def _of_code(code: str) -> Iterator[ExactTerm]:
    yield from _addresses(code)
    code = _URL.sub(" ", code)
    yield from (ExactTerm(match.group(), folded(match.group()), "identifier") for match in _FLAG.finditer(code))
    code = _FLAG.sub(" ", code)
    for match in _IDENTIFIER.finditer(code):
        yield ExactTerm(match.group(), folded(match.group().lstrip("@")), "identifier")
    yield from _numbers(code)


def _addresses(text: str) -> Iterator[ExactTerm]:
    for match in _URL.finditer(text):
        address = match.group().rstrip(".,;:!?")
        yield ExactTerm(address, folded(address), "address")


def _of_prose(prose: str) -> Iterator[ExactTerm]:
    yield from _addresses(prose)
    prose = _LATIN_ABBREVIATION.sub(" ", _URL.sub(" ", prose))
    yield from (ExactTerm(match.group(), folded(match.group()), "identifier") for match in _FLAG.finditer(prose))
    prose = _FLAG.sub(" ", prose)
    yield from _numbers(prose)
    for match in _IDENTIFIER.finditer(prose):
        kind = _kind(match.group(), prose[: match.start()])
        if kind:
            yield ExactTerm(match.group(), folded(match.group()), kind)


def _kind(word: str, before: str) -> Kind | None:
    """What a word of prose is: an identifier by its signs, a name by a capital that opens no sentence; None: a word."""
    if re.search(r"_|\w\.\w|::|[a-z][A-Z]|\+\+$|#$|^@", word):
        return "identifier"
    opens = _OPENING.search(before)
    if word[:1].isupper() and (not opens or (word.isupper() and len(word) > 1)) and word != "I":
        return "name"
    return None


def _numbers(text: str) -> Iterator[ExactTerm]:
    for match in _NUMBER.finditer(text):
        unit = _UNITS.get((match["unit"] or "").casefold(), "") or _UNITS.get((match["currency"] or "").strip(), "")
        number = _canonical(match["digits"])
        yield ExactTerm(match.group().strip(), f"-{number}" if match["sign"] else number, "number", unit)


def _canonical(digits: str) -> str:
    return digits.lstrip("v").replace(",", "")


@lru_cache(maxsize=256)
def evidence(texts: tuple[str, ...]) -> Evidence:
    """What the texts of passages, with titles and headings, offer."""
    whole = folded("\n".join(texts))
    words: set[str] = set()
    for match in re.finditer(r"[^\W_][\w]*(?:[.\-/:+#]+\w+)*(?:\+\+|#)?|_\w+", whole):
        words.add(match.group())
        words.update(part for part in re.split(r"[\W_]+", match.group()) if part)
    numbers: dict[str, set[str]] = {}
    for term in _numbers(whole):
        numbers.setdefault(term.key, set()).add(term.unit)
    for word, number in _WORD_NUMBERS.items():
        if word in words:
            numbers.setdefault(number, set()).add("")
    return Evidence(whole, frozenset(words), {key: frozenset(units) for key, units in numbers.items()})


def missing(terms: Iterable[ExactTerm], held: Evidence) -> tuple[str, ...]:
    """The terms that the texts do not hold, as they were written."""
    return tuple(dict.fromkeys(term.text for term in terms if not holds(held, term)))


def holds(held: Evidence, term: ExactTerm) -> bool:
    """Whether a term stands in the texts."""
    if term.kind == "number":
        units = held.numbers.get(term.key)
        # A number that stands alone (`timeout=60`) may be of any unit; one with another unit is another quantity.
        return units is not None and (not term.unit or term.unit in units or "" in units)
    if term.kind == "address":
        return term.key.rstrip("/") in held.folded
    return _holds_word(held, term.key)


def _holds_word(held: Evidence, key: str) -> bool:
    if key in held.words or _stands(held.folded, key):
        return True
    singular = key[:-2] if key.endswith("'s") else key[:-1] if key.endswith("s") else ""
    joined = "" if key.startswith("-") else re.sub(r"[-_ ]", "", key)
    return bool(singular and singular in held.words) or (len(joined) > 3 and joined != key and joined in held.words)


def _stands(text: str, key: str) -> bool:
    """Whether a term stands in a text with no further letter or sign of its own beside it (`C` is not in `C++`)."""
    before = r"(?<![\w-])" if key.startswith("-") else r"(?<!\w)"
    return bool(re.search(before + re.escape(key) + r"(?![\w#]|\+\+)", text))


_COUNTED = re.compile(r"(?<![\w.])(?P<number>\d+(?:,\d{3})*(?:\.\d+)?)\s+(?P<thing>[a-z]{3,})", re.IGNORECASE)


def conflicting_counts(sentence: str, *texts: str) -> bool:
    """Whether the texts count the same thing only otherwise: `5 times` where they say `2 times` and never `5 times`."""
    offered: dict[str, set[str]] = {}
    for text in texts:
        for match in _COUNTED.finditer(folded(text)):
            offered.setdefault(match["thing"], set()).add(_canonical(match["number"]))
    counts = ((match["thing"], _canonical(match["number"])) for match in _COUNTED.finditer(folded(sentence)))
    return any(thing in offered and number not in offered[thing] for thing, number in counts)
