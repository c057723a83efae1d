"""Text of scanned pages by Tesseract, which kreuzberg carries; its language data are installed apart."""

import io
from typing import TYPE_CHECKING

from tasks.errors import ParseError

if TYPE_CHECKING:
    from pypdfium2 import PdfPage

_DOTS_PER_POINT = 200 / 72


def read_scan(page: "PdfPage", languages: str) -> str:
    """Return the text of a page's picture; `languages` as Tesseract names them, for instance `eng+deu`.

    Raises:
        ParseError: `ocr`: the languages are not installed.
    """
    from kreuzberg import ExtractionConfig, KreuzbergError, OcrConfig, extract_bytes_sync

    picture = io.BytesIO()
    page.render(scale=_DOTS_PER_POINT).to_pil().convert("L").save(picture, "PNG")
    ocr = OcrConfig(backend="tesseract", language=languages)
    config = ExtractionConfig(output_format="plain", use_cache=False, force_ocr=True, ocr=ocr)
    try:
        return str(extract_bytes_sync(picture.getvalue(), "image/png", config).content).strip()
    except (KreuzbergError, ValueError, RuntimeError, OSError) as error:
        raise ParseError(
            "ocr",
            f"the languages of parsing.ocr ({languages}) must be installed for Tesseract, found: {error}; install them "
            "(Debian: tesseract-ocr-eng), or set parsing.ocr to null",
        ) from error
