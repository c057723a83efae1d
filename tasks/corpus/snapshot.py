"""The corpus as an append-only folder of Parquet deltas, and what a reader gets by folding them.

A delta holds the documents that one refresh changed and a tombstone for each one that left; a later file wins over an
earlier one. Knows nothing of where the files are kept, versioned or tagged.
"""

import hashlib
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tasks.corpus.document import DOCUMENT_SCHEMA
from tasks.errors import CorruptionError
from tasks.files import whole_file

DELTA_SCHEMA = DOCUMENT_SCHEMA.append(pa.field("removed", pa.bool_(), nullable=False))
"""A document, or (`removed`) the tombstone of one: identifier, source and key, all else empty."""

STATE_COLUMNS = [name for name in DOCUMENT_SCHEMA.names if name not in ("text", "metadata")]

_REPEATED_COLUMNS = ["source", "knowledge_base", "access.list.element", "updated_at", "expires_at"]
_BATCH_ROWS = 256
_GROUP_BYTES = 16 * 2**20


def write_delta(accepted: Sequence[Path], removed: Sequence[tuple[str, str, str]], output: Path) -> int:
    """Write one delta, whole or not at all.

    Args:
        accepted: Parquet files of `DOCUMENT_SCHEMA`: the new and changed documents.
        removed: `(document_id, source, key)` of each document that left.
        output: the Parquet file to write; replaced if present.

    Returns:
        Number of rows, tombstones included.

    Raises:
        CorruptionError: an accepted file is damaged or of another schema, or a document stands twice in the delta.
        DependencyError: the disk is full or refuses the file.
    """
    _require_distinct(accepted, removed)
    with whole_file(output) as beside:
        return _write_batches(beside, _delta_batches(accepted, removed))


def fold_state(files: Sequence[Path]) -> pa.Table:
    """Return the live documents without text and metadata, cheap at a million documents.

    Args:
        files: deltas, oldest first.

    Returns:
        Table of `document_id, source, key, title, uri, knowledge_base, access, updated_at, expires_at, raw_hash,
        content_hash, record_hash` and `file` (int32, index into `files`), one row a document.

    Raises:
        CorruptionError: a file is missing, damaged or of another schema.
    """
    schema = pa.schema([DOCUMENT_SCHEMA.field(name) for name in STATE_COLUMNS] + [pa.field("file", pa.int32())])
    live = _live_masks(files)
    tables = [schema.empty_table()]
    for index, (path, mask) in enumerate(zip(files, live, strict=True)):
        table = _read(path, STATE_COLUMNS).filter(pa.array(mask))
        tables.append(table.append_column("file", pa.array(np.full(len(table), index, np.int32))).cast(schema))
    return pa.concat_tables(tables)


def read_documents(files: Sequence[Path], ids: Collection[str] | None = None) -> Iterator[pa.RecordBatch]:
    """Stream the live documents with their text, in the order of the files.

    Args:
        files: deltas, oldest first.
        ids: the documents to read; None: all. Row groups without any of them are not read.

    Yields:
        Batches of `DOCUMENT_SCHEMA`, at most 256 rows each.

    Raises:
        CorruptionError: a file is missing, damaged or of another schema.
    """
    for path, mask in zip(files, _live_masks(files, ids), strict=True):
        yield from _read_masked(path, mask)


def compact(files: Sequence[Path], output: Path) -> None:
    """Write the live documents of many deltas as one base file, whole or not at all.

    Raises:
        CorruptionError: a file is missing, damaged or of another schema.
        DependencyError: the disk is full or refuses the file.
    """
    with whole_file(output) as beside:
        _write_batches(beside, (_as_delta(batch, removed=False) for batch in read_documents(files)))


def rewrite_without(path: Path, document_ids: Collection[str], output: Path) -> Path:
    """Write a delta without any row of some documents, tombstones included; return `output`.

    Raises:
        CorruptionError: the file is missing, damaged or of another schema.
        DependencyError: the disk is full or refuses the file.
    """
    gone = pa.array(list(document_ids), pa.string())
    with whole_file(output) as beside, _readable(path), pq.ParquetFile(path, pre_buffer=False) as file:
        batches = (
            batch.filter(pc.invert(pc.is_in(batch["document_id"], gone))) for batch in file.iter_batches(_BATCH_ROWS)
        )
        _write_batches(beside, batches)
    return output


