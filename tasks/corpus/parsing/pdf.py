"""Text of PDFs: pdfium first, pypdf where that fails or lost pages; a part never passes for the whole."""

import io
from typing import TYPE_CHECKING, cast

from tasks.corpus.parsing.formats.pdf.reader import read_pdf
from tasks.corpus.parsing.formats.reading import Reading
from tasks.corpus.parsing.silence import silent_logging
from tasks.errors import ParseError

if TYPE_CHECKING:
    from pypdf.generic import DictionaryObject

_MIN_PAGES_TO_JUDGE = 4
_MIN_TEXT_PAGE_SHARE = 0.5
_LONGER = 1.2
_NO_READER = (
    "the PDF must open in a reader, found it damaged beyond what two readers can recover; restore or replace it"
)


def extract_pdf(data: bytes, ocr: str = "") -> Reading:
    """Return the Markdown of a PDF; `ocr`: languages in which scanned pages are read, '' for none.

    Raises:
        ParseError: `encrypted`, `damaged`, `empty` (pages without text: scanned), `partial` or `ocr`.
    """
    try:
        reading, num_unreadable = read_pdf(data, ocr)
    except ParseError as error:
        if error.code != "damaged":
            raise
        return Reading(_recover(data, error))
    if reading.text.strip() and not reading.num_empty_pages and not num_unreadable:
        return reading
    return _best_of(reading, num_unreadable, data)


def _best_of(reading: Reading, num_unreadable: int, data: bytes) -> Reading:
    """The longer of pdfium's and pypdf's text, for a PDF in which pdfium finds pages without text."""
    num_text_pages = reading.num_pages - reading.num_empty_pages - num_unreadable
    if not reading.num_hidden:  # pypdf would bring what is hidden to light
        reading, num_unreadable, num_text_pages = _with_pypdf(reading, num_unreadable, num_text_pages, data)
    if not reading.text.strip():
        raise ParseError(
            "empty",
            f"the PDF must have text, found none on {reading.num_pages} page(s); "
            "run OCR on it, or set parsing.ocr, if it is scanned",
        )
    is_sparse = reading.num_pages >= _MIN_PAGES_TO_JUDGE and num_text_pages < _MIN_TEXT_PAGE_SHARE * reading.num_pages
    if num_unreadable or is_sparse:
        raise _partial(num_text_pages, reading.num_pages)
    return reading


def _with_pypdf(reading: Reading, num_unreadable: int, num_text_pages: int, data: bytes) -> tuple[Reading, int, int]:
    try:
        text, num_pages, num_text_pages_then, _num_declared = _run_pypdf(data)
    except ParseError:
        return reading, num_unreadable, num_text_pages
    if len(text) <= _LONGER * len(reading.text):
        return reading, num_unreadable, num_text_pages
    num_empty = num_pages - num_text_pages_then
    return Reading(text, reading.title, num_pages=num_pages, num_empty_pages=num_empty), 0, num_text_pages_then


def _recover(data: bytes, error: ParseError) -> str:
    """Return pypdf's text of a PDF that pdfium refused.

    Raises:
        ParseError: `damaged` where pypdf can't help either; `partial` where pages are missing; `empty`.
    """
    try:
        text, num_pages, num_text_pages, num_declared = _run_pypdf(data)
    except ParseError:
        raise ParseError("damaged", _NO_READER) from error
    if num_pages == 0 and num_declared == 0:
        raise ParseError("empty", "the PDF must have pages, found none; replace or exclude it")
    if not text.strip():
        raise ParseError("damaged", _NO_READER) from error
    if max(num_pages, num_declared) > num_text_pages:
        raise _partial(num_text_pages, max(num_pages, num_declared))
    return text


def _partial(num_text_pages: int, num_pages: int) -> ParseError:
    return ParseError(
        "partial",
        f"the PDF must give text on most of its pages, found it on {num_text_pages} of {num_pages}; "
        "repair it, or run OCR on it, or set parsing.ocr, if it is scanned",
    )


@silent_logging()
def _run_pypdf(data: bytes) -> tuple[str, int, int, int]:
    """Text, pages, pages with text, and pages that the file says it has."""
    from pypdf import PdfReader
    from pypdf.errors import PyPdfError

    # On damaged files pypdf raises nearly anything; this process holds nothing else that could fail here.
    failures = (
        PyPdfError, ArithmeticError, AssertionError, AttributeError, LookupError, OSError, RecursionError, TypeError,
        ValueError,
    )  # fmt: skip
    try:
        reader = PdfReader(io.BytesIO(data))
        num_pages = len(reader.pages)
        num_declared = int(cast("DictionaryObject", reader.root_object["/Pages"]).get("/Count", 0))
    except failures as error:
        raise ParseError("damaged", f"the PDF must be readable, found: {error}") from error
    texts = []
    for number in range(num_pages):
        try:
            texts.append(reader.pages[number].extract_text().strip())
        except failures:
            texts.append("")
    return "\n\n".join(filter(None, texts)), num_pages, sum(map(bool, texts)), num_declared
