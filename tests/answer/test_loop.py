import json
import re
from pathlib import Path

import pytest

from tasks.answer.answer import Answer, stream_answer
from tasks.answer.generators.loop import MIN_STUCK_CHARACTERS, before_repetition, is_loop, is_stuck
from tests.answer.test_answer import PARAMS, QUESTION, Writer
from tests.answer.test_words import passage

LOOPING = "Write la la la la la la la la la la for a whole page."
"""What a model of 135 million parameters repeats itself about."""
DOCS = Path(__file__).parents[2] / "docs"
NULLS = "A list of them [1]:\n\n```json\n[\n" + "    null,\n" * 14 + "    true\n]\n```\n\nThe last one counts."
TABLE = "| option | default |\n|---|---|\n" + "| yes | yes |\n" * 12 + "| no | no |"
THOUGHTS = "<think>" + "Wait. " * 12 + "Now.</think>Zephyr is a task queue [1]."


def streamed(draft: str) -> tuple[list[str], Answer]:
    *pieces, answer = stream_answer(QUESTION, [passage()], Writer(draft), PARAMS)
    assert isinstance(answer, Answer)
    return [str(piece) for piece in pieces], answer


def words(text: str) -> list[str]:
    """The text up to each of its words, as it grows."""
    return [text[: match.end()] for match in re.finditer(r"\S+\s*", text)]


@pytest.mark.parametrize("start", ["Zephyr is a server", "", "Use `zephyr`:\n\n"])
@pytest.mark.parametrize("piece", ["-backends", " the answer is a queue and", "\n\nThe answer is:", " no"])
def test_loop_is_shown_up_to_its_second_repetition(start: str, piece: str):
    pieces, answer = streamed(start + piece * 40)
    assert answer.outcome == "closest_passages"
    assert "".join(pieces).count(piece.strip()) <= max(2, 1 + (8 + 7) // len(piece))  # up to 7 characters a piece
    assert "".join(pieces).startswith((start + piece).strip()[:8])


@pytest.mark.parametrize(
    "draft",
    [
        "Zephyr is a task queue [1]. " * 3 + "It keeps its jobs in one file.",
        "Zephyr-zephyr-zephyr-zephyr locks.",
        "It is a task queue [1]. It is a task queue [1].",
        NULLS,
        TABLE,
    ],
)
def test_text_that_repeats_itself_and_goes_on_is_shown_whole(draft: str):
    pieces, answer = streamed(draft)
    assert "".join(pieces) == answer.text == draft.strip()
    assert answer.outcome == "answer"


@pytest.mark.parametrize("draft", [NULLS, TABLE, THOUGHTS])
def test_lines_of_code_tables_and_thoughts_may_repeat_for_longer(draft: str):
    assert any(is_loop(before) for before in words(draft))
    assert not any(is_stuck(before) for before in words(draft))


@pytest.mark.parametrize("start", ["```json\n[\n", "| a | b |\n|---|---|\n", "<think>"])
def test_loop_in_code_a_table_or_thoughts_has_an_end_too(start: str):
    line = "| null |\n"
    assert is_stuck(start + line * (1 + MIN_STUCK_CHARACTERS // len(line)))


def test_loop_ends_a_draft_as_soon_as_the_whole_would_be_refused_for_it():
    draft = "Zephyr is a task queue [1]." + " It is a queue." * 40
    ended = next(before for before in words(draft) if is_stuck(before))
    assert is_loop(ended)
    assert ended.count("It is a queue.") == 5


def test_texts_that_people_wrote_are_neither_broken_off_nor_held_back_for_long():
    sections = [part for path in sorted(DOCS.glob("*.md")) for part in path.read_text(encoding="utf-8").split("\n## ")]
    longest, num_held, num_words = 0, 0, 0
    for before in (grown for section in sections for grown in words(section[:4000])):
        assert not is_stuck(before), before[-200:]
        held = len(before.rstrip()) - len(before_repetition(before))
        num_words, num_held, longest = num_words + 1, num_held + (held > 0), max(longest, held)
    print(json.dumps({"words": num_words, "held back": num_held, "longest, in characters": longest}))
    assert longest < MIN_STUCK_CHARACTERS
    assert num_held < num_words / 100
