"""Databases: the rows of a query, compared with what the last scan kept of them.

Every scan reads the whole list of keys, so that a row that left is seen to leave. Without a column `updated_at` it
reads and hashes all rows; with it, the texts of those rows only whose other columns changed. No text is kept.
"""

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
from sqlalchemy import Connection

from tasks.corpus.document import Item
from tasks.corpus.sources.database import UNREADABLE, Database, Record, refuse_lost_connection
from tasks.corpus.sources.reader import RawItem
from tasks.corpus.sources.sql_rows import (
    Key,
    SqlRow,
    read_locator,
    row_of,
    said_by,
    settled,
    stated_access,
    text_of,
    without_content,
)
from tasks.errors import ParseError
from tasks.files import whole_file
from tasks.params.sources import SqlSource

logger = logging.getLogger(__name__)

_SHARE_READ_WHOLE = 0.2
"""Where more has changed, one statement for all rows is cheaper than many for some."""
_STATE_SCHEMA = pa.schema(
    [
        pa.field("key", pa.large_string(), nullable=False),
        pa.field("locator", pa.large_string(), nullable=False),
        pa.field("details", pa.large_string(), nullable=False),
        pa.field("content", pa.large_string(), nullable=False),
        pa.field("size_bytes", pa.int64(), nullable=False),
        pa.field("uri", pa.large_string(), nullable=False),
        pa.field("updated_at", pa.timestamp("us", tz="UTC")),
        pa.field("settled", pa.bool_(), nullable=False),
    ],
    metadata={"rules": "1"},
)


