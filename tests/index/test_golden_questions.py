"""The golden questions of the default corpus: the file itself, without the corpus."""

import json
import re
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pytest

GOLDEN = Path(__file__).parents[2] / "golden" / "packages.jsonl"
FIELDS = ["id", "question", "answer", "document", "anchor", "topic", "split"]
SHARES = {"train": 0.5, "validation": 0.2, "test": 0.3}
BENCHMARK_ONLY = re.compile(r"packages:(sentence-transformers|llama-index|langchain|trl$|peft$|ir-measures|honcho)")

Question = dict[str, Any]


@pytest.fixture(scope="module")
def questions() -> list[Question]:
    return [json.loads(line) for line in GOLDEN.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def answerable(questions: list[Question]) -> list[Question]:
    return [question for question in questions if question["document"] is not None]


@pytest.fixture(scope="module")
def unanswerable(questions: list[Question]) -> list[Question]:
    return [question for question in questions if question["document"] is None]


def test_every_question_has_all_fields_in_order(questions: list[Question]) -> None:
    assert all(list(question) == FIELDS for question in questions)


def test_ids_are_unique_and_well_formed(questions: list[Question]) -> None:
    ids = [question["id"] for question in questions]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"pk-\d{3}", id_) for id_ in ids)


def test_no_question_is_asked_twice(questions: list[Question]) -> None:
    asked = Counter(" ".join(re.findall(r"\w+", question["question"].lower())) for question in questions)
    assert [text for text, times in asked.items() if times > 1] == []


def test_there_are_enough_questions_over_enough_documents(
    answerable: list[Question], unanswerable: list[Question]
) -> None:
    assert len(answerable) >= 155
    assert len(unanswerable) >= 30
    assert len({question["document"] for question in answerable}) >= 70


def test_no_document_has_more_than_four_questions(answerable: list[Question]) -> None:
    times = Counter(question["document"] for question in answerable)
    assert {document: count for document, count in times.items() if count > 4} == {}


def test_documents_are_named_by_normalised_distribution_name(answerable: list[Question]) -> None:
    assert all(re.fullmatch(r"packages:[a-z0-9]+(-[a-z0-9]+)*", question["document"]) for question in answerable)


def test_no_question_is_on_a_document_present_for_benchmarks_only(answerable: list[Question]) -> None:
    assert [question["id"] for question in answerable if BENCHMARK_ONLY.match(question["document"])] == []


def test_all_questions_on_one_document_are_in_one_split(answerable: list[Question]) -> None:
    splits = defaultdict(set)
    for question in answerable:
        splits[question["document"]].add(question["split"])
    assert [document for document, names in splits.items() if len(names) > 1] == []


@pytest.mark.parametrize("kind", ["answerable", "unanswerable"])
def test_splits_have_their_shares(kind: str, request: pytest.FixtureRequest) -> None:
    chosen: list[Question] = request.getfixturevalue(kind)
    counts = Counter(question["split"] for question in chosen)
    assert set(counts) == set(SHARES)
    for split, share in SHARES.items():
        assert counts[split] / len(chosen) == pytest.approx(share, abs=0.05)


def test_anchors_are_at_most_six_words_on_one_line(answerable: list[Question]) -> None:
    for question in answerable:
        anchor = question["anchor"]
        assert anchor == " ".join(anchor.split()), question["id"]
        assert 1 <= len(anchor.split()) <= 6, question["id"]


def test_anchors_hold_no_markup_that_parsing_changes(answerable: list[Question]) -> None:
    assert [question["id"] for question in answerable if re.search(r"`|\\|\*\*|:\w+:", question["anchor"])] == []


def test_questions_do_not_give_their_anchor_away(answerable: list[Question]) -> None:
    given = [question["id"] for question in answerable if question["anchor"].lower() in question["question"].lower()]
    assert given == []


def test_reference_answers_are_short(answerable: list[Question]) -> None:
    assert all(1 <= len(question["answer"].split()) <= 40 for question in answerable)


def test_unanswerable_questions_have_neither_answer_nor_document_nor_anchor(unanswerable: list[Question]) -> None:
    assert all(question["answer"] is question["document"] is question["anchor"] is None for question in unanswerable)


def test_unanswerable_questions_share_their_topics_with_answerable_ones(
    answerable: list[Question], unanswerable: list[Question]
) -> None:
    assert {question["topic"] for question in unanswerable} <= {question["topic"] for question in answerable}


def test_questions_end_with_a_question_mark_and_do_not_speak_of_the_readme(questions: list[Question]) -> None:
    assert all(question["question"].endswith("?") for question in questions)
    assert [question["id"] for question in questions if "readme" in question["question"].lower()] == []
