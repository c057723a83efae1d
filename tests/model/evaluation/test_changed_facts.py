"""Facts that change after training, and what answers say of them: the rules of `benchmarks/freshness`."""

import pytest

from benchmarks.freshness.facts import Fact, natural_facts, purposeful_facts, saying, says, with_value
from benchmarks.freshness.sayings import Answered, said_shares, tables
from tasks.index.passage import Passage

GUIDE = """# Harbour

Harbour keeps the last 30 records of every single ship. It supports Python 3.9 and higher.
"""


def passage(text: str, document: str = "docs:guide.md") -> Passage:
    return Passage("c", document, "", "", "Harbour", "", text, 0, len(text), 0.0, None, None)


def fact(old: str = "3.9", new: str = "3.10") -> Fact:
    return Fact("f", "natural", "guide.md", "Which Python?", old, new, old, new)


def test_value_replaced_in_a_line_gives_a_question_with_both_answers() -> None:
    found = natural_facts({"guide.md": GUIDE}, {"guide.md": GUIDE.replace("3.9", "3.10")}, {"guide.md": "Harbour"})
    assert [(one.old, one.new) for one in found] == [("3.9", "3.10")]
    assert (
        found[0].question.startswith("What belongs in the gap in Harbour: ") and "____ and higher" in found[0].question
    )
    assert found[0].old_anchor in GUIDE and found[0].new_anchor in GUIDE.replace("3.9", "3.10")


@pytest.mark.parametrize("after", [GUIDE, GUIDE.replace("keeps", "stores"), GUIDE + "\nIt ran on Python 3.9 once.\n"])
def test_text_without_a_replaced_value_gives_no_question(after: str) -> None:
    assert natural_facts({"guide.md": GUIDE}, {"guide.md": after}, {"guide.md": "Harbour"}) == []


def test_value_that_stays_elsewhere_in_the_document_is_passed_over() -> None:
    after = GUIDE.replace("3.9", "3.10") + "\nPython 3.9 was the last one.\n"
    assert natural_facts({"guide.md": GUIDE}, {"guide.md": after}, {"guide.md": "Harbour"}) == []


def test_value_is_changed_on_purpose_at_its_place_alone() -> None:
    found = purposeful_facts([passage(GUIDE)], {"guide.md": GUIDE}, count=5, seed=7)
    assert found
    for one in found:
        changed = with_value(GUIDE, one.old, one.new)
        assert (one.old_anchor in GUIDE, one.new_anchor in changed) == (True, True)
        assert (says(changed, one.old), says(GUIDE, one.new)) == (False, False)
    assert found == purposeful_facts([passage(GUIDE)], {"guide.md": GUIDE}, count=5, seed=7)


def test_thousands_keep_their_marks() -> None:
    text = "Harbour sorts about 35,000 records of the ships in a single night."
    found = purposeful_facts([passage(text)], {"guide.md": text}, count=1, seed=7)
    assert [(one.old, len(one.new)) for one in found] == [("35,000", 6)]
    assert 35_000 < int(found[0].new.replace(",", "")) < 35_010


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Python 3.10 [1]", "new"),
        ("Python 3.9.", "old"),
        ("From 3.9 to 3.10", "old"),
        ("Python 3.9.1", "neither"),
        ("Python 3.91", "neither"),
        ("", "neither"),
    ],
)
def test_answer_says_the_new_value_the_old_one_or_neither(text: str, said: str) -> None:
    assert saying(text, fact()) == said


def test_draft_that_repeats_the_old_value_over_a_new_passage_is_counted() -> None:
    rows = [
        Answered("before", "tuned_retrieval", "f", "3.9 [1]", "3.9 [1]", served=True),
        Answered("after", "tuned_retrieval", "f", "3.9 [1]", "supports Python 3.10 [1]", served=True),
    ]
    page = "\n".join(tables(rows, [fact()], {"f"}))
    assert "tuned_retrieval, taught: 1 of 1 say the old value (1.000 [1.000, 1.000]), 0 as served" in page
    assert "tuned_retrieval, 1: 1 new, 0 old, 0 neither" in page
    assert "tuned_retrieval, says the new, after less before: +1.000" in page
    assert sum(parts["f"].value for parts in said_shares(rows[:1], {"f": fact()}).values()) == 1
