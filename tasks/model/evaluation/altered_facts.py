"""Passages that say otherwise than what is generally known, or than what such passages mostly say.

Every text is our own and stands in `altered_facts.txt`: title, usual and altered fact, passage, question. An answer
follows its passage where it holds the altered fact and not the usual one.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

_FILE = Path(__file__).with_suffix(".txt")


@dataclass(frozen=True, slots=True)
class AlteredFact:
    """A passage that says otherwise than what is generally known."""

    title: str
    passage: str
    question: str
    right: str
    altered: str


@cache
def altered_facts() -> tuple[AlteredFact, ...]:
    """Return all of them, in the order of the file."""
    return tuple(map(_parse, _FILE.read_text(encoding="utf-8").strip().split("\n\n")))


def _parse(block: str) -> AlteredFact:
    head, passage, question = block.strip().split("\n")
    title, _, facts = head.partition(": ")
    right, _, altered = facts.partition(" > ")
    return AlteredFact(title, passage, question, right, altered)
