"""The quarterly retrain end to end on a tiny corpus and a tiny model: registered, refused with reasons, never twice."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from prefect.settings import PREFECT_API_URL, temporary_settings

from tasks.answer.answerer import load_answerer
from tasks.bootstrap import Interval
from tasks.errors import BusyError, ConfigurationError
from tasks.lease import hold
from tasks.model.embedder.result import EmbedderResult
from tasks.model.examples.build import build_training_set
from tasks.model.examples.example import read_examples, write_examples
from tasks.model.examples.training_set import TrainingSet
from tasks.model.training.run_log import KEY
from tasks.params import load_params
from tasks.releases.folder import release_folder
from tasks.releases.kind import ANSWERER
from tasks.releases.lifecycle import promote
from tasks.releases.lifecycle import versions as all_versions
from tasks.releases.model_registry import CHALLENGER, CHAMPION, mlflow_client
from tasks.settings import QUIET_ENVIRONMENT, Settings
from tests.conftest import Outcome, merged
from tests.retrain_world import make_world, world_environment

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def indexed(tmp_path_factory: pytest.TempPathFactory, migrated_mlflow: Path) -> Path:
    folder = tmp_path_factory.mktemp("stones")
    make_world(folder, migrated_mlflow)
    return folder


@pytest.fixture(scope="module")
def retrained(indexed: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A copy of that home after one retrain, and what the retrain returned."""
    folder = tmp_path_factory.mktemp("retrained")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in QUIET_ENVIRONMENT.items():
            patch.setenv(name, value)
        copy_world(indexed, folder, patch)
        return folder, retrain()