class SqlReader:
    """Lists and fetches the rows of a query; what is kept in the cache is one Arrow file of hashes."""

    def __init__(self, source: SqlSource, *, cache: Path) -> None:
        self._source = source
        self._columns = source.columns
        self._all_columns = (*self._columns.details, *self._columns.text)
        self._state = cache / "rows.arrow"
        self._database = Database(source)
        self._ready: dict[str, list[Record] | ParseError] = {}

    def scan(self) -> Iterator[Item]:
        """List the rows.

        Raises:
            DependencyError: the database does not answer.
            ConfigurationError: its driver, the query or a column is missing.
        """
        with self._database.connect() as connection:
            self._database.check_columns(connection)
            try:
                rows = self._listed(connection)
            except UNREADABLE as error:
                refuse_lost_connection(error)
                logger.warning("source %s: a row can't be read, all are read one batch at a time", self._source.name)
                rows = self._one_by_one(connection)
        self._save(rows)
        for row in rows:
            yield Item(
                self._source.name, row.key, row.content, row.size_bytes, row.uri, row.updated_at, locator=row.locator
            )

    def raw_hash(self, item: Item) -> str:
        """Hash of the whole row, known from the listing."""
        return item.fingerprint

    def prepare(self, items: Sequence[Item]) -> None:
        """Read the rows of items that are about to be fetched, a thousand with one statement.

        Raises:
            DependencyError: the database does not answer.
        """
        keys = [read_locator(item.locator) for item in items if item.locator]
        with self._database.connect() as connection:
            for key, records in self._database.rows_of(connection, self._all_columns, keys):
                self._ready[str(key)] = records

    def fetch(self, item: Item) -> RawItem:
        """Return the text of a row, and what it says beside it.

        Raises:
            ParseError: the row has no key, is gone or can't be read, or another has its key.
            DependencyError: the database does not answer.
        """
        record = self._record(item)
        access = stated_access(record, self._columns)
        try:
            data, said = text_of(record, self._columns), said_by(record, self._columns)
        except ParseError as error:
            raise ParseError(error.code, str(error), access=access) from error
        return RawItem(data, f"row.{self._source.format}", said, row_of(record, self._columns).content)

    def _record(self, item: Item) -> Record:
        if not item.locator:
            raise ParseError(
                "invalid_metadata", f"a row must have a number, a text or a UUID in `{self._columns.key}`; correct it"
            )
        if item.key not in self._ready:
            self.prepare([item])
        records = self._ready.pop(item.key)
        if isinstance(records, ParseError):
            raise records
        if not records:
            raise ParseError("damaged", "the row must stay while it is read, found it gone; refresh again")
        if len(records) > 1:
            raise ParseError(
                "invalid_metadata",
                f"the key {item.key} must stand in one row of the query, found {len(records)}; group them in the query",
                access=(),
            )
        return records[0]

    def _listed(self, connection: Connection) -> list[SqlRow]:
        """All rows with their hashes; where the last scan's can be relied on, without reading their texts."""
        before = self._load() if self._columns.updated_at else {}
        if not before:
            return self._judged(self._database.rows(connection, self._all_columns))
        listed = self._judged(self._database.rows(connection, self._columns.details))
        changed = [row for row in listed if not _is_unchanged(row, before.get(row.key))]
        if len(changed) > len(listed) * _SHARE_READ_WHOLE:
            return self._judged(self._database.rows(connection, self._all_columns))
        keys = [read_locator(row.locator) for row in changed if row.locator]
        read = {row.key: row for row in self._read(connection, keys)}
        kept = (read.get(row.key) or before.get(row.key, row) for row in listed)
        return [replace(row, settled=bool(row.details) and new.settled) for row, new in zip(kept, listed, strict=True)]

    def _judged(self, records: Iterable[Record]) -> list[SqlRow]:
        """Rows by key, in their order; two of one key can't be told apart."""
        rows: dict[str, SqlRow] = {}
        times: dict[str, object] = {}
        for record in records:
            row = row_of(record, self._columns)
            rows[row.key] = _twice(row) if row.key in rows and row.locator else row
            times[row.key] = record[self._columns.updated_at] if self._columns.updated_at else None
        reliable = settled(times)
        return [replace(row, settled=bool(row.details) and key in reliable) for key, row in rows.items()]

    def _one_by_one(self, connection: Connection) -> list[SqlRow]:
        """All rows where one of them can't be read."""
        listed = self._database.rows(connection, [self._columns.key])
        empty = dict.fromkeys(self._columns.details)
        rows = {row.key: row for row in (row_of({**empty, **record}, self._columns) for record in listed)}
        keys = [read_locator(row.locator) for row in rows.values() if row.locator]
        return list((rows | {row.key: row for row in self._read(connection, keys)}).values())

    def _read(self, connection: Connection, keys: Sequence[Key]) -> Iterator[SqlRow]:
        for key, records in self._database.rows_of(connection, self._all_columns, keys):
            if isinstance(records, ParseError):
                yield without_content(key, "unreadable")
            elif records:
                row = row_of(records[0], self._columns)
                yield row if len(records) == 1 else _twice(row)

    def _load(self) -> dict[str, SqlRow]:
        """What the last scan kept; nothing where there is none or it was cut off: then all is read."""
        try:
            with pa.OSFile(str(self._state), "rb") as file:
                table = pa.ipc.open_file(file).read_all()
        except FileNotFoundError:
            return {}
        except pa.ArrowInvalid:
            logger.warning("the rows kept in %s are damaged and are read anew", self._state)
            return {}
        if table.schema.metadata != _STATE_SCHEMA.metadata:
            return {}
        return {row["key"]: SqlRow(**row) for row in table.to_pylist()}

    def _save(self, rows: Sequence[SqlRow]) -> None:
        columns = [pa.array([getattr(row, field.name) for row in rows], field.type) for field in _STATE_SCHEMA]
        table = pa.Table.from_arrays(columns, schema=_STATE_SCHEMA)
        with (
            whole_file(self._state) as beside,
            pa.OSFile(str(beside), "wb") as sink,
            pa.ipc.new_file(sink, table.schema) as writer,
        ):
            writer.write_table(table)


def _is_unchanged(row: SqlRow, before: SqlRow | None) -> bool:
    return before is not None and before.settled and before.details == row.details


def _twice(row: SqlRow) -> SqlRow:
    return without_content(read_locator(row.locator), "twice")
