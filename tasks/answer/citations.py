"""Where a citation opens, and a citation for a paragraph that has none but clear evidence.

No marker of the model is moved. A marker of ours stands behind the paragraph, and its citation says that it is ours.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from tasks.answer.check.claims import Claim, Statement, readable, statements, windows
from tasks.answer.check.exact import evidence, exact_terms, missing
from tasks.answer.draft import markers
from tasks.answer.markdown import blocks
from tasks.answer.sentences import Span
from tasks.answer.words import terms, vocabulary
from tasks.index.passage import Passage

MIN_EVIDENCE = 0.75
"""Share of a sentence's words that one window must hold before a citation is added: a wrong one does more harm."""
MAX_QUOTE_CHARACTERS = 700


@dataclass(frozen=True, slots=True)
class Citation:
    """The place in a document that a sentence of the answer leans on.

    Attributes:
        marker: the `[n]` in the answer; passage n of the answer's passages. Two sentences that lean on different
            places of one passage share a marker.
        quote: `document.text[start:end]`, as it is in the document: Markdown, to be shown as text only.
        added: put there by the check, not by what wrote the answer.
    """

    marker: int
    document_id: str
    uri: str
    title: str
    heading: str
    quote: str
    start: int
    end: int
    added: bool


@dataclass(frozen=True, slots=True)
class Place:
    """The best window of a passage for a sentence; `score`: share of the sentence's words that it holds."""

    score: float
    span: Span


def best_place(said: str, passage: Passage) -> Place:
    """Return the window of a passage that holds most of a sentence's words, the shortest of equal ones."""
    own = terms(said).content
    titled = vocabulary(f"{passage.title} {passage.headings}")
    ranked = [
        (len(own & vocabulary(passage.text[span.start : span.end])), -(span.end - span.start), span)
        for span in windows(passage.text)
        if span.end - span.start <= MAX_QUOTE_CHARACTERS
    ]
    _, _, span = max(ranked, default=(0, 0, Span(0, min(len(passage.text), MAX_QUOTE_CHARACTERS))))
    held = own & (vocabulary(passage.text[span.start : span.end]) | titled)
    return Place(len(held) / len(own) if own else 0.0, span)


def with_added(text: str, passages: Sequence[Passage]) -> tuple[str, frozenset[int]]:
    """Return the text with a marker behind each paragraph that cites nothing and that a passage clearly holds.

    Returns:
        the text, and the place of each added marker in it.
    """
    ends = {number: block.end for number, block in enumerate(blocks(text))}
    bare: dict[int, list[Statement]] = {}
    for statement in statements(text):
        bare.setdefault(statement.sentence.block, []).append(statement)
    added = [
        (ends[block], number)
        for block, numbers in bare.items()
        if not any(statement.markers for statement in numbers)
        and numbers[0].sentence.kind != "row"
        and (number := _clear_evidence(numbers, passages))
    ]
    places: set[int] = set()
    for shift, (end, number) in _shifted(sorted(added)):
        text = f"{text[: end + shift]} [{number}]{text[end + shift :]}"
        places.add(end + shift + 1)
    return text, frozenset(places)


def _shifted(added: Sequence[tuple[int, int]]) -> Sequence[tuple[int, tuple[int, int]]]:
    """Each addition with the characters that those before it have added."""
    shift, result = 0, []
    for end, number in added:
        result.append((shift, (end, number)))
        shift += len(f" [{number}]")
    return result


def _clear_evidence(statements: Sequence[Statement], passages: Sequence[Passage]) -> int | None:
    """The passage that holds every sentence of a paragraph with its exact terms; None where none clearly does."""
    best: tuple[float, int] | None = None
    for number, passage in enumerate(passages, start=1):
        offered = evidence((readable(passage),))
        if any(missing(exact_terms(statement.text), offered) for statement in statements):
            continue
        score = min(best_place(statement.text, passage).score for statement in statements)
        if score >= MIN_EVIDENCE and (best is None or score > best[0]):
            best = (score, number)
    return best[1] if best else None


def citations(
    text: str, claims: Sequence[Claim], passages: Sequence[Passage], added: frozenset[int]
) -> tuple[Citation, ...]:
    """Return one citation for each passage and place that the markers of a text point to, in order."""
    result: dict[Citation, None] = {}
    for marker in markers(text):
        said = _cited_sentence(text, claims, marker.start)
        for number in marker.numbers:
            passage = passages[number - 1]
            place = best_place(said, passage)
            result[citation_at(number, passage, place.span, added=marker.start in added)] = None
    return tuple(result)


def _cited_sentence(text: str, claims: Sequence[Claim], place: int) -> str:
    """The claim that a marker stands in or right behind; else the text of its line."""
    before = [claim for claim in claims if claim.start <= place]
    if before and not re.search(r"\n\s*\n", text[before[-1].end : place]):
        return before[-1].text
    return text[text.rfind("\n", 0, place) + 1 : place]


def citation_at(number: int, passage: Passage, span: Span, *, added: bool) -> Citation:
    """Return the citation of a place in a passage, in characters of its text."""
    return Citation(
        marker=number,
        document_id=passage.document_id,
        uri=passage.uri,
        title=passage.title,
        heading=passage.headings,
        quote=passage.text[span.start : span.end],
        start=passage.start + span.start,
        end=passage.start + span.end,
        added=added,
    )
