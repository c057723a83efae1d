"""Questions that rules and a teacher model ask of a passage."""

from pathlib import Path
from typing import Any

import pytest

from tasks.model.examples.synthetic import make_questions
from tasks.model.examples.teacher import Teacher
from tasks.params.examples import TeacherParams
from tests.model.examples_world import passage


@pytest.mark.parametrize(
    ("text", "asked", "answer"),
    [
        ("Zephyr is a small scheduler for batch jobs.", "What is Zephyr?", "a small scheduler for batch jobs"),
        (
            "The `max_runs` option sets how many jobs run.",
            "What does `max_runs` do in Zephyr?",
            "sets how many jobs run",
        ),
        ("- `--dry-run`: shows what would be done", "What is `--dry-run` for in Zephyr?", "shows what would be done"),
        ("Zephyr requires Python 3.11 or newer.", "What does Zephyr require?", "Python 3.11 or newer"),
        ("The Zephyr archive was written by Ada Research.", "What was the Zephyr archive written by?", "Ada Research"),
        (
            "```\npip install zephyr[redis]\n```",
            "How do I install Zephyr with its redis extra?",
            "pip install zephyr[redis]",
        ),
    ],
)
def test_rule_finds_the_question_in_the_text(text: str, asked: str, answer: str) -> None:
    assert (asked, answer) in {(made.question, made.answer) for made in make_questions(passage(text))}


@pytest.mark.parametrize(
    "text",
    [
        "It is a small scheduler for batch jobs.",
        "This option was added in a later release by somebody.",
        "```\nThe `x` option sets the size of the page.\n```",
        "See [the page](https://example.com) is a list of jobs that run.",
    ],
)
def test_rules_pass_over_what_names_no_subject(text: str) -> None:
    assert make_questions(passage(text)) == []


def test_teacher_stops_before_its_budget_is_spent(endpoint: tuple[str, list[dict[str, Any]]], tmp_path: Path) -> None:
    address, asked = endpoint
    teacher = Teacher(TeacherParams(endpoint=address, model="wise", max_tokens=1500), tmp_path)
    replies = [teacher.ask(passage(f"Snapshots are kept for ninety days in room {n}.")) for n in range(20)]
    assert replies[0] is not None
    assert replies[-1] is None
    assert teacher.num_tokens == 150 * len(asked) <= 1500


def test_teacher_with_too_small_a_budget_is_never_asked(
    endpoint: tuple[str, list[dict[str, Any]]], tmp_path: Path
) -> None:
    address, asked = endpoint
    teacher = Teacher(TeacherParams(endpoint=address, model="wise", max_tokens=300), tmp_path)
    assert teacher.ask(passage("Snapshots are kept for ninety days.")) is None
    assert asked == []


def test_teacher_question_whose_answer_is_not_in_the_passage_is_refused(
    endpoint: tuple[str, list[dict[str, Any]]], tmp_path: Path
) -> None:
    teacher = Teacher(TeacherParams(endpoint=endpoint[0], model="wise", max_tokens=5000), tmp_path)
    made = teacher.ask(passage("Snapshots are kept for ninety days."))
    assert made is not None
    assert [(entry.question, entry.answer) for entry in made] == [
        ("How long are snapshots kept by Zephyr?", "ninety days")
    ]
    assert teacher.num_refused == 1


def test_teacher_is_not_asked_twice_for_one_passage(endpoint: tuple[str, list[dict[str, Any]]], tmp_path: Path) -> None:
    wise = TeacherParams(endpoint=endpoint[0], model="wise", max_tokens=5000)
    first = Teacher(wise, tmp_path).ask(passage("Snapshots are kept for ninety days."))
    assert Teacher(wise, tmp_path).ask(passage("Snapshots are kept for ninety days.")) == first
    assert len(endpoint[1]) == 1
