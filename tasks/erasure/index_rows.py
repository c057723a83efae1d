"""The index without some documents: every kept release is written anew under its tag, then all older bytes go.

Deleting rows marks them; their bytes stay in the data files, their words in the full-text index. So each release is
brought to the front, its files are compacted with every mark carried out, its indexes are made from nothing, and its
tag is moved. Releases keep their numbers: a rollback finds them, without what was forgotten.
"""

import datetime as dt
import shutil
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

from tasks.index.access_tables import CHANGES_TABLE, record_changes
from tasks.index.lance_errors import lance_errors
from tasks.index.table import CHUNKS, IDS_PER_DELETE, build_indexes, connect, open_at, open_latest, table_names
from tasks.params import IndexParams
from tasks.settings import Settings

if TYPE_CHECKING:
    from lancedb.db import DBConnection
    from lancedb.expr import Expr
    from lancedb.table import LanceTable


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


def rewrite_releases(
    settings: Settings,
    params: IndexParams,
    document_ids: Sequence[str],
    *,
    done: Collection[str],
    finished: Callable[[str, int, int], None],
) -> int:
    """Write every kept release anew without the documents; return how many rows went.

    Args:
        settings: where the index is.
        params: how its indexes are made.
        document_ids: what goes.
        done: tags that an erasure which was killed wrote already.
        finished: called with tag, version and number of rows once a tag is moved.
    """
    db = connect(settings)
    if CHUNKS not in table_names(db):
        return 0
    num_rows = 0
    for tag in sorted(set(open_latest(db).tags.list()) - set(done)):
        num_rows += _rewrite(db, tag, params, document_ids, finished)
    return num_rows


@lance_errors("the index, while documents are taken out of it,")
def _rewrite(
    db: "DBConnection",
    tag: str,
    params: IndexParams,
    document_ids: Sequence[str],
    finished: Callable[[str, int, int], None],
) -> int:
    table = open_latest(db)
    table.checkout(tag)
    before = table.count_rows()
    table.restore()
    for part in _slices(document_ids):
        table.delete(_of(part))
    table.to_lance().optimize.compact_files(materialize_deletions_threshold=0.0)
    table = open_latest(db)
    for index in table.list_indices():
        table.drop_index(index.name)
    version = build_indexes(db, params)
    table = open_latest(db)
    table.tags.update(tag, version)
    finished(tag, version, table.count_rows())
    return int(before - table.count_rows())


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
