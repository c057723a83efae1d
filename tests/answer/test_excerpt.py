"""Which excerpt is chosen, how long it is, and the line above it."""

from dataclasses import replace

from tasks.answer.answer import NOTHING, answer_question, closest_passages
from tasks.answer.excerpt import (
    MAX_CLOSEST_CHARACTERS,
    excerpt_spans,
    excerpts,
    relevance,
    shown,
    widened,
    without_places,
)
from tasks.answer.generators.silent import SilentGenerator
from tests.answer.test_answer import EXCERPT
from tests.answer.test_words import passage

OPENING = "Zephyr is a port of Boreas for Python."
LATER = "Run the program with Zephyr and read its log. Zephyr has a licence."


def test_question_that_names_only_its_subject_gets_the_opening_of_the_document() -> None:
    later, opening = passage(LATER, start=1500), passage(OPENING, start=0)
    best = excerpts("What does zephyr do?", [later, opening])[0]
    assert best.number == 2


def test_question_that_names_only_its_subject_gets_the_opening_where_others_speak_of_it_too() -> None:
    opening = replace(passage("A port of Boreas for Python.", start=0, title="zephyr"), similarity=0.5)
    later = replace(
        passage("Zephyr has a licence: who works on zephyr says so.", start=8000, title="zephyr"), similarity=0.6
    )
    other = replace(passage("Unlike zephyr, this one is slow.", title="notus"), similarity=0.4)
    assert excerpts("What is zephyr for?", [later, other, opening])[0].number == 3


def test_tagline_without_the_name_goes_before_what_repeats_it() -> None:
    text = "A fast port of Boreas.\n\nZephyr is released under the MIT licence.\n\nInstall zephyr before boreas."
    best = excerpts("What is zephyr?", [passage(text, start=0, title="zephyr")])[0]
    assert text[best.span.start : best.span.end].startswith("A fast port")


def test_tagline_of_two_words_is_shown_and_a_heading_alone_is_not() -> None:
    assert [span.start for span in excerpt_spans("Python ledgers\n\nIt closes each of them at noon.")] == [0, 16]
    assert [span.start for span in excerpt_spans("# Python ledgers\n\nIt closes each of them at noon.")] == [18]


def test_words_of_the_tagline_say_which_document_it_is_and_not_what_is_asked_of_it() -> None:
    tagline = "Alternative regular expression module"
    text = f"{tagline}\n\nOther threads run while a match goes on, by `concurrent=True`."
    question = "How do other threads run while the alternative regular expression module matches?"
    best = excerpts(question, [passage(text, start=0, title="regex")])[0]
    assert "concurrent=True" in text[best.span.start : best.span.end]


def test_first_sentence_that_holds_the_answer_is_one() -> None:
    text = "Refunds are paid within thirty days of the claim.\n\nClaims are made on paper, by the form of the desk."
    best = excerpts("Within how many days are refunds paid?", [passage(text, start=0, title="Rules")])[0]
    assert text[best.span.start : best.span.end].startswith("Refunds")


def test_sentence_with_a_long_address_is_no_list_of_links() -> None:
    sentence = "A library for [Zephyr](https://example.org/zephyr/a/long/way/down/to/it)."
    text = f"{sentence}\n\nThe `zephyr` wheel is built for hosts of before as well: zephyr runs there too."
    best = excerpts("What is zephyr?", [passage(text, start=0, title="zephyr")])[0]
    assert text[best.span.start : best.span.end] == sentence


def test_what_changed_is_shown_where_a_question_asks_of_changes_alone() -> None:
    change = replace(passage("Validate the ledger by its schema: fix `validate`.", start=5000), headings="Changelog")
    use = replace(passage("Validate the ledger by its schema with `check`.", start=4000), headings="Use")
    asked = [
        excerpts(question, [change, use])[0].number
        for question in (
            "How is the ledger validated by its schema?",
            "Which fix did validate of the ledger schema get?",
        )
    ]
    assert asked == [2, 1]


def test_badges_before_the_first_words_do_not_count_as_its_beginning() -> None:
    badges = " ".join(
        f"[![build {n}](https://ci.example/{'x' * 60}/{n}.svg)](https://ci.example/{n})" for n in range(20)
    )
    # Behind a chunk of badges alone, which is no passage.
    opening = replace(passage(f"{badges}\n\nA fast port of Boreas.", start=3000, title="zephyr"), similarity=0.5)
    later = replace(
        passage("The zephyr inspect function tells of any object.", start=9000, title="zephyr"), similarity=0.6
    )
    assert excerpts("What does zephyr do?", [later, opening])[0].number == 2


