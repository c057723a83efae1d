"""Answerers in MLflow: registered once, promoted, taken back; runs that go on after a kill."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.answer.answerer import BASE, Manifest, read_manifest, write_manifest
from tasks.answer.prompt import Prompt, load_prompt
from tasks.answer.prompt_registry import register_prompts
from tasks.errors import ConfigurationError, CorruptionError
from tasks.model.answerer.register import register_answerer
from tasks.model.training.run_log import (
    Curves,
    TrainingData,
    end_run,
    log_dataset,
    log_metrics,
    log_params,
    log_prompt,
    open_run,
    system_metrics,
)
from tasks.params import GenerationParams
from tasks.releases.folder import release_folder
from tasks.releases.kind import ANSWERER
from tasks.releases.lifecycle import champion, promote, roll_back, versions
from tasks.releases.model_registry import CHALLENGER, CHAMPION, mlflow_client
from tasks.releases.version import ReleaseVersion, entry_of
from tasks.settings import Settings
from tests.conftest import BASE_PARAMS, wait_until

pytestmark = pytest.mark.slow

Register = Callable[[str], str]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An answerer's folder: no model reads it here."""
    made = tmp_path / "answerer"
    (made / "adapter").mkdir(parents=True)
    (made / "adapter" / "adapter_model.safetensors").write_bytes(b"weights")
    (made / "README.md").write_text("# Card\n")
    prompt = load_prompt("short-answer")
    write_manifest(
        made,
        Manifest("base@1", "base", None, "lora", prompt.name, prompt.digest, 0.0, {}, {"training_set": "t1"}, {}),
    )
    return made


@pytest.fixture
def register_one(settings: Settings, folder: Path) -> Register:
    def run(key: str) -> str:
        run_id = open_run(settings, ANSWERER.model, key, name=key)
        tags = {"metric.answer_f1": "0.5", "corpus": "corpus-0001"}
        return register_answerer(
            settings, ANSWERER, key=key, run_id=run_id, folder=folder, tags=tags, description="| a |"
        )

    return run


def aliases(settings: Settings) -> dict[str, tuple[str, ...]]:
    return {entry.version: entry.aliases for entry in versions(settings, ANSWERER)}


def test_same_retrain_is_registered_once(register_one: Register, settings: Settings) -> None:
    assert register_one("k1") == register_one("k1") == "1"
    assert register_one("k2") == "2"

    assert aliases(settings) == {"1": (), "2": (CHALLENGER,)}


def test_registered_files_are_those_of_the_folder(register_one: Register, settings: Settings, folder: Path) -> None:
    register_one("k1")

    fetched = release_folder(settings, versions(settings, ANSWERER)[0])

    assert read_manifest(fetched) == read_manifest(folder)


