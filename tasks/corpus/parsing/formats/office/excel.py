"""Excel workbooks (.xlsx) to Markdown: each sheet a heading and a table of what its cells show.

Left out: hidden sheets, rows and columns, values that a format hides, white on white, cell comments. A formula gives
the value that was saved with it; where none was saved, the formula itself.
"""

import io
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import isfinite

from lxml import etree

from tasks.corpus.parsing.formats.markdown import Blocks, heading, table
from tasks.corpus.parsing.formats.office.drawing import charts, paragraphs
from tasks.corpus.parsing.formats.office.excel_styles import CellStyles, S
from tasks.corpus.parsing.formats.office.number_format import plain, show_number, show_text
from tasks.corpus.parsing.formats.office.ooxml import RELATIONSHIP, Package, is_on
from tasks.corpus.parsing.formats.reading import Reading, damaged

_DRAWN = "{http://schemas.openxmlformats.org/drawingml/2006/spreadsheetDrawing}"
_REFERENCE = re.compile(r"([A-Z]{1,3})(\d+)")
_MAX_COLUMNS = 16_384


def read_excel(data: bytes) -> Reading:
    """Read an .xlsx file.

    Raises:
        ParseError: `damaged`.
    """
    package = Package.open(data)
    part = package.main_part("xl/workbook.xml")
    return _Workbook(package, part).read()


@dataclass(slots=True)
class _Sheet:
    """What a sheet says of itself before its rows, and what of it was not shown."""

    hidden_columns: list[range] = field(default_factory=list)
    rows_are_hidden: bool = False
    num_hidden: int = 0

    def hides(self, column: int) -> bool:
        return any(column in columns for columns in self.hidden_columns)


