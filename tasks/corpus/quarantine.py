"""The quarantine: items that parsing or the document gate set aside, until a person or an edit decides.

One SQLite file in `<home>/quarantine`, readable by its owner alone: it holds texts that few may read. An item (source
and key) is held at most once, for its newest content. Each function is one transaction, so a killed refresh leaves the
ledger as it was, and running it again changes nothing.
"""

import json
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, Protocol

import pyarrow.parquet as pq

from tasks.corpus.document import sha256
from tasks.corpus.private_database import BUSY_SECONDS, is_locked, transaction
from tasks.errors import BusyError, ConfigurationError, CorruptionError, DependencyError

MAX_SHOWN_CHARACTERS = 100_000
"""More of a text is not kept: a person decides by its beginning, and a released item is read anew from its source."""

_TABLE = """
CREATE TABLE IF NOT EXISTS items (
    id TEXT PRIMARY KEY,
    source TEXT NOT NULL,
    key TEXT NOT NULL,
    raw_hash TEXT NOT NULL,
    document_id TEXT NOT NULL,
    uri TEXT NOT NULL,
    title TEXT NOT NULL,
    stage TEXT NOT NULL,
    rule TEXT NOT NULL,
    reason TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    first_seen TEXT NOT NULL,
    last_seen TEXT NOT NULL,
    status TEXT NOT NULL,
    text TEXT NOT NULL,
    access TEXT NOT NULL DEFAULT '[]',
    UNIQUE (source, key)
)
"""
_ADD_ACCESS = "ALTER TABLE items ADD COLUMN access TEXT NOT NULL DEFAULT '[]'"
"""Ledgers of earlier versions lack it."""
_COLUMNS = (
    "id, source, key, raw_hash, document_id, uri, title, stage, rule, reason, fingerprint,"
    " first_seen, last_seen, status, access"
)
_RECORD = f"""
INSERT INTO items ({_COLUMNS}, text)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'held', ?, ?)
ON CONFLICT (source, key) DO UPDATE SET
    first_seen = CASE WHEN items.raw_hash = excluded.raw_hash THEN items.first_seen ELSE excluded.first_seen END,
    id = excluded.id, raw_hash = excluded.raw_hash, uri = excluded.uri, title = excluded.title, text = excluded.text,
    stage = excluded.stage, rule = excluded.rule, reason = excluded.reason, fingerprint = excluded.fingerprint,
    last_seen = excluded.last_seen, status = 'held', access = excluded.access
"""  # noqa: S608  (column names are ours)


@dataclass(frozen=True, slots=True)
class Entry:
    """An item to be set aside.

    Attributes:
        source: name of the source.
        key: the item's key within the source.
        raw_hash: sha256 of its bytes.
        uri: where a person finds it.
        stage: `parse`: it could not be turned into a document; `gate`: it failed a rule.
        rule: the code of the parse error, or the name of the rule.
        reason: a sentence, without text of the document.
        title: title of the document, if it was parsed.
        text: text of the document, if it was parsed.
        access: the groups that could read it, if it was parsed; they may know that it is held.
    """

    source: str
    key: str
    raw_hash: str
    uri: str
    stage: Literal["parse", "gate"]
    rule: str
    reason: str
    title: str = ""
    text: str = ""
    access: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """Twelve hex characters, stable for the same item with the same content."""
        return sha256(self.source, self.key, self.raw_hash)[:12]

    @property
    def document_id(self) -> str:
        """The id that the document has, or would have."""
        return f"{self.source}:{self.key}"


@dataclass(frozen=True, slots=True)
class HeldItem:
    """An item in quarantine; `text` is filled by `show` only.

    Attributes:
        fingerprint: of the parser and the rules by which it was held.
        first_seen: ISO 8601, UTC.
        last_seen: when it was last judged; ISO 8601, UTC.
        status: `held`, or `released`: the next refresh lets this content pass.
        access: the groups that could read it; none where it could not be parsed.
    """

    id: str
    source: str
    key: str
    raw_hash: str
    document_id: str
    uri: str
    title: str
    stage: str
    rule: str
    reason: str
    fingerprint: str
    first_seen: str
    last_seen: str
    status: str
    access: tuple[str, ...]
    text: str = ""


