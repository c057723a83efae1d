"""The best excerpt of the passages: a paragraph or a list with the code that belongs to it, never a heading alone.

What answers where no model writes, and what is shown as the closest passages where nothing is sure. Chosen by the words
that question and excerpt share, the rarer among these passages the more, and by the passage's similarity and rank.
Nothing is embedded or generated: vectors of the blocks chose worse on the validation questions (docs/answers.md).
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from tasks.answer.markdown import Block, blocks, escaped, without_pictures
from tasks.answer.sentences import Span
from tasks.answer.words import terms, vocabulary
from tasks.index.passage import Passage

MAX_CHARACTERS = 900
"""An excerpt is read at a glance: the best block, with its neighbours up to this size."""
MAX_CLOSEST_CHARACTERS = 600
"""Of each of the closest passages: three of them are read before one helps. No anchor of the validation questions is
lost by it, at 400 one in sixty."""
MAX_EXCERPTS = 3
CLOSE_SCORE = 0.1
"""Of another passage an excerpt is shown too where its score is so close to the best; chosen on validation."""
NUM_PASSAGES = 5
"""Looked at: later ones are hardly ever chosen."""
MIN_WORDS = 4
OPENING_SCORE = 0.1
"""Given to the beginning of a document where a question names nothing but its subject."""
OPENING_CHARACTERS = 300
"""A passage that begins so early is the beginning: badges stand before it."""
WORDS_RELEVANCE = 0.25
EXCERPT_VERSION = 2
"""Counts up with any change of what is chosen: part of the answerer's identity."""


