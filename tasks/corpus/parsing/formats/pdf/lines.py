"""Characters to lines: pieces without wide gaps, the pieces of a line side by side, columns one after the other."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import mean, median

from tasks.corpus.parsing.formats.pdf.characters import Character

_WIDE_GAP = 1.0
_WORD_GAP = 0.18
_SAME_BASE = 0.35
_SAME_EDGE = 4.0
_MIN_COLUMN_LINES = 3
_MIN_COLUMN_LETTERS = 16.0
_MIN_COMMON_HEIGHT = 0.4
_FULL = 0.7
_MIN_FULL_SHARE = 0.5
_MAX_DEPTH = 6
_MAX_MARKER = 4
"""Letters of a number or bullet before an item, behind which a gap is no column."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Characters side by side, without a wide gap."""

    text: str
    left: float
    right: float
    base: float
    size: float
    monospaced: bool

    @property
    def is_number(self) -> bool:
        """Whether it may be the number of the page."""
        return len(self.text) <= 5 and self.text.strip("-– .").isdigit()  # noqa: RUF001


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a column; `num_pieces` above 1: wide gaps stand inside."""

    text: str
    left: float
    right: float
    base: float
    size: float
    monospaced: bool
    num_pieces: int


def pieces_of(characters: Sequence[Character]) -> list[Piece]:
    """Return the characters in pieces, in the order in which they are drawn."""
    runs: list[list[Character]] = []
    for character in characters:
        if runs and _follows(runs[-1][-1], character):
            runs[-1].append(character)
        else:
            runs.append([character])
    return [_piece(run) for run in runs]


def _follows(before: Character, character: Character) -> bool:
    size = max(before.size, character.size)
    gap = character.left - before.right
    level = abs(character.base - before.base) <= _SAME_BASE * size
    return level and -0.4 * size <= gap <= _WIDE_GAP * size


def _piece(run: Sequence[Character]) -> Piece:
    parts = [run[0].text]
    for before, character in pairwise(run):
        size = max(before.size, character.size)
        is_gap = character.left - before.right > _WORD_GAP * size
        parts.append((" " if character.space or is_gap else "") + character.text)
    sizes = [character.size for character in run]
    return Piece(
        "".join(parts),
        min(character.left for character in run),
        max(character.right for character in run),
        median(character.base for character in run),
        median(sizes),
        sum(character.monospaced for character in run) * 2 > len(run),
    )


def columns_of(pieces: Sequence[Piece], depth: int = 0) -> list[list[Line]]:
    """Return lines in columns, in the order of reading; what spans columns stands between what is above and below."""
    edge = _gutter(pieces) if depth < _MAX_DEPTH else None
    if edge is None:
        sides = _drawn_apart(pieces)
        return [lines for side in sides for lines in [lines_of(side)] if lines]
    columns: list[list[Line]] = []
    for band, spans in _bands(pieces, edge):
        if spans:
            columns.append(lines_of(band))
            continue
        left = [piece for piece in band if piece.left < edge - _SAME_EDGE]
        right = [piece for piece in band if piece.left >= edge - _SAME_EDGE]
        columns += columns_of(left, depth + 1) + columns_of(right, depth + 1)
    return columns


def _drawn_apart(pieces: Sequence[Piece]) -> list[list[Piece]]:
    """A short column beside prose: drawn after it, higher up, to the right of all that it stands beside."""
    for place in range(1, len(pieces)):
        before, piece = pieces[place - 1], pieces[place]
        if piece.base > before.base - 2 * piece.size or piece.left <= before.left:
            continue
        beside = [other for other in pieces[:place] if other.base >= piece.base - piece.size]
        if all(other.right < piece.left for other in beside) and _is_prose(beside):
            right = [other for other in pieces[place:] if other.left >= piece.left - _SAME_EDGE]
            left = [other for other in pieces if other not in right]
            return [left, *_drawn_apart(right)]
    return [list(pieces)]


def _bands(pieces: Sequence[Piece], edge: float) -> Iterator[tuple[list[Piece], bool]]:
    """Pieces from top to bottom, cut where one spans the gutter, or is the number of the page."""
    band: list[Piece] = []
    spans = False
    bottom = max(piece.base for piece in pieces)
    for piece in sorted(pieces, key=lambda each: each.base):
        crosses = piece.left < edge - _SAME_EDGE and piece.right > edge - 1
        crosses = crosses or (piece.is_number and piece.base == bottom)
        if band and crosses != spans:
            yield band, spans
            band = []
        spans = crosses
        band.append(piece)
    if band:
        yield band, spans


def _gutter(pieces: Sequence[Piece]) -> float | None:
    """The left edge of a column of prose with another such column to its left, or None."""
    if len(pieces) < 2 * _MIN_COLUMN_LINES:
        return None
    begin, end = min(piece.left for piece in pieces), max(piece.right for piece in pieces)
    best: tuple[int, float] | None = None
    for edge in sorted({round(piece.left, 1) for piece in pieces}):
        if not begin + 0.2 * (end - begin) < edge < begin + 0.85 * (end - begin):
            continue
        at_edge = [piece for piece in pieces if abs(piece.left - edge) <= _SAME_EDGE]
        left = [piece for piece in pieces if piece.right <= edge - 1]
        if _is_prose(at_edge) and _is_prose(left) and _stand_beside(left, at_edge):
            right = [piece for piece in pieces if piece.left >= edge - _SAME_EDGE]
            crossing = len(pieces) - len(left) - len(right)
            score = min(len(left), len(right)) - crossing
            if crossing <= min(len(left), len(right)) and (best is None or score > best[0]):
                best = score, edge
    return None if best is None else best[1]


def _is_prose(pieces: Sequence[Piece]) -> bool:
    """Whether most lines fill their column; the cells of a table seldom do."""
    if len({round(piece.base) for piece in pieces}) < _MIN_COLUMN_LINES:
        return False
    begin, end = min(piece.left for piece in pieces), max(piece.right for piece in pieces)
    num_full = sum(piece.right - begin >= _FULL * (end - begin) for piece in pieces)
    has_words = mean(piece.text.count(" ") for piece in pieces) >= 1
    is_long = mean(len(piece.text) for piece in pieces) >= _MIN_COLUMN_LETTERS
    return has_words and is_long and num_full >= _MIN_FULL_SHARE * len(pieces)


def _stand_beside(left: Sequence[Piece], right: Sequence[Piece]) -> bool:
    top = max(min(piece.base for piece in side) for side in (left, right))
    bottom = min(max(piece.base for piece in side) for side in (left, right))
    heights = [max(piece.base for piece in side) - min(piece.base for piece in side) for side in (left, right)]
    return bottom - top >= _MIN_COMMON_HEIGHT * min(heights)


def lines_of(pieces: Sequence[Piece]) -> list[Line]:
    """Return the lines of one column from top to bottom."""
    rows: list[list[Piece]] = []
    for piece in sorted(pieces, key=lambda each: (each.base, each.left)):
        if rows and abs(piece.base - rows[-1][0].base) <= _SAME_BASE * max(piece.size, rows[-1][0].size):
            rows[-1].append(piece)
        else:
            rows.append([piece])
    return [_line(sorted(row, key=lambda each: each.left)) for row in rows]


def _line(row: Sequence[Piece]) -> Line:
    text = row[0].text
    num_gaps = 0
    for before, piece in pairwise(row):
        gap = piece.left - before.right
        num_gaps += gap > 1.5 * piece.size and not (before is row[0] and len(before.text) <= _MAX_MARKER)
        text += (" " if gap > _WORD_GAP * piece.size else "") + piece.text
    longest = max(row, key=lambda piece: len(piece.text))
    monospaced = sum(len(piece.text) for piece in row if piece.monospaced) * 2 > sum(len(piece.text) for piece in row)
    return Line(text, row[0].left, row[-1].right, longest.base, longest.size, monospaced, num_gaps + 1)