def test_letters_drawn_with_signs_are_no_excerpt() -> None:
    art = "```\n  ___    ___   _/__\\  \n /__/\\  /\\__\\  \\__/ \n  ___  ___  ____\n```"
    text = f"{art}\n\n{OPENING}"
    assert [text[span.start : span.end] for span in excerpt_spans(text)] == [OPENING]


def test_question_that_asks_for_more_gets_what_holds_it() -> None:
    later, opening = passage(LATER, start=1500), passage(OPENING, start=0)
    assert excerpts("Which licence has zephyr?", [opening, later])[0].number == 2


def test_document_that_the_question_names_goes_before_another_with_more_of_its_words() -> None:
    other = passage("Retry with exponential backoff and a limit.", title="aioretry")
    named = replace(passage("A backoff is a wait between two tries.", title="zephyr"), similarity=0.75)
    assert excerpts("How do I add exponential backoff with zephyr?", [other, named])[0].number == 2


def test_name_moves_no_excerpt_over_the_threshold() -> None:
    named = passage("Waits between two tries are set by the caller.", title="zephyr")
    (best,) = excerpts("How do I add exponential backoff with zephyr?", [named])
    assert best.rank > best.score


def test_document_of_another_subject_is_no_answer_about_a_named_one() -> None:
    other = passage("A lock is taken with a timeout:\n\n```\nlock(timeout=3)\n```", title="boreas")
    named = replace(passage("Zephyr is described elsewhere at length.", title="zephyr"), similarity=0.3)
    question = "How do I take a lock in zephyr with a timeout?"
    answer = answer_question(question, [other, named], SilentGenerator("excerpt"), EXCERPT)
    assert answer.outcome == "closest_passages"
    assert "zephyr" in (answer.reason or "")


def test_other_document_that_speaks_of_the_named_one_may_answer() -> None:
    other = passage("With zephyr a lock is taken with a timeout:\n\n```\nlock(timeout=3)\n```", title="boreas")
    named = replace(passage("Described elsewhere at length.", title="zephyr"), similarity=0.3)
    question = "How do I take a lock in zephyr with a timeout?"
    assert answer_question(question, [other, named], SilentGenerator("excerpt"), EXCERPT).outcome == "answer"


def test_question_that_asks_how_gets_the_excerpt_with_code() -> None:
    told, shown = "A retry of a job is set by retries.", "A retry of a job is set by:\n\n```\njob(retries=2)\n```"
    numbers = [excerpts("How do I set the retry of a job?", [passage(a), passage(b)])[0].number for a, b in
               ((told, shown), (shown, told))]  # fmt: skip
    assert numbers == [2, 1]


def test_question_that_asks_how_gets_what_the_document_shows_first() -> None:
    text = "Jobs are run by the run command."
    first, later = passage(text, start=500), passage(text, start=9000)
    assert excerpts("How do I run jobs?", [later, first])[0].number == 2


def test_installation_and_lists_of_links_give_way() -> None:
    installation = "Read files of the store:\n\n```\npip install -e store-files\n```"
    links = "- [Read files of a store](https://x.example/read-files) and [other stores](https://x.example/stores)"
    reading = "Files are read by the store object:\n\n```\nstore.read()\n```"
    for worse in (installation, links):
        assert excerpts("How do I read files of a store?", [passage(worse), passage(reading)])[0].number == 2


def test_excerpt_does_not_end_with_a_lead_in_that_leads_nowhere() -> None:
    code = "```\n" + "store.read()  # a file\n" * 50 + "```"
    text = f"The store reads files.\n\nAn example of it is the following:\n\n{code}"
    best = excerpts("What reads files?", [passage(text)])[0]
    wide = widened(best, text, 100)
    assert text[wide.span.start : wide.span.end] == "The store reads files."


def test_code_that_is_cut_at_the_beginning_is_left_out() -> None:
    text = "store.open()\n```\n\nA store is read by:\n\n```python\nstore.read()\n```\n\nAnd closed at the end of it."
    shown_parts = [text[span.start : span.end] for span in excerpt_spans(text)]
    assert shown_parts == ["A store is read by:\n\n```python\nstore.read()\n```", "And closed at the end of it."]


def test_code_that_is_cut_at_the_end_is_closed() -> None:
    text = "A store is read by:\n\n```python\nstore.read()\nstore.seek()"
    best = excerpts("How is a store read?", [passage(text)])[0]
    assert shown(best, passage(text)).endswith("store.seek()\n```")


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
