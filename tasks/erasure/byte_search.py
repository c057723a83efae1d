"""Whether a text still stands anywhere in a home: a search of the bytes of every file, decoded where they are packed.

The needles are lines that stand in no other document, so that a hit is a hit. Files are read as they are, and decoded
too: columns of Parquet, rows of Lance files with those that are marked deleted, texts in SQLite, git's objects.
"""

import gzip
import json
import mmap
import re
import sqlite3
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.erasure.many_patterns import ManyPatterns

MIN_CHARACTERS = 24
MAX_CHARACTERS = 160
NEEDLES_PER_TEXT = 6
TEXTS_AT_ONCE = ROWS_AT_ONCE = 1000
WEIGHTS = {".safetensors", ".gguf", ".onnx", ".pt"}
"""Model weights hold no text; what a model learnt is not found by a search of bytes."""
_SQLITE = b"SQLite format 3\0"
_PARQUET = b"PAR1"
_LINE = re.compile(r"[^\r\n]+")


@dataclass(frozen=True, slots=True)
class Needles:
    """What is searched for.

    Attributes:
        texts: distinctive passages of the documents.
        undistinctive: documents of which every line stands in another document too.
    """

    texts: tuple[str, ...]
    undistinctive: tuple[str, ...]
    patterns: ManyPatterns = field(init=False, repr=False, compare=False)
    """The bytes that a file may hold: the texts in UTF-8 and as JSON writes them."""

    def __post_init__(self) -> None:
        """Gather the patterns once: they are sought in every file."""
        forms = {form for text in self.texts for form in (text, json.dumps(text)[1:-1], _as_json(text))}
        object.__setattr__(self, "patterns", ManyPatterns(sorted(map(_encoded, forms))))

    def stand_in(self, text: str) -> bool:
        """Say whether any needle stands in a text, as it is or as JSON writes it."""
        return self.patterns.any_in(_encoded(text))


def _as_json(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)[1:-1]


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def needles_of(texts: Mapping[str, Collection[str]], others: Iterable[str]) -> Needles:
    """Choose lines of the documents that stand in no other one.

    Args:
        texts: by document id, all texts that it had.
        others: texts of the documents that stay.
    """
    by_text = {text: list(_lines(text)) for versions in texts.values() for text in versions}
    elsewhere = _standing({line for lines in by_text.values() for line in lines}, others)
    chosen: dict[str, None] = {}
    undistinctive = []
    for document_id, versions in sorted(texts.items()):
        before = len(chosen)
        for text in sorted(versions):
            lines = (line for line in by_text[text] if line not in elsewhere)
            chosen.update(dict.fromkeys(islice(lines, NEEDLES_PER_TEXT)))
        if len(chosen) == before and any(versions):
            undistinctive.append(document_id)
    return Needles(tuple(chosen), tuple(undistinctive))


def _standing(lines: Collection[str], texts: Iterable[str]) -> set[str]:
    """Return those lines that stand in any of the texts."""
    patterns = {_encoded(line): line for line in lines}
    sought, standing, rest = ManyPatterns(list(patterns)), set[bytes](), iter(texts)
    while some := list(islice(rest, TEXTS_AT_ONCE)):
        standing.update(sought.all_in(_encoded("\0".join(some))))
    return {patterns[pattern] for pattern in standing}


def _lines(text: str) -> Iterator[str]:
    """Yield the longest lines first; a short text has only short ones."""
    lines = {line.strip()[:MAX_CHARACTERS] for line in _LINE.findall(text)}
    long = [line for line in lines if len(line) >= MIN_CHARACTERS]
    yield from sorted(long or [line for line in lines if len(line) >= MIN_CHARACTERS // 2], key=lambda s: (-len(s), s))


def search_home(root: Path, needles: Needles, *, passed_over: Collection[Path] = ()) -> dict[str, int]:
    """Return how many files of each store hold a needle; stores are the folders and files of the home.

    Raises:
        OSError: a file cannot be read.
    """
    hits: dict[str, int] = {}
    for path in files_with(root, needles, passed_over=passed_over):
        store = path.relative_to(root).parts[0]
        hits[store] = hits.get(store, 0) + 1
    return hits


def files_with(folder: Path, needles: Needles, *, passed_over: Collection[Path] = ()) -> list[Path]:
    """Return the files below a folder that hold a needle, sorted."""
    if not needles.texts:
        return []
    paths = (path for path in sorted(folder.rglob("*")) if path.is_file() and not path.is_symlink())
    return [path for path in paths if _searched(path, passed_over) and holds(path, needles)]


def _searched(path: Path, passed_over: Collection[Path]) -> bool:
    return path.suffix not in WEIGHTS and not any(path.is_relative_to(place) for place in passed_over)


def holds(path: Path, needles: Needles) -> bool:
    """Say whether a file holds a needle, in its bytes or decoded."""
    if not path.stat().st_size:
        return False
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
        if needles.patterns.any_in(data):
            return True
        head = bytes(data[:16])
    return any(needles.patterns.any_in(decoded) for decoded in _decoded(path, head))


def _decoded(path: Path, head: bytes) -> Iterator[bytes]:
    if path.suffix == ".lance":
        yield from _lance_texts(path)
    elif head.startswith(_PARQUET):
        yield from _parquet_texts(path)
    elif head == _SQLITE:
        yield from _sqlite_texts(path)
    elif head[:2] == b"\x1f\x8b":
        yield gzip.decompress(path.read_bytes())
    elif ".git" in path.parts and "objects" in path.parts and head[:1] == b"\x78":
        yield zlib.decompress(path.read_bytes())


def _lance_texts(path: Path) -> Iterator[bytes]:
    """Yield the strings of a data file of Lance, rows that are marked deleted included."""
    from lance.file import LanceFileReader

    try:
        names = _text_columns(LanceFileReader(str(path)).metadata().schema)
        for batch in LanceFileReader(str(path), columns=names).read_all().to_batches() if names else ():
            yield from _strings(batch)
    except (OSError, ValueError, RuntimeError):
        return  # index pages and others that hold no rows: their bytes were searched as they are


def _parquet_texts(path: Path) -> Iterator[bytes]:
    with pq.ParquetFile(path) as file:
        names = _text_columns(file.schema_arrow)
        for batch in file.iter_batches(batch_size=1024, columns=names) if names else ():
            yield from _strings(batch)


def _text_columns(schema: pa.Schema) -> list[str]:
    """Return the columns that hold text: vectors are many times larger, and decoded they fill the memory."""
    kinds = (pa.types.is_string, pa.types.is_large_string, pa.types.is_dictionary)
    return [field.name for field in schema if any(is_kind(field.type) for is_kind in kinds)]


def _strings(batch: pa.RecordBatch) -> Iterator[bytes]:
    """Yield each column's strings, one behind another: a search in one long text is a hundred times as fast."""
    for column in batch.columns:
        cells = (cell for cell in column.to_pylist() if isinstance(cell, str))
        yield "\0".join(cells).encode("utf-8", "surrogatepass")


def _sqlite_texts(path: Path) -> Iterator[bytes]:
    """Yield every text of a database: one that fills several pages is whole in none of them."""
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=30)) as database:
        database.text_factory = bytes
        tables = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        for (table,) in tables:
            rows = database.execute(f'SELECT * FROM "{table.decode()}"')  # noqa: S608 - its own names
            while some := rows.fetchmany(ROWS_AT_ONCE):
                yield b"\0".join(cell for row in some for cell in row if isinstance(cell, bytes))
