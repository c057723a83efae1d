"""The training set: what may enter, what must stop it, and that it comes back by its tag."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from tasks.answer.answer import Answer
from tasks.answer.prompt import NOT_FOUND
from tasks.answer.trace import TraceContext, flush_traces, traced
from tasks.errors import ConfigurationError, CorruptionError, GateError
from tasks.index.access_tables import record_changes
from tasks.index.live import LiveIndex
from tasks.index.passage import Passage
from tasks.index.search import Request
from tasks.index.table import connect
from tasks.model.examples.build import build_training_set
from tasks.model.examples.example import Example, read_examples
from tasks.model.examples.synthetic import folded
from tasks.model.examples.training_set import FOLDER, read_training_set, version_training_set
from tasks.registry.data_registry import Registry
from tasks.settings import Settings
from tests.chat_model import save_chat_model
from tests.model.examples_world import (
    GOLDEN,
    SECRET,
    TOOLS,
    build,
    index_once,
    page,
    params,
    question,
    raw_params,
    write_golden,
)

NO_SYNTHETIC = {"num_synthetic": 0}
"""For tests of what people rated: the questions of documents take most of the time."""


@pytest.fixture(scope="module")
def refreshed(tmp_path_factory: pytest.TempPathFactory, migrated_mlflow: Path) -> Path:
    """A folder with documents that everyone may read, others for finance, and a home in which they are indexed."""
    folder = tmp_path_factory.mktemp("examples")
    for name in ("notes", "private", "home"):
        (folder / name).mkdir()
    for number, tool in enumerate(TOOLS):
        (folder / "notes" / f"{tool.lower()}.md").write_text(page(number))
    for number in range(4):
        text = (
            page(number).replace(TOOLS[number], f"{SECRET}{number}").replace(TOOLS[number].lower(), f"obsidian{number}")
        )
        (folder / "private" / f"plan{number}.md").write_text(text)
    save_chat_model(folder / "model")
    shutil.copy(migrated_mlflow, folder / "home" / "mlflow.db")
    (folder / "params.yaml").write_text(yaml.safe_dump(raw_params(folder)))
    index_once(folder)
    return folder


@pytest.fixture(scope="module")
def examples(refreshed: Path) -> list[Example]:
    """One training set that several tests look at."""
    write_golden(refreshed, GOLDEN)
    given = params(refreshed, examples={"unanswerable_fraction": 0.25, "replay_fraction": 0.1})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ALMANAC_HOME", str(refreshed / "home"))
        built = build_training_set(given, Settings(), refreshed / "out")
    return list(read_examples(built.path))


@pytest.fixture
def folder(refreshed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the home with golden questions of the test's own."""
    shutil.copytree(refreshed / "home", tmp_path / "home")
    (tmp_path / "model").symlink_to(refreshed / "model")
    monkeypatch.setenv("ALMANAC_HOME", str(tmp_path / "home"))
    write_golden(tmp_path, GOLDEN)
    return tmp_path


@pytest.fixture
def settings(folder: Path) -> Settings:
    return Settings()


# --- what an example is ---


@pytest.mark.slow
def test_synthetic_answers_are_spans_of_the_passages_that_they_cite(examples: list[Example]) -> None:
    answered = [example for example in examples if example.origin == "synthetic" and example.answerable]
    assert len(answered) == 24
    for example in answered:
        span = example.answer.rpartition(" ")[0]
        assert all(span in folded(example.passages[number - 1].text) for number in example.support)
        others = [text for n, text in enumerate(example.passages, start=1) if n not in example.support]
        assert all(span not in folded(other.text) for other in others)


@pytest.mark.slow
def test_asked_share_is_unanswerable_and_no_passage_holds_the_answer(examples: list[Example]) -> None:
    asked = [example for example in examples if example.origin != "replay"]
    assert 0.2 <= sum(not example.answerable for example in asked) / len(asked) <= 0.3
    answers = {
        example.question: example.answer.rpartition(" ")[0]
        for example in examples
        if example.answerable and example.origin == "synthetic"
    }
    for example in examples:
        if not example.answerable and example.origin != "replay":
            assert example.answer == NOT_FOUND
            answer = answers.get(example.question)
            assert answer is None or all(answer not in folded(passage.text) for passage in example.passages)


@pytest.mark.slow
def test_golden_train_questions_enter_and_the_others_and_their_documents_do_not(examples: list[Example]) -> None:
    assert {example.how.partition(",")[0] for example in examples if example.origin == "golden"} == {
        "g-train-0",
        "g-train-1",
        "g-none",
    }
    shown = {
        split: {d for e in examples if e.split == split for d in e.document_ids} for split in ("train", "validation")
    }
    assert "notes:quorum.md" not in shown["train"] | shown["validation"]
    assert "notes:mosaic.md" not in shown["train"]


