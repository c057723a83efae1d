"""Outputs that appear whole or not at all: written beside, then renamed."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tasks.errors import DependencyError


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a path beside `path`; on success it is flushed to disk and renamed to `path`, else it is removed.

    Raises:
        DependencyError: the disk refused (full, read-only); `path` is as it was.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield beside
        _flush(beside)
        beside.replace(path)
    except OSError as error:
        raise _refused(path, error) from error
    finally:
        with suppress(NotADirectoryError):
            beside.unlink(missing_ok=True)


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder beside `path`; on success its files are flushed and it becomes `path`, else it is removed.

    A folder that stands at `path` gives way at the end. What a killed process left beside is removed at the start, so
    two processes must not write the same folder at once: hold a lock where they could.

    Raises:
        DependencyError: the disk refused (full, read-only); `path` is as it was.
    """
    beside = path.with_name(f".{path.name}.partial")
    try:
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir(parents=True)
        yield beside
        for file in beside.rglob("*"):
            if file.is_file():
                _flush(file)
        shutil.rmtree(path, ignore_errors=True)
        beside.rename(path)
    except OSError as error:
        raise _refused(path, error) from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def write_json(path: Path, content: Any) -> None:
    """Write JSON whole or not at all."""
    with whole_file(path) as beside:
        beside.write_text(json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")


def write_json_lines(path: Path, records: Iterable[Any]) -> int:
    """Write dataclasses, one in JSON a line, whole or not at all; return how many."""
    count = 0
    with whole_file(path) as beside, beside.open("w", encoding="utf-8") as stream:
        for record in records:
            stream.write(json.dumps(asdict(record), ensure_ascii=False, sort_keys=True) + "\n")
            count += 1
    return count


def write_text(path: Path, text: str) -> None:
    """Write text whole or not at all."""
    with whole_file(path) as beside:
        beside.write_text(text, encoding="utf-8")


def sha256_of_file(path: Path) -> str:
    """Return the sha256 of a file's bytes, in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _flush(path: Path) -> None:
    with path.open("rb") as stream:
        os.fsync(stream.fileno())


def _refused(path: Path, error: OSError) -> DependencyError:
    return DependencyError(
        f"{path} must be writable, but the disk says: {error}; free space or correct ALMANAC_HOME, and run again"
    )
