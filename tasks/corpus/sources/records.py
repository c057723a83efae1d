"""Record feeds: JSON or Parquet files that hold the whole state, or changes to it, applied in name order.

The folded state (hash and place of each live record) is kept as one Arrow file: an unchanged feed costs a listing of
its files, a grown one the reading of its new files.
"""

import hashlib
import json
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from tasks.corpus.document import Item
from tasks.corpus.sources.feed import (
    Change,
    FeedRow,
    carried,
    check_names,
    check_operation,
    fold,
    load_record,
    read_change,
    record_hash,
    record_key,
    record_text,
    stated_access,
)
from tasks.corpus.sources.feed_lines import PACKED, UNREADABLE, FeedLines
from tasks.corpus.sources.files import file_system_of, remote_fingerprint
from tasks.corpus.sources.reader import RawItem
from tasks.errors import DependencyError, ParseError
from tasks.files import whole_file
from tasks.params.sources import RecordsSource

logger = logging.getLogger(__name__)

_FOLD_RULES = 3
_JSON_ENDINGS = (".jsonl", ".ndjson", ".json")
_ENDINGS = (*_JSON_ENDINGS, ".parquet", *(f"{ending}{packed}" for ending in _JSON_ENDINGS for packed in PACKED))
_TEXT_ENDINGS = (".md", ".markdown", ".mdx", ".txt", ".rst", ".html", ".htm", ".org", ".tex")
_ROWS_AT_ONCE = 4096
_STATE_SCHEMA = pa.schema(
    [
        pa.field("key", pa.large_string(), nullable=False),
        pa.field("fingerprint", pa.large_string(), nullable=False),
        pa.field("size_bytes", pa.int64(), nullable=False),
        pa.field("uri", pa.large_string(), nullable=False),
        pa.field("updated_at", pa.timestamp("us", tz="UTC")),
        pa.field("locator", pa.large_string(), nullable=False),
    ]
)


@dataclass(frozen=True, slots=True)
class OutOfRange:
    """Stands for a value of a table that Python has none for, such as a time in the year 100,000."""


