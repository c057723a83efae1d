"""The characters of a PDF page by pdfium: where each stands as the page is shown, and whether a person sees it.

Not seen: drawn with no ink (mode 3 or 7, no opacity), white on white, under a box that was drawn later or in its colour
above it (what people take for blacking out), smaller than a point, beside the page. The text
layer of a scan is drawn with no ink too, above the scan's picture: where a page shows nothing else, it is its text.
"""

import ctypes
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import pairwise
from math import pi
from typing import TYPE_CHECKING, Any

import pypdfium2.raw as pdfium

if TYPE_CHECKING:
    from pypdfium2 import PdfPage

_INVISIBLE_MODES = {3, 7}
_FIXED_PITCH = 1
_MONOSPACED = ("courier", "mono", "consol", "menlo", "typewriter", "fixed", "cmtt")
_NEARLY_WHITE = 250
_MIN_SIZE = 1.0
_LEVEL = 0.1
_FLAT = 0.01
_MIN_SCAN_SHARE = 0.5
_MAX_DEPTH = 5
_SURROGATES = range(0xD800, 0xE000)


Colour = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Character:
    """One character. Places are in points from the left and from the top of the page as it is shown.

    Attributes:
        base: of the line that it stands on.
        size: of the font, as it is shown.
        space: whether a blank stands before it.
    """

    text: str
    left: float
    right: float
    base: float
    size: float
    monospaced: bool
    space: bool


@dataclass(frozen=True, slots=True)
class Rectangle:
    """A rectangle in points from the left and from the top."""

    left: float
    top: float
    right: float
    bottom: float

    def holds(self, x: float, y: float) -> bool:
        """Return whether a point lies inside."""
        return self.left <= x <= self.right and self.top <= y <= self.bottom


@dataclass(slots=True)
class Page:
    """What is drawn on a page.

    Attributes:
        upright: characters of level lines, in the order in which they are drawn.
        turned: text of lines that stand upright or askew.
        rules: thin lines and edges of boxes.
    """

    width: float
    height: float
    upright: list[Character] = field(default_factory=list)
    turned: list[str] = field(default_factory=list)
    rules: list[Rectangle] = field(default_factory=list)
    num_hidden: int = 0
    has_pictures: bool = False


@dataclass(frozen=True, slots=True)
class _Pen:
    """What the characters of one text object have in common."""

    monospaced: bool
    inkless: bool
    white: bool
    colour: Colour | None = None
    order: int | None = None


_NO_PEN = _Pen(False, False, False)


@dataclass(frozen=True, slots=True)
class _Cover:
    """A box through which nothing is seen, and when it is drawn."""

    box: Rectangle
    colour: Colour
    order: int


@dataclass(slots=True)
class _Drawn:
    """Grounds, covers, pictures and thin lines of a page, and when each text is drawn, by its address."""

    covers: list[_Cover] = field(default_factory=list)
    texts: dict[int | None, int] = field(default_factory=dict)
    grounds: list[Rectangle] = field(default_factory=list)
    pictures: list[Rectangle] = field(default_factory=list)
    rules: list[Rectangle] = field(default_factory=list)


class _Frame:
    """From a page's own coordinates to those in which it is shown."""

    def __init__(self, page: "PdfPage") -> None:
        box = pdfium.FS_RECTF()
        pdfium.FPDF_GetPageBoundingBox(page, box)
        self._left, self._bottom, self._right, self._top = box.left, box.bottom, box.right, box.top
        self.rotation = page.get_rotation()
        width, height = box.right - box.left, box.top - box.bottom
        self.width, self.height = (width, height) if self.rotation % 180 == 0 else (height, width)

    def point(self, x: float, y: float) -> tuple[float, float]:
        """Return a point's distance from the left and from the top."""
        if self.rotation == 0:
            return x - self._left, self._top - y
        if self.rotation == 90:
            return y - self._bottom, x - self._left
        if self.rotation == 180:
            return self._right - x, y - self._bottom
        return self._top - y, self._right - x

    def rectangle(self, left: float, bottom: float, right: float, top: float) -> Rectangle:
        (one_x, one_y), (other_x, other_y) = self.point(left, bottom), self.point(right, top)
        return Rectangle(min(one_x, other_x), min(one_y, other_y), max(one_x, other_x), max(one_y, other_y))


def read_page(page: "PdfPage") -> Page:
    """Return what a page shows."""
    frame = _Frame(page)
    drawn = _drawn(page, frame)
    shown = Page(frame.width, frame.height, rules=drawn.rules, has_pictures=bool(drawn.pictures))
    layer = _Reader(page, frame, drawn)
    layer.read(shown)
    if not shown.upright and not shown.turned and layer.inkless and _is_scan(shown, drawn):
        shown.upright, shown.num_hidden = layer.inkless, shown.num_hidden - len(layer.inkless)
    return shown