@pytest.mark.slow
def test_same_inputs_give_the_same_bytes(folder: Path) -> None:
    first = build_training_set(params(folder), Settings(), folder / "one")
    second = build_training_set(params(folder), Settings(), folder / "two")
    assert first.sha256 == second.sha256
    assert (folder / "one" / "manifest.json").read_bytes() == (folder / "two" / "manifest.json").read_bytes()


@pytest.mark.slow
def test_replayed_prompts_are_answered_and_carry_no_passage(examples: list[Example], refreshed: Path) -> None:
    replayed = [example for example in examples if example.origin == "replay"]
    [kept] = (refreshed / "home" / "cache").glob("replay-*.json")
    assert all(example.passages == () and example.answer for example in replayed)
    assert {example.question for example in replayed} <= json.loads(kept.read_text()).keys()


# --- who may read what ---


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_restricted_document_is_in_no_example(folder: Path, seed: int) -> None:
    write_golden(folder, [*GOLDEN, question("g-private", 0, "train") | {"document": "private:plan0.md"}])
    build(folder, examples={"seed": seed, "random_distractor_fraction": 0.5})
    for path in (folder / "out").rglob("*"):
        assert not path.is_file() or SECRET.lower() not in path.read_text().lower()


@pytest.mark.slow
def test_document_that_was_restricted_after_the_refresh_is_in_no_example(folder: Path) -> None:
    record_changes(connect(Settings()), {"notes:harrow.md": ["finance"]})
    examples = build(folder)
    assert all("notes:harrow.md" not in example.document_ids for example in examples)
    assert all("Harrow is a workbench" not in passage.text for example in examples for passage in example.passages)


@pytest.mark.slow
def test_audience_of_finance_learns_from_its_documents(folder: Path) -> None:
    examples = build(folder, examples={"audience": "finance", "num_synthetic": 60})
    assert any(document.startswith("private:") for example in examples for document in example.document_ids)


# --- contamination ---


@pytest.mark.slow
def test_test_question_among_the_training_questions_stops_and_is_named(folder: Path) -> None:
    planted = question("g-planted", 4, "train", text=GOLDEN[3]["question"].replace("How much", "How much of the"))
    write_golden(folder, [*GOLDEN, planted])
    with pytest.raises(GateError, match=r"g-planted.*g-test-3"):
        build(folder)
    assert not (folder / "out" / "examples.jsonl").exists()


@pytest.mark.slow
def test_rated_answer_to_a_test_question_stops_and_names_the_trace(folder: Path, settings: Settings) -> None:
    # Its text is about another document, so that only its words can give it away.
    write_golden(folder, [*GOLDEN, question("g-test-z", 3, "test", text="What does the `zephyr_limit` option set?")])
    trace_id = ask(settings, folder, "What does the `zephyr_limit` option set?")
    rate(settings, trace_id, "ann", True)
    with pytest.raises(GateError, match=rf"{trace_id}.*g-test-z"):
        build(folder)


@pytest.mark.slow
def test_synthetic_question_that_evaluation_asks_is_left_out_and_counted(folder: Path) -> None:
    write_golden(folder, [*GOLDEN, question("g-test-z", 3, "test", text="What does `zephyr_limit` do?")])
    built = build_training_set(params(folder, examples={"num_synthetic": 200}), Settings(), folder / "out")
    assert built.left_out["synthetic: is a golden question of validation or test"] >= 1
    assert all("zephyr_limit" not in example.question for example in read_examples(built.path))


# --- feedback ---


def ask(settings: Settings, folder: Path, text: str, groups: Sequence[str] = ()) -> str:
    """Answer and trace as the server does, with the longest line of the first passage."""
    index = LiveIndex(params(folder), settings)

    def answer(passages: Sequence[Passage]) -> Answer:
        sentence = max(passages[0].text.splitlines(), key=len)
        return Answer(f"{sentence.rstrip('.')} [1].", "answer", None, (), (), tuple(passages), "prompt", 1, 1)

    context = TraceContext("1", "base", tuple(groups))
    _, trace_id = traced(
        text, lambda: index.search(Request(text, groups=tuple(groups))), answer, context=context, settings=settings
    )
    flush_traces()
    assert trace_id is not None
    return trace_id


def rate(settings: Settings, trace_id: str, user: str, up: bool, correction: str | None = None) -> None:
    import mlflow
    from mlflow.entities import AssessmentSource

    mlflow.set_tracking_uri(settings.tracking_uri)
    person = AssessmentSource(source_type="HUMAN", source_id=user)
    mlflow.log_feedback(trace_id=trace_id, name="user_rating", value=up, source=person)
    if correction is not None:
        mlflow.log_expectation(trace_id=trace_id, name="expected_response", value=correction, source=person)


def of_feedback(examples: Sequence[Example]) -> dict[str, Example]:
    """By trace, the answerable ones and those that were abstentions from the start."""
    return {
        example.how.removeprefix("trace "): example
        for example in examples
        if example.origin == "feedback" and "left out" not in example.how
    }