_PLACE = re.compile(r"^\*\*.*\*\* \[\d+\]\n\n", re.MULTILINE)
_LINKS = re.compile(r"!?\[[^\]]*\]\([^)]*\)|!?\[[^\]]*\]\[[^\]]*\]|https?://\S+|^\s*\[[^\]]+\]:.*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Excerpt:
    """Whole blocks of a passage.

    Attributes:
        number: of the passage, from 1.
        span: the blocks, in characters of the passage's text.
        score: how well it fits the question; comparable between questions, calibrated on golden questions.
    """

    number: int
    span: Span
    score: float


def excerpts(question: str, passages: Sequence[Passage]) -> list[Excerpt]:
    """The excerpts of passages, best first; headings, badges and lists of links are none."""
    asked = terms(question)
    weights = _weights(asked.content, passages)
    offered = [
        (number, passage, span)
        for number, passage in enumerate(passages[:NUM_PASSAGES], start=1)
        for span in excerpt_spans(passage.text)
    ]
    bare = not any(_goes_beyond_title(passage, span, weights) for _, passage, span in offered)
    ranked = [
        Excerpt(number, span, _score(passage, span, weights, number) + (_opening(passage) if bare else 0.0))
        for number, passage, span in offered
    ]
    return sorted(ranked, key=lambda each: (-each.score, each.number, each.span))


def relevance(question: str, passages: Sequence[Passage]) -> float:
    """How much the passages have to do with a question at all: low where the documents are about another world.

    The best similarity, and a quarter of the share of the question's words, rarer ones counting more, that any of them
    holds. Other weights of the two part the golden questions from those about other subjects as well, each alone worse
    (docs/answers.md).
    """
    weights = _weights(terms(question).content, passages)
    held = frozenset().union(*(_held(passage) for passage in passages))
    share = sum(weight for word, weight in weights.items() if word in held) / (sum(weights.values()) or 1.0)
    return max((passage.similarity or 0.0 for passage in passages), default=0.0) + WORDS_RELEVANCE * share


def _held(passage: Passage) -> frozenset[str]:
    return vocabulary(f"{passage.title} {passage.headings} {passage.text}")


def _weights(asked: frozenset[str], passages: Sequence[Passage]) -> dict[str, float]:
    """The inverse frequency of each word of the question among the passages."""
    held = [_held(passage) for passage in passages]
    return {word: math.log(1 + (len(held) + 1) / (0.5 + sum(word in each for each in held))) for word in sorted(asked)}


def _goes_beyond_title(passage: Passage, span: Span, weights: dict[str, float]) -> bool:
    """Whether an excerpt holds a word of the question that its document's title does not."""
    own = vocabulary(passage.text[span.start : span.end]) - vocabulary(passage.title)
    return not own.isdisjoint(weights)


def _opening(passage: Passage) -> float:
    """What the beginning of a document is given where a question asks for nothing but the document's subject.

    For instance `What does honcho do?` or `How does uvicorn differ from gunicorn?`.
    """
    return OPENING_SCORE if passage.start < OPENING_CHARACTERS else 0.0


def _score(passage: Passage, span: Span, weights: dict[str, float], number: int) -> float:
    text, titled = vocabulary(passage.text[span.start : span.end]), vocabulary(f"{passage.title} {passage.headings}")
    total = sum(weights.values()) or 1.0
    inside = sum(weight for word, weight in weights.items() if word in text)
    outside = sum(weight for word, weight in weights.items() if word in titled and word not in text)
    similarity = passage.similarity if passage.similarity is not None else 0.0
    return similarity + 0.5 * (inside + 0.5 * outside) / total - 0.02 * (number - 1)


def excerpt_spans(text: str) -> list[Span]:
    """The excerpts that a text offers, in order: prose with the list or the code that follows it."""
    spans: list[Span] = []
    leaves = [block for block in blocks(text) if block.kind != "heading"]
    for place, block in enumerate(leaves):
        follows = place > 0 and _belongs(text, leaves[place - 1], block)
        if spans and follows and block.end - spans[-1].start <= MAX_CHARACTERS:
            spans[-1] = Span(spans[-1].start, block.end)
        else:
            spans.append(Span(_line_start(text, block.start), block.end))
    return [span for span in spans if _has_content(text[span.start : span.end])]


def _belongs(text: str, before: Block, block: Block) -> bool:
    """Whether a block goes on with the one before it: list items together, code and lists with their lead-in."""
    between = text[before.end : block.start]
    if re.search(r"^\s{0,3}#", between, re.MULTILINE):
        return False
    if block.kind == before.kind and block.kind in ("item", "row"):
        return True
    if block.kind == "code":
        return True
    return before.kind == "paragraph" and text[: before.end].rstrip(" *_").endswith(":")


def _line_start(text: str, place: int) -> int:
    """A list's first sign belongs to the excerpt."""
    start = text.rfind("\n", 0, place) + 1
    return start if re.fullmatch(r"[\s>*+-]*(?:\d{1,3}[.)])?\s*", text[start:place]) else place


def _has_content(text: str) -> bool:
    """Whether anything is said but links, badges and rules."""
    return len(re.findall(r"\w{2,}", _LINKS.sub(" ", text))) >= MIN_WORDS


def shown(excerpt: Excerpt, passage: Passage) -> str:
    """An excerpt under its title and headings, with its marker, as Markdown without pictures."""
    place = " \u203a ".join(part for part in (passage.title, passage.headings) if part)
    text = without_pictures(passage.text[excerpt.span.start : excerpt.span.end]).strip()
    return f"**{escaped(place)}** [{excerpt.number}]\n\n{text}"


def without_places(text: str) -> str:
    """Return the text without the lines under which `shown` puts excerpts: the words of the documents alone."""
    return _PLACE.sub("", text)


def widened(excerpt: Excerpt, text: str, max_characters: int = MAX_CHARACTERS) -> Excerpt:
    """The excerpt with the blocks after and before it, as far as `max_characters` allows."""
    spans = excerpt_spans(text)
    first = last = spans.index(excerpt.span)
    while True:
        if last + 1 < len(spans) and spans[last + 1].end - spans[first].start <= max_characters:
            last += 1
        elif first > 0 and spans[last].end - spans[first - 1].start <= max_characters:
            first -= 1
        else:
            return replace(excerpt, span=Span(spans[first].start, spans[last].end))


def close_to_best(ranked: Sequence[Excerpt]) -> list[Excerpt]:
    """The best excerpt, and those of other passages that fit nearly as well."""
    best = diverse(ranked, MAX_EXCERPTS)
    return [excerpt for excerpt in best if excerpt.score >= best[0].score - CLOSE_SCORE]


def diverse(ranked: Sequence[Excerpt], count: int) -> list[Excerpt]:
    """The best excerpts of different passages."""
    taken: dict[int, Excerpt] = {}
    for excerpt in ranked:
        taken.setdefault(excerpt.number, excerpt)
    return list(taken.values())[:count]
