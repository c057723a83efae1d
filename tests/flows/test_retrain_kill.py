"""kill -9 in the middle of a training: nothing serves that should not, and the same command goes on from there."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tasks.releases.kind import ANSWERER
from tasks.releases.lifecycle import versions as all_versions
from tasks.releases.model_registry import CHALLENGER
from tasks.settings import Settings
from tests.conftest import Outcome, merged, wait_until
from tests.retrain_world import make_world, world_environment

pytestmark = pytest.mark.slow


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
