"""Who may read what: interned sets of groups, and what was learned of a document since its row was written.

A chunk's row holds one `access_id`. The table `access_sets` maps it to groups and is append-only: an id never changes
its meaning. The table `access_changes` holds the access of documents whose access ever changed: a row of an older
release, brought back by a rollback, is judged by both, so a restriction outlives every rollback.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from tasks.corpus.document import EVERYONE, sha256
from tasks.errors import ConfigurationError
from tasks.index.lance_errors import lance_errors

if TYPE_CHECKING:
    from lancedb.db import DBConnection

SETS_TABLE = "access_sets"
CHANGES_TABLE = "access_changes"
MAX_GROUP_CHARACTERS = 200
_REMEDY = {
    SETS_TABLE: f"delete its folder {SETS_TABLE}.lance in the index's folder and run `almanac refresh --rebuild`",
    CHANGES_TABLE: f"restore its folder {CHANGES_TABLE}.lance from a backup; without one, delete it, run "
    "`almanac refresh --rebuild`, and do not roll back to an older release: it would forget restrictions",
}

_SETS_SCHEMA = pa.schema([pa.field("access_id", pa.int64(), False), pa.field("groups", pa.list_(pa.string()), False)])
_CHANGES_SCHEMA = pa.schema(
    [pa.field("document_id", pa.string(), False), pa.field("groups", pa.list_(pa.string()), False)]
)


def access_id(groups: Iterable[str]) -> int:
    """The 62-bit id of a set of groups: the same on every machine and in every rebuild."""
    return int(sha256(*sorted(set(groups)))[:16], 16) >> 2


@dataclass(frozen=True, slots=True)
class AccessMap:
    """Who may read what, as of one moment.

    Attributes:
        sets: groups by `access_id`.
        changes: the latest known groups of documents whose access ever changed.
    """

    sets: Mapping[int, frozenset[str]]
    changes: Mapping[str, frozenset[str]]

    def readable_ids(self, groups: Iterable[str]) -> list[int]:
        """Ids of the sets that share a group with the asker; nobody's set (no group) is in none."""
        asker = asker_groups(groups)
        return sorted(identifier for identifier, members in self.sets.items() if members & asker)

    def may_read(self, document_id: str, identifier: int, groups: Iterable[str]) -> bool:
        """Whether the asker may read a row, by the row's own set and by what was learned since; fails closed."""
        asker = asker_groups(groups)
        if not self.sets.get(identifier, frozenset()) & asker:
            return False
        return document_id not in self.changes or bool(self.changes[document_id] & asker)


def asker_groups(groups: Iterable[str]) -> frozenset[str]:
    """The asker's groups with `everyone`.

    Raises:
        ConfigurationError: a group's name is empty or longer than `MAX_GROUP_CHARACTERS`.
    """
    names = frozenset(groups)
    for name in names:
        if not name or len(name) > MAX_GROUP_CHARACTERS:
            raise ConfigurationError(f"a group must have 1 to {MAX_GROUP_CHARACTERS} characters, found {len(name)}")
    return names | {EVERYONE}


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
    from tasks.index.table import CHUNKS, table_names

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
    known = {row["access_id"] for row in _rows(db, SETS_TABLE)}
    fresh = {access_id(groups): sorted(groups) for groups in sets}
    rows = [{"access_id": key, "groups": groups} for key, groups in sorted(fresh.items()) if key not in known]
    _upsert(db, SETS_TABLE, _SETS_SCHEMA, "access_id", rows)


def record_changes(db: "DBConnection", changes: Mapping[str, Iterable[str]]) -> None:
    """Keep the new access of documents, at once and for every release, before their rows are written anew."""
    rows = [{"document_id": key, "groups": sorted(set(groups))} for key, groups in sorted(changes.items())]
    _upsert(db, CHANGES_TABLE, _CHANGES_SCHEMA, "document_id", rows)


def _rows(db: "DBConnection", name: str) -> list[dict[str, Any]]:
    from tasks.index.table import CHUNKS, table_names

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