def _is_scan(page: Page, drawn: _Drawn) -> bool:
    areas = [(each.right - each.left) * (each.bottom - each.top) for each in drawn.pictures]
    return sum(areas) >= _MIN_SCAN_SHARE * page.width * page.height


class _Reader:
    """Walks over the characters of one page."""

    def __init__(self, page: "PdfPage", frame: _Frame, drawn: _Drawn) -> None:
        self._text = page.get_textpage()
        self._frame = frame
        self._drawn = drawn
        self._pens: dict[int | None, _Pen] = {}
        self._turned: list[str] = []
        self.inkless: list[Character] = []

    def read(self, page: Page) -> None:
        """Fill the page's characters in."""
        space = False
        high = 0
        for index in range(self._text.count_chars()):
            code = pdfium.FPDFText_GetUnicode(self._text, index)
            if code in _SURROGATES:
                if code < 0xDC00:
                    high = code
                    continue
                code = 0x10000 + ((high - 0xD800) << 10) + (code - 0xDC00)
            text = chr(code)
            if code in {0, 0xFFFE, 0xFFFF} or text.isspace():
                self._end_turned(page, code)
                space = True
                continue
            pen = self._pen(index)
            character = self._character(index, "-" if code == 2 else text, pen, space=space)
            space = False
            self._place(page, index, character, pen)
        self._end_turned(page, 10)

    def _place(self, page: Page, index: int, character: Character, pen: _Pen) -> None:
        x, y = (character.left + character.right) / 2, character.base - character.size / 4
        if pen.inkless:
            self.inkless.append(character)
            page.num_hidden += 1
        elif self._is_unseen(character, pen, x, y):
            page.num_hidden += 1
        elif self._is_level(index):
            page.upright.append(character)
        else:
            self._turned.append((" " if character.space and self._turned else "") + character.text)

    def _is_unseen(self, character: Character, pen: _Pen, x: float, y: float) -> bool:
        beside = not (0 <= x <= self._frame.width and 0 <= y <= self._frame.height)
        if beside or 0 < character.size < _MIN_SIZE:
            return True
        drawn = self._drawn
        if drawn.covers and pen.order is not None and self._is_covered(pen, pen.order, x, y):
            return True
        return pen.white and not any(ground.holds(x, y) for ground in (*drawn.grounds, *drawn.pictures))

    def _is_covered(self, pen: _Pen, order: int, x: float, y: float) -> bool:
        """Under a box, or upon one of the letters' own colour with no picture around."""
        covers = [cover for cover in self._drawn.covers if cover.box.holds(x, y)]
        if any(cover.order > order for cover in covers):
            return True
        if not covers or any(picture.holds(x, y) for picture in self._drawn.pictures):
            return False
        return max(covers, key=lambda cover: cover.order).colour == pen.colour

    def _character(self, index: int, text: str, pen: _Pen, *, space: bool) -> Character:
        box, x, y = pdfium.FS_RECTF(), ctypes.c_double(), ctypes.c_double()
        pdfium.FPDFText_GetLooseCharBox(self._text, index, box)
        pdfium.FPDFText_GetCharOrigin(self._text, index, x, y)
        place = self._frame.rectangle(box.left, box.bottom, box.right, box.top)
        base = self._frame.point(x.value, y.value)[1]
        height = place.bottom - place.top
        size = pdfium.FPDFText_GetFontSize(self._text, index)
        shown = height if height and not 0.3 * size < height < 3 * size else (height / 1.15 or size)
        return Character(text, place.left, place.right, base, shown, pen.monospaced, space)

    def _is_level(self, index: int) -> bool:
        angle = (pdfium.FPDFText_GetCharAngle(self._text, index) + self._frame.rotation * pi / 180) % (2 * pi)
        return bool(min(angle, 2 * pi - angle) < _LEVEL)

    def _end_turned(self, page: Page, code: int) -> None:
        if code in {10, 13} and self._turned:
            page.turned.append("".join(self._turned))
            self._turned = []

    def _pen(self, index: int) -> _Pen:
        drawn = pdfium.FPDFText_GetTextObject(self._text, index)
        address = _address(drawn)
        if address not in self._pens:
            pen = self._new_pen(index, drawn) if drawn else _NO_PEN
            self._pens[address] = replace(pen, order=self._drawn.texts.get(address))
        return self._pens[address]

    def _new_pen(self, index: int, drawn: object) -> _Pen:
        name, flags = ctypes.create_string_buffer(256), ctypes.c_int()
        pdfium.FPDFText_GetFontInfo(self._text, index, name, 256, flags)
        family = name.value.decode("utf-8", "replace").lower()
        red, green, blue, opacity = (ctypes.c_uint() for _ in range(4))
        pdfium.FPDFText_GetFillColor(self._text, index, red, green, blue, opacity)
        mode = pdfium.FPDFTextObj_GetTextRenderMode(drawn)
        filled = mode not in {1, 5}
        return _Pen(
            monospaced=bool(flags.value & _FIXED_PITCH) or any(sign in family for sign in _MONOSPACED),
            inkless=mode in _INVISIBLE_MODES or (filled and opacity.value == 0),
            white=filled and min(red.value, green.value, blue.value) >= _NEARLY_WHITE,
            colour=(red.value, green.value, blue.value) if mode == 0 else None,
        )


