"""Copying a home while a server answers: SQLite files by SQLite, files that share their bytes as such."""

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

LEFT_OUT = frozenset({"cache", "scan", "work", "locks", "logs", "server.json", "home.json"})
"""What is made again where it is missing, and what belongs to processes that run."""
_SQLITE = b"SQLite format 3\0"
_BESIDE_SQLITE = ("-wal", "-shm", "-journal")


def copy_home(source: Path, target: Path) -> None:
    """Copy a home; files that share their bytes share them there, too, as the data registry does."""
    target.mkdir(mode=0o700, exist_ok=True)
    copied: dict[tuple[int, int], Path] = {}
    for path in _files(source):
        place = target / path.relative_to(source)
        place.parent.mkdir(parents=True, exist_ok=True)
        status = path.stat()
        twin = copied.setdefault((status.st_dev, status.st_ino), place)
        if twin is not place:
            os.link(twin, place)
        elif _is_database(path):
            _copy_database(path, place)
        else:
            shutil.copy2(path, place)
    for path in source.rglob("*"):
        if path.is_dir() and not path.is_symlink() and (target / path.relative_to(source)).is_dir():
            shutil.copystat(path, target / path.relative_to(source))


def _files(home: Path) -> Iterator[Path]:
    for path in sorted(home.rglob("*")):
        top = path.relative_to(home).parts[0]
        if top not in LEFT_OUT and path.is_file() and not path.name.endswith(_BESIDE_SQLITE):
            yield path


def _is_database(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.read(len(_SQLITE)) == _SQLITE


def _copy_database(source: Path, target: Path) -> None:
    target.touch(mode=source.stat().st_mode & 0o777)
    with (
        closing(sqlite3.connect(f"{source.as_uri()}?mode=ro", uri=True, timeout=60)) as database,
        closing(sqlite3.connect(target)) as copy,
    ):
        database.backup(copy)
