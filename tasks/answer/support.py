"""Lexical support: how much of a sentence a window of neighbouring sentences of one passage holds.

It knows no paraphrase and sees no false relation between true words; it does see an invented number, identifier or
negation. What training examples are chosen by, and where a citation opens.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from tasks.answer.sentences import Span, sentences
from tasks.answer.words import Terms, stem, terms, vocabulary
from tasks.index.passage import Passage

MAX_WINDOW_SENTENCES = 3
"""A quote spans at most so many neighbouring sentences."""


@dataclass(frozen=True, slots=True)
class Support:
    """The best place of one passage for a sentence.

    Attributes:
        score: share of the sentence's content found there, in [0, 1].
        span: that place, in characters of the passage's text.
    """

    score: float
    span: Span


def support(sentence: Terms, passage: Passage, question: Terms) -> Support:
    """Return the window of the passage that holds most of the sentence.

    score = |content of the sentence that the window or the passage's title holds| / |content of the sentence|, and 0
    where the title and the window lack an exact term, the passage lacks a name (of the sentence, or of the question
    and spoken of in the sentence), the window holds none of what the sentence adds to the question, or the sentence
    denies and the window's nearest sentence does not, or the reverse. Equal scores: the window with more of the
    question's words, then the shorter one.

    For instance, in `Jobs are tried again. The limit is 3. Ask the team.` the sentence `Jobs are tried again up to a
    limit of 3` is held by the window of the first two sentences; the one of all three holds as much, and is longer.
    """
    best, best_rank = Support(0.0, Span(0, 0)), (0.0, 0, 0)
    titled = vocabulary(f"{passage.title} {passage.headings}")
    names = sentence.names | {name for name in question.names if stem(name) in sentence.words}
    if not sentence.content or not names <= titled | vocabulary(passage.text):
        return best
    added = sentence.content - question.content or sentence.content
    for window in _windows(_parts(passage.text)):
        held = frozenset().union(*(part.vocabulary for part in window))
        nearest = max(window, key=lambda part: len(sentence.content & part.vocabulary))
        covered = sentence.content & (held | titled)
        if not sentence.exact <= covered or added.isdisjoint(held) or nearest.negated != sentence.negated:
            continue
        span = Span(window[0].span.start, window[-1].span.end)
        rank = (len(covered) / len(sentence.content), len(question.content & held), span.start - span.end)
        if rank > best_rank:
            best, best_rank = Support(rank[0], span), rank
    return best


class _Part(NamedTuple):
    span: Span
    vocabulary: frozenset[str]
    negated: bool


def _parts(text: str) -> list[_Part]:
    pieces = [(span, text[span.start : span.end]) for span in sentences(text)]
    return [_Part(span, vocabulary(piece), terms(piece).negated) for span, piece in pieces]


def _windows(parts: Sequence[_Part]) -> list[Sequence[_Part]]:
    return [
        parts[first : first + size]
        for size in range(1, MAX_WINDOW_SENTENCES + 1)
        for first in range(len(parts) - size + 1)
    ]