def test_version_killed_before_its_alias_gets_it_from_the_next_run(
    register_one: Register, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(settings: Settings, version: ReleaseVersion) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("tasks.model.answerer.register.challenge", killed)
        register_one("k1")
    assert aliases(settings) == {"1": ()}

    register_one("k1")

    assert aliases(settings) == {"1": (CHALLENGER,)}


def test_promoted_version_is_no_challenger_and_does_not_become_one_again(
    register_one: Register, settings: Settings
) -> None:
    promote(settings, ANSWERER, register_one("k1"))

    register_one("k1")

    assert aliases(settings) == {"1": (CHAMPION,)}
    assert champion(settings, ANSWERER).version == "1"  # type: ignore[union-attr]


def test_answerer_with_a_changed_file_is_not_promoted(register_one: Register, settings: Settings) -> None:
    version = register_one("k1")
    for weights in settings.home.rglob("adapter_model.safetensors"):
        weights.write_bytes(b"others")

    with pytest.raises(CorruptionError, match=r"adapter_model\.safetensors"):
        promote(settings, ANSWERER, version)

    assert champion(settings, ANSWERER) is None


def test_answerer_that_did_not_pass_its_gate_is_not_promoted(register_one: Register, settings: Settings) -> None:
    version = register_one("k1")
    with mlflow_client(settings) as client:
        client.set_model_version_tag(ANSWERER.model, version, "gate", "failed")

    with pytest.raises(ConfigurationError, match="must have passed its gate"):
        promote(settings, ANSWERER, version)


def test_unknown_version_is_named_with_those_that_exist(register_one: Register, settings: Settings) -> None:
    register_one("k1")

    with pytest.raises(ConfigurationError, match="must have version 7, found: 1"):
        promote(settings, ANSWERER, "7")


def rolled_back(settings: Settings, to: str | None = None) -> tuple[str, str]:
    """Roll back; return what was abandoned and what serves."""
    abandoned, target = roll_back(settings, ANSWERER, to=to)
    return abandoned.version, target.version if target else BASE


def test_rollback_goes_to_the_version_that_served_before_then_to_the_base(
    register_one: Register, settings: Settings
) -> None:
    for key in ("k1", "k2"):
        promote(settings, ANSWERER, register_one(key))

    assert rolled_back(settings) == ("2", "1")
    assert champion(settings, ANSWERER).version == "1"  # type: ignore[union-attr]

    assert rolled_back(settings) == ("1", BASE)
    assert champion(settings, ANSWERER) is None
    with pytest.raises(ConfigurationError, match="found the default answerer serving"):
        rolled_back(settings)


def test_rollback_to_a_named_version_lets_it_serve(register_one: Register, settings: Settings) -> None:
    promote(settings, ANSWERER, register_one("k1"))
    rolled_back(settings, BASE)
    promote(settings, ANSWERER, register_one("k2"))

    assert rolled_back(settings, "1") == ("2", "1")

    states = {entry.version: (entry.aliases, entry.rolled_back) for entry in versions(settings, ANSWERER)}
    assert states == {"2": ((), True), "1": ((CHAMPION,), False)}


def test_releases_show_metrics_and_lineage(register_one: Register, settings: Settings) -> None:
    register_one("k1")

    entry = entry_of(versions(settings, ANSWERER)[0])

    assert (entry.kind, entry.version, entry.aliases) == ("answerer", "1", (CHALLENGER,))
    assert entry.metrics == {"answer_f1": 0.5}
    assert entry.lineage["corpus"] == "corpus-0001"


def test_run_with_the_same_key_goes_on(settings: Settings) -> None:
    first = open_run(settings, ANSWERER.model, "k1", name="a")
    log_params(settings, first, {"fine_tuning": {"learning_rate": 0.1}, "git_commit": "before"})
    end_run(settings, first, tags={"gate": "refused"}, status="FAILED")

    assert open_run(settings, ANSWERER.model, "k1", name="a") == first
    log_params(settings, first, {"fine_tuning": {"learning_rate": 0.1}, "git_commit": "after"})
    assert open_run(settings, ANSWERER.model, "k2", name="b", parent=first) != first
    with mlflow_client(settings) as client:
        assert client.get_run(first).data.tags["gate"] == "refused"


def test_resumed_curve_has_each_step_once(settings: Settings) -> None:
    run_id = open_run(settings, ANSWERER.model, "k1", name="a")
    for last in (4, 7):
        curves = Curves(settings, run_id)
        for step in range(last):
            curves.add(step, {"loss": 1 / (step + 1)})
        curves.flush()

    with mlflow_client(settings) as client:
        assert [point.step for point in client.get_metric_history(run_id, "loss")] == list(range(7))


def test_dataset_and_metrics_are_logged_once(settings: Settings) -> None:
    run_id = open_run(settings, ANSWERER.model, "k1", name="a")
    data = TrainingData("examples", "f" * 64, {"tag": "examples-1"}, {"num_examples": 3}, "a" * 40)
    for _ in range(2):
        log_dataset(settings, run_id, data)
        log_metrics(settings, run_id, {"answer_f1": 0.25})

    with mlflow_client(settings) as client:
        run = client.get_run(run_id)
        history = client.get_metric_history(run_id, "answer_f1")
    assert run.inputs is not None
    assert [known.dataset.digest for known in run.inputs.dataset_inputs] == ["f" * 36]
    assert len(history) == 1


def test_processor_and_memory_are_logged_while_a_training_lasts(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.model.training.run_log.SYSTEM_METRICS_SECONDS", 0.2)
    run_id = open_run(settings, ANSWERER.model, "k1", name="a")

    def logged() -> bool:
        with mlflow_client(settings) as client:
            return "system/cpu_utilization_percentage" in client.get_run(run_id).data.metrics

    with system_metrics(settings, run_id):
        wait_until(logged, seconds=60)


def test_changed_prompt_is_a_new_version_of_its_own(settings: Settings) -> None:
    run_id = open_run(settings, ANSWERER.model, "k1", name="a")
    prompt = load_prompt("short-answer")
    other = Prompt(prompt.name, 2, "", prompt.user + " Be brief.")

    first = log_prompt(settings, run_id, prompt)

    assert first == log_prompt(settings, run_id, prompt) == "prompts:/almanac-short-answer/1"
    assert log_prompt(settings, run_id, other) == "prompts:/almanac-short-answer/2"


def test_prompts_that_a_release_is_asked_with_are_registered_once(settings: Settings) -> None:
    params = GenerationParams(**BASE_PARAMS["generation"])
    asked = params.model_copy(update={"prompt": "short-answer", "prompts": {"python": "full-answer"}})
    names = {entry.rsplit("/", 1)[0] for entry in register_prompts(settings, asked)}
    assert names == {"prompts:/almanac-full-answer", "prompts:/almanac-short-answer"}
    assert register_prompts(settings, asked) == register_prompts(settings, asked)
