"""MLflow as a file in the home: its database, its artifacts, and their addresses when the home is moved.

MLflow keeps an absolute address of artifacts with each experiment, run, trace, model and version, and gives an
experiment that was made without one the folder `mlruns` of the working folder. So each experiment is made with an
address in the home, and a home that is opened elsewhere than it lay has its addresses rewritten, here alone: else a
copy would write into its original, and fail once that is gone.
"""

import json
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from tasks.files import write_json
from tasks.home import FORMAT, Home, make_private
from tasks.settings import Settings
from tasks.tenant import of_tenant

if TYPE_CHECKING:
    from mlflow import MlflowClient

_ROOT_VARIABLE = "_MLFLOW_SERVER_ARTIFACT_ROOT"
"""Where MLflow puts what it makes by itself, as its experiment 0; `./mlruns` otherwise."""
_ADDRESSES = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("trace_tags", "value"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)


def is_embedded(settings: Settings) -> bool:
    """Return whether MLflow is the file in the home, and no server."""
    return settings.tracking_uri == f"sqlite:///{settings.layout.tracking_database}"


def open_store(settings: Settings) -> None:
    """Prepare the MLflow of the home, once a process: folders of its owner alone, addresses of here.

    Does nothing where MLflow is a server: who runs it decides where its artifacts lie.

    Raises:
        OSError: the home cannot be written.
        sqlite3.DatabaseError: the database is damaged.
    """
    if is_embedded(settings):
        _open(settings.layout)


def experiment_id(client: "MlflowClient", settings: Settings, name: str) -> str:
    """Return the experiment of that name; it is made where it is not there, in the home where MLflow is."""
    from mlflow.exceptions import MlflowException

    if experiment := client.get_experiment_by_name(name):
        return str(experiment.experiment_id)
    try:
        return str(client.create_experiment(name, artifact_location=_location(settings, name)))
    except MlflowException as error:
        # Two first writers at once: the other one made it.
        experiment = client.get_experiment_by_name(name)
        if error.error_code != "RESOURCE_ALREADY_EXISTS" or experiment is None:
            raise
        return str(experiment.experiment_id)


def _location(settings: Settings, name: str) -> str | None:
    """Where the files of an experiment go; None: a server decides."""
    if is_embedded(settings):
        return (settings.layout.artifacts / name).as_uri()
    shared = settings.shared_artifacts
    if shared is None or settings.tracking_uri.startswith("http"):
        return None
    return f"{shared}/{name}" if "://" in shared else (Path(shared) / name).as_uri()


@lru_cache(maxsize=8)
def _open(home: Home) -> None:
    make_private(home.root)
    make_private(home.artifacts).chmod(0o700)
    home.tracking_database.touch(mode=0o600)
    os.environ[_ROOT_VARIABLE] = home.artifacts.as_uri()
    if _recorded(home) == home.root:
        return
    with closing(sqlite3.connect(home.tracking_database, timeout=60, isolation_level=None)) as database:
        database.execute("BEGIN IMMEDIATE")
        before = _recorded(home) or _inferred(database) or home.root
        if before != home.root:
            _follow(database, before, home)
        _fetch_strays(database, home, keep=before != home.root)
        database.execute("COMMIT")
    write_json(home.record, {"format": FORMAT, "root": str(home.root)})


def _recorded(home: Home) -> Path | None:
    """Where the home lay when it was last opened; None: it is new, or of a time that kept no record."""
    try:
        return Path(json.loads(home.record.read_text(encoding="utf-8"))["root"])
    except (FileNotFoundError, ValueError, KeyError):
        return None


def _inferred(database: sqlite3.Connection) -> Path | None:
    """Where the home lay when its first index release was registered."""
    if ("experiments", "artifact_location") not in set(_columns(database)):
        return None
    name = of_tenant("almanac-index")
    row = database.execute("SELECT artifact_location FROM experiments WHERE name = ?", (name,)).fetchone()
    return _path(row[0]).parents[1] if row and row[0].endswith(f"/mlartifacts/{name}") else None


def _follow(database: sqlite3.Connection, before: Path, home: Home) -> None:
    """Let every address below the old place name the same file below the new one."""
    for table, column in _columns(database):
        for old, new in ((before.as_uri(), home.root.as_uri()), (str(before), str(home.root))):
            update = f"UPDATE {table} SET {column} = ? || substr({column}, ?)"  # noqa: S608 - names of ours
            below = f"{column} = ? OR substr({column}, 1, ?) = ?"
            database.execute(f"{update} WHERE {below}", (new, len(old) + 1, old, len(old) + 1, f"{old}/"))


def _fetch_strays(database: sqlite3.Connection, home: Home, *, keep: bool) -> None:
    """Bring into the home what an earlier version left in the working folders of questions.

    Args:
        database: MLflow's.
        home: where it goes.
        keep: leave the files where they are, too: they may be those of the home that this one is a copy of.
    """
    tables = {table for table, _ in _columns(database)}
    if "experiments" in tables:
        for number, name, address in database.execute("SELECT experiment_id, name, artifact_location FROM experiments"):
            if _is_outside(address, home):
                location = (home.artifacts / name).as_uri()
                database.execute(
                    "UPDATE experiments SET artifact_location = ? WHERE experiment_id = ?", (location, number)
                )
    if "trace_tags" in tables:
        wanted = "SELECT request_id, value FROM trace_tags WHERE key = 'mlflow.artifactLocation'"
        for trace, address in database.execute(wanted).fetchall():
            if _is_outside(address, home):
                target = home.artifacts / "traces" / trace / "artifacts"
                _bring(_path(address), target, keep=keep)
                database.execute(
                    "UPDATE trace_tags SET value = ? WHERE key = 'mlflow.artifactLocation' AND request_id = ?",
                    (target.as_uri(), trace),
                )


def _bring(source: Path, target: Path, *, keep: bool) -> None:
    if source.is_dir() and not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if keep else shutil.move)(source, target)


def _columns(database: sqlite3.Connection) -> Iterator[tuple[str, str]]:
    """The columns of addresses that this version of MLflow has; none before its tables are made."""
    for table, column in _ADDRESSES:
        if column in {row[1] for row in database.execute(f"PRAGMA table_info({table})")}:
            yield table, column


def _is_outside(address: str | None, home: Home) -> bool:
    """Whether an address is a local one that is not in the home."""
    if not address or urlsplit(address).scheme not in ("", "file"):
        return False
    return not _path(address).is_relative_to(home.root)


def _path(address: str) -> Path:
    return Path(unquote(urlsplit(address).path) if address.startswith("file:") else address)