class _Workbook:
    def __init__(self, package: Package, part: str) -> None:
        self._package = package
        self._part = part
        self._root = package.xml(part)
        properties = self._root.find(f"{S}workbookPr")
        self._since_1904 = properties is not None and is_on(properties, "date1904") and "date1904" in properties.attrib
        styles = package.target(part, "styles")
        self._styles = CellStyles(package.xml(styles) if styles else None)
        strings = package.target(part, "sharedStrings")
        self._strings = [] if strings is None else [_rich(entry) for entry in package.xml(strings).iter(f"{S}si")]

    def read(self) -> Reading:
        blocks = Blocks()
        num_hidden = 0
        for entry in self._root.iter(f"{S}sheet"):
            relation = self._package.relationships(self._part).get(entry.get(f"{RELATIONSHIP}id", ""))
            if relation is None or relation.target not in self._package:
                continue
            sheet = _Sheet()
            rows = list(self._rows(relation.target, sheet))
            if entry.get("state", "visible") != "visible":
                num_hidden += sheet.num_hidden + sum(len(text) for row in rows for text in row.values())
                continue
            num_hidden += sheet.num_hidden
            parts = [*sheet_blocks(rows), *self._drawn(relation.target)]
            if parts:
                blocks.add(heading(2, entry.get("name", "")))
            for text in parts:
                blocks.add(text)
        return Reading(blocks.text(), self._package.title, num_hidden)

    def _rows(self, part: str, sheet: _Sheet) -> Iterator[Mapping[int, str]]:
        """Shown cells of each shown row, by column; one row at a time, since a sheet may hold a million."""
        tags = [f"{S}{name}" for name in ("row", "cols", "sheetFormatPr")]
        try:
            data = io.BytesIO(self._package.xml_bytes(part))
            for _, element in etree.iterparse(data, tag=tags, resolve_entities=False, no_network=True, huge_tree=True):
                if element.tag == f"{S}row":
                    yield self._row(element, sheet)
                elif element.tag == f"{S}cols":
                    sheet.hidden_columns = [_span(column) for column in element if _is_hidden_column(column)]
                else:
                    sheet.rows_are_hidden = element.get("zeroHeight") in {"1", "true"}
                element.clear()
        except etree.XMLSyntaxError as error:
            raise damaged(error) from error

    def _row(self, row: etree._Element, sheet: _Sheet) -> Mapping[int, str]:
        hidden = row.get("hidden", "1" if sheet.rows_are_hidden else "0") in {"1", "true"} or row.get("ht") == "0"
        cells: dict[int, str] = {}
        column = -1
        for cell in row.iter(f"{S}c"):
            match = _REFERENCE.fullmatch(cell.get("r", ""))
            column = _column(match[1]) if match else column + 1
            text, is_seen = self._cell(cell)
            if not text:
                continue
            if hidden or not is_seen or sheet.hides(column) or column >= _MAX_COLUMNS:
                sheet.num_hidden += len(text)
            else:
                cells[column] = text
        return cells

    def _cell(self, cell: etree._Element) -> tuple[str, bool]:
        """What a cell holds as it is shown, and whether a person sees it."""
        style = self._styles.of(cell.get("s"))
        raw = cell.findtext(f"{S}v")
        kind = cell.get("t", "n")
        if kind == "inlineStr":
            inner = cell.find(f"{S}is")
            text = "" if inner is None else _rich(inner)
        elif raw is None:
            formula = cell.findtext(f"{S}f")
            return (f"={formula}" if formula else "", not style.is_white)
        elif kind == "s":
            text = self._strings[int(raw)] if raw.isdigit() and int(raw) < len(self._strings) else ""
        elif kind == "b":
            text = "TRUE" if raw in {"1", "true"} else "FALSE"
        elif kind == "n":
            return self._number(raw, style.code, not style.is_white)
        else:
            text = raw
        shown = show_text(text, style.code)
        return shown or text, bool(shown) and not style.is_white

    def _number(self, raw: str, code: str, is_seen: bool) -> tuple[str, bool]:
        try:
            value = float(raw)
        except ValueError:
            return raw, is_seen
        if not isfinite(value):
            return raw, is_seen
        shown = show_number(value, code, since_1904=self._since_1904)
        return shown or plain(value), bool(shown) and is_seen

    def _drawn(self, part: str) -> Iterator[str]:
        """Text boxes and charts that lie on a sheet."""
        drawing = self._package.target(part, "drawing")
        if drawing is None:
            return
        root = self._package.xml(drawing)
        for box in root.iter(f"{_DRAWN}txBody"):
            if text := paragraphs(box):
                yield text
        yield from charts(root, self._package, drawing)


def sheet_blocks(rows: list[Mapping[int, str]]) -> Iterator[str]:
    """Give the text of a sheet: lines of one cell above a table are text of their own; the rest is one table."""
    rows = [row for row in rows if row]
    columns = sorted({column for row in rows for column in row})
    while rows and len(rows[0]) == 1 and len(columns) > 1:
        yield next(iter(rows.pop(0).values())).strip()
    columns = sorted({column for row in rows for column in row})
    if rows:
        yield table([[row.get(column, "") for column in columns] for row in rows])


def _rich(element: etree._Element) -> str:
    """A string with its runs, without the reading aids of Japanese."""
    parts = [child.text or "" if child.tag == f"{S}t" else child.findtext(f"{S}t", "") for child in element
             if child.tag in {f"{S}t", f"{S}r"}]  # fmt: skip
    return re.sub(r"_x([0-9A-Fa-f]{4})_", lambda match: chr(int(match[1], 16)), "".join(parts))


def _span(column: etree._Element) -> range:
    first, last = (int(column.get(name, "1")) for name in ("min", "max"))
    return range(first - 1, last)


def _is_hidden_column(column: etree._Element) -> bool:
    return column.get("hidden") in {"1", "true"} or column.get("width") == "0"


def _column(letters: str) -> int:
    number = 0
    for letter in letters:
        number = number * 26 + ord(letter) - ord("A") + 1
    return number - 1
