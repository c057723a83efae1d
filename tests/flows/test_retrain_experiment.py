"""The experimenter's trainings: the real DVC in a copy of the project, a model of a few kilobytes."""

import json
import shutil
from pathlib import Path

import pytest
import yaml

from tasks.releases.kind import ANSWERER
from tasks.releases.lifecycle import versions as all_versions
from tasks.releases.model_registry import mlflow_client
from tasks.settings import Settings
from tests.flows.test_experiments import PROJECT, commit, run
from tests.retrain_world import make_world, world_environment

pytestmark = pytest.mark.slow


@pytest.fixture
def clone(tmp_path: Path, migrated_mlflow: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What a clone of the project holds of the pipeline, beside a home whose live index knows the stones."""
    make_world(tmp_path, migrated_mlflow)
    folder = tmp_path / "clone"
    for name in ("tasks", ".dvc"):
        shutil.copytree(PROJECT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "cache", "tmp"))
    for name in ("dvc.yaml", ".dvcignore", ".gitignore"):
        shutil.copy(PROJECT / name, folder / name)
    shutil.copy(tmp_path / "golden.jsonl", folder / "golden.jsonl")
    raw = yaml.safe_load((tmp_path / "params.yaml").read_text())
    for block in ("index_gate", "evaluation"):
        raw[block]["golden"] = "golden.jsonl"
    (folder / "params.yaml").write_text(yaml.safe_dump(raw), encoding="utf-8")
    run(folder, "git", "init", "--quiet")
    commit(folder)
    for name, value in world_environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    return folder


def test_training_experiment_shows_in_dvc_and_mlflow_and_registers_nothing(clone: Path) -> None:
    settings = Settings()

    run(clone, "dvc", "exp", "run", "--name", "slower", "-S", "fine_tuning.learning_rate=0.01", "evaluate_answerer")

    shown = run(clone, "dvc", "exp", "show", "--json").stdout
    assert "slower" in shown
    assert '"learning_rate": 0.01' in shown
    assert "answered_share" in shown
    measured = json.loads((clone / "data" / "answerer.json").read_text())
    assert measured["answer_f1"] > measured["base"]["answer_f1"]
    with mlflow_client(settings) as client:
        experiment = client.get_experiment_by_name("almanac-experiments")
        assert experiment is not None
        (logged,) = client.search_runs([experiment.experiment_id])
    assert logged.data.params["fine_tuning.learning_rate"] == "0.01"
    assert logged.data.metrics["answer_f1"] == pytest.approx(measured["answer_f1"])
    assert all_versions(settings, ANSWERER) == []
