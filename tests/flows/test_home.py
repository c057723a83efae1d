"""A home holds all that is written, and works alone wherever it is copied to."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml

from tasks.answer.assistant import Assistant
from tasks.answer.trace import EXPERIMENT, flush_traces
from tasks.home import Home
from tasks.params import load_params
from tasks.releases.model_registry import mlflow_client
from tasks.releases.tracking_store import open_store
from tasks.settings import Settings
from tests.chat_model import save_chat_model
from tests.conftest import BASE_PARAMS, files_source, merged

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
QUESTION = "how long are snapshots kept?"


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder in which nobody should find anything."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def notes(home: Path) -> Path:
    """A source, and parameters that name it."""
    folder = home.parent / "notes"
    folder.mkdir()
    (folder / "backup.md").write_text("# Backups\n\nSnapshots are kept for ninety days in cold storage.\n")
    model = save_chat_model(home.parent / "model")
    raw = merged(BASE_PARAMS, {"sources": [files_source(folder)]})
    raw = merged(raw, {"generation": {"model": str(model), "gguf_file": None}})
    (home.parent / "params.yaml").write_text(yaml.safe_dump(raw), encoding="utf-8")
    return folder


def ask(settings: Settings) -> str:
    reply = Assistant(load_params(settings.params), settings).ask(QUESTION)
    flush_traces()
    assert reply.trace_id
    return reply.trace_id


def files_outside(folder: Path, home: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file() and not path.is_relative_to(home)}


def addresses(home: Path) -> list[str]:
    """Every text in MLflow's database that names a place on this machine."""
    with closing(sqlite3.connect(home / "mlflow.db")) as database:
        tables = [row[0] for row in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        cells = [cell for table in tables for row in database.execute(f"SELECT * FROM {table}") for cell in row]
    return [cell for cell in cells if isinstance(cell, str) and cell.startswith(("file:", "/")) and "/home" in cell]


COMMANDS = """
import contextlib, io, json, os, sys
import cli
from tasks.releases.kind import INDEX
from tasks.releases.model_registry import CHAMPION, mlflow_client
from tasks.settings import Settings, quiet_environment


def almanac(*arguments):
    sys.argv = ["almanac", *arguments, "--json"]
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        try:
            cli.main()
        except SystemExit as end:
            assert not end.code, (arguments, end.code)
    return json.loads(printed.getvalue())


def promote(version, folder):
    quiet_environment()
    with mlflow_client(Settings()) as client:
        client.set_registered_model_alias(INDEX.model, CHAMPION, version)
        run = client.get_model_version(INDEX.model, "1").run_id
        return os.listdir(client.download_artifacts(run, "release", folder))


calls = {"almanac": almanac, "promote": promote}
print(json.dumps([calls[name](*arguments) for name, *arguments in json.loads(sys.argv[1])]))
"""
"""Several commands in one process: to import what each needs takes ten seconds."""


def commands(home: Path, cwd: Path, *calls: tuple[str, ...]) -> list[Any]:
    """Run commands in a process that has only this home; return what they printed."""
    results: list[Any] = json.loads(program(home, cwd, "-c", COMMANDS, json.dumps(calls)))
    return results


def program(home: Path, cwd: Path, *arguments: str) -> str:
    """Run Python in a process that has only this home; return its standard output."""
    # MLflow leaves the address that this process used in the environment: that of the home which is gone.
    inherited = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env=inherited | {"ALMANAC_HOME": str(home), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_moved_home_works_alone(
    home: Path, notes: Path, elsewhere: Path, refresh: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    assert refresh()["release"] == 1
    ask(Settings())
    (notes / "backup.md").write_text("# Backups\n\nSnapshots are kept for seven years on tape.\n")
    assert refresh()["release"] == 2
    moved = home.with_name("moved") / "home of another name"
    shutil.copytree(home, moved)
    shutil.rmtree(home)
    shutil.rmtree(moved / "cache")
    outside = files_outside(tmp_path, moved)

    fetched = tmp_path / "fetched"
    fetched.mkdir()

    asked, back = commands(moved, elsewhere, ("almanac", "ask", QUESTION), ("almanac", "rollback", "index", "1"))
    (notes / "deploy.md").write_text("# Deploying\n\nThe script `swap.sh` moves traffic.\n")
    files, promoted, refreshed = commands(
        moved,
        elsewhere,
        ("promote", "2", str(fetched)),
        ("almanac", "ask", QUESTION),
        ("almanac", "refresh"),
    )
    shutil.rmtree(fetched)

    assert (asked["index_version"], back["release"], promoted["index_version"]) == ("2", 1, "2")
    assert asked["trace_id"] and promoted["trace_id"]
    assert "manifest.json" in files
    assert (refreshed["release"], refreshed["documents"]) == (3, 2)
    assert not home.exists()
    assert files_outside(tmp_path, moved) == outside | {notes / "deploy.md"}
    assert list(elsewhere.iterdir()) == []
    assert [place for place in addresses(moved) if not place.startswith((str(moved), moved.as_uri()))] == []


def test_question_leaves_nothing_in_the_working_folder(
    home: Path, notes: Path, elsewhere: Path, refresh: Callable[..., dict[str, Any]]
) -> None:
    refresh()
    ask(Settings())

    assert list(elsewhere.iterdir()) == []
    with mlflow_client(Settings()) as client:
        experiment = client.get_experiment_by_name(EXPERIMENT)
        assert experiment is not None
        assert experiment.artifact_location == (home / "mlartifacts" / EXPERIMENT).as_uri()
    assert (home / "mlartifacts").stat().st_mode & 0o077 == 0


def test_new_home_is_its_owners_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALMANAC_HOME", str(tmp_path / "new"))

    open_store(Settings())

    assert (tmp_path / "new").stat().st_mode & 0o077 == 0
    assert json.loads(Home(tmp_path / "new").record.read_text())["root"] == str(tmp_path / "new")


def test_traces_that_an_earlier_version_left_in_a_working_folder_come_home(home: Path, tmp_path: Path) -> None:
    stray = tmp_path / "mlruns" / "1" / "traces" / "tr-1" / "artifacts"
    stray.mkdir(parents=True)
    (stray / "traces.json").write_text("{}")
    with closing(sqlite3.connect(home / "mlflow.db")) as database, database:
        database.execute("PRAGMA foreign_keys = OFF")
        database.execute(
            "INSERT INTO experiments (name, artifact_location, lifecycle_stage, workspace) VALUES (?, ?, ?, ?)",
            (EXPERIMENT, str(tmp_path / "mlruns" / "1"), "active", "default"),
        )
        database.execute(
            "INSERT INTO trace_tags (key, value, request_id) VALUES (?, ?, ?)",
            ("mlflow.artifactLocation", str(stray), "tr-1"),
        )

    open_store(Settings())

    with closing(sqlite3.connect(home / "mlflow.db")) as database:
        (place,) = database.execute("SELECT value FROM trace_tags WHERE request_id = 'tr-1'").fetchone()
        (location,) = database.execute(
            "SELECT artifact_location FROM experiments WHERE name = ?", (EXPERIMENT,)
        ).fetchone()
    assert place == (home / "mlartifacts" / "traces" / "tr-1" / "artifacts").as_uri()
    assert (home / "mlartifacts" / "traces" / "tr-1" / "artifacts" / "traces.json").read_text() == "{}"
    assert location == (home / "mlartifacts" / EXPERIMENT).as_uri()
    assert not stray.exists()
    assert os.environ["_MLFLOW_SERVER_ARTIFACT_ROOT"] == (home / "mlartifacts").as_uri()
