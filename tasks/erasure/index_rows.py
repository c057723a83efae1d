"""The index without some documents: every kept release is written anew under its tag, then all older bytes go.

Deleting rows marks them; their bytes stay in the data files, their words in the full-text index. So the oldest release
is brought to the front, its files are compacted with every mark carried out, its indexes are made from nothing, and its
tag is moved. The next one is made of that, with the rows that it had and lacked beside the release before it: releases
share their files as before. They keep their numbers: a rollback finds them, without what was forgotten.
"""

import datetime as dt
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tasks.index.access_tables import CHANGES_TABLE, record_changes
from tasks.index.lance_errors import lance_errors
from tasks.index.table import (
    CHUNKS,
    IDS_PER_DELETE,
    ROWS_PER_BATCH,
    build_indexes,
    connect,
    open_at,
    open_latest,
    table_names,
)
from tasks.params import IndexParams
from tasks.settings import Settings

if TYPE_CHECKING:
    from lance import LanceDataset
    from lancedb.db import DBConnection
    from lancedb.expr import Expr
    from lancedb.table import LanceTable

MAX_CHANGED_FRACTION = 0.5
"""Of a release's rows: where more are new to the release before it, it is written whole."""


@dataclass(frozen=True, slots=True)
class _Changes:
    """What makes a release of the one before it.

    Attributes:
        gone: chunk ids of rows to drop.
        places: of the rows to add, in a scan of `rows`.
        rows: the release as it was.
    """

    gone: list[str]
    places: list[int]
    rows: "LanceDataset"

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Yield the rows to add, a bounded batch at a time."""
        for begin in range(0, len(self.places), ROWS_PER_BATCH):
            yield from self.rows.take(self.places[begin : begin + ROWS_PER_BATCH]).to_batches()


def hide_at_once(settings: Settings, document_ids: Collection[str]) -> None:
    """Let nobody read the documents from now on, in running servers too."""
    db = connect(settings)
    if CHUNKS in table_names(db):
        record_changes(db, dict.fromkeys(document_ids, ()))


@lance_errors("the index")
def text_keys(settings: Settings, document_ids: Sequence[str]) -> set[str]:
    """Return the keys of the texts whose vectors are cached, over every kept release."""
    db = connect(settings)
    if CHUNKS not in table_names(db):
        return set()
    keys: set[str] = set()
    for tag in open_latest(db).tags.list():
        table = open_at(db, tag)
        for part in _slices(document_ids):
            rows = table.search().where(_of(part)).select(["text_key"]).limit(None).to_arrow()
            keys.update(rows["text_key"].to_pylist())
    return keys


@lance_errors("the index")
def tagged_versions(settings: Settings) -> dict[str, int]:
    """Return the version of each kept release by its tag: their rows can be compared until old bytes are removed."""
    db = connect(settings)
    if CHUNKS not in table_names(db):
        return {}
    return {tag: int(entry["version"]) for tag, entry in open_latest(db).tags.list().items()}


def rewrite_releases(
    settings: Settings,
    params: IndexParams,
    document_ids: Sequence[str],
    *,
    versions: Mapping[str, int],
    done: Collection[str],
    finished: Callable[[str, int, int], None],
) -> int:
    """Write every kept release anew without the documents; return how many rows went.

    Args:
        settings: where the index is.
        params: how its indexes are made.
        document_ids: what goes.
        versions: of the releases by tag, before the first was written anew; a release that is absent is written whole.
        done: tags that an erasure which was killed wrote already.
        finished: called with tag, version and number of rows once a tag is moved.
    """
    db = connect(settings)
    if CHUNKS not in table_names(db):
        return 0
    num_rows = 0
    for before, tag in pairwise(["", *sorted(open_latest(db).tags.list())]):
        if tag not in done:
            changes = _changes(db, versions.get(before), versions.get(tag), document_ids)
            num_rows += _rewrite(db, tag, before, changes, params, document_ids, finished)
    return num_rows


@lance_errors("the index, while documents are taken out of it,")
def _rewrite(
    db: "DBConnection",
    tag: str,
    before: str,
    changes: _Changes | None,
    params: IndexParams,
    document_ids: Sequence[str],
    finished: Callable[[str, int, int], None],
) -> int:
    num_before = open_at(db, tag).count_rows()
    if changes is None:
        _write_whole(db, tag, document_ids)
    else:
        _write_changes(db, before, changes)
    version = build_indexes(db, params)
    table = open_latest(db)
    table.tags.update(tag, version)
    finished(tag, version, table.count_rows())
    return int(num_before - table.count_rows())


def _write_whole(db: "DBConnection", tag: str, document_ids: Sequence[str]) -> None:
    table = _brought_to_front(db, tag)
    for part in _slices(document_ids):
        table.delete(_of(part))
    table.to_lance().optimize.compact_files(materialize_deletions_threshold=0.0)
    table = open_latest(db)
    for index in table.list_indices():
        table.drop_index(index.name)


def _write_changes(db: "DBConnection", before: str, changes: _Changes) -> None:
    from lancedb.expr import col

    table = _brought_to_front(db, before)
    for part in _slices(changes.gone):
        table.delete(col("chunk_id").isin(part))
    if changes.places:
        table.add(pa.RecordBatchReader.from_batches(changes.rows.schema, changes.batches()))


def _brought_to_front(db: "DBConnection", tag: str) -> "LanceTable":
    table = open_latest(db)
    if table.version != table.tags.get_version(tag):
        table.checkout(tag)
        table.restore()
    return table


@lance_errors("the index")
def _changes(
    db: "DBConnection", before: int | None, version: int | None, document_ids: Sequence[str]
) -> _Changes | None:
    """Return what makes a release of the one before it, without the documents; None: it is to be written whole.

    A row that both hold has the same place in the same file in both. For instance of 1,000 chunks a refresh changed 10:
    10 rows of the older release are gone, and 10 are in a file that it has not.
    """
    if before is None or version is None:
        return None
    old, new = (open_latest(db).to_lance().checkout_version(number) for number in (before, version))
    old_rows, new_rows = _places(old), _places(new)
    there, here = (rows["_rowaddr"].to_numpy() for rows in (old_rows, new_rows))
    is_kept = np.isin(here, there) & np.isin(here >> np.uint64(32), _shared_files(old, new))
    is_forgotten = pc.is_in(new_rows["document_id"], pa.array(document_ids, pa.string())).to_numpy()
    places = np.flatnonzero(~is_kept & ~is_forgotten)
    if len(places) > MAX_CHANGED_FRACTION * len(here):
        return None
    gone = old_rows["chunk_id"].filter(pa.array(~np.isin(there, here[is_kept])))
    return _Changes(gone.to_pylist(), places.tolist(), new)


def _places(dataset: "LanceDataset") -> pa.Table:
    """Return the ids of all rows with their addresses: the number of the file above, the place in it in 32 bits."""
    return dataset.to_table(columns=["chunk_id", "document_id"], with_row_address=True, scan_in_order=True)


def _shared_files(old: "LanceDataset", new: "LanceDataset") -> list[int]:
    """Return the numbers that name the same file in both: a number is given again where a release was rolled back."""
    paths = [
        {part.fragment_id: tuple(file.path for file in part.data_files()) for part in dataset.get_fragments()}
        for dataset in (old, new)
    ]
    return [number for number, files in paths[0].items() if paths[1].get(number) == files]


@lance_errors("the index, while old versions are removed,")
def remove_old_bytes(settings: Settings, document_ids: Sequence[str]) -> None:
    """Remove every version without a tag, and the names of the documents from the table of access.

    Readers must have moved on: a handle on an old version finds its files gone.
    """
    db = connect(settings)
    if CHUNKS not in table_names(db):
        return
    _clean(open_latest(db))
    changes = cast("LanceTable", db.open_table(CHANGES_TABLE))
    for part in _slices(document_ids):
        changes.delete(_of(part))
    changes.to_lance().optimize.compact_files(materialize_deletions_threshold=0.0)
    _clean(cast("LanceTable", db.open_table(CHANGES_TABLE)))


def _clean(table: "LanceTable") -> None:
    dataset = table.to_lance()
    dataset.cleanup_old_versions(dt.timedelta(0), delete_unverified=True, error_if_tagged_old_versions=False)
    data = Path(dataset.uri.removeprefix("file://")) / "data"
    for leftover in data.glob(".tmp*") if data.is_dir() else ():
        shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()


def _slices(document_ids: Sequence[str]) -> list[list[str]]:
    ids = list(document_ids)
    return [ids[begin : begin + IDS_PER_DELETE] for begin in range(0, len(ids), IDS_PER_DELETE)]


def _of(document_ids: list[str]) -> "Expr":
    from lancedb.expr import col

    return col("document_id").isin(document_ids)
