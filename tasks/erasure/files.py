"""What was derived from documents and lies in plain files and small databases of the home: removed where it quotes one.

Evaluation tables, comparisons, unfinished retrains, logs and pending ratings are made again or not missed. A log loses
the lines, anything else the file.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from tasks.erasure.byte_search import Needles, files_with
from tasks.files import write_text
from tasks.home import Home

_LINES = {".log", ".jsonl"}
_KEPT = {".db", ".sqlite", ".lance"}
_SQLITE_SUFFIXES = {".db", ".sqlite"}
_PREFECT_TABLES = (("artifact", "data"), ("log", "message"))
"""Where Prefect keeps texts that a flow shows; its other tables hold names and times."""


def scrub(home: Home, needles: Needles) -> dict[str, int]:
    """Remove every derived file that holds a needle; return how many by store."""
    removed: dict[str, int] = {}
    places = (home.artifacts, home.comparison, home.retrain, home.feedback, home.logs, home.cache, home.scan)
    for place in places:
        for path in files_with(place, needles) if place.is_dir() else []:
            if path.suffix not in _KEPT:
                _scrub_file(path, needles)
                removed[place.name] = removed.get(place.name, 0) + 1
    return removed


def _scrub_file(path: Path, needles: Needles) -> None:
    if path.suffix not in _LINES:
        path.unlink()
        return
    lines = path.read_text(encoding="utf-8", errors="surrogateescape").splitlines(keepends=True)
    write_text(path, "".join(line for line in lines if not needles.stand_in(line)))


def databases(home: Home) -> Iterator[Path]:
    """Yield the SQLite files of the home."""
    for path in sorted(home.root.rglob("*")):
        if path.suffix in _SQLITE_SUFFIXES and path.is_file():
            yield path


def scrub_prefect(home: Home, needles: Needles) -> int:
    """Delete what Prefect shows of its runs where it quotes a document; return how many rows.

    Raises:
        sqlite3.Error: the database is locked by a server.
    """
    path = home.prefect / "prefect.db"
    if not path.exists():
        return 0
    deleted = 0
    with closing(sqlite3.connect(path, timeout=30)) as database, database:
        for table, column in _PREFECT_TABLES:
            if column not in {row[1] for row in database.execute(f"PRAGMA table_info({table})")}:
                continue
            rows = database.execute(f"SELECT rowid, {column} FROM {table}")  # noqa: S608 - names of ours
            gone = [(rowid,) for rowid, text in rows if isinstance(text, str) and needles.stand_in(text)]
            database.executemany(f"DELETE FROM {table} WHERE rowid = ?", gone)  # noqa: S608 - names of ours
            deleted += len(gone)
    return deleted


def empty_free_pages(path: Path) -> None:
    """Write a database anew, so that no deleted row is left in its free pages or its log.

    Raises:
        sqlite3.Error: another process holds it.
    """
    with closing(sqlite3.connect(path, timeout=30, isolation_level=None)) as database:
        database.execute("PRAGMA secure_delete = ON")
        database.execute("VACUUM")
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
