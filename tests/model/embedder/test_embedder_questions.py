"""The questions that measure an embedder: which are held out, and by what metrics, in search and by vectors alone."""

from typing import Any

import numpy as np
import pytest

from tasks.errors import GateError
from tasks.model.embedder.pairs import EmbedderQuestion, with_enough_held_out
from tasks.model.embedder.questions import held_out, questions_of
from tasks.model.embedder.ranking import cross_entropies, ranking_values
from tasks.params import SearchParams
from tests.conftest import BASE_PARAMS
from tests.model.embedder.embedder_pairs import TOPICS, chunk, pair, some_pairs


def test_ranking_metrics_are_those_of_a_worked_example() -> None:
    scores = np.array([[0.9, 0.8, 0.7], [0.1, 0.2, 0.3]])
    relevant = np.array([[False, True, True], [False, False, True]])
    values = ranking_values(scores, relevant)
    assert values["recall_at_1"].tolist() == [0.0, 1.0]
    assert values["mrr_at_10"].tolist() == [0.5, 1.0]
    ideal = 1 + 1 / np.log2(3)
    assert values["ndcg_at_10"].tolist() == pytest.approx([(1 / np.log2(3) + 0.5) / ideal, 1.0])


def test_equal_scores_do_not_flatter() -> None:
    values = ranking_values(np.zeros((1, 4)), np.array([[True, False, False, False]]))
    assert values["mrr_at_10"].tolist() == [0.25]


def test_questions_that_choose_the_step_share_no_document_with_those_that_measure() -> None:
    selection, report = held_out(some_pairs(), [])
    assert not set(selection.questions) & set(report.questions)
    assert (len(selection.questions), len(report.questions)) == (3, 9)


def test_questions_that_measure_are_ranked_over_the_chunks_of_the_index() -> None:
    others = [chunk(topic, 9) for topic in TOPICS]
    selection, report = held_out(some_pairs(), others)
    assert {other.text for other in others} <= set(report.texts)
    assert not {other.text for other in others} & set(selection.texts)


def test_golden_questions_measure_apart_and_choose_no_step() -> None:
    golden = [pair(f"golden {topic}", "golden") for topic in TOPICS[:3]]
    selection, report = held_out([*golden, *some_pairs()], [])
    assert report.num_golden == 3
    assert report.questions[-3:] == tuple(one.question for one in golden)
    assert not set(selection.questions) & set(report.questions)
    assert (len(selection.questions), len(report.questions)) == (3, 12)


def asked(count: int, split: str = "train") -> list[EmbedderQuestion]:
    return [EmbedderQuestion(f"{split} {n}?", (f"{n}",), f"{split}-{n // 2}", split) for n in range(count)]  # type: ignore[arg-type]


@pytest.mark.parametrize(("train", "validation", "expected"), [(800, 100, 360), (2000, 100, 400), (800, 500, 500)])
def test_so_many_questions_are_held_out_that_a_gain_can_be_seen(train: int, validation: int, expected: int) -> None:
    questions = asked(train) + asked(validation, "validation")
    split = with_enough_held_out(questions)
    held = [question for question in split if question.split == "validation"]
    assert len(held) == expected
    assert set(asked(validation, "validation")) <= set(held)
    assert [question.question for question in split] == [question.question for question in questions]
    clusters = {name: {one.cluster for one in split if one.split == name} for name in ("train", "validation")}
    assert not clusters["train"] & clusters["validation"]


def test_loss_of_held_out_questions_is_that_of_a_worked_example() -> None:
    relevant = np.array([[True, False], [True, True]])
    values = cross_entropies(np.log(np.array([[1.0, 3.0], [1.0, 3.0]])), relevant)
    assert values.tolist() == pytest.approx([np.log(4), 0.0])


def test_a_questions_pool_holds_its_chunk_and_its_negatives() -> None:
    questions = questions_of([pair("ledger")], [chunk("pager"), chunk("pager", 1)], max_chunks=4)
    assert len(questions.texts) == 4
    assert questions.relevant.tolist() == [[True, False, False, False]]


class Near:
    """Embeds what it was given: a question as the first of these vectors, texts as the others."""

    def __init__(self, *vectors: tuple[float, float]) -> None:
        self.vectors = np.array(vectors, dtype=np.float32)

    def embed_questions(self, questions: Any) -> Any:
        return self.vectors[:1]

    def embed(self, texts: Any) -> Any:
        return self.vectors[1:]


def searching(**changes: Any) -> SearchParams:
    return SearchParams(**(BASE_PARAMS["search"] | changes))


@pytest.mark.parametrize("fusion", ["score", "rrf"])
def test_what_the_words_find_already_is_no_gain_of_the_vectors(fusion: str) -> None:
    search = searching(fusion=fusion, candidates=5, vector_weight=0.4)
    (row,) = [pair("ledger", "validation", words={"ledger-0": 9.0, "ledger-2": 1.0})]
    questions = questions_of([row], max_chunks=None)
    worse: Any = Near((1, 0), (0.8, 0.6), (1, 0), (0.6, 0.8))
    better: Any = Near((1, 0), (1, 0), (0.8, 0.6), (0.6, 0.8))

    before, after = questions.values(worse, search), questions.values(better, search)

    assert [float(values["vector_mrr_at_10"][0]) for values in (before, after)] == [0.5, 1.0]
    assert [float(values["mrr_at_10"][0]) for values in (before, after)] == [1.0, 1.0]


@pytest.mark.parametrize(("mode", "place"), [("hybrid", 2), ("vector", 3), ("full_text", 1)])
def test_a_chunk_is_found_where_a_leg_of_the_mode_finds_it(mode: str, place: int) -> None:
    search = searching(mode=mode, candidates=1, vector_weight=0.6, top_k=1, rerank_candidates=1)
    questions = questions_of([pair("ledger", "validation", words={"ledger-0": 9.0})], max_chunks=None)
    embedder: Any = Near((1, 0), (0, 1), (1, 0), (0.6, 0.8))
    assert questions.values(embedder, search)["mrr_at_10"].tolist() == [1 / place]


def test_too_few_pairs_say_how_many_are_needed() -> None:
    with pytest.raises(GateError, match=r"8 pairs for training and 8 for validation .* found 3 and 0"):
        held_out([pair(topic) for topic in TOPICS[:3]], [])
