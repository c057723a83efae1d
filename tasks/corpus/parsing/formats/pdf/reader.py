"""PDF files to Markdown by pdfium's characters: what a person sees, in the order of reading."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import pypdfium2
import pypdfium2.raw as pdfium

from tasks.corpus.parsing.formats.markdown import Blocks
from tasks.corpus.parsing.formats.pdf.characters import Page, read_page
from tasks.corpus.parsing.formats.pdf.lines import Line, columns_of, pieces_of
from tasks.corpus.parsing.formats.pdf.ocr import read_scan
from tasks.corpus.parsing.formats.pdf.paragraphs import Style, append, goes_over, style_of, write_column
from tasks.corpus.parsing.formats.pdf.tables import take_tables
from tasks.corpus.parsing.formats.reading import Reading, damaged
from tasks.corpus.parsing.kreuzberg_parser import encrypted


@dataclass(frozen=True, slots=True)
class _Part:
    """A table, or the columns between two tables."""

    table: str = ""
    columns: Sequence[list[Line]] = ()
    turned: Sequence[str] = ()


@dataclass(slots=True)
class _Book:
    parts: list[_Part] = field(default_factory=list)
    num_pages: int = 0
    num_empty: int = 0
    num_unreadable: int = 0
    num_hidden: int = 0


def read_pdf(data: bytes, ocr: str = "") -> tuple[Reading, int]:
    """Return what a PDF shows, and how many of its pages can't be loaded; `ocr`: languages for scanned pages.

    Raises:
        ParseError: `encrypted`, `damaged` or `ocr`.
    """
    try:
        document = pypdfium2.PdfDocument(data)
    except pypdfium2.PdfiumError as error:
        raise (encrypted() if "password" in str(error).lower() else damaged(error)) from error
    try:
        book = _Book()
        for number in range(len(document)):
            _read(document, number, book, ocr)
        title = document.get_metadata_value("Title")
    finally:
        document.close()
    text = _text(book.parts)
    return Reading(text, " ".join(title.split()), book.num_hidden, book.num_pages, book.num_empty), book.num_unreadable


def _read(document: pypdfium2.PdfDocument, number: int, book: _Book, ocr: str) -> None:
    book.num_pages += 1
    try:
        page = _flattened(document, number)
    except pypdfium2.PdfiumError:
        book.num_unreadable += 1
        return
    try:
        shown = read_page(page)
        is_scan = not shown.upright and not shown.turned and shown.has_pictures and not shown.num_hidden
        scanned = read_scan(page, ocr) if is_scan and ocr else ""
    finally:
        page.close()
    book.num_hidden += shown.num_hidden
    book.num_empty += is_scan and not scanned
    book.parts += [_Part(turned=[scanned])] if scanned else _parts(shown)


def _flattened(document: pypdfium2.PdfDocument, number: int) -> pypdfium2.PdfPage:
    """The page with what is filled into its forms and written onto it."""
    page = document[number]
    if pdfium.FPDFPage_GetAnnotCount(page) and pdfium.FPDFPage_Flatten(page, pdfium.FLAT_NORMALDISPLAY) == 1:
        page.close()
        page = document[number]
    return page


def _parts(page: Page) -> Iterator[_Part]:
    tables = sorted(take_tables(page))
    pieces = pieces_of(page.upright)
    for top, text in tables:
        yield _Part(columns=columns_of([piece for piece in pieces if piece.base <= top]))
        pieces = [piece for piece in pieces if piece.base > top]
        yield _Part(table=text)
    yield _Part(columns=columns_of(pieces), turned=page.turned)


def _text(parts: Sequence[_Part]) -> str:
    style = style_of([line for part in parts for column in part.columns for line in column])
    blocks: list[str] = []
    for part in parts:
        for column in part.columns:
            _add_column(blocks, column, style)
        blocks += [text for text in (part.table, *part.turned) if text]
    return "\n\n".join(blocks)


def _add_column(blocks: list[str], column: list[Line], style: Style) -> None:
    written = Blocks()
    write_column(written, column, style)
    head, gap, rest = written.text().partition("\n\n")
    if blocks and goes_over(blocks[-1].rpartition("\n\n")[2], head):
        blocks[-1] = append(blocks[-1], head) + gap + rest
    elif head:
        blocks.append(head + gap + rest)
