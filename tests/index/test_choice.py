"""Which hits are shown, and which documents a question names by their titles."""

import datetime as dt
from typing import Any

import pytest

from tasks.index.search.choice import chosen, newest_first
from tasks.index.search.neighbours import Hit
from tasks.index.search.titles import MAX_DOCUMENTS_OF_TITLE, Titles, names

OLD, NEW = dt.datetime(2024, 1, 1, tzinfo=dt.UTC), dt.datetime(2025, 1, 1, tzinfo=dt.UTC)
FUTURE = dt.datetime(2999, 1, 1, tzinfo=dt.UTC)
TITLES = ["zephyr", "zephyr-render", "python-boreas", "Notus guide", "the", "", "a.b", *["README"] * 4]


def hit(
    title: str,
    score: float,
    *,
    vector: tuple[float, ...] = (1.0, 0.0),
    updated: dt.datetime | None = None,
    text: str | None = None,
) -> Hit:
    row: dict[str, Any] = {"document_id": title, "title": title, "vector": list(vector), "updated_at": updated}
    return Hit(row | {"text": f"{title} {score}" if text is None else text}, score)


def titles(hits: list[Hit], question: str, *, top_k: int, cap: int = 5) -> list[str]:
    best = chosen(iter(hits), question, top_k=top_k, max_chunks_per_document=cap, language="English")
    return [entry.row["title"] for entry in best]


def test_each_document_that_the_question_names_is_shown_first() -> None:
    hits = [hit("dill", 0.9), hit("dill", 0.8), hit("pickle", 0.7), hit("cloudpickle", 0.6)]
    assert titles(hits, "difference between dill and cloudpickle", top_k=3) == ["dill", "cloudpickle", "dill"]


def test_one_named_document_changes_nothing() -> None:
    hits = [hit("pickle", 0.9), hit("dill", 0.8), hit("dill", 0.7)]
    assert titles(hits, "what does dill do", top_k=3) == ["pickle", "dill", "dill"]


def test_no_document_takes_more_than_its_share() -> None:
    assert titles([hit("a", 0.9), hit("a", 0.8), hit("b", 0.7)], "q", top_k=3, cap=1) == ["a", "b"]


def test_newer_version_of_the_same_fact_comes_first_at_the_same_scores() -> None:
    best = newest_first([hit("fee 2026", 0.81, updated=OLD), hit("fee 2027", 0.80, updated=NEW)])
    assert [(entry.row["title"], entry.score) for entry in best] == [("fee 2027", 0.81), ("fee 2026", 0.80)]


def test_date_does_not_move_what_says_something_else() -> None:
    best = newest_first([hit("fee", 0.9, updated=OLD), hit("leave", 0.8, vector=(0.0, 1.0), updated=NEW)])
    assert [entry.row["title"] for entry in best] == ["fee", "leave"]
    assert newest_first([]) == []


def test_copies_of_a_text_take_one_place() -> None:
    copies = [hit(f"copy {number}", 0.9 - number / 100, text="The desk opens\nat NINE.") for number in range(8)]
    hits = [*copies, hit("other", 0.5, text="The desk opens at ten."), hit("last", 0.4)]
    assert titles(hits, "when does the desk open", top_k=3) == ["copy 0", "other", "last"]


def test_the_newest_of_several_copies_is_shown_in_the_place_of_the_best() -> None:
    hits = [hit("old", 0.9, updated=OLD, text="Same."), hit("b", 0.8), hit("new", 0.7, updated=NEW, text="same.")]
    assert titles(hits, "q", top_k=3) == ["new", "b"]


def test_texts_that_differ_in_a_sign_are_no_copies() -> None:
    hits = [hit("a", 0.9, text="It holds at -5."), hit("b", 0.8, text="It holds at 5.")]
    assert titles(hits, "q", top_k=3) == ["a", "b"]


def test_near_copies_of_one_source_crowd_nothing_out() -> None:
    flood = [hit(f"copy {number}", 0.9 - number / 100, text=f"The fee is {number} euros.") for number in range(12)]
    right = hit("right", 0.5, vector=(0.8, 0.6), text="A fee of 5 euros is due.")
    assert titles([*flood, right], "how high is the fee", top_k=4) == ["copy 0", "copy 1", "right", "copy 2"]


def test_near_copy_with_a_word_of_the_question_keeps_its_place() -> None:
    sheets = [hit(name, 0.9 - number / 100) for number, name in enumerate(("mercury", "venus", "saturn"))]
    other = hit("other", 0.5, vector=(0.0, 1.0))
    assert titles([*sheets, other], "how heavy is saturn", top_k=3) == ["mercury", "venus", "saturn"]


def test_date_that_has_not_come_yet_says_nothing() -> None:
    hits = [hit("fee", 0.9, updated=NEW), hit("fee of the future", 0.8, updated=FUTURE)]
    assert [entry.row["title"] for entry in newest_first(hits)] == ["fee", "fee of the future"]
    copies = [hit("a", 0.9, updated=NEW, text="Same."), hit("b", 0.8, updated=FUTURE, text="same.")]
    assert titles(copies, "q", top_k=1) == ["a"]


@pytest.mark.parametrize(
    ("question", "named"),
    [
        ("How do I set a limit in Zephyr?", ["zephyr"]),
        ("How do I draw with zephyr_render?", ["zephyr-render"]),
        ("zephyr or zephyr-render?", ["zephyr-render", "zephyr"]),
        ("What does boreas do?", ["python-boreas"]),
        ("What does python-boreas do?", ["python-boreas"]),
        ("Where is the Notus guide?", ["Notus guide"]),
        ("Is there a guide to python?", []),
        ("What is a zephyrus?", []),
        ("the README", []),
        ("", []),
    ],
)
def test_titles_that_a_question_names(question: str, named: list[str]) -> None:
    assert Titles(TITLES).named_in(question) == named


def test_title_of_many_documents_names_none() -> None:
    assert Titles(["Overview"] * MAX_DOCUMENTS_OF_TITLE).named_in("the overview") == ["Overview"]
    assert Titles(["Overview"] * (MAX_DOCUMENTS_OF_TITLE + 1)).named_in("the overview") == []


def test_titles_that_are_there_already_are_left_out() -> None:
    assert Titles(TITLES).named_in("zephyr and boreas", but={"zephyr"}) == ["python-boreas"]


def test_platform_alone_is_a_title_as_any_other() -> None:
    assert names("Where is Python taught?", "Python")
    assert not names("Where is Python taught?", "python-boreas")


@pytest.mark.parametrize(
    ("question", "alone"),
    [
        ("What is zephyr for?", ["zephyr"]),
        ("What does boreas do?", ["python-boreas"]),
        ("zephyr or boreas?", ["python-boreas", "zephyr"]),
        ("Where does zephyr keep its log?", []),
        ("What is this for?", []),
    ],
)
def test_titles_that_a_question_asks_about_and_nothing_else(question: str, alone: list[str]) -> None:
    assert sorted(Titles(TITLES).alone_in(question, "English")) == alone
