"""Which excerpt is chosen, how long it is, and the line above it."""

from dataclasses import replace

from tasks.answer.answer import NOTHING, closest_passages
from tasks.answer.excerpt import MAX_CLOSEST_CHARACTERS, excerpts, relevance, without_places
from tests.answer.test_words import passage

OPENING = "Zephyr is a port of Boreas for Python."
LATER = "Run the program with Zephyr and read its log. Zephyr has a licence."


def test_question_that_names_only_its_subject_gets_the_opening_of_the_document() -> None:
    later, opening = passage(LATER, start=1500), passage(OPENING, start=0)
    best = excerpts("What does zephyr do?", [later, opening])[0]
    assert best.number == 2


def test_question_that_asks_for_more_gets_what_holds_it() -> None:
    later, opening = passage(LATER, start=1500), passage(OPENING, start=0)
    assert excerpts("Which licence has zephyr?", [opening, later])[0].number == 2


def test_closest_passages_are_short_enough_to_be_read() -> None:
    paragraphs = "\n\n".join(
        f"Paragraph {n} of the notes says that the wind turns and the sea rises." for n in range(40)
    )
    answer = closest_passages("How high does the sea rise?", (passage(paragraphs),), "no reason")
    (citation,) = answer.citations
    assert MAX_CLOSEST_CHARACTERS / 2 < len(citation.quote) <= MAX_CLOSEST_CHARACTERS


def test_question_about_another_world_finds_nothing() -> None:
    far = replace(passage(LATER), similarity=0.2)
    answer = closest_passages("Who won the football match?", (far,), "no reason")
    assert (answer.outcome, answer.text, answer.citations) == ("nothing_found", NOTHING, ())


def test_words_that_the_passages_hold_make_them_relevant() -> None:
    far = replace(passage(LATER), similarity=0.2)
    assert relevance("Which licence has zephyr?", [far]) > relevance("Which prize has football?", [far])


def test_passages_of_words_alone_are_shown_since_nothing_tells_how_near_they_are() -> None:
    unmeasured = replace(passage(LATER), similarity=None)
    assert closest_passages("Who won the football match?", (unmeasured,), "no reason").outcome == "closest_passages"


def test_words_of_the_documents_stay_without_the_lines_above_them() -> None:
    text = "**Handbook \u203a Backups** [1]\n\nKept for **ninety** days.\n\n**Notes** [2]\n\nSee `argv[1]`."
    assert without_places(text) == "Kept for **ninety** days.\n\nSee `argv[1]`."


def test_text_that_only_begins_in_bold_is_left_alone() -> None:
    assert without_places("**Stop** the pump [1].") == "**Stop** the pump [1]."
