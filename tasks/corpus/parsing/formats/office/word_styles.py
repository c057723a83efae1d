"""Styles of a Word file: what a run or paragraph looks like, with its style and those that it is based on."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from lxml import etree

from tasks.corpus.parsing.formats.office.ooxml import is_on, local_name

W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
VAL = f"{W}val"
_HEADING = re.compile(
    r"(?:heading|überschrift|titre|título|titolo|kop|rubrik|nagłówek|заголовок)\s*(\d)$", re.IGNORECASE
)
_CODE = re.compile(r"code|preformatted|verbatim|listing|macro text|plain text|quellcode", re.IGNORECASE)
_NO_CODE = re.compile(r"caption|title|heading|postcode|barcode", re.IGNORECASE)
_TITLES = {"title": 1, "titel": 1, "titre": 1}
_MAX_DEPTH = 20
_MAX_TINY_HALF_POINTS = 3
_PAPER = {"background1", "light1", "bg1"}
_NEARLY_WHITE = 0xFA
_HIGHLIGHTS = {
    "black": "000000",
    "blue": "0000FF",
    "cyan": "00FFFF",
    "green": "00FF00",
    "magenta": "FF00FF",
    "red": "FF0000",
    "yellow": "FFFF00",
}


@dataclass(frozen=True, slots=True)
class Look:
    """What of a run's formatting decides whether a person sees it.

    Attributes:
        vanish: hidden by Word.
        white: painted in the colour of the paper.
        shaded: on a ground of its own, on which white can be read.
        tiny: too small to be seen.
        colour: of the letters, six hex digits; empty where Word chooses one that can be read.
        ground: behind the letters; empty where it is the paragraph's.
    """

    vanish: bool = False
    white: bool = False
    shaded: bool = False
    tiny: bool = False
    colour: str = ""
    ground: str = ""

    def is_hidden(self, *, on_ground: bool) -> bool:
        """Return whether Word does not show it; `on_ground`: its paragraph or cell is not white."""
        blacked_out = bool(self.colour) and self.colour == self.ground
        return self.vanish or self.tiny or blacked_out or (self.white and not (self.shaded or on_ground))

    def over(self, properties: etree._Element | None) -> "Look":
        """Return this look with a run's own properties on top."""
        look = self
        for element in () if properties is None else properties:
            match local_name(element):
                case "vanish" | "specVanish":
                    look = replace(look, vanish=is_on(element, VAL))
                case "color":
                    look = replace(look, white=_is_white(element), colour=_hex(element, VAL, "themeColor"))
                case "sz":
                    look = replace(look, tiny=_number(element.get(VAL), 20) <= _MAX_TINY_HALF_POINTS)
                case "shd" | "highlight":
                    look = replace(look, shaded=is_shaded(element), ground=_ground(element))
        return look


def _ground(element: etree._Element) -> str:
    if element.tag == f"{W}highlight":
        return _HIGHLIGHTS.get(element.get(VAL, ""), "")
    return _hex(element, f"{W}fill", "themeFill") if element.get(VAL, "clear") == "clear" else ""


def _hex(element: etree._Element, name: str, theme: str) -> str:
    """A plain colour as six hex digits; empty where the theme, or Word itself, decides."""
    colour = element.get(name, "").upper()
    return colour if re.fullmatch(r"[0-9A-F]{6}", colour) and f"{W}{theme}" not in element.attrib else ""


def is_shaded(element: etree._Element | None) -> bool:
    """Return whether a `shd` or `highlight` element paints a ground other than white."""
    if element is None:
        return False
    if element.tag == f"{W}highlight":
        return element.get(VAL, "none") not in {"none", "white"}
    if element.get(f"{W}themeFill", "") not in {"", *_PAPER}:
        return True
    pattern = element.get(VAL, "clear")
    return _is_coloured(element.get(f"{W}fill", "auto")) or pattern not in {"clear", "nil", "none"}


def _is_coloured(colour: str) -> bool:
    return re.fullmatch(r"[0-9A-Fa-f]{6}", colour) is not None and not _is_nearly_white(colour)


def _is_white(element: etree._Element) -> bool:
    theme = element.get(f"{W}themeColor")
    if theme is not None:
        return theme in _PAPER and f"{W}themeShade" not in element.attrib
    return _is_nearly_white(element.get(VAL, "auto"))


