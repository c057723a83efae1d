"""Workbooks of Excel 97 to 2003 (.xls) to Markdown, as those of today: formats, dates, hidden parts left out."""

import struct
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from tasks.corpus.parsing.formats.markdown import Blocks, heading
from tasks.corpus.parsing.formats.office.excel import sheet_blocks
from tasks.corpus.parsing.formats.office.number_format import BUILT_IN, plain, show_number, show_text
from tasks.corpus.parsing.formats.reading import Reading, damaged
from tasks.corpus.parsing.kreuzberg_parser import encrypted
from tasks.corpus.parsing.silence import silent_logging

if TYPE_CHECKING:
    import xlrd

_TEXT, _NUMBER, _DATE, _BOOLEAN, _ERROR = range(1, 6)


def read_excel_97(data: bytes) -> Reading:
    """Read an .xls file.

    Raises:
        ParseError: `encrypted` or `damaged`.
    """
    import xlrd

    try:
        with silent_logging():
            book = xlrd.open_workbook(file_contents=data, formatting_info=True, logfile=_Silence())
    except (xlrd.XLRDError, xlrd.compdoc.CompDocError, struct.error, LookupError, ValueError, AssertionError) as error:
        raise (encrypted() if "encrypted" in str(error).lower() else damaged(error)) from error
    blocks = Blocks()
    num_hidden = 0
    for sheet in book.sheets():
        is_hidden = sheet.visibility != 0
        rows: list[Mapping[int, str]] = []
        for row in range(sheet.nrows):
            shown: dict[int, str] = {}
            for column, text, is_seen in _cells(book, sheet, row):
                if is_hidden or not is_seen:
                    num_hidden += len(text)
                else:
                    shown[column] = text
            rows.append(shown)
        _add_sheet(blocks, sheet.name, rows)
    return Reading(blocks.text(), "", num_hidden)


class _Silence:
    """Takes what xlrd writes about a file."""

    def write(self, text: str) -> int:
        return len(text)


def _add_sheet(blocks: Blocks, name: str, rows: list[Mapping[int, str]]) -> None:
    parts = list(sheet_blocks(rows))
    for text in [heading(2, name), *parts] if parts else []:
        blocks.add(text)


def _cells(book: "xlrd.Book", sheet: "xlrd.sheet.Sheet", row: int) -> Iterator[tuple[int, str, bool]]:
    """Column, text and whether a person sees it, of each cell of a row that holds something."""
    row_is_hidden = row in sheet.rowinfo_map and bool(sheet.rowinfo_map[row].hidden)
    for column in range(sheet.row_len(row)):
        kind, value = sheet.cell_type(row, column), sheet.cell_value(row, column)
        look = book.xf_list[sheet.cell_xf_index(row, column)]
        entry = book.format_map.get(look.format_key)
        code = BUILT_IN.get(look.format_key) or ("General" if entry is None else entry.format_str)
        text, is_shown = _text(kind, value, code, since_1904=bool(book.datemode))
        info = sheet.colinfo_map.get(column)
        column_is_hidden = info is not None and bool(info.hidden)
        if text:
            yield column, text, is_shown and not row_is_hidden and not column_is_hidden


def _text(kind: int, value: object, code: str, *, since_1904: bool) -> tuple[str, bool]:
    import xlrd

    if kind == _TEXT:
        shown = show_text(str(value), code)
        return shown or str(value), bool(shown)
    if kind in {_NUMBER, _DATE} and isinstance(value, float):
        shown = show_number(value, code, since_1904=since_1904)
        return shown or plain(value), bool(shown)
    if kind == _BOOLEAN:
        return ("TRUE" if value else "FALSE"), True
    if kind == _ERROR and isinstance(value, int):
        return str(xlrd.error_text_from_code.get(value, "#N/A")), True
    return "", True
