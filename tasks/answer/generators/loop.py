"""The rule by which a draft loops: it ends in the same words over and over, as a small model's does that is lost.

For instance `a prefect-server-backends-backends-backends-…`: the last piece of up to 80 characters, a letter among
them, stands there five times or more. Of 961 texts of a strong model none does, of 554 drafts of one of 135 million
parameters twelve did. The same rule ends the writing of a draft, keeps it from the reader and judges the whole.
"""

from collections.abc import Iterator

MAX_LOOP_PIECE = 80
MIN_LOOP_PIECES, MIN_LOOP_CHARACTERS = 5, 48
MIN_STUCK_CHARACTERS = 600
"""Of a loop in code, a table or thoughts."""
MIN_HELD_CHARACTERS = 8
"""Below that a repetition is as good as always a part of two words: `ss` of `class`, `is` of `this is`."""


def is_loop(draft: str) -> bool:
    """Return whether a draft ends in the same words over and over."""
    return any(
        size + repeated >= max(MIN_LOOP_CHARACTERS, MIN_LOOP_PIECES * size) for size, repeated in _repetitions(draft)
    )


def is_stuck(written: str) -> bool:
    """Return whether a draft that is being written loops so that nothing is to be expected of it.

    In code, a table or a model's thoughts lines may repeat and go on otherwise, as fourteen `null,` of a JSON list do:
    there a loop must be longer.
    """
    if not is_loop(written):
        return False
    in_code = written.count("```") % 2 == 1
    in_table = written.rstrip().rpartition("\n")[2].lstrip().startswith("|")
    in_thoughts = written.rfind("<think>") > written.rfind("</think>")
    if not (in_code or in_table or in_thoughts):
        return True
    return any(size + repeated >= MIN_STUCK_CHARACTERS for size, repeated in _repetitions(written))


def before_repetition(written: str) -> str:
    """Return a text that is being written up to where it begins to repeat itself; without blanks at its end.

    For instance `a server-backends-backends-ba` up to the first `-backends`. What goes on otherwise is whole again.
    """
    text = written.rstrip()
    lengths = (repeated for _, repeated in _repetitions(text) if repeated >= MIN_HELD_CHARACTERS)
    return text[: len(text) - max(lengths, default=0)]


def _repetitions(text: str) -> Iterator[tuple[int, int]]:
    """Yield sizes of a piece, a letter among it, that ends the text twice, and how many characters behind it repeat it.

    For instance `ab-ab-ab` gives 3 and 5: of the first piece only a part may stand there.
    """
    tail = text.rstrip()
    for size in range(1, min(MAX_LOOP_PIECE, len(tail) // 2) + 1):
        repeated = 0
        while repeated + size < len(tail) and tail[-1 - repeated] == tail[-1 - repeated - size]:
            repeated += 1
        if repeated >= size and any(sign.isalpha() for sign in tail[-size:]):
            yield size, repeated