def _is_nearly_white(colour: str) -> bool:
    if not re.fullmatch(r"[0-9A-Fa-f]{6}", colour):
        return False
    return min(int(colour[place : place + 2], 16) for place in (0, 2, 4)) >= _NEARLY_WHITE


def _level(outline: etree._Element) -> int:
    level = _number(outline.get(VAL), 9)
    return level + 1 if level < 9 else 0


def _number(value: str | None, otherwise: int) -> int:
    try:
        return int(float(value or ""))
    except (ValueError, OverflowError):
        return otherwise


def _is_default(style: etree._Element) -> bool:
    return style.get(f"{W}type") == "paragraph" and style.get(f"{W}default", "0") in {"1", "true", "on"}


class Styles:
    """The styles of a file, by identifier."""

    def __init__(self, root: etree._Element | None) -> None:
        styles = () if root is None else root.iter(f"{W}style")
        self._styles = {style.get(f"{W}styleId", ""): style for style in styles}
        default = None if root is None else root.find(f"{W}docDefaults/{W}rPrDefault/{W}rPr")
        self._base = Look().over(default)
        self._looks: dict[str, Look] = {}
        self._default = next((name for name, style in self._styles.items() if _is_default(style)), "")

    def look(self, paragraph: str | None, run: str | None = None) -> Look:
        """Return the look of a run of a paragraph's style and its own."""
        look = self._style_look(paragraph or self._default, self._base)
        return self._style_look(run, look) if run else look

    def _style_look(self, name: str, look: Look) -> Look:
        for style in reversed(list(self._chain(name))):
            look = look.over(style.find(f"{W}rPr"))
            if is_shaded(style.find(f"{W}pPr/{W}shd")):
                look = replace(look, shaded=True)
        return look

    def heading_level(self, properties: etree._Element | None) -> int:
        """Return the level of a paragraph as a heading, from 1 on; 0: it is none."""
        outline = None if properties is None else properties.find(f"{W}outlineLvl")
        if outline is not None:
            return _level(outline)
        for style in self._chain(style_of(properties) or ""):
            name = self._name(style)
            if match := _HEADING.match(name):
                return int(match[1])
            if name.lower() in _TITLES:
                return _TITLES[name.lower()]
            outline = style.find(f"{W}pPr/{W}outlineLvl")
            if outline is not None:
                return _level(outline)
        return 0

    def numbering(self, properties: etree._Element | None) -> etree._Element | None:
        """Return the `numPr` of a paragraph, its own or its style's."""
        own = None if properties is None else properties.find(f"{W}numPr")
        if own is not None:
            return own
        for style in self._chain(style_of(properties) or self._default):
            of_style = style.find(f"{W}pPr/{W}numPr")
            if of_style is not None:
                return of_style
        return None

    def numbering_id(self, name: str) -> str | None:
        """Return the list that a numbering style stands for."""
        for style in self._chain(name):
            number = style.find(f"{W}pPr/{W}numPr/{W}numId")
            if number is not None:
                return str(number.get(VAL))
        return None

    def is_code(self, properties: etree._Element | None) -> bool:
        """Return whether a paragraph is of a style for code, whose lines and blanks count."""
        return any(
            _CODE.search(name) is not None and _NO_CODE.search(name) is None
            for name in map(self._name, self._chain(style_of(properties) or ""))
        )

    def table_is_shaded(self, name: str | None) -> bool:
        """Return whether a table's style paints a ground anywhere, on which white can be read."""
        return any(is_shaded(shade) for style in self._chain(name or "") for shade in style.iter(f"{W}shd"))

    def _chain(self, name: str) -> Iterator[etree._Element]:
        """A style and those that it is based on, the nearest first."""
        for _ in range(_MAX_DEPTH):
            style = self._styles.get(name)
            if style is None:
                return
            yield style
            based_on = style.find(f"{W}basedOn")
            if based_on is None:
                return
            name = based_on.get(VAL, "")

    @staticmethod
    def _name(style: etree._Element) -> str:
        name = style.find(f"{W}name")
        return "" if name is None else name.get(VAL, "")


def style_of(properties: etree._Element | None) -> str | None:
    """Return the style that the properties of a paragraph, run or table name."""
    if properties is None:
        return None
    for kind in ("pStyle", "rStyle", "tblStyle"):
        style = properties.find(f"{W}{kind}")
        if style is not None:
            return str(style.get(VAL, ""))
    return None
