"""The experimenter's pipeline: the real DVC in a copy of the project, on a few documents and two questions."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from tasks.index.table import connect, open_latest
from tasks.releases.kind import INDEX
from tasks.releases.lifecycle import champion
from tasks.settings import QUIET_ENVIRONMENT, Settings
from tests.conftest import BASE_PARAMS, files_source, merged

PROJECT = Path(__file__).parents[2]
SENTENCES = (
    "The pager rotates every Tuesday at noon among the platform engineers.",
    "Snapshots of the ledger are kept for ninety days in cold storage.",
    "The script `swap.sh` moves traffic to the new cluster within a minute.",
    "Visitors sign the green book at the north gate before they enter the hall.",
    "A spare turbine is shipped from the harbour when the first one rattles.",
)


@dataclass(frozen=True)
class Reproduced:
    """A clone of the project in which `dvc repro evaluate` ran once.

    Attributes:
        home: one release of two documents.
        served: all that an answer depended on, before the pipeline ran.
    """

    clone: Path
    home: Path
    served: tuple[object, ...]


@pytest.fixture(scope="module")
def reproduced(tmp_path_factory: pytest.TempPathFactory, migrated_mlflow: Path) -> Reproduced:
    from flows.refresh import refresh

    folder = tmp_path_factory.mktemp("experiments")
    home, notes = folder / "home", folder / "notes"
    home.mkdir()
    notes.mkdir()
    shutil.copy(migrated_mlflow, home / "mlflow.db")
    (notes / "handbook.md").write_text("# Handbook\n\n" + "\n\n".join(SENTENCES), encoding="utf-8")
    (notes / "harbour.md").write_text("# Harbour\n\nShips leave at dawn when the tide is high.\n", encoding="utf-8")
    params = folder / "params.yaml"
    params.write_text(yaml.safe_dump(merged(BASE_PARAMS, {"sources": [files_source(notes)]})), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in QUIET_ENVIRONMENT.items():
            patch.setenv(name, value)
        patch.setenv("ALMANAC_HOME", str(home))
        patch.setenv("ALMANAC_PARAMS", str(params))
        refresh.fn()
        before = served(Settings())
        run(make_clone(folder / "clone"), "dvc", "repro", "evaluate")
    commit(folder / "clone")
    return Reproduced(folder / "clone", home, before)


@pytest.fixture
def clone(reproduced: Reproduced, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of that clone, beside the home of all."""
    monkeypatch.setenv("ALMANAC_HOME", str(reproduced.home))
    return Path(shutil.copytree(reproduced.clone, tmp_path / "clone", symlinks=True))


def make_clone(folder: Path) -> Path:
    """What a clone of the project holds of the pipeline, with small parameters and two golden questions."""
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
def test_experiment_measures_other_chunks_and_leaves_what_serves_alone(reproduced: Reproduced, clone: Path) -> None:
    baseline = metrics(clone)

    run(clone, "dvc", "exp", "run", "--name", "small", "-S", "chunking.max_tokens=32", "evaluate")

    difference = json.loads(run(clone, "dvc", "metrics", "diff", "--json").stdout)
    changed = next(iter(difference.values()))
    assert metrics(clone)["num_chunks"] > baseline["num_chunks"]
    assert changed["num_chunks"]["diff"] == metrics(clone)["num_chunks"] - baseline["num_chunks"]
    assert "about q1" in run(clone, "dvc", "plots", "diff", "--json").stdout
    assert served(Settings()) == reproduced.served


@pytest.mark.slow
def test_second_repro_does_nothing(clone: Path) -> None:
    again = run(clone, "dvc", "repro", "evaluate")

    assert "Running stage" not in again.stdout
    assert not run(clone, "git", "status", "--porcelain", "data", "tasks", "experiments", "params.yaml").stdout


@pytest.mark.slow
def test_stage_refuses_what_was_made_with_other_parameters(clone: Path) -> None:
    params = yaml.safe_load((clone / "params.yaml").read_text())
    (clone / "params.yaml").write_text(yaml.safe_dump(merged(params, {"chunking": {"max_tokens": 32}})))

    refused = run(clone, sys.executable, "-m", "experiments", "index", check=False)

    assert refused.returncode == 2
    assert "run `dvc repro`" in refused.stderr


def test_experiment_without_a_release_says_what_to_run_first(home: Path, tmp_path: Path) -> None:
    refused = run(make_clone(tmp_path / "clone"), sys.executable, "-m", "experiments", "corpus", check=False)

    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1
    assert "run `almanac refresh` first" in refused.stderr
