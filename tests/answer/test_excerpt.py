"""The excerpt's place lines: what is learnt from an excerpt are the words of the document."""

from tasks.answer.excerpt import without_places


def test_words_of_the_documents_stay_without_the_lines_above_them() -> None:
    text = "**Handbook \u203a Backups** [1]\n\nKept for **ninety** days.\n\n**Notes** [2]\n\nSee `argv[1]`."
    assert without_places(text) == "Kept for **ninety** days.\n\nSee `argv[1]`."


def test_text_that_only_begins_in_bold_is_left_alone() -> None:
    assert without_places("**Stop** the pump [1].") == "**Stop** the pump [1]."