class RecordsReader:
    """Lists the live records of a feed. The locator is `<offset or row> <length> <line number> <path>`."""

    def __init__(self, source: RecordsSource, *, cache: Path) -> None:
        self._source = source
        self._cache = cache
        self._file_system, self._path = file_system_of(source.url)
        self._lines = FeedLines(self._file_system, cache)
        self._rows: tuple[str, int, int, pa.Table] | None = None

    def scan(self) -> Iterator[Item]:
        """List the live records in the order in which they appeared.

        Raises:
            DependencyError: the feed is missing or unreadable, or has no file.
        """
        files = self._files()
        state = self._load(files)
        if state is None:
            self._save(files, self._fold(files))
            state = self._load(files)
        if state is None:
            raise DependencyError(
                f"the feed {self._source.url} must hold still while it is listed, found it changing; run again"
            )
        name = self._source.name
        columns = (state.column(field.name).to_pylist() for field in _STATE_SCHEMA)
        for key, fingerprint, size, uri, updated_at, locator in zip(*columns, strict=True):
            yield Item(name, key, fingerprint, size, uri, updated_at, locator)

    def raw_hash(self, item: Item) -> str:
        """Hash of the record's text and details, known from the listing."""
        return item.fingerprint.rpartition(" ")[2]

    def fetch(self, item: Item) -> RawItem:
        """Return the record's text, and what it says beside it.

        Raises:
            ParseError: the line is no record, or changed since it was listed.
            DependencyError: the feed can't be read.
        """
        fields = self._source.fields
        _, _, line, path = item.locator.split(" ", 3)
        access = None
        try:
            record = self._record(item)
            check_names(record, fields)
            access = stated_access(record, fields)
            if self._source.mode == "changes":
                check_operation(record, fields)
            if record_key(record, fields) != item.key or record_hash(record, fields) != self.raw_hash(item):
                raise ParseError("damaged", "the record changed after it was listed; refresh again")
            text = record_text(record, fields)
        except ParseError as error:
            where = f"line {line} of {path.rpartition('/')[2]}"
            raise ParseError(
                error.code, f"{where}: {error}", access=access if error.access is None else error.access
            ) from error
        return RawItem(text.encode("utf-8", "replace"), _name(item.key), carried(record, fields), self.raw_hash(item))

    def _files(self) -> list[tuple[str, str]]:
        """(path, fingerprint) of each file of the feed, in name order."""
        file_system = self._file_system
        try:
            file_system.invalidate_cache()
            if file_system.isdir(self._path):
                paths = {
                    path: info for path, info in file_system.find(self._path, detail=True).items() if _is_feed(path)
                }
            else:
                paths = file_system.glob(self._path, detail=True) if _is_glob(self._path) else {}
                paths = paths or {self._path: file_system.info(self._path)}
        except (OSError, TimeoutError) as error:
            raise self._unreachable(error) from error
        if not paths:
            raise self._unreachable(FileNotFoundError("no .jsonl, .json or .parquet file"))
        return [(path, remote_fingerprint(info)) for path, info in sorted(paths.items(), key=_in_number_order)]

    def _unreachable(self, error: Exception) -> DependencyError:
        return DependencyError(
            f"the source {self._source.name} must have readable feed files at {self._source.url}, found: "
            f"{type(error).__name__} {error}; check `url`, the mount and the credentials"
        )

    def _fold(self, files: Sequence[tuple[str, str]]) -> dict[str, FeedRow]:
        """The live state; files that were folded before, and are unchanged, are not read."""
        state, num_known = self._known_prefix(files)
        for path, _fingerprint in files[num_known:]:
            try:
                num_replaced = fold(state, self._changes(path))
            except (*UNREADABLE, pa.ArrowException) as error:
                raise self._unreachable(error) from error
            if num_replaced and self._source.mode == "snapshot":
                logger.warning(
                    "source %s: %d record(s) of %s repeat an id; the last one counts",
                    self._source.name,
                    num_replaced,
                    path,
                )
        self._lines.forget_all_but([path for path, _ in files])
        return state

    def _changes(self, path: str) -> Iterator[Change]:
        lines = self._parquet_rows(path) if path.endswith(".parquet") else self._lines.of(path)
        for data, start, number in lines:
            length = len(data) if isinstance(data, bytes) else 0
            yield read_change(
                data,
                self._source.fields,
                place=f"{path.rpartition('/')[2]}:{number}",
                locator=f"{start} {length} {number} {path}",
                changes=self._source.mode == "changes",
            )

    def _parquet_rows(self, path: str) -> Iterator[tuple[Mapping[str, Any], int, int]]:
        import pyarrow.parquet as pq

        row = 0
        with self._file_system.open(path, "rb") as file:
            for batch in pq.ParquetFile(file).iter_batches(batch_size=_ROWS_AT_ONCE):
                for record in _records(batch):
                    yield record, row, row + 1
                    row += 1

    def _record(self, item: Item) -> Mapping[str, Any]:
        start, length, _line, path = item.locator.split(" ", 3)
        try:
            if path.endswith(".parquet"):
                return self._parquet_row(path, int(start))
            return load_record(self._lines.at(path, int(start), int(length)), self._source.fields)
        except (*UNREADABLE, pa.ArrowException) as error:
            raise self._unreachable(error) from error

    def _parquet_row(self, path: str, row: int) -> Mapping[str, Any]:
        """One row; its row group is kept, since rows are asked for in order."""
        if self._rows is None or self._rows[0] != path or not self._rows[1] <= row < self._rows[2]:
            self._rows = self._row_group(path, row)
        _path, first, _end, table = self._rows
        return _records(table.slice(row - first, 1))[0]

    def _row_group(self, path: str, row: int) -> tuple[str, int, int, pa.Table]:
        import pyarrow.parquet as pq

        with self._file_system.open(path, "rb") as opened:
            file = pq.ParquetFile(opened)
            first = 0
            for group in range(file.num_row_groups):
                num_rows = file.metadata.row_group(group).num_rows
                if row < first + num_rows:
                    return path, first, first + num_rows, file.read_row_group(group)
                first += num_rows
        raise ParseError("damaged", "the feed changed after it was listed; refresh again")

    def _settings(self) -> str:
        block = self._source.model_dump(mode="json", include={"mode", "fields"})
        return hashlib.sha256(json.dumps([_FOLD_RULES, block], sort_keys=True).encode()).hexdigest()

    def _load(self, files: Sequence[tuple[str, str]]) -> pa.Table | None:
        table = _read_state(self._cache / "state.arrow")
        return table if table is not None and _folded_files(table, self._settings()) == list(files) else None

    def _known_prefix(self, files: Sequence[tuple[str, str]]) -> tuple[dict[str, FeedRow], int]:
        table = _read_state(self._cache / "state.arrow")
        folded = [] if table is None else _folded_files(table, self._settings())
        if table is None or not folded or list(files[: len(folded)]) != folded:
            return {}, 0
        return {row["key"]: FeedRow(**row) for row in table.to_pylist()}, len(folded)

    def _save(self, files: Sequence[tuple[str, str]], state: Mapping[str, FeedRow]) -> None:
        rows = state.values()
        columns = [[getattr(row, name) for row in rows] for name in _STATE_SCHEMA.names]
        metadata = {"files": json.dumps(files), "settings": self._settings()}
        table = pa.Table.from_arrays(
            [pa.array(column, field.type) for column, field in zip(columns, _STATE_SCHEMA, strict=True)],
            schema=_STATE_SCHEMA.with_metadata(metadata),
        )
        with (
            whole_file(self._cache / "state.arrow") as beside,
            pa.OSFile(str(beside), "wb") as sink,
            pa.ipc.new_file(sink, table.schema) as writer,
        ):
            writer.write_table(table)


