"""Answers rated down are told apart: information was missing, or it was there and said badly."""

from dataclasses import replace

import pytest

from tasks.advise.ratings import MIN_RATED, kind_of, triage
from tasks.answer.prompt import NOT_FOUND
from tasks.model.examples.feedback import RatedAnswer

PASSAGE = "The pump of the cellar runs from six to nine in the morning, and stands still on Sundays."
DOWN = RatedAnswer(
    trace_id="tr-1",
    question="When does the pump run?",
    answer="In the morning.",
    abstained=False,
    chunk_ids=("c1",),
    document_ids=("notes:pump.md",),
    votes={"ann": False},
    correction=None,
    outcome="answer",
    supported=(True, True),
    shown=(PASSAGE,),
)


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({}, "form"),
        ({"supported": (True, False)}, "missing"),
        ({"supported": (False, False, True)}, "missing"),
        ({"abstained": True, "outcome": "nothing_found", "supported": ()}, "missing"),
        ({"supported": ()}, "undecided"),
        ({"supported": (), "correction": "The pump runs from six to nine in the morning. [1]"}, "form"),
        ({"supported": (), "correction": "The pump in the attic starts at noon every second Tuesday."}, "missing"),
        ({"supported": (True,), "correction": NOT_FOUND}, "undecided"),
    ],
)
def test_kind_of_an_answer_rated_down(changes: dict[str, object], kind: str) -> None:
    assert kind_of(replace(DOWN, **changes)) == kind  # type: ignore[arg-type]


def test_answers_rated_up_are_no_complaints() -> None:
    counted = triage([replace(DOWN, votes={"ann": True}), DOWN])
    assert (counted.rated, counted.down, counted.form) == (2, 1, 1)
    assert counted.examples == {"form": (DOWN.question,)}


def test_few_complaints_say_nothing_of_their_share() -> None:
    missing = replace(DOWN, supported=(False,))
    assert triage([DOWN] * (MIN_RATED - 1)).fact() is None
    fact = triage([DOWN] * 3 + [missing] * 9).fact()
    assert fact is not None and fact.value == 0.25 and fact.shown == "3 of 12"


def test_undecided_complaints_do_not_count_towards_a_share() -> None:
    assert triage([DOWN] * 5 + [replace(DOWN, supported=())] * 20).fact() is None
