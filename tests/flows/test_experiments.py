"""The experimenter's pipeline: the real DVC in a copy of the project, on a few documents and two questions."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tasks.index.table import connect, open_latest
from tasks.params import Params
from tasks.releases.kind import INDEX
from tasks.releases.lifecycle import champion
from tasks.settings import Settings
from tests.conftest import BASE_PARAMS, files_source, merged

PROJECT = Path(__file__).parents[2]
SENTENCES = (
    "The pager rotates every Tuesday at noon among the platform engineers.",
    "Snapshots of the ledger are kept for ninety days in cold storage.",
    "The script `swap.sh` moves traffic to the new cluster within a minute.",
    "Visitors sign the green book at the north gate before they enter the hall.",
    "A spare turbine is shipped from the harbour when the first one rattles.",
)


@pytest.fixture
def released(tmp_path: Path, write_params: Callable[..., Params], refresh: Callable[..., dict[str, Any]]) -> None:
    """One release of two documents in the home."""
    notes = tmp_path / "notes"
    notes.mkdir()
    (notes / "handbook.md").write_text("# Handbook\n\n" + "\n\n".join(SENTENCES), encoding="utf-8")
    (notes / "harbour.md").write_text("# Harbour\n\nShips leave at dawn when the tide is high.\n", encoding="utf-8")
    write_params([files_source(notes)])
    refresh()


@pytest.fixture
def clone(tmp_path: Path, home: Path) -> Path:
    """What a clone of the project holds of the pipeline, with small parameters and two golden questions."""
    folder = tmp_path / "clone"
    for name in ("tasks", "experiments", ".dvc"):
        shutil.copytree(PROJECT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "cache", "tmp"))
    for name in ("dvc.yaml", ".dvcignore", ".gitignore"):
        shutil.copy(PROJECT / name, folder / name)
    raw = merged(BASE_PARAMS, {"sources": [files_source(folder)], "index_gate": {"golden": "golden.jsonl"}})
    (folder / "params.yaml").write_text(yaml.safe_dump(raw | {"experiment": {"snapshot": "newest"}}), encoding="utf-8")
    questions = [
        golden("q1", "When does the pager rotate?", "Tuesday"),
        golden("q2", "Who signs a book?", "green book"),
    ]
    (folder / "golden.jsonl").write_text("\n".join(map(json.dumps, questions)), encoding="utf-8")
    run(folder, "git", "init", "--quiet")
    commit(folder)
    return folder


def golden(name: str, question: str, anchor: str) -> dict[str, str]:
    return {
        "id": name,
        "question": question,
        "answer": anchor,
        "document": "notes:handbook.md",
        "anchor": anchor,
        "topic": f"about {name}",
        "split": "test",
    }


def run(folder: Path, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    binaries = str(Path(sys.executable).parent)
    environment = os.environ | {"PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}"}
    found = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert not check or found.returncode == 0, found.stdout + found.stderr
    return found


def commit(folder: Path) -> None:
    run(folder, "git", "add", "--all")
    run(folder, "git", "-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "--quiet", "--message=State")


def served(settings: Settings) -> tuple[object, ...]:
    """All that an answer depends on: manifests, the alias, the versions of the table."""
    manifests = sorted((path.name, path.read_text()) for path in (settings.home / "releases").iterdir())
    table = open_latest(connect(settings))
    return manifests, champion(settings, INDEX), table.version, table.count_rows()


def metrics(folder: Path) -> dict[str, float]:
    found: dict[str, float] = json.loads((folder / "data" / "metrics.json").read_text(encoding="utf-8"))
    return found


@pytest.mark.slow
def test_experiment_measures_other_chunks_and_leaves_what_serves_alone(
    released: None, clone: Path, settings: Settings
) -> None:
    before = served(settings)
    run(clone, "dvc", "repro", "evaluate")
    baseline = metrics(clone)
    commit(clone)

    run(clone, "dvc", "exp", "run", "--name", "small", "-S", "chunking.max_tokens=32", "evaluate")

    difference = json.loads(run(clone, "dvc", "metrics", "diff", "--json").stdout)
    changed = next(iter(difference.values()))
    assert metrics(clone)["num_chunks"] > baseline["num_chunks"]
    assert changed["num_chunks"]["diff"] == metrics(clone)["num_chunks"] - baseline["num_chunks"]
    assert "about q1" in run(clone, "dvc", "plots", "diff", "--json").stdout
    assert served(settings) == before


@pytest.mark.slow
def test_second_repro_does_nothing(released: None, clone: Path) -> None:
    run(clone, "dvc", "repro", "evaluate")

    again = run(clone, "dvc", "repro", "evaluate")

    assert "Running stage" not in again.stdout
    assert not run(clone, "git", "status", "--porcelain", "data", "tasks", "experiments", "params.yaml").stdout


@pytest.mark.slow
def test_stage_refuses_what_was_made_with_other_parameters(released: None, clone: Path) -> None:
    run(clone, "dvc", "repro", "chunk")
    params = yaml.safe_load((clone / "params.yaml").read_text())
    (clone / "params.yaml").write_text(yaml.safe_dump(merged(params, {"chunking": {"max_tokens": 32}})))

    refused = run(clone, sys.executable, "-m", "experiments", "index", check=False)

    assert refused.returncode == 2
    assert "run `dvc repro`" in refused.stderr


def test_experiment_without_a_release_says_what_to_run_first(clone: Path, settings: Settings) -> None:
    refused = run(clone, sys.executable, "-m", "experiments", "corpus", check=False)

    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1
    assert "run `almanac refresh` first" in refused.stderr
