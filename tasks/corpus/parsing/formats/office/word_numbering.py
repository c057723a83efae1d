"""Numbers of Word's lists and headings, counted as Word counts them: 1., a), 1.2, iv."""

import re
from dataclasses import dataclass

from lxml import etree

from tasks.corpus.parsing.formats.office.word_styles import VAL, Styles, W

_PLACE = re.compile(r"%([1-9])")
_ROMAN = ((1000, "m"), (900, "cm"), (500, "d"), (400, "cd"), (100, "c"), (90, "xc"), (50, "l"), (40, "xl"), (10, "x"),
          (9, "ix"), (5, "v"), (4, "iv"), (1, "i"))  # fmt: skip
_MAX_ROMAN = 5000


@dataclass(frozen=True, slots=True)
class _Level:
    start: int
    format: str
    text: str
    legal: bool
    restart: int | None


@dataclass(frozen=True, slots=True)
class Label:
    """What stands before a paragraph: its level from 0 on, and the number, or '' for a bullet."""

    level: int
    text: str


class Numbering:
    """The lists of a file, and how far each has been counted."""

    def __init__(self, root: etree._Element | None, styles: Styles) -> None:
        self._abstract: dict[str, etree._Element] = {}
        self._lists: dict[str, etree._Element] = {}
        self._styles = styles
        self._counts: dict[str, dict[int, int]] = {}
        self._started: set[str] = set()
        if root is not None:
            self._abstract = {element.get(f"{W}abstractNumId", ""): element for element in root.iter(f"{W}abstractNum")}
            self._lists = {element.get(f"{W}numId", ""): element for element in root.iter(f"{W}num")}

    def label(self, properties: etree._Element | None) -> Label | None:
        """Return the next label of a paragraph with these properties; None: it is not numbered."""
        numbered = self._styles.numbering(properties)
        if numbered is None:
            return None
        number = _value(numbered, "numId") or self._list_of_style(properties)
        level = _whole(_value(numbered, "ilvl"), self._level_of_style(number, properties))
        if number is None or number == "0" or number not in self._lists:
            return None
        levels = self._levels(number)
        if level not in levels:
            return Label(level, "")
        counts = self._count(number, level, levels)
        shown = levels[level]
        if shown.format in {"bullet", "none"}:
            return Label(level, "" if shown.format == "bullet" else _PLACE.sub("", shown.text).strip())
        return Label(
            level, _PLACE.sub(lambda match: _shown(int(match[1]) - 1, levels, counts, shown), shown.text).strip()
        )

    def _list_of_style(self, properties: etree._Element | None) -> str | None:
        style = None if properties is None else properties.find(f"{W}pStyle")
        return None if style is None else self._styles.numbering_id(style.get(VAL, ""))

    def _level_of_style(self, number: str | None, properties: etree._Element | None) -> int:
        """A style in a list stands at the level that names it."""
        style = None if properties is None else properties.find(f"{W}pStyle")
        abstract = self._abstract_of(number)
        if style is None or abstract is None:
            return 0
        for level in abstract.iter(f"{W}lvl"):
            if _value(level, "pStyle") == style.get(VAL):
                return _whole(level.get(f"{W}ilvl"), 0)
        return 0

    def _abstract_of(self, number: str | None) -> etree._Element | None:
        entry = self._lists.get(number or "")
        abstract = None if entry is None else self._abstract.get(_value(entry, "abstractNumId") or "")
        linked = None if abstract is None else _value(abstract, "numStyleLink")
        if linked:
            target = self._lists.get(self._styles.numbering_id(linked) or "")
            linked_abstract = None if target is None else self._abstract.get(_value(target, "abstractNumId") or "")
            return abstract if linked_abstract is None else linked_abstract
        return abstract

    def _levels(self, number: str) -> dict[int, _Level]:
        abstract = self._abstract_of(number)
        levels = {} if abstract is None else {_whole(e.get(f"{W}ilvl"), 0): e for e in abstract.iter(f"{W}lvl")}
        for override in self._lists[number].iter(f"{W}lvlOverride"):
            level = override.find(f"{W}lvl")
            if level is not None:
                levels[_whole(override.get(f"{W}ilvl"), 0)] = level
        return {place: _level(element) for place, element in levels.items()}

    def _count(self, number: str, level: int, levels: dict[int, _Level]) -> dict[int, int]:
        """Count one on: lists that share their definition count on together, unless one starts anew."""
        key = _value(self._lists[number], "abstractNumId") or number
        counts = self._counts.setdefault(key, {})
        if number not in self._started:
            self._started.add(number)
            for override in self._lists[number].iter(f"{W}lvlOverride"):
                start = _value(override, "startOverride")
                if start is not None:
                    counts[_whole(override.get(f"{W}ilvl"), 0)] = _whole(start, 1) - 1
        counts[level] = counts.get(level, levels[level].start - 1) + 1
        for deeper in [place for place in counts if place > level]:
            restart = levels[deeper].restart if deeper in levels else None
            if restart is None or (restart and level < restart):
                del counts[deeper]
        return counts


def _level(element: etree._Element) -> _Level:
    restart = _value(element, "lvlRestart")
    legal = element.find(f"{W}isLgl")
    return _Level(
        start=_whole(_value(element, "start"), 0),
        format=_value(element, "numFmt") or "decimal",
        text=_value(element, "lvlText") or "",
        legal=legal is not None and legal.get(VAL, "1") not in {"0", "false"},
        restart=None if restart is None else _whole(restart, 0),
    )


def _shown(place: int, levels: dict[int, _Level], counts: dict[int, int], of: _Level) -> str:
    level = levels.get(place)
    if level is None or level.format in {"bullet", "none"}:
        return ""
    count = counts.get(place, level.start)
    return numeral(count, "decimal" if of.legal else level.format)


def numeral(count: int, form: str) -> str:
    """Return a count in a form of Word: `decimal`, `lowerLetter`, `upperRoman`, `decimalZero`, and so on."""
    match form:
        case "lowerLetter" | "upperLetter":
            letters = chr(ord("a") + (count - 1) % 26) * ((count - 1) // 26 + 1) if 0 < count < 1000 else str(count)
            return letters.upper() if form == "upperLetter" else letters
        case "lowerRoman" | "upperRoman":
            return _roman(count).upper() if form == "upperRoman" else _roman(count)
        case "decimalZero":
            return f"{count:02}"
        case _:
            return str(count)


def _roman(count: int) -> str:
    if not 0 < count < _MAX_ROMAN:
        return str(count)
    text = ""
    for value, letters in _ROMAN:
        text += letters * (count // value)
        count %= value
    return text


def _value(element: etree._Element, name: str) -> str | None:
    inner = element.find(f"{W}{name}")
    return None if inner is None else inner.get(VAL)


def _whole(text: str | None, otherwise: int) -> int:
    try:
        return int(text or "")
    except ValueError:
        return otherwise
