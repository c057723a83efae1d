"""Evaluation on a hand-made shelf of passages; the real index and model in the slow tests of test_compare."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tasks.answer.answerer import Answerer
from tasks.answer.generators.base import Generation
from tasks.errors import CorruptionError
from tasks.index.golden import GoldenQuestion
from tasks.index.passage import Passage
from tasks.model.evaluation.evaluate import Evaluation, evaluate
from tasks.model.evaluation.metrics import Mode
from tasks.model.evaluation.probe_sets import GENERAL_QUESTIONS
from tasks.model.evaluation.questions import HeldOut, Retrieval
from tasks.model.examples.replay import PROMPTS
from tasks.params import Params
from tasks.settings import Settings
from tests.conftest import BASE_PARAMS, files_source, merged

NAMES = ("Agate", "Beryl", "Coral", "Diorite", "Epidote", "Flint")
COLOURS = ("crimson", "emerald", "orange", "gray", "olive", "black")


def passage(place: int) -> Passage:
    name, text = NAMES[place], f"The colour of {NAMES[place]} is {COLOURS[place]}."
    return Passage(f"c{place}", f"notes:{name}", "notes", "", name, "", text, 0, len(text), 1.0, 0.9, None)


SHELF = tuple(passage(place) for place in range(len(NAMES)))
QUESTIONS = [
    HeldOut(
        GoldenQuestion(f"q{n}", f"What colour is {name}?", COLOURS[n], f"notes:{name}", "colour", "stones", "test"),
        (0,),
    )
    for n, name in enumerate(NAMES)
]
LOST = HeldOut(GoldenQuestion("q9", "What colour is Zircon?", None, None, None, "stones", "test"), ())


@dataclass(frozen=True)
class OneDirection:
    """An embedder to which all texts mean the same: only their exact terms count."""

    identity: str = "none"

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        return np.ones((len(texts), 1), dtype=np.float32)

    def embed_questions(self, questions: Sequence[str]) -> np.ndarray:
        return self.embed(questions)


@dataclass(frozen=True)
class Shelf(Retrieval):
    """The passage of the stone that is asked for, then the others."""

    def __init__(self) -> None:
        data = SimpleNamespace(
            searched=(),
            corpus="corpus-0001",
            audience="everyone",
            index=SimpleNamespace(release="1", metrics={}, embedder=OneDirection()),
        )
        object.__setattr__(self, "data", data)
        object.__setattr__(self, "_passages", {})

    def search(self, question: str) -> tuple[Passage, ...]:
        return tuple(sorted(SHELF, key=lambda entry: entry.title not in question))

    def seconds(self, question: str) -> float:
        return 0.25


@dataclass
class Reader:
    """Answers with the sentence of the passage whose title the question names, and counts how often it is asked."""

    identity: str = "reader"
    context_length: int = 4096
    batches: list[int] = field(default_factory=list)

    def generate(self, messages: Sequence[Mapping[str, str]], *, max_new_tokens: int) -> Generation:
        return self.generate_many([messages], max_new_tokens=max_new_tokens)[0]

    def generate_many(
        self, conversations: Sequence[Sequence[Mapping[str, str]]], *, max_new_tokens: int
    ) -> list[Generation]:
        self.batches.append(len(conversations))
        return [Generation(self._draft(chat[-1]["content"]), 50, 7) for chat in conversations]

    def _draft(self, prompt: str) -> str:
        if "<passage>" not in prompt:
            return "Not in the documents." if "Agate" in prompt else "It is crimson."
        name = prompt.split("What colour is ")[1].split("?", maxsplit=1)[0]
        return f"The colour of {name} is crimson."

    def count_tokens(self, text: str) -> int:
        return len(text.split())

    def count_prompt_tokens(self, messages: Sequence[Mapping[str, str]]) -> int:
        return sum(self.count_tokens(message["content"]) for message in messages)


@pytest.fixture
def params(tmp_path: Path) -> Params:
    changes = {"sources": [files_source(tmp_path)]}
    return Params.model_validate(merged(BASE_PARAMS, changes))


@pytest.fixture
def here(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home")


def run(reader: Reader, params: Params, settings: Settings, *modes: Mode) -> Evaluation:
    answerer = Answerer("base", reader, params.generation)
    return evaluate(answerer, [*QUESTIONS, LOST], params, settings, retrieval=Shelf(), modes=modes, probes=())


def test_retrieval_answers_as_what_serves_does(params: Params, here: Settings) -> None:
    rows = {row.question_id: row for row in run(Reader(), params, here, "retrieval").rows}
    assert rows["q0"].answer == "The colour of Agate is crimson. [1]"
    assert (rows["q0"].cited, rows["q0"].holding, rows["q0"].contains) == ((1,), (1,), 1.0)
    assert rows["q1"].draft == rows["q1"].answer == "The colour of Beryl is crimson."
    assert (rows["q9"].answerable, rows["q9"].abstained, rows["q9"].groundedness) == (False, False, 0.0)


def test_closed_book_reads_the_question_alone_and_may_decline(params: Params, here: Settings) -> None:
    rows = {row.question_id: row for row in run(Reader(), params, here, "closed_book").rows}
    assert (rows["q0"].abstained, rows["q0"].f1, rows["q0"].read) == (True, 0.0, ())
    assert (rows["q1"].abstained, rows["q1"].answer) == (False, "It is crimson.")


def test_support_stands_at_every_place_in_oracle_and_nowhere_when_removed(params: Params, here: Settings) -> None:
    found = run(Reader(), params, here, "oracle", "removed")
    places = [row.holding for row in found.rows if row.mode == "oracle"]
    assert len(places) == len(QUESTIONS)
    assert len(set(places)) > 1
    assert all(len(place) == 1 for place in places)
    removed = [row for row in found.rows if row.mode == "removed"]
    assert len(removed) == len(QUESTIONS)
    assert not any(row.holding or row.answerable for row in removed)


def test_passage_that_holds_a_short_answer_is_no_distractor() -> None:
    shelf = Shelf()
    twin = replace(SHELF[1], chunk_id="c9", document_id="notes:Twin", title="Twin", text="Twin is crimson too.")
    object.__setattr__(shelf, "search", lambda question: (*SHELF, twin))
    assert twin not in shelf.distractors(QUESTIONS[0])
    assert SHELF[0] not in shelf.distractors(QUESTIONS[0])
    assert SHELF[2] in shelf.distractors(QUESTIONS[0])


def test_questions_are_asked_in_batches(params: Params, here: Settings) -> None:
    reader = Reader()
    run(reader, params, here, "closed_book")
    assert reader.batches == [4, 3]


def test_same_answerer_is_not_asked_twice(params: Params, here: Settings) -> None:
    first, again = Reader(), Reader()
    before = run(first, params, here, "retrieval")
    assert run(again, params, here, "retrieval") == before
    assert again.batches == []


def test_other_weights_or_parameters_are_asked_anew(params: Params, here: Settings) -> None:
    run(Reader(), params, here, "closed_book")
    other = Reader(identity="other")
    run(other, params, here, "closed_book")
    changed = params.model_copy(
        update={"evaluation": params.evaluation.model_copy(update={"max_new_tokens_closed_book": 5})}
    )
    reader = Reader()
    run(reader, changed, here, "closed_book")
    assert other.batches
    assert reader.batches


def test_kept_rows_that_were_cut_off_are_named(params: Params, here: Settings) -> None:
    run(Reader(), params, here, "closed_book")
    (path,) = (here.home / "cache" / "evaluations").rglob("closed_book.jsonl")
    path.write_text(path.read_text()[:100])
    with pytest.raises(CorruptionError, match="delete it"):
        run(Reader(), params, here, "closed_book")


def test_metrics_name_the_mode_unless_it_is_what_serves(params: Params, here: Settings) -> None:
    metrics = run(Reader(), params, here, "closed_book", "retrieval").metrics()
    assert metrics["contains"] == pytest.approx(1 / 6)
    assert metrics["closed_book_false_refusals"] == pytest.approx(1 / 6)
    assert metrics["abstention_recall"] == 0.0
    assert metrics["support_found"] == 1.0
    assert not any(name.startswith(("oracle", "retrieval")) for name in metrics)


def test_machine_seconds_hold_the_search(params: Params, here: Settings) -> None:
    rows = run(Reader(), params, here, "retrieval", "closed_book").rows
    assert all((row.machine_seconds >= 0.25) == (row.mode == "retrieval") for row in rows)


def test_no_question_of_the_forgetting_probe_is_replayed_in_training() -> None:
    replayed = {prompt.casefold() for prompt in PROMPTS}
    assert replayed.isdisjoint(question.casefold() for question, _ in GENERAL_QUESTIONS)
