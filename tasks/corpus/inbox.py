"""The inbox: documents that programs push, kept in the home until a push takes their place or takes them back.

One SQLite file in `<home>/inbox`, readable by its owner alone. The refresh reads it as a source (`kind: push`), so
that gates and access hold for what is pushed as for all else. A receipt is given once a document is on disk.
"""

import json
import sqlite3
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from tasks.corpus.document import sha256
from tasks.corpus.private_database import opened
from tasks.errors import ConfigurationError
from tasks.home import Home

_KEPT = timedelta(days=7)
_TABLES = """
CREATE TABLE IF NOT EXISTS documents (
    source TEXT NOT NULL, id TEXT NOT NULL, hash TEXT NOT NULL, body TEXT NOT NULL, received_at TEXT NOT NULL,
    PRIMARY KEY (source, id)
);
CREATE TABLE IF NOT EXISTS requests (
    pusher TEXT NOT NULL, key TEXT NOT NULL, request TEXT NOT NULL, received_at TEXT NOT NULL,
    PRIMARY KEY (pusher, key)
);
"""


@dataclass(frozen=True, slots=True)
class Pushed:
    """A document as it was pushed.

    Attributes:
        hash: of its body; equal: the same document.
        body: `text`, `format`, and what the pusher says beside the text.
    """

    source: str
    id: str
    hash: str
    body: Mapping[str, Any]
    received_at: str


@dataclass(frozen=True, slots=True)
class PushRequest:
    """What makes a request one: a retry with the same key and content does nothing a second time."""

    pusher: str
    key: str


def put(home: Home, source: str, identifier: str, body: Mapping[str, Any], request: PushRequest | None) -> Pushed:
    """Keep a document in place of an earlier one of its id; a retry of an earlier request changes nothing.

    Raises:
        ConfigurationError: the key of the request was used for another one.
        DependencyError: the disk refuses.
    """
    text = json.dumps(dict(body), sort_keys=True)
    now = datetime.now(UTC)
    pushed = Pushed(source, identifier, sha256(text), body, now.isoformat(timespec="milliseconds"))
    with _opened(home) as inbox:
        if request is not None:
            at = _first_seen(inbox, request, sha256("put", source, identifier, text), now)
            if at is not None:
                return Pushed(source, identifier, pushed.hash, body, at)
        inbox.execute(
            "INSERT INTO documents VALUES (?, ?, ?, ?, ?) ON CONFLICT (source, id) DO UPDATE SET"
            " received_at = CASE WHEN hash = excluded.hash THEN received_at ELSE excluded.received_at END,"
            " hash = excluded.hash, body = excluded.body",
            (source, identifier, pushed.hash, text, pushed.received_at),
        )
    return pushed


def take_back(home: Home, source: str, identifier: str, request: PushRequest | None = None) -> bool:
    """Remove a document, its bytes overwritten, and say whether it was there."""
    if not _path_exists(home):
        return False
    with _opened(home) as inbox:
        if request is not None and _first_seen(inbox, request, sha256("delete", source, identifier), datetime.now(UTC)):
            return True
        where = (source, identifier)
        return inbox.execute("DELETE FROM documents WHERE source = ? AND id = ?", where).rowcount > 0


def get(home: Home, source: str, identifier: str) -> Pushed | None:
    """Return a document, None where there is none of that id."""
    if not _path_exists(home):
        return None
    with _opened(home) as inbox:
        row = inbox.execute("SELECT * FROM documents WHERE source = ? AND id = ?", (source, identifier)).fetchone()
    return _pushed(row) if row else None


def listed(home: Home, source: str) -> list[tuple[Pushed, int]]:
    """Return the documents of a source in the order of their ids, without their bodies, and the size of each body."""
    if not _path_exists(home):
        return []
    statement = "SELECT source, id, hash, '{}', received_at, length(body) FROM documents WHERE source = ? ORDER BY id"
    with _opened(home) as inbox:
        rows = inbox.execute(statement, (source,)).fetchall()
    return [(_pushed(row[:5]), row[5]) for row in rows]


def _pushed(row: tuple[str, str, str, str, str]) -> Pushed:
    source, identifier, content, body, received_at = row
    return Pushed(source, identifier, content, json.loads(body), received_at)


def _first_seen(inbox: sqlite3.Connection, request: PushRequest, content: str, now: datetime) -> str | None:
    """When this very request came first, None for a new one, which is noted."""
    inbox.execute("DELETE FROM requests WHERE received_at < ?", ((now - _KEPT).isoformat(),))
    where = (request.pusher, request.key)
    row = inbox.execute("SELECT request, received_at FROM requests WHERE pusher = ? AND key = ?", where).fetchone()
    if row is None:
        at = now.isoformat(timespec="milliseconds")
        inbox.execute("INSERT INTO requests VALUES (?, ?, ?, ?)", (*where, content, at))
        return None
    if row[0] != content:
        raise ConfigurationError(
            "an `Idempotency-Key` must stand for one request, found it used for another; take a new key"
        )
    return str(row[1])


def _path_exists(home: Home) -> bool:
    return (home.inbox / "documents.db").exists()


def _opened(home: Home) -> AbstractContextManager[sqlite3.Connection]:
    """The file in one transaction."""
    return opened(home.inbox / "documents.db", _TABLES)
