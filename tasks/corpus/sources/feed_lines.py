"""The lines of a JSON feed, each of which can be read again at its place.

A plain `.jsonl` is read where it lies. What is packed (`.jsonl.gz`), or is one array (`[{…}, {…}]`), is written to the
cache as lines first, the same lines each time, so that a place in them stays valid on every machine.
"""

import codecs
import hashlib
import re
import zlib
from collections.abc import Iterator
from lzma import LZMAError
from pathlib import Path
from typing import IO

from fsspec import AbstractFileSystem
from fsspec.core import get_compression

from tasks.files import whole_file

PACKED = (".gz", ".bz2", ".xz")
UNREADABLE = (OSError, EOFError, zlib.error, LZMAError)
"""What a feed raises that is gone, damaged or cut off."""
_BLOCK_BYTES = 2**18
_READ_BYTES = 2**20
_TOKEN = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{},]', re.DOTALL)
_LINE_ENDS = bytes.maketrans(b"\r\n", b"  ")


class FeedLines:
    """Reads lines of the files of one feed."""

    def __init__(self, file_system: AbstractFileSystem, cache: Path) -> None:
        self._file_system, self._folder = file_system, cache / "lines"
        self._block: tuple[str, int, bytes] = ("", 0, b"")
        self._plain: dict[str, bool] = {}

    def of(self, path: str) -> Iterator[tuple[bytes, int, int]]:
        """Read a file as `(line, offset, number)`, empty lines left out.

        Raises:
            OSError, EOFError, zlib.error, LZMAError: it is gone, damaged or cut off.
        """
        is_plain = self._is_plain(path)
        if is_plain:
            self._copy(path).unlink(missing_ok=True)  # of an array that stood there before
        else:
            self._write_lines(path)
        start = 0
        with self._file_system.open(path, "rb") if is_plain else self._copy(path).open("rb") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield line, start, number
                start += len(line)

    def at(self, path: str, start: int, length: int) -> bytes:
        """Return one line; the block around it is kept, since lines are asked for in order."""
        block_path, block_start, block = self._block
        if block_path != path or not block_start <= start <= start + length <= block_start + len(block):
            block_start, block = start, self._bytes(path, start, max(length, _BLOCK_BYTES))
            self._block = (path, block_start, block)
        return block[start - block_start : start - block_start + length]

    def forget_all_but(self, paths: list[str]) -> None:
        """Delete the copies of files that the feed no longer has."""
        kept = {self._copy(path) for path in paths}
        for copy in self._folder.glob("*.jsonl"):
            if copy not in kept:
                copy.unlink(missing_ok=True)

    def _bytes(self, path: str, start: int, length: int) -> bytes:
        copy = self._copy(path)
        if not copy.exists():
            if self._is_plain(path):
                return bytes(self._file_system.cat_file(path, start=start, end=start + length))
            self._write_lines(path)
        with copy.open("rb") as file:
            file.seek(start)
            return file.read(length)

    def _copy(self, path: str) -> Path:
        return self._folder / f"{hashlib.sha256(path.encode('utf-8', 'surrogateescape')).hexdigest()[:32]}.jsonl"

    def _is_plain(self, path: str) -> bool:
        if path not in self._plain and not path.endswith(PACKED):
            with self._file_system.open(path, "rb") as file:
                self._plain[path] = not _begins_an_array(file.read(_READ_BYTES))
        return self._plain.get(path, False)

    def _write_lines(self, path: str) -> None:
        with self._unpacked(path) as file, whole_file(self._copy(path)) as beside, beside.open("wb") as output:
            blocks = _blocks(file)
            first = next(blocks, b"")
            if _begins_an_array(first):
                output.writelines(_array_lines(b"".join((first, *blocks)), is_certain=_is_array_by_name(path)))
            else:
                output.writelines((first, *blocks))

    def _unpacked(self, path: str) -> IO[bytes]:
        opened: IO[bytes] = self._file_system.open(path, "rb", compression=get_compression(path, "infer"))
        return opened


def _blocks(file: IO[bytes]) -> Iterator[bytes]:
    try:
        while block := file.read(_READ_BYTES):
            yield block
    except OSError as error:  # of the feed, and not of the disk that is written to
        raise EOFError(str(error)) from error


def _is_array_by_name(path: str) -> bool:
    """`.jsonl` and `.ndjson` promise lines: a first line that begins with `[` may be a bad one."""
    return re.search(r"\.json(?:\.\w+)?$", path) is not None


def _begins_an_array(data: bytes) -> bool:
    return data.removeprefix(codecs.BOM_UTF8).lstrip()[:1] == b"["


def _array_lines(data: bytes, *, is_certain: bool) -> list[bytes]:
    """The elements of an array as lines; the lines as they are where the first alone looked like one.

    Raises:
        EOFError: the array is cut off: what it holds no more must not count as deleted.
    """
    elements, end = _elements(data)
    if end is None and is_certain:
        raise EOFError("the JSON array must end with `]`, found it cut off")
    is_array = end is not None and not data[end:].strip()
    return [element + b"\n" for element in elements] if is_array else [data]


def _elements(data: bytes) -> tuple[list[bytes], int | None]:
    """The elements of an array as they are written, each on one line, and where it ends; one that is no JSON is one."""
    elements: list[bytes] = []
    depth, start = 0, 0
    for match in _TOKEN.finditer(data):
        sign = match.group()[:1]
        depth += (sign in b"[{") - (sign in b"]}")
        if sign in b"[{" and depth == 1:
            start = match.end()
        elif (sign == b"," and depth == 1) or depth == 0:
            if element := data[start : match.start()].translate(_LINE_ENDS).strip():
                elements.append(element)
            start = match.end()
            if depth == 0:
                return elements, start
    return elements, None
