"""The shapes of a slide, flat, each with its place on the slide, in the order in which a person reads them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lxml import etree

from tasks.corpus.parsing.formats.office.drawing import A
from tasks.corpus.parsing.formats.office.ooxml import local_name
from tasks.corpus.parsing.formats.office.word_inline import chosen

P = "{http://schemas.openxmlformats.org/presentationml/2006/main}"
TITLES = frozenset({"title", "ctrTitle"})
_KINDS = frozenset({"sp", "pic", "graphicFrame", "cxnSp"})
_SAME_ROW = 0.5


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle on a slide, in EMU."""

    left: float
    top: float
    width: float
    height: float

    def overlaps(self, other: "Box") -> bool:
        """Return whether the two have points in common."""
        across = self.left < other.left + other.width and other.left < self.left + self.width
        return across and self.top < other.top + other.height and other.top < self.top + self.height


@dataclass(frozen=True, slots=True)
class Shape:
    """A shape with its place; None: it has none of its own and none by its layout."""

    element: etree._Element
    box: Box | None

    @property
    def placeholder(self) -> etree._Element | None:
        """The `ph` element of a placeholder."""
        return self.element.find(f"./*/{P}nvPr/{P}ph")

    @property
    def role(self) -> str:
        """The kind of placeholder: `title`, `body`, `ftr` …; '' for a shape that is none."""
        own = self.placeholder
        return "" if own is None else str(own.get("type", "obj"))

    @property
    def properties(self) -> etree._Element | None:
        """Name, alternative text and whether it is hidden."""
        return self.element.find(f"./*/{P}cNvPr")


@dataclass(frozen=True, slots=True)
class _Move:
    """From the coordinates inside a group to those of the slide."""

    scale_x: float = 1
    scale_y: float = 1
    left: float = 0
    top: float = 0

    def of(self, box: Box) -> Box:
        left, top = self.left + box.left * self.scale_x, self.top + box.top * self.scale_y
        return Box(left, top, box.width * self.scale_x, box.height * self.scale_y)


def shapes_of(root: etree._Element) -> list[Shape]:
    """Return all shapes of a slide, layout or master in the order of the file, those in groups too."""
    tree = root.find(f"{P}cSld/{P}spTree")
    return [] if tree is None else list(_flat(tree, _Move()))


def _flat(tree: etree._Element, move: _Move) -> Iterator[Shape]:
    for element in tree:
        name = local_name(element)
        if name == "AlternateContent":
            for choice in chosen(element):
                yield from _flat_one(choice, move)
        else:
            yield from _flat_one(element, move)


def _flat_one(element: etree._Element, move: _Move) -> Iterator[Shape]:
    name = local_name(element)
    if name == "grpSp":
        hidden = element.find(f"{P}nvGrpSpPr/{P}cNvPr")
        if hidden is not None and hidden.get("hidden") in {"1", "true"}:
            for inner in element.iter(f"{P}cNvPr"):
                inner.set("hidden", "1")
        yield from _flat(element, _inner_move(element, move))
    elif name in _KINDS:
        place = element.find(f"{P}xfrm") if name == "graphicFrame" else element.find(f"{P}spPr/{A}xfrm")
        box = None if place is None else _box(place, "off", "ext")
        yield Shape(element, None if box is None else move.of(box))


def _inner_move(group: etree._Element, move: _Move) -> _Move:
    place = group.find(f"{P}grpSpPr/{A}xfrm")
    if place is None:
        return move
    outer, inner = _box(place, "off", "ext"), _box(place, "chOff", "chExt")
    if outer is None or inner is None:
        return move
    outer = move.of(outer)
    scale_x = outer.width / inner.width if inner.width else move.scale_x
    scale_y = outer.height / inner.height if inner.height else move.scale_y
    return _Move(scale_x, scale_y, outer.left - inner.left * scale_x, outer.top - inner.top * scale_y)


def _box(place: etree._Element, corner: str, size: str) -> Box | None:
    begin, extent = place.find(f"{A}{corner}"), place.find(f"{A}{size}")
    if begin is None or extent is None:
        return None
    try:
        left, top = float(begin.get("x", "0")), float(begin.get("y", "0"))
        return Box(left, top, float(extent.get("cx", "0")), float(extent.get("cy", "0")))
    except ValueError:
        return None


def in_reading_order(shapes: Sequence[Shape], *, by_columns: bool) -> list[Shape]:
    """Return the title first, then the rest from top to bottom; what stands side by side from left to right.

    `by_columns`: the left half of the slide before its right half, as a layout for comparisons has it.
    """
    titles = [shape for shape in shapes if shape.role in TITLES]
    rest = [shape for shape in shapes if shape.role not in TITLES]
    placed = sorted((shape for shape in rest if shape.box is not None), key=lambda shape: (_top(shape), _left(shape)))
    unplaced = [shape for shape in rest if shape.box is None]
    if by_columns and placed:
        middle = (min(map(_left, placed)) + max(map(_left, placed))) / 2
        sides = [shape for shape in placed if _left(shape) <= middle], [s for s in placed if _left(s) > middle]
        return [*titles, *(shape for side in sides for shape in _in_rows(side)), *unplaced]
    return [*titles, *_in_rows(placed), *unplaced]


def _in_rows(shapes: Sequence[Shape]) -> Iterator[Shape]:
    row: list[Shape] = []
    for shape in shapes:
        if row and not _is_beside(row[0], shape):
            yield from sorted(row, key=_left)
            row = []
        row.append(shape)
    yield from sorted(row, key=_left)


def _is_beside(one: Shape, other: Shape) -> bool:
    assert one.box is not None
    assert other.box is not None
    bottom = min(one.box.top + one.box.height, other.box.top + other.box.height)
    common = bottom - max(one.box.top, other.box.top)
    least = min(one.box.height, other.box.height)
    return common > _SAME_ROW * least if least else one.box.top == other.box.top


def _top(shape: Shape) -> float:
    return shape.box.top if shape.box else 0


def _left(shape: Shape) -> float:
    return shape.box.left if shape.box else 0
