"""Exact terms of a sentence: identifiers, flags, numbers with units, addresses, names; and whether a text holds them.

No paraphrase may change these. Capitals and diacritics do not count, signs do: `C#` is not `C++`, `-5` is not `5`.
`5 GB` is `5GB`, `1,000` is `1000`; `5 %` is not `5`, `<10` not `>10`.
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
    r"(?<![\w.#])(?P<sign>[-\u2212](?=[\d.$\u20ac\u00a3\u00a5\u20b9]))?(?P<currency>(?:[$\u20ac\u00a3\u00a5\u20b9]|\b(?:USD|EUR|GBP|CHF|JPY|usd|eur|gbp|chf|jpy))\s?)?"
    r"(?P<digits>v?\d+(?:,\d{3})+(?:\.\d+)?|v?\d+(?:\.\d+)*)"
    r"(?:\s?(?P<unit>\u00b0\s?[CFcf]\b|[%\u2030\u00b0\u20ac$\u00a3\u00a5\u20b9\u20a9\u20bd\u20ba]|[A-Za-z\u00b5\u03bc\u0142\u010d]+(?:/[A-Za-z]+)?))?(?![\w-]*_)"
)
_FLAG = re.compile(r"(?<![\w-])--?[A-Za-z][\w-]*")
_IDENTIFIER = re.compile(r"@?[A-Za-z_][\w]*(?:[.\-/:]+[A-Za-z_]\w*)*(?:\+\+|#)?")
_LATIN_ABBREVIATION = re.compile(r"\b(?:e\.g|i\.e|etc|vs|a\.k\.a|cf|p\.m|a\.m)\b", re.IGNORECASE)
_OPENING = re.compile(r"(?:^|[.:;!?\u00b7|])[\s*_\"'()\[\u201c-]*$")
_UNIT_NAMES = """
    ns nanosecond nanoseconds
    \u03bcs us microsecond microseconds
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
    pb
    kib
    mib
    gib
    tib
    kbit kbps
    mbit mbps
    gbit gbps
    % percent prozent
    km
    m
    cm
    mm
    \u03bcm
    nm
    km/h
    kg
    g
    mg
    eur \u20ac euro euros
    usd $ dollar dollars
    gbp \u00a3 pounds
    jpy \u00a5 yen
    chf
    inr \u20b9 rupees
    sek
    nok
    dkk
    kr
    pln z\u0142
    czk k\u010d kc
    cny rmb yuan
    krw \u20a9
    rub \u20bd rubles
    \u20ba
    aud
    cad
    hz
    khz
    mhz
    ghz
    lb lbs
    oz
    ft
    mi miles
    mph
    \u00b0c
    \u00b0f
    v
    w
    kw
    kwh
    mwh
    kpa
    hpa
    bar
    psi
    ml millilitre millilitres milliliter milliliters
    l litre litres liter liters
    kcal
    px
    rpm
