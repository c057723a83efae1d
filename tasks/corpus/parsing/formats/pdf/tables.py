"""Tables of a PDF page: only what is ruled, so that prose never becomes one; cells as the lines cut them."""

from collections.abc import Sequence
from dataclasses import dataclass

from tasks.corpus.parsing.formats.markdown import table
from tasks.corpus.parsing.formats.pdf.characters import Character, Page, Rectangle
from tasks.corpus.parsing.formats.pdf.lines import lines_of, pieces_of

_NEAR = 3.0
_MAX_RULES = 4000
_MIN_CELLS_WITH_TEXT = 3
_MAX_LINES = 2.5


@dataclass(frozen=True, slots=True)
class Grid:
    """A ruled table: the places of its columns' and rows' edges, and the rules that cut it."""

    columns: tuple[float, ...]
    rows: tuple[float, ...]
    upright: tuple[Rectangle, ...]

    @property
    def box(self) -> Rectangle:
        """Its outer edge."""
        return Rectangle(self.columns[0], self.rows[0], self.columns[-1], self.rows[-1])


def take_tables(page: Page) -> list[tuple[float, str]]:
    """Return each table of a page with the place of its top; their characters are taken from the page."""
    taken = []
    for grid in _grids(page.rules[:_MAX_RULES]):
        inside = [
            each for each in page.upright if grid.box.holds((each.left + each.right) / 2, each.base - each.size / 3)
        ]
        cells = _cells(grid, inside)
        if _is_table(cells):
            taken.append((grid.rows[0], table([[" ".join(lines) for lines in row] for row in cells])))
            inside_ids = set(map(id, inside))
            page.upright = [each for each in page.upright if id(each) not in inside_ids]
    return taken


def _is_table(cells: Sequence[Sequence[list[str]]]) -> bool:
    """A few words in most cells; else the lines frame parts of a form, whose rows stand inside the cells."""
    counts = [len(lines) for row in cells for lines in row if lines]
    return len(counts) >= _MIN_CELLS_WITH_TEXT and sum(counts) <= _MAX_LINES * len(counts)


def _grids(rules: Sequence[Rectangle]) -> list[Grid]:
    groups: list[list[Rectangle]] = []
    for rule in rules:
        touching = [group for group in groups if any(_touch(rule, other) for other in group)]
        groups = [group for group in groups if group not in touching]
        groups.append([rule, *(other for group in touching for other in group)])
    grids = []
    for group in groups:
        level = [rule for rule in group if rule.right - rule.left > rule.bottom - rule.top]
        upright = tuple(rule for rule in group if rule.right - rule.left <= rule.bottom - rule.top)
        columns = _places([(rule.left + rule.right) / 2 for rule in upright])
        rows = _places([(rule.top + rule.bottom) / 2 for rule in level])
        if len(columns) >= 3 and len(rows) >= 3:
            grids.append(Grid(columns, rows, upright))
    return sorted(grids, key=lambda grid: grid.rows[0])


def _touch(one: Rectangle, other: Rectangle) -> bool:
    across = one.left - _NEAR <= other.right and other.left - _NEAR <= one.right
    return across and one.top - _NEAR <= other.bottom and other.top - _NEAR <= one.bottom


def _places(values: Sequence[float]) -> tuple[float, ...]:
    places: list[float] = []
    for value in sorted(values):
        if not places or value - places[-1] > _NEAR:
            places.append(value)
    return tuple(places)


def _cells(grid: Grid, characters: Sequence[Character]) -> list[list[list[str]]]:
    """The lines of each cell; a cell that reaches over several columns stands in the first of them."""
    cells: list[list[list[Character]]] = [[[] for _ in grid.columns[1:]] for _ in grid.rows[1:]]
    for character in characters:
        x, y = _middle(character)
        row, column = _between(grid.rows, y), _between(grid.columns, x)
        cells[row][_first(grid, row, column)].append(character)
    return [[[line.text for line in lines_of(pieces_of(cell))] for cell in row] for row in cells]


def _middle(character: Character) -> tuple[float, float]:
    return (character.left + character.right) / 2, character.base - character.size / 3


def _between(places: Sequence[float], value: float) -> int:
    return max(0, min(sum(place <= value for place in places) - 1, len(places) - 2))


def _first(grid: Grid, row: int, column: int) -> int:
    middle = (grid.rows[row] + grid.rows[row + 1]) / 2
    while column and not any(
        abs((rule.left + rule.right) / 2 - grid.columns[column]) <= _NEAR and rule.top - 1 <= middle <= rule.bottom + 1
        for rule in grid.upright
    ):
        column -= 1
    return column