class Rejected(Protocol):
    """What parsing says of an item that it could not turn into a document."""

    @property
    def source(self) -> str: ...  # noqa: D102
    @property
    def key(self) -> str: ...  # noqa: D102
    @property
    def raw_hash(self) -> str: ...  # noqa: D102
    @property
    def uri(self) -> str: ...  # noqa: D102
    @property
    def code(self) -> str: ...  # noqa: D102
    @property
    def reason(self) -> str: ...  # noqa: D102


def from_rejects(rejects: Iterable[Rejected]) -> Iterator[Entry]:
    """Yield entries of items that parsing rejected."""
    for reject in rejects:
        yield Entry(reject.source, reject.key, reject.raw_hash, reject.uri, "parse", reject.code, reject.reason)


def from_held(path: Path) -> Iterator[Entry]:
    """Yield entries of the documents in the `held` file of the document gate."""
    columns = ["source", "key", "raw_hash", "uri", "rule", "reason", "title", "text", "access"]
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=256, columns=columns):
            for row in batch.to_pylist():
                yield Entry(stage="gate", **row | {"access": tuple(row["access"])})


def record(home: Path, entries: Iterable[Entry], *, fingerprint: str, now: datetime | None = None) -> int:
    """Hold the items; the same content again only moves `last_seen`, new content takes the place of the old.

    Args:
        home: `settings.home`.
        entries: what parsing and the gate set aside.
        fingerprint: of the parser and the gate, as `known_held` returns it.
        now: for tests; by default the time.

    Returns:
        How many entries were recorded.
    """
    seen = (now or datetime.now(UTC)).isoformat(timespec="seconds")
    with _ledger(home) as ledger:
        before = ledger.total_changes
        ledger.executemany(_RECORD, (_row(entry, fingerprint, seen) for entry in entries))
        return ledger.total_changes - before


def resolve(
    home: Path,
    *,
    accepted: Iterable[tuple[str, str, str]] = (),
    gone: Iterable[tuple[str, str]] = (),
) -> int:
    """Forget items that need no decision any more; returns how many.

    Args:
        home: `settings.home`.
        accepted: (source, key, raw_hash) of documents that passed the gate. A release of exactly this content is kept,
            since a later change of rules would hold it again.
        gone: (source, key) of items that the source lists no more.
    """
    if not _path(home).exists():
        return 0
    with _ledger(home) as ledger:
        before = ledger.total_changes
        ledger.executemany(
            "DELETE FROM items WHERE source = ? AND key = ? AND NOT (status = 'released' AND raw_hash = ?)", accepted
        )
        ledger.executemany("DELETE FROM items WHERE source = ? AND key = ?", gone)
        return ledger.total_changes - before


def clear_absent(home: Path, listed: Iterable[tuple[str, str]]) -> int:
    """Forget the items that are not among `listed`, the (source, key) of everything that the scan found; how many."""
    absent = {(item.source, item.key) for item in _select(home)}
    for item in listed:
        absent.discard(item)
    return resolve(home, gone=absent) if absent else 0


def held(home: Path) -> list[HeldItem]:
    """Return everything in quarantine, held and released, newest first, without texts."""
    return _select(home, "ORDER BY first_seen DESC, source, key")


def known_held(home: Path) -> dict[tuple[str, str], tuple[str, str]]:
    """(source, key) to (raw_hash, fingerprint) of what is held: unchanged, it needs no parsing until either changes.

    Released items are left out, so that the next refresh takes them up.
    """
    return {
        (item.source, item.key): (item.raw_hash, item.fingerprint) for item in _select(home, "WHERE status = 'held'")
    }


