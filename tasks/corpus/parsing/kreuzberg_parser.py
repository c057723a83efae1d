"""Kreuzberg: one file's bytes to Markdown, and its errors as ours."""

from dataclasses import dataclass
from typing import Any

from tasks.errors import ParseError

_ENCRYPTED_SIGNS = ("password", "encrypted")
_WITHOUT_OCR: dict[str, Any] = {"disable_ocr": True}
"""Apart, since the library's type stub lacks the argument. OCR would run Tesseract where it happens to be installed."""
_LIMIT_SIGNS = ("exceed", "too large", "bomb", "limit")


@dataclass(frozen=True, slots=True)
class KreuzbergText:
    """What kreuzberg reads in one file.

    Attributes:
        num_pages: pages of a PDF, else 0.
        num_text_pages: those of them that have text.
    """

    text: str
    title: str
    num_pages: int
    num_text_pages: int


def run_kreuzberg(data: bytes, media_type: str) -> KreuzbergText:
    """Return Markdown of a file's bytes.

    Raises:
        ParseError: `encrypted`, `too_large` or `damaged`.
    """
    from kreuzberg import ExtractionConfig, KreuzbergError, PageConfig, extract_bytes_sync

    pages = PageConfig(extract_pages=True) if media_type == "application/pdf" else None
    config = ExtractionConfig(output_format="markdown", use_cache=False, pages=pages, **_WITHOUT_OCR)
    try:
        result = extract_bytes_sync(data, media_type, config)
    except (KreuzbergError, ValueError, RuntimeError, OSError) as error:
        raise _parse_error(str(error)) from error
    title = result.metadata.get("title")
    lengths = [len(page["content"].strip()) for page in result.pages or ()]
    return KreuzbergText(
        text=result.content,
        title=title.strip() if isinstance(title, str) else "",
        num_pages=len(lengths),
        num_text_pages=sum(length > 0 for length in lengths),
    )


def _parse_error(message: str) -> ParseError:
    message = " ".join(message.removeprefix("ParsingError: ").split())[:200]
    lowered = message.lower()
    if any(sign in lowered for sign in _ENCRYPTED_SIGNS):
        return encrypted()
    if any(sign in lowered for sign in _LIMIT_SIGNS):
        return ParseError("too_large", f"the file must unpack within limits, found: {message}; split it")
    return ParseError("damaged", f"the file must be what its ending says, found: {message}; repair or replace it")


def encrypted() -> ParseError:
    """Return the reason for a file that needs a password."""
    return ParseError("encrypted", "the file must open without a password, found it encrypted; store it decrypted")
