"""Parse files of a test as a source of kind `files`."""

import io
import zipfile
from pathlib import Path

from tasks.corpus.document import Document
from tasks.corpus.parsing.parse import Parsed, Reject, parse_items
from tasks.corpus.sources import open_source
from tasks.params import ParsingParams
from tasks.params.sources import FilesSource

PARSING = ParsingParams(timeout_seconds=30, max_memory_mb=1024, max_item_mb=1, max_characters=10_000)
SOURCE = {
    "kind": "files",
    "name": "docs",
    "knowledge_base": "kb",
    "access": ["staff"],
    "max_removed_fraction": 0.2,
}


def parse_folder(folder: Path, *, parsing: ParsingParams = PARSING) -> Parsed:
    source = FilesSource.model_validate(SOURCE | {"url": str(folder)})
    items = list(open_source(source, cache=folder).scan())
    result = parse_items(source, items, parsing=parsing, cache=folder)
    assert len(result.documents) + len(result.rejects) == len(items)
    return result


def parse_one(folder: Path, name: str, data: bytes | str, *, parsing: ParsingParams = PARSING) -> Document | Reject:
    (folder / name).write_bytes(data.encode() if isinstance(data, str) else data)
    result = parse_folder(folder, parsing=parsing)
    return [*result.documents, *result.rejects][0]


def document(folder: Path, name: str, data: bytes | str) -> Document:
    found = parse_one(folder, name, data)
    assert isinstance(found, Document), found
    return found


def code(folder: Path, name: str, data: bytes | str, *, parsing: ParsingParams = PARSING) -> str:
    found = parse_one(folder, name, data, parsing=parsing)
    assert isinstance(found, Reject), found
    assert "\n" not in found.reason
    return found.code


def docx(body: str) -> bytes:
    space = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
    content = f'<w:document xmlns:w="{space}"><w:body>{body}</w:body></w:document>'
    types = '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"/>'
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("[Content_Types].xml", types)
        archive.writestr("word/document.xml", content)
    return stream.getvalue()


GOOD_DOCX = docx("<w:p><w:r><w:t>Words of a letter.</w:t></w:r></w:p>")
