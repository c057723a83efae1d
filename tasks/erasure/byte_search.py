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
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import pyarrow.parquet as pq

MIN_CHARACTERS = 24
MAX_CHARACTERS = 160
NEEDLES_PER_TEXT = 6
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

    @property
    def patterns(self) -> tuple[bytes, ...]:
        """Return the bytes that a file may hold: the text in UTF-8 and as JSON writes it."""
        forms = {text.encode("utf-8", "surrogatepass") for text in self.texts}
        forms |= {json.dumps(text)[1:-1].encode() for text in self.texts}
        forms |= {json.dumps(text, ensure_ascii=False)[1:-1].encode("utf-8", "surrogatepass") for text in self.texts}
        return tuple(sorted(forms))

    def stand_in(self, text: str) -> bool:
        """Say whether any needle stands in a text, as it is or as JSON writes it."""
        data = text.encode("utf-8", "surrogatepass")
        return any(pattern in data for pattern in self.patterns)


def needles_of(texts: Mapping[str, Collection[str]], others: Iterable[str]) -> Needles:
    """Choose lines of the documents that stand in no other one.

    Args:
        texts: by document id, all texts that it had.
        others: texts of the documents that stay.
    """
    rest = "\0".join(others)
    chosen: dict[str, None] = {}
    undistinctive = []
    for document_id, versions in sorted(texts.items()):
        before = len(chosen)
        for text in sorted(versions):
            lines = (line for line in _lines(text) if line not in rest)
            chosen.update(dict.fromkeys(islice(lines, NEEDLES_PER_TEXT)))
        if len(chosen) == before and any(versions):
            undistinctive.append(document_id)
    return Needles(tuple(chosen), tuple(undistinctive))


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
    patterns = needles.patterns
    if not patterns:
        return []
    paths = (path for path in sorted(folder.rglob("*")) if path.is_file() and not path.is_symlink())
    return [path for path in paths if _searched(path, passed_over) and holds(path, patterns)]


def _searched(path: Path, passed_over: Collection[Path]) -> bool:
    return path.suffix not in WEIGHTS and not any(path.is_relative_to(place) for place in passed_over)


def holds(path: Path, patterns: Sequence[bytes]) -> bool:
    """Say whether a file holds a pattern, in its bytes or decoded."""
    if not path.stat().st_size:
        return False
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
        if any(data.find(pattern) >= 0 for pattern in patterns):
            return True
        head = bytes(data[:16])
    return any(pattern in decoded for decoded in _decoded(path, head) for pattern in patterns)


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
        table = LanceFileReader(str(path)).read_all().to_table()
    except (OSError, ValueError, RuntimeError):
        return  # index pages and others that hold no rows: their bytes were searched as they are
    for column in table.columns:
        for cell in column.to_pylist():
            if isinstance(cell, str):
                yield cell.encode("utf-8", "surrogatepass")


def _parquet_texts(path: Path) -> Iterator[bytes]:
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=64):
            for column in batch.columns:
                yield from (
                    cell.encode("utf-8", "surrogatepass") for cell in column.to_pylist() if isinstance(cell, str)
                )


def _sqlite_texts(path: Path) -> Iterator[bytes]:
    """Yield every text of a database: one that fills several pages is whole in none of them."""
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=30)) as database:
        database.text_factory = bytes
        tables = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        for (table,) in tables:
            for row in database.execute(f'SELECT * FROM "{table.decode()}"'):  # noqa: S608 - its own names
                yield from (cell for cell in row if isinstance(cell, bytes))
