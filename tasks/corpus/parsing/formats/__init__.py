"""One reader for each format: bytes to Markdown as the author's program shows it, hidden parts left out and counted."""

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tasks.corpus.parsing.formats.reading import Reading

READERS_VERSION = "1"
"""Raise it when a reader changes what it returns, so that documents are parsed anew."""


def reader_of(ending: str) -> "Callable[[bytes], Reading] | None":
    """Return the reader of a file ending; None: kreuzberg reads it."""
    if ending == ".docx":
        from tasks.corpus.parsing.formats.word import read_word

        return read_word
    return None
