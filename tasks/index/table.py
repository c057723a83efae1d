"""The LanceDB table `chunks`: written by one refresh at a time, read at tagged versions.

A commit on an untagged version is seen by nobody: readers check out the tag of the release that serves. A refresh
starts from the tag of its base release, so what a killed refresh left behind is undone by the next one.
"""

import datetime as dt
import logging
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.errors import CorruptionError, DependencyError
from tasks.index.access import access_id
from tasks.index.chunking.chunk import CHUNK_SCHEMA
from tasks.index.lance_errors import first_line, lance_errors
from tasks.index.search.facets import facets_of
from tasks.index.search.terms import document_terms
from tasks.params import IndexParams
from tasks.settings import Settings
from tasks.stores import lance_options

if TYPE_CHECKING:
    from lancedb.db import DBConnection
    from lancedb.table import LanceTable

    from tasks.index.embedding.cache import EmbeddingCache

logger = logging.getLogger(__name__)

CHUNKS = "chunks"
NEVER = dt.timedelta(days=36500)
IDS_PER_DELETE = 2000
ROWS_PER_BATCH = 2048
STORAGE_VERSION = "2.1"
"""Of Lance's files. In 2.2, its default, a column with one value in all rows (a single source, no facets) costs 3 to 5
ms a read of few rows among a million: 40 whole rows take 30 ms there and 7 in 2.1, whose files are 3 % larger."""
KEEP_UNTAGGED = dt.timedelta(days=2)
"""How long an untagged version lives: longer than any reader that is about to move on."""


def connect(settings: Settings) -> "DBConnection":
    """Open the database; local folders are made for the owner alone.

    Raises:
        DependencyError: the folder or the object store can't be opened.
    """
    import lancedb

    try:
        if "://" not in settings.index_uri:
            Path(settings.index_uri).mkdir(parents=True, exist_ok=True, mode=0o700)
        return lancedb.connect(settings.index_uri, storage_options=lance_options(settings.index_uri))
    except (OSError, ValueError, RuntimeError) as error:
        raise DependencyError(
            f"the index at {settings.index_uri} must open, found: {first_line(error)}; check ALMANAC_HOME and "
            "ALMANAC_LANCEDB_URI"
        ) from error


@lance_errors("the list of the index's tables")
def table_names(db: "DBConnection") -> list[str]:
    """Return the names of all tables."""
    names: list[str] = list(db.list_tables().tables)
    return names


@lance_errors("the index")
def open_latest(db: "DBConnection") -> "LanceTable":
    """Return a handle on the latest version, for the one writer.

    Raises:
        CorruptionError: the table is gone or unreadable.
    """
    from lancedb.table import LanceTable

    return cast(LanceTable, db.open_table(CHUNKS))


def open_at(db: "DBConnection", tag: str) -> "LanceTable":
    """Return a read-only handle on the version that `tag` names; it stays there when tags move.

    Raises:
        CorruptionError: the table or the tag is gone or unreadable.
    """
    table = open_latest(db)
    with lance_errors(f"the index release {tag}"):
        table.checkout(tag)
    return table


def chunk_schema(dim: int) -> pa.Schema:
    """Return the columns of `chunks`: those of `CHUNK_SCHEMA`, access interned, what is searched, and the vector."""
    fields = [
        pa.field("access_id", pa.int64(), nullable=False) if field.name == "access" else field for field in CHUNK_SCHEMA
    ]
    fields.extend(pa.field(name, pa.string(), nullable=False) for name in ("terms", "facets", "embedder"))
    fields.append(pa.field("vector", pa.list_(pa.float32(), dim), nullable=False))
    return pa.schema(fields)


def row_batches_of(
    chunk_files: Sequence[Path], cache: "EmbeddingCache", embedder: str, *, language: str
) -> Iterator[pa.RecordBatch]:
    """Yield rows of the table from chunk files and cached vectors, a bounded batch at a time."""
    for path in chunk_files:
        for batch in pq.ParquetFile(path).iter_batches(batch_size=ROWS_PER_BATCH):
            yield _rows(batch, cache, embedder, language)


def _rows(batch: pa.RecordBatch, cache: "EmbeddingCache", embedder: str, language: str) -> pa.RecordBatch:
    vectors = cache.get(batch["text_key"].to_pylist())
    dim = vectors.shape[1]
    columns: dict[str, Any] = {name: batch[name] for name in batch.schema.names}
    columns["access_id"] = pa.array([access_id(groups) for groups in batch["access"].to_pylist()], pa.int64())
    columns["terms"] = pa.array([document_terms(text, language) for text in batch["search_text"].to_pylist()])
    columns["facets"] = pa.array([facets_of(metadata) for metadata in batch["metadata"].to_pylist()])
    columns["embedder"] = pa.array([embedder] * batch.num_rows)
    columns["vector"] = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), dim)
    schema = chunk_schema(dim)
    return pa.record_batch([columns[name].cast(schema.field(name).type) for name in schema.names], schema=schema)


@lance_errors("the index, while it is written anew,")
def rewrite(db: "DBConnection", rows: Iterable[pa.RecordBatch], dim: int) -> int:
    """Write all rows as a new version of the table, beside what serves; return the version.

    A table that cannot be opened serves nobody: it is dropped.
    """
    _drop_unreadable(db)
    schema = chunk_schema(dim)
    reader = pa.RecordBatchReader.from_batches(schema, rows)
    storage = {"new_table_data_storage_version": STORAGE_VERSION}
    db.create_table(CHUNKS, data=reader, schema=schema, mode="overwrite", storage_options=storage)
    table = open_latest(db)
    table.set_unenforced_primary_key("chunk_id")
    return int(table.version)


