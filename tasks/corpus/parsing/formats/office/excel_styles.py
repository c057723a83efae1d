"""How an Excel cell shows its value: the code of its number format, and whether it is white on white."""

import re
from dataclasses import dataclass

from lxml import etree

from tasks.corpus.parsing.formats.office.number_format import BUILT_IN

S = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
_WHITE = re.compile(r"(?:FF|00)?F[A-F]F[A-F]F[A-F]", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class CellStyle:
    """The format code of a cell, and whether its letters have the colour of the sheet."""

    code: str
    is_white: bool


_PLAIN = CellStyle("General", False)


class CellStyles:
    """The styles of a workbook, by the number that cells name."""

    def __init__(self, root: etree._Element | None) -> None:
        self._styles: list[CellStyle] = []
        if root is None:
            return
        codes = {entry.get("numFmtId"): entry.get("formatCode", "") for entry in root.iterfind(f"{S}numFmts/{S}numFmt")}
        fonts = [_is_white_font(font) for font in root.iterfind(f"{S}fonts/{S}font")]
        grounds = [_is_coloured(fill) for fill in root.iterfind(f"{S}fills/{S}fill")]
        for entry in root.iterfind(f"{S}cellXfs/{S}xf"):
            number = entry.get("numFmtId", "0")
            code = codes.get(number) or (BUILT_IN.get(int(number), "General") if number.isdigit() else "General")
            is_white = _at(fonts, entry.get("fontId")) and not _at(grounds, entry.get("fillId"))
            self._styles.append(CellStyle(code, is_white))

    def of(self, number: str | None) -> CellStyle:
        """Return the style of a number, the plain one where there is none."""
        place = int(number) if number is not None and number.isdigit() else 0
        return self._styles[place] if place < len(self._styles) else _PLAIN


def _at(values: list[bool], number: str | None) -> bool:
    place = int(number) if number is not None and number.isdigit() else 0
    return place < len(values) and values[place]


def _is_white_font(font: etree._Element) -> bool:
    colour = font.find(f"{S}color")
    return colour is not None and _is_white(colour)


def _is_white(colour: etree._Element) -> bool:
    if colour.get("theme") == "0":
        return float(colour.get("tint", "0")) == 0
    return _WHITE.fullmatch(colour.get("rgb", "")) is not None or colour.get("indexed") in {"1", "9"}


def _is_coloured(fill: etree._Element) -> bool:
    if fill.find(f"{S}gradientFill") is not None:
        return True
    pattern = fill.find(f"{S}patternFill")
    if pattern is None or pattern.get("patternType", "none") == "none":
        return False
    ground = pattern.find(f"{S}fgColor")
    return ground is None or not _is_white(ground)
