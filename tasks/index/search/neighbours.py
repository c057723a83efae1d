"""Passages that are shown: hits with the neighbours that they cannot be read without, joined as the document has them.

Hits that stand beside each other become one passage. A hit that begins or ends inside a fenced block is joined with
the chunk that holds the rest. For instance hits 4 and 7 of a document, where 7 ends inside code, give the passages
`[4]` and `[7, 8]`; hits 4 and 5 give `[4, 5]`. A passage is a slice of its document, as a chunk is.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Row = Mapping[str, Any]
Place = tuple[str, int]
"""Document id and ordinal of a chunk."""

MAX_JOINED_CHUNKS = 3


@dataclass(frozen=True, slots=True)
class Hit:
    """A row that was found, with its score."""

    row: Row
    score: float

    @property
    def place(self) -> Place:
        """Where it stands."""
        return self.row["document_id"], self.row["ordinal"]


@dataclass(frozen=True, slots=True)
class Span:
    """The best hit of a passage and the chunks that it is made of, in the order of the document."""

    best: Hit
    rows: tuple[Row, ...]

    @property
    def start(self) -> int:
        """Offset of the passage in its document."""
        return int(self.rows[0]["start"])

    @property
    def end(self) -> int:
        """Offset behind the passage."""
        return int(self.rows[-1]["end"])

    def text(self) -> str:
        """Return the document's text from `start` to `end`."""
        text = str(self.rows[0]["text"])
        for before, row in zip(self.rows, self.rows[1:], strict=False):
            overlap = max(before["end"] - row["start"], 0)
            text += str(before["gap"]) + str(row["text"])[overlap:]
        return text


def joined(hits: Sequence[Hit], fetch: Callable[[Sequence[Place]], Sequence[Row]]) -> list[Span]:
    """Return passages in the order of their best hits.

    Args:
        hits: best first.
        fetch: rows of places, those that the asker may read; what is absent is not joined.
    """
    rows = {hit.place: hit.row for hit in hits}
    wanted = [place for hit in hits for place in _rest_of_code(hit) if place not in rows]
    rows |= {(row["document_id"], row["ordinal"]): row for row in (fetch(wanted) if wanted else ())}
    taken: set[Place] = set()
    spans: list[Span] = []
    for hit in hits:
        if hit.place not in taken:
            places = _run(hit, rows, {entry.place for entry in hits}, taken)
            taken.update(places)
            spans.append(Span(hit, tuple(rows[place] for place in places)))
    return spans


def _rest_of_code(hit: Hit) -> Iterator[Place]:
    document, ordinal = hit.place
    if hit.row["starts_in_code"]:
        yield document, ordinal - 1
    if hit.row["ends_in_code"]:
        yield document, ordinal + 1


def _run(hit: Hit, rows: Mapping[Place, Row], hits: set[Place], taken: set[Place]) -> list[Place]:
    """The hit with what belongs to it on both sides, at most `MAX_JOINED_CHUNKS`."""
    document, first = hit.place
    last = first
    grew = True
    while grew and last - first + 1 < MAX_JOINED_CHUNKS:
        grew = False
        if _belongs((document, last + 1), rows, hits, taken, rows[document, last]["ends_in_code"]):
            last, grew = last + 1, True
        elif _belongs((document, first - 1), rows, hits, taken, rows[document, first]["starts_in_code"]):
            first, grew = first - 1, True
    return [(document, ordinal) for ordinal in range(first, last + 1)]


def _belongs(place: Place, rows: Mapping[Place, Row], hits: set[Place], taken: set[Place], in_code: bool) -> bool:
    return place in rows and place not in taken and (place in hits or in_code)
