"""A verdict for each claim of a draft: does what it says stand in what was read?

Three looks, joined: exact terms (identifiers, flags, numbers, addresses, names) in code; whether the passages say
something else (`tasks.answer.check.contradiction`); and meaning, by the embedder (the largest cosine with windows of
the cited passages) and by the words. It sees inventions, denials and other numbers; of a wrong relation between true
words it sees less than half (docs/answers.md). It marks, it takes nothing out: only `tasks.answer.check.verify` may.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from tasks.answer.check.contradiction import contradicted
from tasks.answer.check.exact import evidence, exact_terms, missing
from tasks.answer.draft import Marker, Sentence, draft_sentences, markers, without_markers
from tasks.answer.sentences import Span, sentences
from tasks.answer.words import terms, vocabulary
from tasks.index.passage import Passage

Verdict = Literal["supported", "unverified"]

MIN_SIMILARITY = 0.6
"""Cosine from which a claim means what a window says. Both chosen on the development half of our own claims;
`python -m benchmarks.package_claims` and `benchmarks.answer_checks` have the tables."""
MIN_SUPPORT = 0.5
"""Below that cosine: the mean of it and of the shares of the claim's words in one sentence, in three, in all."""
MAX_WINDOW_SENTENCES = 3
MAX_WINDOWS = 80
"""Of one passage: a chunk has about thirty."""

_ABOUT_THE_SOURCES = re.compile(
    r"\b(?:passages?|documents?|documentation|sources?|excerpts?|context|texts?)\b", re.IGNORECASE
)
_LIMITS = re.compile(r"\b(?:not?|only|nothing|none|never|without|cannot|isn|don|doesn|didn|aren)\b", re.IGNORECASE)
_QUOTES = re.compile(r"[*_]{1,3}|^\s*(?:[-*+]|\d{1,3}[.)])\s+")


class TextEmbedder(Protocol):
    """Turns texts into unit vectors; the embedder of the index is one."""

    def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Return vectors `(len(texts), dim)` of unit length."""
        ...


@dataclass(frozen=True, slots=True)
class Claim:
    """A statement of the answer and what became of its check.

    Attributes:
        text: as it stands in the answer, without its markers.
        start: first character in the answer's text.
        end: behind the last one.
        markers: the passages that it leans on: its own, else those of its paragraph or of the lead-in to its list.
        verdict: `unverified`: not seen in what was read; it may be right all the same.
        missing_terms: exact terms that no passage holds.
        similarity: cosine with the nearest window; None where no embedder was given.
    """

    text: str
    start: int
    end: int
    markers: tuple[int, ...]
    verdict: Verdict
    missing_terms: tuple[str, ...]
    similarity: float | None


@dataclass(frozen=True, slots=True)
class Statement:
    """A sentence that claims something, before its check; the fields are those of `Claim`."""

    text: str
    sentence: Sentence
    markers: tuple[int, ...]


def statements(text: str) -> list[Statement]:
    """Return a draft's claims: sentences, list items, table rows; no lead-in, question, caveat or bare answer."""
    marked = markers(text)
    spans = draft_sentences(text)
    own = [_numbers(marked, sentence.start, sentence.end) for sentence in spans]
    result: list[Statement] = []
    for place, sentence in enumerate(spans):
        said = _said(text, sentence, marked)
        if is_claim(said):
            result.append(Statement(said, sentence, own[place] or _inherited(text, spans, own, place)))
    return result


def _said(text: str, sentence: Sentence, marked: Sequence[Marker]) -> str:
    inner = [
        Marker(marker.start - sentence.start, marker.end - sentence.start, marker.numbers)
        for marker in marked
        if sentence.start <= marker.start < sentence.end
    ]
    return without_markers(text[sentence.start : sentence.end], inner)


def _numbers(marked: Sequence[Marker], start: int, end: int) -> tuple[int, ...]:
    inner = (number for marker in marked if start <= marker.start < end for number in marker.numbers)
    return tuple(dict.fromkeys(inner))


def _inherited(text: str, spans: Sequence[Sentence], own: Sequence[tuple[int, ...]], place: int) -> tuple[int, ...]:
    """The markers of the sentence's block; of a list item without any, those of the lead-in before the list."""
    block = spans[place].block
    shared = [number for other, numbers in zip(spans, own, strict=True) if other.block == block for number in numbers]
    if shared or spans[place].kind == "paragraph":
        return tuple(dict.fromkeys(shared))
    lead_in = next((n for n in range(place - 1, -1, -1) if spans[n].kind == "paragraph"), None)
    return own[lead_in] if lead_in is not None and _leads_in(text[: spans[lead_in].end]) else ()


def _leads_in(text: str) -> bool:
    return bool(re.search(r":[\s*_]*(?:\[[\d, ]+\]\s*)*$|(?:\[[\d, ]+\]\s*)+:\s*$", text))