def _drop_unreadable(db: "DBConnection") -> None:
    if CHUNKS not in table_names(db):
        return
    try:
        open_latest(db)
    except CorruptionError as error:
        logger.warning("dropping the table of all releases: %s", error)
        db.drop_table(CHUNKS)


@lance_errors("the index")
def update(db: "DBConnection", base_tag: str, *, gone: Sequence[str], rows: Iterable[pa.RecordBatch], dim: int) -> int:
    """From the base release: drop all rows of the documents `gone`, then write `rows`; return the version.

    The documents whose rows are written must be in `gone` or new. Undoes what a killed refresh left behind.
    """
    from lancedb.expr import col

    table = open_latest(db)
    if table.version != table.tags.get_version(base_tag):
        table.checkout(base_tag)
        table.restore()
    for begin in range(0, len(gone), IDS_PER_DELETE):
        table.delete(col("document_id").isin(list(gone[begin : begin + IDS_PER_DELETE])))
    reader = pa.RecordBatchReader.from_batches(chunk_schema(dim), rows)
    merge = table.merge_insert("chunk_id").use_index(False)
    merge.when_matched_update_all().when_not_matched_insert_all().execute(reader)
    return int(table.version)


def other_access(db: "DBConnection", documents: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """Return those of these documents, with their groups, that a kept release holds under other groups.

    A document that left and came back restricted is new to the base of a refresh; a rollback must not widen it. A
    release that cannot be read shows nobody anything, and is passed over.
    """
    if not documents or CHUNKS not in table_names(db):
        return {}
    ids = {document_id: access_id(groups) for document_id, groups in documents.items()}
    differing: set[str] = set()
    for tag in _readable_tags(db):
        try:
            differing.update(key for key, identifier in _access_at(db, tag, sorted(ids)) if ids[key] != identifier)
        except CorruptionError as error:
            logger.warning("not compared: %s", error)
    return {key: documents[key] for key in differing}


def _readable_tags(db: "DBConnection") -> list[str]:
    try:
        return sorted(open_latest(db).tags.list())
    except CorruptionError as error:
        logger.warning("not compared: %s", error)
        return []


@lance_errors("the index")
def _access_at(db: "DBConnection", tag: str, document_ids: Sequence[str]) -> list[tuple[str, int]]:
    from lancedb.expr import col

    table = open_at(db, tag)
    ids_by_document: list[tuple[str, int]] = []
    for begin in range(0, len(document_ids), IDS_PER_DELETE):
        wanted = col("document_id").isin(list(document_ids[begin : begin + IDS_PER_DELETE]))
        rows = table.search().where(wanted).select(["document_id", "access_id"]).to_arrow()
        ids_by_document.extend(zip(rows["document_id"].to_pylist(), rows["access_id"].to_pylist(), strict=True))
    return ids_by_document


@lance_errors("the index")
def build_indexes(db: "DBConnection", params: IndexParams) -> int:
    """Bring every index up to the latest rows; return the version.

    New rows get a delta segment; above `max_delta_indexes` segments, and in small tables, all are merged.
    """
    table = open_latest(db)
    existing = {index.name for index in table.list_indices()}
    num_rows = table.count_rows()
    for name, create in _wanted(table, params, num_rows).items():
        if name not in existing:
            create()
    if existing:
        _catch_up(table, params, num_rows)
    return int(table.version)


def _wanted(table: "LanceTable", params: IndexParams, num_rows: int) -> dict[str, Any]:
    from lancedb.index import FTS, Bitmap, BTree, IvfRq

    # The terms are cut by `tasks.index.search.terms`, in the index and in a question: nothing is left to do here.
    terms = FTS(
        base_tokenizer="whitespace",
        max_token_length=None,
        lower_case=False,
        stem=False,
        remove_stop_words=False,
        ascii_folding=False,
    )
    wanted = {
        "terms_idx": lambda: table.create_index("terms", config=terms),
        "access_id_idx": lambda: table.create_index("access_id", config=Bitmap()),
        "knowledge_base_idx": lambda: table.create_index("knowledge_base", config=Bitmap()),
        "source_idx": lambda: table.create_index("source", config=Bitmap()),
        "document_id_idx": lambda: table.create_index("document_id", config=BTree()),
    }
    if num_rows >= params.vector_index_min_rows:
        vector = IvfRq(distance_type="cosine", num_bits=2)
        wanted["vector_idx"] = lambda: table.create_index("vector", config=vector)
    return wanted


def _catch_up(table: "LanceTable", params: IndexParams, num_rows: int) -> None:
    statistics = [table.index_stats(index.name) for index in table.list_indices()]
    many = any((entry.num_indices or 1) >= params.max_delta_indexes for entry in statistics if entry)
    if many or num_rows < params.vector_index_min_rows:
        table.optimize(cleanup_older_than=NEVER)
        return
    table.to_lance().optimize.optimize_indices(num_indices_to_merge=0)
    table.checkout_latest()  # type: ignore[no-untyped-call]


@lance_errors("the index, while old versions are removed,")
def clean_up(db: "DBConnection", *, older_than: dt.timedelta = KEEP_UNTAGGED) -> None:
    """Remove untagged versions and what killed writers left; tagged releases stay. Call under the lease."""
    dataset = open_latest(db).to_lance()
    dataset.cleanup_old_versions(older_than, error_if_tagged_old_versions=False)
    data = Path(dataset.uri.removeprefix("file://")) / "data"
    if data.is_dir():
        for leftover in data.glob(".tmp*"):
            if time.time() - leftover.stat().st_mtime > KEEP_UNTAGGED.total_seconds():
                shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
