"""kill -9 in the middle of a retrain: nothing serves that should not, and the same command goes on from there.

`ALMANAC_KILL_MOMENTS` sets how many random moments of the whole flow are tried, `ALMANAC_KILL_SEED` which.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tasks.files import sha256_of_file
from tasks.model.examples.training_set import FOLDER
from tasks.registry.data_registry import Registry
from tasks.releases.folder import release_folder
from tasks.releases.kind import ANSWERER, EMBEDDER
from tasks.releases.lifecycle import versions as all_versions
from tasks.releases.model_registry import CHALLENGER, mlflow_client
from tasks.releases.tags import Tag
from tasks.settings import Settings
from tests.conftest import Outcome, merged, wait_until
from tests.forked import KILLED, Forked
from tests.retrain_world import make_world, world_environment

pytestmark = pytest.mark.slow

NUM_MOMENTS = int(os.environ.get("ALMANAC_KILL_MOMENTS", "1"))
SEED = int(os.environ.get("ALMANAC_KILL_SEED", "20261128"))
OWN = {Tag.CREATED_AT, Tag.CHALLENGED, "run_id", "training_set_commit"}
"""Tags that are of one retrain alone: moments, and what is named by a hash over a moment."""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, migrated_mlflow: Path) -> Path:
    folder = tmp_path_factory.mktemp("kill")
    make_world(folder, migrated_mlflow)
    path = folder / "params.yaml"
    steps = {"fine_tuning": {"max_steps": 120, "save_steps": 5, "early_stopping_patience": 100}}
    path.write_text(yaml.safe_dump(merged(yaml.safe_load(path.read_text()), steps)))
    return folder


@pytest.fixture
def copied(world: Path, tmp_path: Path) -> Callable[[str], Path]:
    def copy(name: str) -> Path:
        shutil.copytree(world / "home", tmp_path / name / "home")
        shutil.copy(world / "params.yaml", tmp_path / name / "params.yaml")
        return tmp_path / name

    return copy


def checkpoint(place: Path) -> dict[str, Any] | None:
    found = list(place.glob("home/retrain/work-*/.training.training/state.json"))
    return json.loads(found[0].read_text()) if found else None


def training(place: Path) -> dict[str, Any]:
    (path,) = place.glob("home/retrain/work-*/training/training.json")
    found: dict[str, Any] = json.loads(path.read_text())["result"]
    return found


def kill_in_training(place: Path) -> None:
    """Start a retrain and kill it as soon as it has a checkpoint."""
    environment = os.environ | world_environment(place)
    process = subprocess.Popen(
        [sys.executable, "-m", "cli", "retrain", "--json"],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    wait_until(lambda: checkpoint(place) or process.poll() is not None, seconds=800)
    process.send_signal(signal.SIGKILL)
    _, errors = process.communicate()
    assert process.returncode == -signal.SIGKILL, errors.decode()


def test_retrain_killed_in_training_goes_on_to_the_same_loss(
    copied: Callable[[str], Path], almanac: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, killed = copied("whole"), copied("killed")

    def retrain(place: Path) -> dict[str, Any]:
        for name, value in world_environment(place).items():
            monkeypatch.setenv(name, value)
        result: dict[str, Any] = json.loads(almanac("retrain", "--json").out)
        return result

    expected = retrain(whole)

    kill_in_training(killed)
    assert all_versions(Settings(home=killed / "home"), ANSWERER) == []
    result = retrain(killed)

    assert training(killed)["resumed_from"] > 0
    assert training(killed)["train_loss"][-1] == pytest.approx(training(whole)["train_loss"][-1], rel=1e-3)
    assert training(killed)["best_step"] == training(whole)["best_step"]
    assert result["metrics"]["answer_f1"] == pytest.approx(expected["metrics"]["answer_f1"], abs=1e-6)
    versions = all_versions(Settings(home=killed / "home"), ANSWERER)
    assert [(entry.version, entry.aliases) for entry in versions] == [("1", (CHALLENGER,))]
    assert list((killed / "home" / "retrain").glob("work-*/.training.training")) == []


@pytest.fixture(scope="module")
def forked(world: Path) -> Iterator[Forked]:
    process = Forked(world / "params.yaml", "cli", "flows.retrain", "peft", "trl", "matplotlib.pyplot")
    try:
        yield process
    finally:
        process.close()


def state(place: Path) -> dict[str, Any]:
    """Return all that must be the same however often a retrain was killed."""
    settings = Settings(home=place / "home")
    versions = [*all_versions(settings, ANSWERER), *all_versions(settings, EMBEDDER)]
    with mlflow_client(settings) as client:
        experiments = [experiment.experiment_id for experiment in client.search_experiments()]
        runs = client.search_runs(experiments)
    (outcome,) = (place / "home" / "retrain" / "outcomes").glob("*.json")
    result = json.loads(outcome.read_text())
    return {
        "versions": [
            (str(entry), entry.aliases, {name: entry.tags[name] for name in entry.tags.keys() - OWN})
            for entry in versions
        ],
        "weights": [
            sha256_of_file(path)
            for entry in versions
            for path in sorted(release_folder(settings, entry).rglob("*.safetensors"))
        ],
        "runs": sorted(
            (
                run.info.run_name,
                run.info.status,
                sorted(name for name in run.data.metrics if not name.startswith("system/")),
            )
            for run in runs
        ),
        "training sets": Registry(settings.registry, settings.remote, folder=FOLDER).tags("*"),
        "result": {name: result[name] for name in ("gate", "reasons", "examples", "version")},
        "measured": [timeless(result[name]) for name in ("metrics", "baseline")],
        "unfinished": [path.name for path in place.glob("home/retrain/work-*/.*")],
    }


def timeless(metrics: dict[str, float]) -> dict[str, float]:
    """Leave out what depends on how busy the machine is."""
    return {name: value for name, value in metrics.items() if "latency" not in name and "second" not in name}


def test_retrain_killed_at_any_moment_ends_as_one_that_was_not(copied: Callable[[str], Path], forked: Forked) -> None:
    draw, whole, moments = random.Random(SEED), copied("whole-forked"), list[str]()
    started = time.monotonic()
    (done,) = forked.commands(whole / "home", whole / "params.yaml", ["retrain"])
    seconds = time.monotonic() - started
    assert done["code"] == 0, done["err"]
    expected = state(whole)
    for number in range(NUM_MOMENTS):
        place, moment = copied(f"random-{number}"), draw.uniform(0, seconds)

        outcome = forked.killed_command(place / "home", place / "params.yaml", "retrain", after_seconds=moment)

        assert outcome["status"] in (KILLED, 0), outcome
        moments.append(f"{moment:.1f}{'' if outcome['status'] == KILLED else ' (ended)'}")
        (completed,) = forked.commands(place / "home", place / "params.yaml", ["retrain"])
        assert completed["code"] == 0, (moment, completed["err"])
        assert state(place) == expected, moment
        shutil.rmtree(place)
    print(f"\nkilled at seconds {', '.join(moments)} of {seconds:.1f}")
