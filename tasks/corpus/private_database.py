"""A small SQLite file of the home for its owner alone: one transaction at a time, deleted bytes overwritten."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from tasks.errors import BusyError, DependencyError

BUSY_SECONDS = 30


@contextmanager
def transaction(path: Path, schema: str) -> Iterator[sqlite3.Connection]:
    """Yield a connection within one transaction; the file is made, with its tables, where it is absent.

    The folder is 0700 and the file 0600 from its first byte; SQLite gives its journal the same mode.

    Args:
        path: of the file.
        schema: statements that make the tables unless they are there.

    Raises:
        OSError: the folder or the file cannot be made.
        sqlite3.Error: the file is locked for `BUSY_SECONDS`, damaged or not writable.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.parent.chmod(0o700)
    os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    path.chmod(0o600)
    with closing(sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)) as connection:
        connection.execute("PRAGMA secure_delete = ON")
        connection.executescript(schema)
        connection.execute("BEGIN IMMEDIATE")
        with connection:
            yield connection


@contextmanager
def opened(path: Path, schema: str) -> Iterator[sqlite3.Connection]:
    """Yield a connection as `transaction` does; what SQLite refuses is an error of ours.

    Raises:
        BusyError: the file is locked for `BUSY_SECONDS`.
        DependencyError: it is damaged or not writable.
    """
    try:
        with transaction(path, schema) as connection:
            yield connection
    except (sqlite3.Error, UnicodeDecodeError) as error:  # SQLite's own words may be bytes of a damaged file
        if isinstance(error, sqlite3.Error) and is_locked(error):
            raise BusyError(f"{path} must be free within {BUSY_SECONDS} seconds, found it locked; try again") from error
        raise DependencyError(
            f"{path} must be readable and writable, found: {error}; free space and try again"
        ) from error


def is_locked(error: sqlite3.Error) -> bool:
    """Say whether another process held the file, and nothing is wrong with it."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
