"""The tables of who may read what: `access_sets` and `access_changes`.

`access_sets` maps an `access_id` to its groups and is append-only: an id never changes its meaning. `access_changes`
holds the access of documents whose access ever changed.
"""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from tasks.index.access import AccessMap, access_id
from tasks.index.lance_errors import lance_errors
from tasks.index.table import CHUNKS, table_names

if TYPE_CHECKING:
    from lancedb.db import DBConnection

SETS_TABLE = "access_sets"
CHANGES_TABLE = "access_changes"
_REMEDY = {
    SETS_TABLE: f"delete its folder {SETS_TABLE}.lance in the index's folder and run `almanac refresh --rebuild`",
    CHANGES_TABLE: f"restore its folder {CHANGES_TABLE}.lance from a backup; without one, delete it, run "
    "`almanac refresh --rebuild`, and do not roll back to an older release: it would forget restrictions",
}

_SETS_SCHEMA = pa.schema([pa.field("access_id", pa.int64(), False), pa.field("groups", pa.list_(pa.string()), False)])
_CHANGES_SCHEMA = pa.schema(
    [pa.field("document_id", pa.string(), False), pa.field("groups", pa.list_(pa.string()), False)]
)


def load_access(db: "DBConnection") -> AccessMap:
    """Read both small tables as they are now."""
    return AccessMap(
        sets={row["access_id"]: frozenset(row["groups"]) for row in _rows(db, SETS_TABLE)},
        changes={row["document_id"]: frozenset(row["groups"]) for row in _rows(db, CHANGES_TABLE)},
    )


def ensure_tables(db: "DBConnection") -> None:
    """Make both tables before there is a release: a kill while one is made must not leave readers half a table.

    Call under the lease. Without the table of chunks nobody reads, and what cannot be read was never finished.
    """
    names = table_names(db)
    for name, schema in ((SETS_TABLE, _SETS_SCHEMA), (CHANGES_TABLE, _CHANGES_SCHEMA)):
        with lance_errors(f"the table {name}, which says who may read what,", _REMEDY[name]):
            if name in names and CHUNKS not in names and not _opens(db, name):
                db.drop_table(name)
            db.create_table(name, schema=schema, exist_ok=True)


def _opens(db: "DBConnection", name: str) -> bool:
    try:
        db.open_table(name)
    except ValueError:
        return False
    return True


def intern(db: "DBConnection", sets: Iterable[frozenset[str]]) -> None:
    """Make the ids of these sets known before any row bears them."""
    interned = {row["access_id"] for row in _rows(db, SETS_TABLE)}
    fresh = {access_id(groups): sorted(groups) for groups in sets}
    rows = [{"access_id": key, "groups": groups} for key, groups in sorted(fresh.items()) if key not in interned]
    _upsert(db, SETS_TABLE, _SETS_SCHEMA, "access_id", rows)


def record_changes(db: "DBConnection", changes: Mapping[str, Iterable[str]]) -> None:
    """Keep the new access of documents, at once and for every release, before their rows are written anew."""
    rows = [{"document_id": key, "groups": sorted(set(groups))} for key, groups in sorted(changes.items())]
    _upsert(db, CHANGES_TABLE, _CHANGES_SCHEMA, "document_id", rows)


def _rows(db: "DBConnection", name: str) -> list[dict[str, Any]]:
    if not {name, CHUNKS} <= set(table_names(db)):
        return []
    with lance_errors(f"the table {name}, which says who may read what,", _REMEDY[name]):
        rows: list[dict[str, Any]] = db.open_table(name).to_arrow().to_pylist()
    return rows


def _upsert(db: "DBConnection", name: str, schema: pa.Schema, key: str, rows: list[dict[str, Any]]) -> None:
    if not rows:
        return
    with lance_errors(f"the table {name}, which says who may read what,", _REMEDY[name]):
        table = db.create_table(name, schema=schema, exist_ok=True)
        merge = table.merge_insert(key).use_index(False).when_matched_update_all().when_not_matched_insert_all()
        merge.execute(pa.Table.from_pylist(rows, schema=schema))