def corpus_digest(state: pa.Table) -> str:
    """Return hex sha256 of the set of `(document_id, record_hash)`, whatever the order of the rows."""
    ids = state["document_id"].cast(pa.large_string())
    # The length before the identifier keeps ("a:b", "c") and ("a", "b:c") apart.
    lengths = pc.binary_length(ids).cast(pa.large_string())
    hashes = state["record_hash"].cast(pa.large_string())
    rows = pc.binary_join_element_wise(lengths, ids, hashes, pa.scalar(":", pa.large_string()))
    digest = hashlib.sha256()
    for chunk in rows.take(pc.array_sort_indices(rows)).chunks:
        digest.update("".join(chunk.to_pylist()).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def _live_masks(files: Sequence[Path], ids: Collection[str] | None = None) -> list[npt.NDArray[np.bool_]]:
    """For each file, which of its rows are the last word on a document that lives; shape (num_rows,), bool."""
    if not files:
        return []
    tables = [_read(path, ["document_id", "removed"]) for path in files]
    table = pa.concat_tables(tables)
    positions = pa.array(np.arange(len(table), dtype=np.int64))
    last = (
        pa.table({"document_id": table["document_id"], "position": positions})
        .group_by("document_id")
        .aggregate([("position", "max")])
    )
    live = np.zeros(len(table), dtype=np.bool_)
    live[last["position_max"].to_numpy()] = True
    live &= ~table["removed"].to_numpy()
    if ids is not None:
        live &= pc.is_in(table["document_id"], pa.array(list(ids), pa.string())).to_numpy()
    return np.split(live, np.cumsum([len(part) for part in tables])[:-1])


def _read_masked(path: Path, mask: npt.NDArray[np.bool_]) -> Iterator[pa.RecordBatch]:
    with _readable(path), pq.ParquetFile(path, pre_buffer=False) as file:
        start = 0
        for group in range(file.num_row_groups):
            stop = start + file.metadata.row_group(group).num_rows
            if mask[start:stop].any():
                yield from _filtered(file, group, mask[start:stop])
            start = stop


def _filtered(file: pq.ParquetFile, group: int, mask: npt.NDArray[np.bool_]) -> Iterator[pa.RecordBatch]:
    start = 0
    for batch in file.iter_batches(_BATCH_ROWS, row_groups=[group], columns=DOCUMENT_SCHEMA.names):
        wanted = mask[start : start + len(batch)]
        start += len(batch)
        if wanted.any():
            yield batch.filter(pa.array(wanted)).select(DOCUMENT_SCHEMA.names)


def _delta_batches(accepted: Sequence[Path], removed: Sequence[tuple[str, str, str]]) -> Iterator[pa.RecordBatch]:
    for path in accepted:
        with _readable(path), pq.ParquetFile(path, pre_buffer=False) as file:
            for batch in file.iter_batches(_BATCH_ROWS):
                yield _as_delta(batch, removed=False)
    if removed:
        empty = [pa.array([_empty(field)] * len(removed), field.type) for field in DOCUMENT_SCHEMA]
        tombstones = pa.RecordBatch.from_arrays(empty, schema=DOCUMENT_SCHEMA)
        for column, values in enumerate(zip(*removed, strict=True)):
            name = ("document_id", "source", "key")[column]
            place = DOCUMENT_SCHEMA.get_field_index(name)
            tombstones = tombstones.set_column(place, DOCUMENT_SCHEMA.field(name), pa.array(values, pa.string()))
        yield _as_delta(tombstones, removed=True)


def _empty(field: pa.Field) -> str | list[str] | None:
    if field.nullable:
        return None
    return [] if pa.types.is_list(field.type) else ""


def _as_delta(batch: pa.RecordBatch, *, removed: bool) -> pa.RecordBatch:
    flag = pa.array(np.full(len(batch), removed))
    return pa.RecordBatch.from_arrays([*batch.select(DOCUMENT_SCHEMA.names).columns, flag], schema=DELTA_SCHEMA)


def _write_batches(path: Path, batches: Iterator[pa.RecordBatch]) -> int:
    num_rows = 0
    options = {"compression": "zstd", "use_dictionary": _REPEATED_COLUMNS}
    with pq.ParquetWriter(path, DELTA_SCHEMA, **options) as writer:
        for group in _grouped(batches):
            writer.write_table(group)
            num_rows += len(group)
    return num_rows


def _grouped(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.Table]:
    """Gather small batches: a row group is what a reader skips or holds in memory."""
    gathered: list[pa.RecordBatch] = []
    size_bytes = 0
    for batch in batches:
        gathered.append(batch)
        size_bytes += batch.nbytes
        if size_bytes >= _GROUP_BYTES:
            yield pa.Table.from_batches(gathered)
            gathered, size_bytes = [], 0
    if gathered:
        yield pa.Table.from_batches(gathered)


def _require_distinct(accepted: Sequence[Path], removed: Sequence[tuple[str, str, str]]) -> None:
    for path in accepted:
        _require_schema(path, DOCUMENT_SCHEMA)
    ids = pa.chunked_array(
        [chunk for path in accepted for chunk in _read(path, ["document_id"])["document_id"].chunks]
        + [pa.array([row[0] for row in removed], pa.string())]
    )
    counts = pc.value_counts(ids)
    twice = counts.filter(pc.greater(counts.field("counts"), 1))
    if len(twice):
        raise CorruptionError(
            f"a delta must hold each document once, found {len(twice)} of them more than once, as "
            f"{twice[0]['values'].as_py()!r}; remove the unfinished work of this refresh and run it again"
        )


def _read(path: Path, columns: list[str]) -> pa.Table:
    with _readable(path):
        try:
            return pq.read_table(path, columns=columns, partitioning=None)
        except pa.ArrowKeyError as error:
            raise pa.ArrowInvalid(str(error)) from error


def _require_schema(path: Path, schema: pa.Schema) -> None:
    with _readable(path):
        columns = pq.read_schema(path)
    if not columns.equals(schema):
        raise CorruptionError(f"{path} must hold {schema.names}, found {columns.names}; write it again")


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, pa.ArrowInvalid) as error:
        raise CorruptionError(
            f"{path} must be a whole Parquet file of the corpus, found: {' '.join(str(error).split())}; "
            "restore the snapshot from the registry"
        ) from error
