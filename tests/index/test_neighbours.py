"""Hits joined with their neighbours: always a slice of the document, nothing that the asker may not read."""

from collections.abc import Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tasks.index.search.neighbours import MAX_JOINED_CHUNKS, Hit, joined


def rows_of(pieces: Sequence[tuple[str, str, bool]], document: str = "d") -> tuple[str, list[dict[str, Any]]]:
    """A document's text and its chunks, from pieces: the text, the white space behind it, ends in code."""
    text, rows = "", []
    inside = False
    for ordinal, (piece, gap, ends_in_code) in enumerate(pieces):
        rows.append(
            {
                "document_id": document,
                "ordinal": ordinal,
                "text": piece,
                "start": len(text),
                "end": len(text) + len(piece),
                "gap": gap,
                "starts_in_code": inside,
                "ends_in_code": ends_in_code,
            }
        )
        inside = ends_in_code
        text += piece + gap
    return text, rows


pieces = st.lists(
    st.tuples(st.text("abc", min_size=1, max_size=5), st.sampled_from(["\n", "\n\n", " ", ""]), st.booleans()),
    min_size=1,
    max_size=8,
)


@given(pieces, st.data())
def test_passages_are_slices_of_the_document_and_hold_every_hit_once(
    parts: list[tuple[str, str, bool]], data: st.DataObject
) -> None:
    text, rows = rows_of(parts)
    chosen = data.draw(st.lists(st.sampled_from(rows), unique_by=lambda row: row["ordinal"], min_size=1))
    readable = data.draw(st.lists(st.sampled_from(rows), unique_by=lambda row: row["ordinal"]))
    spans = joined(
        [Hit(row, 1.0) for row in chosen], lambda places: [r for r in readable if ("d", r["ordinal"]) in places]
    )
    shown = [row["ordinal"] for span in spans for row in span.rows]
    assert len(shown) == len(set(shown))
    assert {row["ordinal"] for row in chosen} <= set(shown)
    assert set(shown) <= {row["ordinal"] for row in [*chosen, *readable]}
    for span in spans:
        assert span.text() == text[span.start : span.end]
        assert len(span.rows) <= MAX_JOINED_CHUNKS


def test_hits_side_by_side_become_one_passage_at_the_better_rank() -> None:
    _, rows = rows_of([("one", "\n", False), ("two", "\n", False), ("three", "\n", False)])
    spans = joined([Hit(rows[2], 0.9), Hit(rows[0], 0.8), Hit(rows[1], 0.7)], lambda _: [])
    assert [(span.text(), span.best.score) for span in spans] == [("one\ntwo\nthree", 0.9)]


def test_code_that_was_cut_is_shown_whole() -> None:
    _, rows = rows_of(
        [("intro", "\n\n", False), ("```py\na", "\n\n", True), ("b\n```", "\n", False), ("end", "", False)]
    )
    (span,) = joined([Hit(rows[1], 0.9)], lambda places: [rows[ordinal] for _, ordinal in places])
    assert span.text() == "```py\na\n\nb\n```"


def test_overlap_stands_once() -> None:
    _, rows = rows_of([("one two", "", False), ("two three", "", False)])
    rows[1] |= {"start": 4, "end": 13}
    (span,) = joined([Hit(rows[0], 0.9), Hit(rows[1], 0.8)], lambda _: [])
    assert span.text() == "one two three"
