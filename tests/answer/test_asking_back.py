"""Asking back: where several documents may be meant, a question names them; where one is, it is answered."""

from dataclasses import replace

import pytest

from benchmarks.asking_back.__main__ import labelled
from tasks.answer.asking_back.choices import lacks_subject
from tasks.answer.asking_back.clarify import ask_back
from tasks.answer.conversation import Turn, last_turn
from tasks.index.passage import Passage


def passage(title: str, text: str, similarity: float = 0.5, headings: str = "") -> Passage:
    uri = f"https://wiki.example/{title}/{headings}"
    return Passage(uri, uri, "wiki", uri, title, headings, text, 0, len(text), 0.0, similarity, None)


INSTALL = [
    passage("Zephyr", "Install zephyr with pip from the package index. It needs a broker.", 0.4),
    passage("Lockbox", "Install lockbox with pip. Nothing else is needed to run it.", 0.38),
    passage("Lockbox", "Lockbox has an installer for Windows as well, and one for macOS.", 0.3),
]
TABLES = [
    passage("Gridline", "Call show to print a table of rows to the terminal, aligned by column.", 0.6),
    passage("Columns", "This library can print any table in colours, with borders around it.", 0.55),
    passage("Zephyr", "Zephyr prints the number of jobs that wait.", 0.3),
]


def test_question_without_a_subject_is_asked_back_with_the_names_of_the_documents() -> None:
    answer = ask_back("How do I install it?", INSTALL)

    assert answer is not None
    assert answer.text.startswith("Which one do you mean: **Zephyr** [1] or **Lockbox** [2]?")
    assert (answer.outcome, answer.abstained) == ("clarification", True)
    assert [(citation.marker, citation.title) for citation in answer.citations] == [(1, "Zephyr"), (2, "Lockbox")]
    assert answer.citations[1].quote in INSTALL[1].text
    assert (answer.num_prompt_tokens, answer.num_completion_tokens) == (0, 0)


def test_what_two_documents_answer_as_well_is_asked_back() -> None:
    answer = ask_back("How do I print a table?", TABLES)

    assert answer is not None
    assert "**Gridline** [1] or **Columns** [2]" in answer.text
    assert "Zephyr" not in answer.text


@pytest.mark.parametrize(
    ("question", "passages"),
    [
        ("How do I install zephyr?", INSTALL),
        ("How do I install boreas?", INSTALL),
        ("How do I print a table with Gridline?", TABLES),
        ("How do I print a table with colours and borders?", [TABLES[1], replace(TABLES[0], similarity=0.3)]),
        ("How do I install it?", INSTALL[1:]),
        ("How do I bake bread?", TABLES),
        ("Is it possible to print borders around cells of Gridline?", TABLES),
        ("What?", []),
    ],
)
def test_clear_question_is_answered(question: str, passages: list[Passage]) -> None:
    assert ask_back(question, passages) is None


def test_what_each_document_says_stands_below_a_late_one_too() -> None:
    late = [TABLES[0], *[TABLES[2]] * 5, TABLES[1]]
    answer = ask_back("How do I print a table?", late)

    assert answer is not None
    assert "**Gridline** [1] or **Columns** [7]" in answer.text
    assert TABLES[0].text in answer.text
    assert TABLES[1].text in answer.text


def test_documents_of_one_title_are_told_apart_by_their_headings() -> None:
    alike = [
        replace(entry, title="Guide", headings=name) for entry, name in zip(TABLES, ("Grid", "Columns"), strict=False)
    ]
    answer = ask_back("How do I print a table?", alike)

    assert answer is not None
    assert "**Guide \u203a Grid** [1] or **Guide \u203a Columns** [2]" in answer.text


def test_at_most_four_documents_are_named() -> None:
    many = [passage(name, f"Install {name} with pip.") for name in ("Alpha", "Beta", "Gamma", "Delta", "Epsilon")]
    answer = ask_back("How do I install it?", many)

    assert answer is not None
    assert len(answer.citations) == 4


@pytest.mark.parametrize(
    "turn",
    [
        last_turn(["What does zephyr do?", "How do I install it?"]),
        last_turn(["How do I install it?", "zephyr"]),
        Turn("How do I install it?", rewritten="How do I install zephyr?"),
        Turn("Thanks"),
    ],
)
def test_conversation_that_has_a_subject_is_never_asked_back(turn: Turn) -> None:
    assert ask_back(turn.question, INSTALL, turn) is None


@pytest.mark.parametrize("choice", ["Lockbox", "lockbox.", "I mean lockbox"])
def test_name_that_is_given_then_is_answered_with_what_was_asked(choice: str) -> None:
    turn = last_turn(["How do I install it?", choice])

    assert turn.about(["Lockbox", "Zephyr"]) == f"How do I install it? ({choice.strip('.')})"
    assert ask_back(turn.question, INSTALL, turn) is None


def test_few_words_that_name_no_document_are_no_choice() -> None:
    assert last_turn(["What does zephyr do?", "licence?"]).about(["Zephyr"]) == "licence? (zephyr)"
    assert last_turn(["How do I install it?", "with Docker?"]).about(["Zephyr"]) == "with Docker?"


def test_both_kinds_of_questions_have_two_halves_of_thirty_and_more() -> None:
    kinds = [kind for kind, _ in labelled()]

    assert {kind for kind in kinds if kinds.count(kind) < 30} == set()
    assert len(set(kinds)) == 4


@pytest.mark.parametrize(
    ("question", "lacks"),
    [
        ("How do I get started?", True),
        ("Which Python versions are supported?", True),
        ("Is it thread-safe?", True),
        ("How do I fix a text so that it shows umlauts again?", False),
        ("Is it possible to limit requests?", False),
        ("What is a task queue?", False),
    ],
)
def test_what_is_asked_of_any_project_lacks_a_subject(question: str, lacks: bool) -> None:
    assert lacks_subject(question) is lacks
