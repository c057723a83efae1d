"""The versions of a release, read from the home's MLflow database without MLflow.

Importing MLflow and its SQLAlchemy stores takes 2.7 CPU seconds, reading these four tables a millisecond: `status`,
`search` and a refresh without change need no more of MLflow. Reads only; MLflow itself is asked wherever the tables
are not those of the version that this was written for (3.17).
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from tasks.releases.kind import ReleaseKind
from tasks.releases.version import ReleaseVersion

_DELETED = "Deleted_Internal"


def read_versions(database: Path, kind: ReleaseKind) -> list[ReleaseVersion] | None:
    """Return all versions, oldest first, as `lifecycle.versions` does; None: MLflow must be asked.

    Args:
        database: MLflow's SQLite file.
        kind: of the release.
    """
    try:
        with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True, timeout=10)) as connection:
            return list(_versions(connection, kind))
    except sqlite3.Error:
        # Absent, damaged, locked or another schema: MLflow makes it, waits for it, or says what is wrong.
        return None


def read_model_names(database: Path, prefix: str) -> list[str] | None:
    """Return the registered models whose names begin so; None: MLflow must be asked."""
    try:
        with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True, timeout=10)) as connection:
            rows = connection.execute(
                "SELECT name FROM registered_models WHERE substr(name, 1, ?) = ?", (len(prefix), prefix)
            )
            return [str(name) for (name,) in rows]
    except sqlite3.Error:
        return None


def _versions(connection: sqlite3.Connection, kind: ReleaseKind) -> Iterator[ReleaseVersion]:
    of_model = (kind.model,)
    tags: dict[str, dict[str, str]] = {}
    for version, key, value in connection.execute(
        "SELECT version, key, value FROM model_version_tags WHERE name = ?", of_model
    ):
        tags.setdefault(str(version), {})[key] = value
    aliases: dict[str, list[str]] = {}
    for alias, version in connection.execute(
        "SELECT alias, version FROM registered_model_aliases WHERE name = ?", of_model
    ):
        aliases.setdefault(str(version), []).append(alias)
    for number, run_id in connection.execute(
        "SELECT version, run_id FROM model_versions WHERE name = ? AND current_stage != ? ORDER BY version",
        (*of_model, _DELETED),
    ).fetchall():
        version = str(number)
        yield ReleaseVersion(
            kind, version, run_id or "", tags.get(version, {}), tuple(sorted(aliases.get(version, [])))
        )