def held_by(home: Path, rules: Iterable[str]) -> frozenset[tuple[str, str]]:
    """Return (source, key) of the items that are held by one of the rules."""
    wanted = frozenset(rules)
    return frozenset((item.source, item.key) for item in _select(home, "WHERE status = 'held'") if item.rule in wanted)


def approved(home: Path) -> frozenset[str]:
    """Return the `raw_hash`es that a person released."""
    return frozenset(item.raw_hash for item in _select(home, "WHERE status = 'released'"))


def show(home: Path, item_id: str) -> HeldItem:
    """Return one item with the beginning of its text.

    Raises:
        ConfigurationError: the quarantine holds no such item.
    """
    items = _select(home, "WHERE id = ?", (item_id,), text=True)
    if not items:
        raise _unknown(item_id)
    return items[0]


def release(home: Path, item_id: str) -> HeldItem:
    """Let this content of the item pass the gate from the next refresh on; a parse reject is only tried again.

    Raises:
        ConfigurationError: the quarantine holds no such item.
    """
    with _ledger(home) as ledger:
        if not ledger.execute("UPDATE items SET status = 'released' WHERE id = ?", (item_id,)).rowcount:
            raise _unknown(item_id)
    return show(home, item_id)


def _row(entry: Entry, fingerprint: str, seen: str) -> tuple[str, ...]:
    text = entry.text[:MAX_SHOWN_CHARACTERS]
    identity = (entry.id, entry.source, entry.key, entry.raw_hash, entry.document_id, entry.uri, entry.title)
    access = json.dumps(sorted(entry.access))
    return (*identity, entry.stage, entry.rule, entry.reason, fingerprint, seen, seen, access, text)


def _unknown(item_id: str) -> ConfigurationError:
    return ConfigurationError(
        f"quarantine must hold the item, found none with id {item_id!r}; list the ids with `almanac quarantine`"
    )


def _select(home: Path, where: str = "", values: tuple[str, ...] = (), *, text: bool = False) -> list[HeldItem]:
    if not _path(home).exists():
        return []
    columns = f"{_COLUMNS}, text" if text else _COLUMNS
    with _ledger(home) as ledger:
        rows = ledger.execute(f"SELECT {columns} FROM items {where}", values).fetchall()  # noqa: S608  (all ours)
    names = [name.strip() for name in columns.split(",")]
    entries = [dict(zip(names, row, strict=True)) for row in rows]
    return [HeldItem(**entry | {"access": tuple(json.loads(entry["access"]))}) for entry in entries]


def _path(home: Path) -> Path:
    return home / "quarantine" / "ledger.sqlite"


@contextmanager
def _ledger(home: Path) -> Iterator[sqlite3.Connection]:
    """One transaction on the ledger, which is made on first use; deleted bytes are overwritten."""
    path = _path(home)
    try:
        with transaction(path, _TABLE) as connection:
            if "access" not in {column[1] for column in connection.execute("PRAGMA table_info(items)")}:
                connection.execute(_ADD_ACCESS)
            yield connection
    except sqlite3.OperationalError as error:
        raise _refused(path, error) from error
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:  # SQLite's own words, of the damaged file's bytes
        raise CorruptionError(
            f"{path} must be a quarantine ledger, but SQLite says: {error}; delete it and run `almanac refresh`, which"
            " holds the items again (releases by a person are lost)"
        ) from error
    except OSError as error:
        raise DependencyError(
            f"{path} must be writable, but the disk says: {error}; free space and run again"
        ) from error


def _refused(path: Path, error: sqlite3.OperationalError) -> BusyError | DependencyError:
    if is_locked(error):
        return BusyError(
            f"{path} must be free within {BUSY_SECONDS} seconds, but another process is writing it; run again later"
        )
    return DependencyError(f"{path} must be readable and writable, but SQLite says: {error}; free space and run again")