@pytest.fixture
def world(indexed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of a home whose live index knows the stones."""
    return copy_world(indexed, tmp_path, monkeypatch)


@pytest.fixture
def first(retrained: tuple[Path, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the first retrain returned, in a copy of the home that it left."""
    copy_world(retrained[0], tmp_path, monkeypatch)
    return retrained[1]


def copy_world(source: Path, folder: Path, patch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(source / "home", folder / "home")
    shutil.copy(source / "params.yaml", folder / "params.yaml")
    for name, value in world_environment(folder).items():
        patch.setenv(name, value)
    return folder


@pytest.fixture
def here(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home", params=tmp_path / "params.yaml")


def retrain() -> dict[str, Any]:
    from flows.retrain import retrain as flow

    result: dict[str, Any] = flow.fn().as_json()
    return result


def change_params(world: Path, **changes: Any) -> None:
    path = world / "params.yaml"
    path.write_text(yaml.safe_dump(merged(yaml.safe_load(path.read_text()), changes)))


def runs(settings: Settings, key: str) -> list[Any]:
    with mlflow_client(settings) as client:
        experiment = client.get_experiment_by_name(ANSWERER.model)
        assert experiment is not None
        return list(client.search_runs([experiment.experiment_id], f"tags.`{KEY}` LIKE '{key}%'"))


def test_candidate_that_learnt_is_the_challenger_with_all_that_a_person_needs(
    first: dict[str, Any], here: Settings
) -> None:
    result = first

    assert (result["gate"], result["reasons"]) == ("passed", [])
    assert result["metrics"]["answer_f1"] > result["baseline"]["answer_f1"]
    (version,) = all_versions(here, ANSWERER)
    assert (version.version, version.aliases) == (result["version"], (CHALLENGER,))
    folder = release_folder(here, version)
    assert {"README.md", "MLmodel", "model", "plots", "training.json"} <= {path.name for path in folder.iterdir()}
    loaded = load_answerer(folder, load_params(here.params).generation, here, version=version.version)
    assert loaded.params.num_passages == 1
    with mlflow_client(here) as client:
        page = client.get_model_version(ANSWERER.model, version.version)
        run = client.get_run(version.run_id)
        (nested,) = client.search_runs([run.info.experiment_id], f"tags.`mlflow.parentRunId` = '{version.run_id}'")
        curve = client.get_metric_history(nested.info.run_id, "train_loss")
    assert "| metric | base | candidate |" in page.description
    assert "- north (12 questions): gained" in page.description
    assert page.tags["training_set"] == "examples-0001"
    assert page.tags["prompt"].startswith("prompts:/almanac-")
    assert [point.step for point in curve] == list(range(1, len(curve) + 1))
    assert run.inputs is not None
    assert run.inputs.dataset_inputs[0].dataset.name == "almanac-examples"
    assert nested.data.metrics["steps"] == len(curve)
    assert run.data.params["fine_tuning.learning_rate"] == "0.02"


def test_retrain_with_nothing_new_registers_nothing(first: dict[str, Any], here: Settings) -> None:
    again = retrain()

    assert {name: again[name] for name in again if name != "seconds"} == {
        name: first[name] for name in first if name != "seconds"
    }
    assert len(all_versions(here, ANSWERER)) == 1
    assert len(runs(here, "")) == 2


def with_wrong_answers(params: Any, settings: Settings, output: Path) -> TrainingSet:
    """The training set, its answers' letters shuffled."""
    from tasks.files import sha256_of_file, write_json

    made = build_training_set(params, settings, output)
    wrong = [replace(example, answer="nosmirc [1]") for example in read_examples(made.path)]
    write_examples(wrong, made.path)
    manifest = json.loads((output / "manifest.json").read_text())
    write_json(output / "manifest.json", manifest | {"sha256": sha256_of_file(made.path)})
    return replace(made, sha256=sha256_of_file(made.path))


def test_candidate_that_learnt_wrong_answers_is_refused_by_its_metrics(
    first: dict[str, Any], here: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    promote(here, ANSWERER, first["version"])
    monkeypatch.setattr("tasks.model.retrain.inputs.build_training_set", with_wrong_answers)

    result = retrain()

    assert (result["gate"], result["registered"], result["version"]) == ("refused", False, None)
    reasons = " ".join(result["reasons"])
    assert "not better with confidence: answer_f1" in reasons
    assert "worse by more than 0.05: claim_support" in reasons
    assert "of answerer 1" in reasons
    # Its headline alone refuses it: nothing is asked without its own passages, and the person is told.
    assert any("`model_gate.stop_early: false`" in note for note in result["notes"])
    assert not any(name.startswith("oracle_") for name in result["metrics"])
    assert {entry.version: entry.aliases for entry in all_versions(here, ANSWERER)} == {"1": (CHAMPION,)}
    with mlflow_client(here) as client:
        tags = client.get_run(result["run_id"]).data.tags
        files = {entry.path for entry in client.list_artifacts(result["run_id"], "answerer")}
    assert tags["gate"] == "refused"
    assert "claim_support" in tags["reasons"]
    assert "answerer/README.md" in files


def test_champion_is_compared_with_the_next_candidate(first: dict[str, Any], here: Settings) -> None:
    promote(here, ANSWERER, first["version"])
    change_params(here.params.parent, fine_tuning={"seed": 8})

    result = retrain()

    assert result["champion"]["answer_f1"] > result["baseline"]["answer_f1"]
    assert result["gate"] == "refused"
    assert any("of answerer 1" in reason for reason in result["reasons"])


TUNING = {
    "with_answerer": True,
    "learning_rate": 3e-5,
    "num_train_epochs": 1,
    "per_device_train_batch_size": 4,
    "max_length": 128,
    "eval_steps": 1,
}


def tuned_embedder(folder: Path, low: float) -> EmbedderResult:
    gain = {"mrr_at_10": Interval(0.04, low, 0.07)}
    return EmbedderResult(folder, 40, 90, 500, 4, 4, {"mrr_at_10": 0.5}, {"mrr_at_10": 0.54}, gain, {}, None, 9.0, 9.0)


def patch_embedder(monkeypatch: pytest.MonkeyPatch, folder: Path, low: float) -> None:
    monkeypatch.setattr("flows.retrain.tune_embedder", lambda *_: tuned_embedder(folder, low))
    monkeypatch.setattr("flows.retrain.publish_embedder", lambda *_: "3")


def test_quarter_whose_embedder_alone_gains_ends_well_and_says_why_the_answerer_did_not(
    world: Path, almanac: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    change_params(world, embedder_tuning=TUNING, fine_tuning={"max_steps": 1, "learning_rate": 1e-9})
    patch_embedder(monkeypatch, world, low=0.01)

    done = almanac("retrain", "--json")

    assert done.code == 0, done.err
    result = json.loads(done.out)
    embedder, answerer = result["outcomes"]
    assert (embedder["kind"], embedder["version"], embedder["reasons"]) == ("embedder", "3", [])
    assert (answerer["kind"], answerer["version"], result["gate"]) == ("answerer", None, "refused")
    assert answerer["reasons"] == result["reasons"]
    told = almanac("retrain")
    assert told.code == 0
    assert "What the quarter earned" in told.out
    assert "embedder, next: set the alias `champion` on version 3 of almanac-embedder" in told.out
    assert "answerer, refused: not better with confidence: answer_f1" in told.out
    assert "answerer, next: what serves is unchanged" in told.out


def test_quarter_with_too_few_questions_for_an_embedder_trains_the_answerer(
    world: Path, almanac: Callable[..., Outcome]
) -> None:
    change_params(world, embedder_tuning=TUNING, fine_tuning={"max_steps": 1, "learning_rate": 1e-9})

    done = almanac("retrain", "--json")

    assert done.code == 3, done.err
    assert [entry["kind"] for entry in json.loads(done.out)["outcomes"]] == ["embedder", "answerer"]
    assert "almanac: the embedder's gate refused: the embedder needs 8 pairs for training" in done.err
    assert "almanac: the model gate refused: not better with confidence: answer_f1" in done.err


def test_named_method_is_tried_alone(
    world: Path, almanac: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    change_params(world, embedder_tuning=TUNING, fine_tuning={"max_steps": 1, "learning_rate": 1e-9})
    patch_embedder(monkeypatch, world, low=-0.01)

    alone = json.loads(almanac("retrain", "--method", "embedder", "--json").out)

    assert [(entry["kind"], entry["version"]) for entry in alone["outcomes"]] == [("embedder", None)]
    full = json.loads(almanac("retrain", "--method", "full", "--json").out)
    assert [entry["kind"] for entry in full["outcomes"]] == ["answerer"]


def test_refusal_is_exit_code_3_with_its_reasons(world: Path, almanac: Callable[..., Outcome]) -> None:
    change_params(world, fine_tuning={"max_steps": 1, "learning_rate": 1e-9})

    done = almanac("retrain", "--json")

    assert done.code == 3, done.err
    result = json.loads(done.out)
    fields = "examples train_seconds metrics baseline champion gate registered version"
    assert set(fields.split()) <= set(result)
    assert (result["gate"], result["version"], result["champion"]) == ("refused", None, None)
    assert "almanac: the model gate refused: not better with confidence: answer_f1" in done.err
    assert "training by full: 14 examples, 1 steps" in done.err


def test_prefect_shows_examples_training_and_decision(
    world: Path, almanac: Callable[..., Outcome], prefect_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    change_params(world, fine_tuning={"max_steps": 1, "learning_rate": 1e-9})
    monkeypatch.setenv("PREFECT_API_URL", prefect_server)

    with temporary_settings({PREFECT_API_URL: prefect_server}):
        done = almanac("retrain", "--json")

    assert done.code == 3, done.err
    found = httpx.post(f"{prefect_server}/artifacts/filter", json={}, timeout=30).json()
    shown = {artifact["key"]: artifact["data"] for artifact in found}
    assert "Passed: 16 examples" in shown["examples"]
    assert "validation loss" in shown["training"]
    assert "Gate refused" in shown["model-gate"]
    assert "| answer_f1 |" in shown["model-gate"]
    assert shown["train"] == 100.0


def test_retrain_before_the_first_release_says_what_to_do(world: Path, here: Settings) -> None:
    shutil.rmtree(here.home)
    here.home.mkdir()

    with pytest.raises(ConfigurationError, match="must be released before it can be asked, found none"):
        retrain()


def test_two_retrains_at_once_are_refused_and_a_refresh_is_not(world: Path, here: Settings) -> None:
    with hold(here.home / "retrain", purpose="retrain"):
        with pytest.raises(BusyError, match="found retrain of process"):
            retrain()
        with hold(here.home, purpose="refresh"):
            pass


def test_unknown_method_is_named_with_the_known_ones(almanac: Callable[..., Outcome]) -> None:
    done = almanac("retrain", "--method", "magic")

    assert done.code == 2
    assert "a method must be one of ['continual_pretraining', 'dpo', 'embedder', 'full', 'lora']" in done.err
