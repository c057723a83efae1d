"""Whether a question may mean several documents, seen in what a search brought. No model is asked.

`How do I install it?` names no subject, `How do I print a table?` one that two documents answer as well. Rules and
thresholds were chosen on the development half of `tests/answer/asking_back.txt`; docs/answers.md has the figures.
"""

from collections.abc import Sequence

from tasks.answer.conversation import has_open_pronoun
from tasks.answer.excerpt import coverage, named_titles
from tasks.answer.words import stem, terms
from tasks.index.passage import Passage

MAX_CHOICES = 4
MAX_OPEN_WORDS = 2
"""A pronoun beside more words of its own has its noun among them: `fix a text so that it shows umlauts`."""
MIN_COVERAGE = 0.6
"""Share of the question's words, rarer ones counting more, that the passages of a document must hold."""
MAX_DISTANCE = 0.16
"""Of a document's similarity from the best one."""

_OF_ANY_PROJECT = """
    bug bugs build changelog cite command commands contribute debug dependencies dependency docs documentation download
    error errors example examples faq get getting guide handle help install installation installed installing issue
    issues know latest learn licence license licensed line linux mac macos maintain maintainer maintains name new
    option options package platform platforms production project python quick quickstart release releases report
    requirement requirements run running security show source start started support supported tell test tests tool
    turn tutorial uninstall update upgrade usage use used using version versions windows work works
"""
OF_ANY_PROJECT = frozenset(stem(word) for word in _OF_ANY_PROJECT.split())
"""Stems of what is asked of every project: they name none."""


def choices(question: str, passages: Sequence[Passage]) -> tuple[int, ...]:
    """Return the numbers of passages of different documents, any of which may be meant; none where it is clear.

    Args:
        question: in plain words, with what an earlier question says of its subject.
        passages: best first; their titles are what a subject may be named by.
    """
    if named_titles(question, passages):
        return ()
    numbers = _documents(passages) if lacks_subject(question) else _as_good(question, passages)
    meant = [places[0] for places in numbers]
    return tuple(meant[:MAX_CHOICES]) if len(meant) > 1 else ()


def lacks_subject(question: str) -> bool:
    """Return whether a question asks what could be asked of any project, or speaks of an `it` that it never names."""
    own = terms(question).content - OF_ANY_PROJECT
    return not own or (has_open_pronoun(question) and len(own) <= MAX_OPEN_WORDS)


def _as_good(question: str, passages: Sequence[Passage]) -> list[list[int]]:
    """The documents whose passages together hold most of the question and are nearly as near as the nearest."""
    nearest = max((passage.similarity or 0.0 for passage in passages), default=0.0)
    documents = _documents(passages)
    shares = coverage(question, [[passages[number - 1] for number in places] for places in documents])
    return [
        places
        for places, share in zip(documents, shares, strict=True)
        if share >= MIN_COVERAGE
        and max(passages[number - 1].similarity or 0.0 for number in places) >= nearest - MAX_DISTANCE
    ]


def _documents(passages: Sequence[Passage]) -> list[list[int]]:
    """The numbers of each document's passages, in the order of their best ones."""
    places: dict[str, list[int]] = {}
    for number, passage in enumerate(passages, start=1):
        places.setdefault(passage.document_id, []).append(number)
    return list(places.values())