@pytest.mark.slow
def test_rated_answers_become_examples(folder: Path, settings: Settings) -> None:
    liked = ask(settings, folder, "What is the workbench Zephyr for?")
    corrected = ask(settings, folder, "What does the easel_limit option set?")
    disliked = ask(settings, folder, "What does Fathom sort?")
    rate(settings, liked, "ann", True)
    rate(settings, corrected, "ann", False, "the largest number of records that are read at once")
    rate(settings, disliked, "ann", False)

    found = of_feedback(build(folder, examples=NO_SYNTHETIC))

    assert found.keys() == {liked, corrected}
    assert "workbench for sorting" in found[liked].answer
    assert found[liked].rejected is None
    assert found[corrected].answer.startswith("the largest number of records that are read at once [")
    assert found[corrected].rejected


@pytest.mark.slow
def test_latest_vote_of_each_user_counts_once(folder: Path, settings: Settings) -> None:
    liked = ask(settings, folder, "What is the workbench Zephyr for?")
    for user, up in (("ann", True), ("ann", True), ("ann", True), ("bob", False), ("cid", False)):
        rate(settings, liked, user, up)
    assert of_feedback(build(folder, examples=NO_SYNTHETIC)) == {}
    rate(settings, liked, "bob", True)
    assert of_feedback(build(folder, examples=NO_SYNTHETIC)).keys() == {liked}


@pytest.mark.slow
def test_trace_that_showed_a_restricted_document_is_left_out_as_a_whole(folder: Path, settings: Settings) -> None:
    liked = ask(settings, folder, f"What is {SECRET}1 for?", groups=["finance"])
    rate(settings, liked, "ann", True)
    assert of_feedback(build(folder, examples=NO_SYNTHETIC)) == {}


# --- gate and versions ---


@pytest.mark.slow
def test_stopped_gate_leaves_a_report_and_no_examples(folder: Path) -> None:
    with pytest.raises(GateError, match="at least 5000 examples"):
        build(folder, examples=NO_SYNTHETIC, example_gate={"min_examples": 5000})
    assert not (folder / "out" / "examples.jsonl").exists()
    assert "Stopped" in (folder / "out" / "report" / "gate.html").read_text()


@pytest.mark.slow
def test_quarantined_examples_are_kept_with_their_reasons(folder: Path) -> None:
    short = {"expect": "expect_column_values_to_be_between", "column": "num_answer_characters", "max_value": 30}
    gate = {"max_quarantined_fraction": 1.0, "rules": [short | {"on_fail": "quarantine"}]}
    built = build_training_set(params(folder, example_gate=gate), Settings(), folder / "out")
    held = [json.loads(line) for line in (folder / "out" / "report" / "quarantine.jsonl").read_text().splitlines()]
    assert len(held) == built.quarantined > 0
    assert all("num_answer_characters" in entry["reason"] for entry in held)
    assert not {entry["example_id"] for entry in held} & {example.example_id for example in read_examples(built.path)}


@pytest.mark.slow
def test_training_set_comes_back_by_its_tag(folder: Path, settings: Settings) -> None:
    first = build_training_set(params(folder), settings, folder / "one")
    second = build_training_set(params(folder, examples={"seed": 8}), settings, folder / "two")
    assert version_training_set(settings, first).tag == "examples-0001"
    assert version_training_set(settings, first).tag == "examples-0001"
    assert version_training_set(settings, second).tag == "examples-0002"
    registry = Registry(settings.registry, settings.remote, folder=FOLDER)
    assert sorted(registry.tags("examples-*")) == ["examples-0001", "examples-0002"]
    shutil.rmtree(settings.registry / ".dvc" / "cache")
    shutil.rmtree(settings.registry / "examples")

    registry.restore("examples-0001", folder / "back")

    restored = read_training_set(folder / "back")
    assert restored.sha256 == first.sha256
    assert restored.path.read_bytes() == first.path.read_bytes()
    with pytest.raises(ConfigurationError, match="examples-0009"):
        registry.restore("examples-0009", folder / "other")


@pytest.mark.slow
def test_training_set_that_was_changed_by_hand_is_not_versioned(folder: Path, settings: Settings) -> None:
    built = build_training_set(params(folder, examples=NO_SYNTHETIC), settings, folder / "out")
    with built.path.open("a") as stream:
        stream.write("\n")
    with pytest.raises(CorruptionError, match="must have sha256"):
        version_training_set(settings, built)


@pytest.mark.slow
def test_teacher_questions_enter_the_training_set(endpoint: tuple[str, list[dict[str, Any]]], folder: Path) -> None:
    teacher = {"endpoint": endpoint[0], "model": "wise", "max_tokens": 3000}
    built = build_training_set(params(folder, examples={"teacher": teacher}), Settings(), folder / "out")
    assert built.left_out["teacher: the answer is not in the passage"] > 0
    assert len(endpoint[1]) >= 1