# --- what is drawn beside text ---


def _drawn(page: "PdfPage", frame: _Frame) -> _Drawn:
    drawn = _Drawn()
    for order, (kind, box, thing) in enumerate(_objects(page, frame)):
        if box is None:
            drawn.texts[_address(thing)] = order
            continue
        if kind in {pdfium.FPDF_PAGEOBJ_IMAGE, pdfium.FPDF_PAGEOBJ_SHADING}:
            drawn.pictures.append(box)
        elif kind == pdfium.FPDF_PAGEOBJ_PATH:
            _add_path(drawn, box, thing)
            if (colour := _cover_colour(thing)) is not None:
                drawn.covers.append(_Cover(box, colour, order))
    return drawn


def _address(thing: Any) -> int | None:
    return ctypes.cast(getattr(thing, "raw", thing), ctypes.c_void_p).value if thing else None


def _cover_colour(path: object) -> Colour | None:
    """The colour of a plain box that hides what lies beneath; None: it may be seen through, or is no box."""
    fill, stroke = ctypes.c_int(), ctypes.c_int()
    pdfium.FPDFPath_GetDrawMode(path, fill, stroke)
    red, green, blue, opacity = (ctypes.c_uint() for _ in range(4))
    if not fill.value or not pdfium.FPDFPageObj_GetFillColor(path, red, green, blue, opacity) or opacity.value != 255:
        return None
    if (
        pdfium.FPDFPageObj_HasTransparency(path)
        or pdfium.FPDFClipPath_CountPaths(pdfium.FPDFPageObj_GetClipPath(path)) > 0
    ):
        return None
    return (red.value, green.value, blue.value) if _is_box(path) else None


def _is_box(path: object) -> bool:
    """Four level or upright lines, one behind the other."""
    count = pdfium.FPDFPath_CountSegments(path)
    if not 4 <= count <= 5:
        return False
    points = []
    for number in range(count):
        segment = pdfium.FPDFPath_GetPathSegment(path, number)
        x, y = ctypes.c_float(), ctypes.c_float()
        if pdfium.FPDFPathSegment_GetType(segment) == pdfium.FPDF_SEGMENT_BEZIERTO:
            return False
        pdfium.FPDFPathSegment_GetPoint(segment, x, y)
        points.append((x.value, y.value))
    return all(abs(a[0] - b[0]) < _FLAT or abs(a[1] - b[1]) < _FLAT for a, b in pairwise(points))


def _objects(page: "PdfPage", frame: _Frame) -> Iterator[tuple[int, Rectangle | None, object]]:
    """Kind, place and object in the order in which they are drawn; texts, also within groups, without a place."""
    for thing in page.get_objects(max_depth=_MAX_DEPTH):
        if thing.type == pdfium.FPDF_PAGEOBJ_TEXT:
            yield thing.type, None, thing
            continue
        corners = [ctypes.c_float() for _ in range(4)]
        if thing.level or not pdfium.FPDFPageObj_GetBounds(thing, *corners):
            continue
        yield thing.type, frame.rectangle(*(corner.value for corner in corners)), thing


def _add_path(drawn: _Drawn, box: Rectangle, path: object) -> None:
    fill, stroke = ctypes.c_int(), ctypes.c_int()
    pdfium.FPDFPath_GetDrawMode(path, fill, stroke)
    width, height = box.right - box.left, box.bottom - box.top
    is_thin = min(width, height) <= 2.5 and max(width, height) > 5
    if is_thin:
        drawn.rules.append(box)
    elif stroke.value:
        drawn.rules += _edges(box)
    if fill.value and not is_thin and not _is_white(path):
        drawn.grounds.append(box)


def _edges(box: Rectangle) -> list[Rectangle]:
    return [
        replace(box, right=box.left),
        replace(box, left=box.right),
        replace(box, bottom=box.top),
        replace(box, top=box.bottom),
    ]


def _is_white(path: object) -> bool:
    red, green, blue, opacity = (ctypes.c_uint() for _ in range(4))
    pdfium.FPDFPageObj_GetFillColor(path, red, green, blue, opacity)
    return min(red.value, green.value, blue.value) >= _NEARLY_WHITE or opacity.value == 0
