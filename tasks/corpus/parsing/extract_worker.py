"""The process in which `extract` parses: items come by standard input, replies go to standard output.

Never imported by the rest of Almanac. What crosses is JSON: nothing that a hostile file made of it is unpickled.
"""

import io
import json
import os
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

from tasks.corpus.parsing.decode import decode_text
from tasks.corpus.parsing.extract import EXTRACTED
from tasks.corpus.parsing.formats import reader_of
from tasks.corpus.parsing.formats.reading import Reading
from tasks.corpus.parsing.formats.unescape import unescaped
from tasks.corpus.parsing.kreuzberg_parser import encrypted, run_kreuzberg
from tasks.corpus.parsing.pdf import extract_pdf
from tasks.errors import ParseError

_TEXT_BASED = {".csv", ".tsv", ".rtf"}
_ZIP_BASED = {".docx", ".pptx", ".xlsx", ".odt", ".epub"}
_OLE_BASED = {".xls", ".msg"}
_NO_TITLES = {"untitled", "(anonymous)", "anonymous", "powerpoint presentation", "slide 1"}
_TEX_SIGNS = "<>#*_&~|"
"""In formulas a backslash before another sign is TeX's own."""
_MAX_UNPACKED_MB = 512
_MIN_CONFIDENCE = 0.8


def main() -> None:
    """Serve until the input closes. Arguments: megabytes for one item, characters of one text, languages of OCR."""
    max_memory_mb, max_characters, ocr = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # a parser's own messages must not mix with the replies
    import kreuzberg  # noqa: F401 (its start must not count against an item)

    _limit_memory(max_memory_mb)
    _write(replies, {})
    requests = sys.stdin.buffer
    while header := requests.readline():
        request = json.loads(header)
        data = requests.read(request["size"])
        _write(replies, _answer(data, request["ending"], max_characters, ocr))


def _limit_memory(max_memory_mb: int) -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    status = Path("/proc/self/statm")
    if status.exists():
        used = int(status.read_text().split()[0]) * resource.getpagesize()
        limit = used + max_memory_mb * 2**20
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _write(replies: IO[bytes], reply: dict[str, Any]) -> None:
    data = json.dumps(reply).encode()
    replies.write(len(data).to_bytes(8, "big") + data)
    replies.flush()


def _answer(data: bytes, ending: str, max_characters: int, ocr: str) -> dict[str, Any]:
    try:
        reading = extract(data, ending, ocr)
        if len(reading.text) > max_characters:
            raise ParseError(
                "too_large",
                f"the text must have at most parsing.max_characters ({max_characters}), found {len(reading.text)}; "
                "split the item or raise the limit",
            )
    except ParseError as error:
        return {"code": error.code, "reason": str(error)}
    except (MemoryError, RecursionError) as error:
        return {"code": "too_large", "reason": f"the item must fit into the memory limit, found {type(error).__name__}"}
    except Exception as error:  # noqa: BLE001 (whatever a file does to its reader, this process serves the next)
        shown = f"{type(error).__name__}: {' '.join(str(error).split())[:100]}"
        return {
            "code": "damaged",
            "reason": f"the file must be one that its reader can take, found {shown}; simplify or replace it",
        }
    return {"text": reading.text, "title": reading.title, "metadata": reading.metadata()}


def extract(data: bytes, ending: str, ocr: str = "") -> Reading:
    """Return what a file's bytes hold; `ocr`: languages in which scanned pages are read, '' for none.

    Raises:
        ParseError: the file can't be read.
    """
    if not data.strip():
        raise ParseError("empty", "the file must have content, found none; fill it or exclude it")
    _check_type(data, ending)
    reading = _read(data, ending, ocr)
    return replace(reading, title="") if reading.title.lower() in _NO_TITLES else reading


def _read(data: bytes, ending: str, ocr: str) -> Reading:
    if (reader := reader_of(ending)) is not None:
        return reader(data)
    if ending == ".pdf":
        return extract_pdf(data, ocr)
    extracted = run_kreuzberg(_as_utf8(data, ending), EXTRACTED[ending])
    signs = _TEX_SIGNS if ending == ".tex" else ""
    return Reading(unescaped(extracted.text, signs=signs), extracted.title)


def _as_utf8(data: bytes, ending: str) -> bytes:
    if ending == ".tex":
        return _whole_tex(decode_text(data)).encode("utf-8", "replace")
    if ending in _TEXT_BASED:
        return decode_text(data).encode("utf-8", "replace")
    return data


def _whole_tex(text: str) -> str:
    """A chapter that another file includes has no document of its own, without which kreuzberg finds no text."""
    return text if r"\begin{document}" in text else f"\\begin{{document}}\n{text}\n\\end{{document}}\n"


def _check_type(data: bytes, ending: str) -> None:
    """Refuse a file whose bytes are of another format than its ending says.

    Raises:
        ParseError: `type_mismatch`, `encrypted` (a locked Office file is another container) or `too_large`.
    """
    if ending == ".pdf" and b"%PDF-" not in data[:1024]:
        raise _mismatch(data, "a PDF")
    if ending in _OLE_BASED and not data.startswith(b"\xd0\xcf\x11\xe0"):
        raise _mismatch(data, f"an {ending} file")
    if ending in _ZIP_BASED:
        if data.startswith(b"\xd0\xcf\x11\xe0"):
            raise encrypted()
        if not data.startswith(b"PK"):
            raise _mismatch(data, f"a {ending} file")
        _check_unpacked_size(data)


def _mismatch(data: bytes, expected: str) -> ParseError:
    return ParseError(
        "type_mismatch", f"the file must be {expected} as its ending says, found {_kind(data)}; rename or replace it"
    )


def _kind(data: bytes) -> str:
    import puremagic

    try:
        guess = puremagic.magic_string(data)[0]
    except (puremagic.PureError, ValueError, IndexError):
        guess = None
    if guess is not None and guess.confidence >= _MIN_CONFIDENCE and guess.name:
        return str(guess.name)
    return "text" if b"\0" not in data[:4096] else "unknown binary content"


def _check_unpacked_size(data: bytes) -> None:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise ParseError("damaged", f"the file must be a whole archive, found: {error}; replace it") from error
    if size > _MAX_UNPACKED_MB * 2**20:
        raise ParseError(
            "too_large", f"the file must unpack to at most {_MAX_UNPACKED_MB} MB, found {size // 2**20} MB"
        )


if __name__ == "__main__":
    main()