"""
_UNITS = {name: line.split()[0] for line in _UNIT_NAMES.strip().splitlines() for name in line.split()}
_CURRENCY_NAMES = "eur usd gbp jpy chf inr sek nok dkk kr pln czk cny krw rub \u20ba aud cad"
_CURRENCIES = frozenset(_CURRENCY_NAMES.split())
_SEPARATOR = re.compile(r"(?<=\d)['\u2019\u00a0\u202f\u2009](?=\d{3}(?!\d))")
_MINUS = re.compile(r"\u2212|(?<!\S)\u2013(?=\d)")
"""A word processor makes a dash of the minus; between two numbers it stands for a range."""
_RELATION = re.compile(
    r"(?<![-=])(?:(?P<below>[<\u2264]=?|\b(?:less than|fewer than|no more than|below|under|at most|up to))"
    r"|(?P<above>[>\u2265]=?|\b(?:more than|greater than|no less than|above|over|at least)))\s*$",
    re.IGNORECASE,
)
_RELATION_CHARACTERS = 16
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
        relation: of a number: `<` where less is meant, `>` where more; empty where it is the number itself.
    """

    text: str
    key: str
    kind: Kind
    unit: str = ""
    relation: str = ""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What texts offer to exact terms.

    Attributes:
        folded: the texts, folded.
        words: their identifiers and words, folded.
        numbers: number to the units that stand with it; an empty unit where it stands alone.
        relations: number to the relations that stand with it.
    """

    folded: str
    words: frozenset[str]
    numbers: dict[str, frozenset[str]]
    relations: dict[str, frozenset[str]]


def folded(text: str) -> str:
    """Without capitals and diacritics, signs and digits in one form."""
    decomposed = unicodedata.normalize("NFKD", _plain_numbers(text).replace("\u2019", "'"))
    return "".join(char for char in decomposed if not unicodedata.combining(char)).casefold()


def comparable(text: str) -> str:
    """Return the text folded, each number apart from its unit: `5GB costs $3.50` as `5 gb costs 3.5 usd`."""

    def apart(match: re.Match[str]) -> str:
        unit = _unit(match)
        number = _canonical(match["digits"], is_amount=unit in _CURRENCIES)
        return f" {'-' * bool(match['sign'])}{number} {unit or match['unit'] or ''} "

    return _NUMBER.sub(apart, folded(text))


def _plain_numbers(text: str) -> str:
    """Numbers as `-1000`: ASCII digits, no blank or apostrophe between thousands, a minus for a minus."""
    if text.isascii() and "'" not in text:
        return text
    digits = "".join(str(digit) if (digit := unicodedata.decimal(sign, -1)) >= 0 else sign for sign in text)
    return _MINUS.sub("-", _SEPARATOR.sub("", digits))


def exact_terms(sentence: str) -> list[ExactTerm]:
    """Return the exact terms of a sentence, in order, each once; its markers are taken out already."""
    terms: dict[ExactTerm, None] = {}
    sentence = _plain_numbers(sentence)
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
    prose = _NUMBER.sub(lambda match: " \u00b7 " if _unit(match) else match.group(), prose)
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
        unit = _unit(match)
        number = _canonical(match["digits"], is_amount=unit in _CURRENCIES)
        relation = _relation(text[max(0, match.start() - _RELATION_CHARACTERS) : match.start()])
        yield ExactTerm(match.group().strip(), f"-{number}" if match["sign"] else number, "number", unit, relation)


def _unit(match: re.Match[str]) -> str:
    unit = "".join((match["unit"] or "").split()).casefold()
    return _UNITS.get(unit, "") or _UNITS.get((match["currency"] or "").strip().casefold(), "")


def _relation(before: str) -> str:
    match = _RELATION.search(before)
    return "" if match is None else "<" if match["below"] else ">"


def _canonical(digits: str, *, is_amount: bool = False) -> str:
    """`1,000` as `1000`, an amount of `3.50` as `3.5`; a version `3.10` stays."""
    number = digits.lstrip("v").replace(",", "")
    return number.rstrip("0").rstrip(".") if is_amount and number.count(".") == 1 else number


@lru_cache(maxsize=256)
def evidence(texts: tuple[str, ...]) -> Evidence:
    """Return what the texts of passages, with titles and headings, offer."""
    whole = folded("\n".join(texts))
    words: set[str] = set()
    for match in re.finditer(r"[^\W_][\w]*(?:[.\-/:+#]+\w+)*(?:\+\+|#)?|_\w+", whole):
        words.add(match.group())
        words.update(part for part in re.split(r"[_.\-/:+#]+(?=\w)", match.group()) if part)
    numbers: dict[str, set[str]] = {}
    relations: dict[str, set[str]] = {}
    for term in _numbers(whole):
        numbers.setdefault(term.key, set()).add(term.unit)
        relations.setdefault(term.key, set()).add(term.relation)
    for word, number in _WORD_NUMBERS.items():
        if word in words:
            numbers.setdefault(number, set()).add("")
    return Evidence(whole, frozenset(words), _frozen(numbers), _frozen(relations))


def _frozen(sets: dict[str, set[str]]) -> dict[str, frozenset[str]]:
    return {key: frozenset(entries) for key, entries in sets.items()}


def missing(terms: Iterable[ExactTerm], held: Evidence) -> tuple[str, ...]:
    """Return the terms that the texts do not hold, as they were written."""
    return tuple(dict.fromkeys(term.text for term in terms if not holds(held, term)))


def holds(held: Evidence, term: ExactTerm) -> bool:
    """Return whether a term stands in the texts."""
    if term.kind == "number":
        return _holds_number(held, term)
    if term.kind == "address":
        return term.key.rstrip("/") in held.folded
    return _holds_word(held, term.key)


def _holds_number(held: Evidence, term: ExactTerm) -> bool:
    """A number that stands alone (`timeout=60`) may be of any unit but `%`; one with another is another quantity."""
    units = held.numbers.get(term.key, frozenset())
    relations = held.relations.get(term.key, frozenset({""}))
    if term.relation and relations.isdisjoint({term.relation, ""}):
        return False
    if not term.unit:
        return bool(units - {"%"})
    return term.unit in units or (term.unit != "%" and "" in units)


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