def is_claim(said: str) -> bool:
    """Return whether a sentence states something: a lead-in, a question, a caveat or a bare yes does not."""
    bare = said.strip(" *_.!")
    if said.rstrip("*_ ").endswith((":", "?", "\uff1f")) or not terms(bare).content:
        return False
    return not is_caveat(said) and bare.casefold() not in ("yes", "no", "correct", "exactly")


def is_caveat(said: str) -> bool:
    """Return whether a sentence speaks only of the limits of what was read (`The documents do not say …`)."""
    named = _ABOUT_THE_SOURCES.search(said)
    if named is None or not _LIMITS.search(said):
        return False
    # "Only the documents folder is scanned" is about a folder: the sources open the sentence, or end it.
    return named.start() < 25 or named.end() > len(said) - 12


def check(text: str, passages: Sequence[Passage], embedder: TextEmbedder | None) -> tuple[Claim, ...]:
    """Return the claims of a draft with their verdicts, in order.

    Args:
        text: the draft with its markers.
        passages: all that the model read, in the order of their numbers, whole.
        embedder: judges meaning; None: exact terms alone are looked at.
    """
    stated = statements(text)
    if not stated:
        return ()
    cited = [_cited(statement.markers, passages) for statement in stated]
    similar = _similarities([statement.text for statement in stated], cited, embedder)
    return tuple(_judged(statement, cited[place], passages, similar[place]) for place, statement in enumerate(stated))


def _cited(numbers: Sequence[int], passages: Sequence[Passage]) -> tuple[Passage, ...]:
    return tuple(passages[number - 1] for number in numbers if number <= len(passages)) or tuple(passages)


def _judged(
    statement: Statement,
    cited: Sequence[Passage],
    passages: Sequence[Passage],
    similarity: float | None,
) -> Claim:
    absent = missing(exact_terms(statement.text), evidence(tuple(map(readable, passages))))
    sentences_read = [part for passage in cited for part in parts(passage.text)]
    titles = "\n".join(f"{passage.title} {passage.headings}" for passage in cited)
    doubted = bool(absent) or contradicted(statement.text, sentences_read, titles)
    if similarity is not None and similarity < MIN_SIMILARITY:
        doubted = doubted or _support(similarity, statement.text, sentences_read, titles) < MIN_SUPPORT
    start, end = statement.sentence.start, statement.sentence.end
    verdict: Verdict = "unverified" if doubted else "supported"
    return Claim(statement.text, start, end, statement.markers, verdict, absent, similarity)


def readable(passage: Passage) -> str:
    """Return a passage as evidence: with its title and headings."""
    return f"{passage.title}\n{passage.headings}\n{passage.text}"


def _support(similarity: float, said: str, sentences_read: Sequence[str], titles: str) -> float:
    """The mean of the cosine and of three shares of the claim's words: in one sentence, in three, in all."""
    own = terms(said).content
    titled = vocabulary(titles)
    held = [vocabulary(sentence) | titled for sentence in sentences_read]
    runs = [frozenset().union(*held[first : first + MAX_WINDOW_SENTENCES]) for first in range(len(held))]
    shares = [max((len(own & each) / len(own) for each in sets), default=0.0) for sets in (held, runs)]
    return (similarity + sum(shares) + len(own & frozenset().union(titled, *held)) / len(own)) / 4


@lru_cache(maxsize=512)
def parts(text: str) -> tuple[str, ...]:
    """Return the sentences of a passage; the whole text where it has none."""
    return tuple(text[span.start : span.end] for span in sentences(text)) or (text,)


@lru_cache(maxsize=512)
def windows(text: str) -> tuple[Span, ...]:
    """Return each run of one to three neighbouring sentences of a passage, and the whole."""
    spans = sentences(text)
    runs = [
        Span(spans[first].start, spans[first + size - 1].end)
        for size in range(1, MAX_WINDOW_SENTENCES + 1)
        for first in range(len(spans) - size + 1)
    ]
    return (Span(0, len(text)), *runs[: MAX_WINDOWS - 1])


def _similarities(
    said: Sequence[str], cited: Sequence[Sequence[Passage]], embedder: TextEmbedder | None
) -> list[float | None]:
    """For each claim the largest cosine with a window of its passages; each window is embedded once."""
    if embedder is None:
        return [None] * len(said)
    offered = {
        passage.chunk_id: [passage.text[span.start : span.end] for span in windows(passage.text)]
        for passages in cited
        for passage in passages
    }
    pieces = list(dict.fromkeys(piece for each in offered.values() for piece in each))
    plain = [_QUOTES.sub("", text) for text in said]
    vectors = embedder.embed([*plain, *pieces])
    claimed, place = vectors[: len(said)], {piece: n for n, piece in enumerate(pieces, start=len(said))}
    rows = [[place[piece] for passage in passages for piece in offered[passage.chunk_id]] for passages in cited]
    return [float(np.max(vectors[row] @ claimed[n])) for n, row in enumerate(rows)]