def _records(rows: pa.RecordBatch | pa.Table) -> list[dict[str, Any]]:
    try:
        records: list[dict[str, Any]] = rows.to_pylist()
    except (OverflowError, ValueError):  # one cell; all others are read
        names, columns = rows.schema.names, [[_cell(scalar) for scalar in column] for column in rows.columns]
        return [dict(zip(names, cells, strict=True)) for cells in zip(*columns, strict=True)]
    return records


def _cell(scalar: pa.Scalar) -> Any:
    try:
        return scalar.as_py()
    except (OverflowError, ValueError):
        return OutOfRange()


def _read_state(path: Path) -> pa.Table | None:
    try:
        with pa.OSFile(str(path), "rb") as file:
            return pa.ipc.open_file(file).read_all()
    except FileNotFoundError:
        return None
    except pa.ArrowInvalid:  # a cache cut off by a full disk is made anew
        logger.warning("the folded state %s is damaged and is made anew", path)
        return None


def _folded_files(table: pa.Table, settings: str) -> list[tuple[str, str]]:
    metadata = table.schema.metadata or {}
    if metadata.get(b"settings") != settings.encode():
        return []
    return [(path, fingerprint) for path, fingerprint in json.loads(metadata[b"files"])]


def _in_number_order(entry: tuple[str, Any]) -> list[tuple[int, str]]:
    """By name, numbers in it by their size: `changes-9` before `changes-10`."""
    parts = re.split(r"(\d+)", entry[0])
    return [(int(part), part) if at % 2 else (-1, part) for at, part in enumerate(parts)]


def _is_feed(path: str) -> bool:
    return path.endswith(_ENDINGS) and not path.rpartition("/")[2].startswith(".")


def _is_glob(path: str) -> bool:
    return any(sign in path for sign in "*?[")


def _name(key: str) -> str:
    last = key.rpartition("/")[2]
    return last if last.lower().endswith(_TEXT_ENDINGS) else "record.md"
