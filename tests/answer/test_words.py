from tasks.answer.sentences import sentences
from tasks.answer.support import support
from tasks.answer.words import missing_terms, rare_terms, stem, terms
from tasks.index.passage import Passage

TEXT = """Zephyr is a task queue for Python.
It needs Python 3.11 or newer. It does not support Windows.

- Install with `pip install zephyr-queue`
"""


def passage(text: str = TEXT, title: str = "zephyr", start: int = 0) -> Passage:
    return Passage(
        chunk_id="c", document_id=f"d:{title}", knowledge_base="kb", uri="https://x", title=title, headings="",
        text=text, start=start, end=start + len(text), score=1.0, similarity=0.8, updated_at=None,
    )  # fmt: skip


def score(sentence: str, text: str = TEXT, question: str = "") -> float:
    return support(terms(sentence), passage(text), terms(question)).score


def test_sentences_are_spans_of_prose_and_lines_of_lists():
    assert [TEXT[a:b] for a, b in sentences(TEXT)] == [
        "Zephyr is a task queue for Python.",
        "It needs Python 3.11 or newer.",
        "It does not support Windows.",
        "- Install with `pip install zephyr-queue`",
    ]


def test_sentence_wrapped_over_lines_stays_one():
    text = "The queue keeps its\njobs in one file. Then more."
    assert [text[a:b] for a, b in sentences(text)] == ["The queue keeps its\njobs in one file.", "Then more."]


def test_abbreviation_ends_no_sentence():
    assert len(sentences("Use a broker, e.g. Redis, for jobs.")) == 1


def test_code_is_split_line_by_line():
    assert len(sentences("```\na = 1\nb = 2\n```")) == 4


def test_japanese_sentences_are_split():
    assert len(sentences("これは本です。それは木です。")) == 2


def test_word_endings_do_not_hinder_a_match():
    assert stem("supports") == stem("supported") == stem("supporting") == "support"
    assert stem("queues") == stem("queue")


def test_copied_sentence_is_fully_supported():
    assert score("Zephyr is a task queue for Python.") == 1.0


def test_invented_number_is_unsupported():
    assert score("Zephyr needs Python 3.9 or newer.") == 0.0


def test_invented_identifier_is_unsupported():
    assert score("Zephyr is a task queue made by run_forever for Python.") == 0.0


def test_denied_sentence_is_unsupported_by_an_affirmation():
    assert score("Zephyr is not a task queue for Python.") == 0.0


def test_affirmation_is_unsupported_by_a_denial():
    assert score("It supports Windows.", "It does not support Windows.") == 0.0


def test_name_of_another_thing_is_unsupported():
    assert score("The license of Jinja is MIT.", "Zephyr has the MIT license.") == 0.0


def test_window_must_hold_what_the_sentence_adds():
    found = support(terms("The zephyr costs nine euros."), passage("A zephyr."), terms("What does zephyr cost?"))
    assert found.score == 0.0


def test_best_window_prefers_the_questions_words():
    text = "Rust is fast. The core is written in Rust."
    found = support(terms("Rust."), passage(text), terms("What is the core written in?"))
    assert text[slice(*found.span)] == "The core is written in Rust."


def test_empty_sentence_has_no_support():
    assert score("It is.") == 0.0


def test_rare_terms_are_identifiers_numbers_and_names():
    assert rare_terms("Does max_retries of Zephyr's runner accept 12 on Windows?") == (
        "max_retries",
        "Zephyr",
        "12",
        "Windows",
    )


def test_missing_terms_ignore_separators_and_case():
    assert missing_terms("What is zephyr_queue on WINDOWS?", [passage()]) == ()
    assert missing_terms("What is FrobnicatorX?", [passage()]) == ("FrobnicatorX",)
