"""Whether white letters on a slide can be seen: the ground is white, and nothing coloured lies beneath them."""

from collections.abc import Sequence

from lxml import etree

from tasks.corpus.parsing.formats.office.drawing import A
from tasks.corpus.parsing.formats.office.ooxml import Package, local_name
from tasks.corpus.parsing.formats.office.powerpoint_shapes import P, Shape

_USUAL_MAP = {"bg1": "lt1", "bg2": "lt2", "tx1": "dk1", "tx2": "dk2"}
_NO_FILL = "noFill"
_FILLS = {f"{A}{name}" for name in ("solidFill", "gradFill", "blipFill", "pattFill", "grpFill")}
_SHADES = {f"{A}{name}" for name in ("lumMod", "shade", "tint", "lumOff", "alpha")}


class Paper:
    """The ground of one slide."""

    def __init__(self, package: Package, parts: Sequence[str]) -> None:
        """Take the names of the slide, its layout and its master."""
        roots = [package.xml(part) for part in parts]
        theme = package.target(parts[-1], "theme") if parts else None
        self._theme = None if theme is None else package.xml(theme)
        mapping = roots[-1].find(f"{P}clrMap") if roots else None
        self._map = _USUAL_MAP if mapping is None else dict(mapping.attrib)
        self.is_white = self._is_white_ground(roots)

    def _is_white_ground(self, roots: Sequence[etree._Element]) -> bool:
        for root in roots:
            ground = root.find(f"{P}cSld/{P}bg")
            if ground is None:
                continue
            colours = ground.findall(f"{P}bgPr/{A}solidFill/*") or ground.findall(f"{P}bgRef/*")
            return len(colours) == 1 and self.is_white_colour(colours[0])
        return True

    def is_white_colour(self, colour: etree._Element) -> bool:
        """Return whether a colour of DrawingML is plain white."""
        if any(child.tag in _SHADES for child in colour):
            return False
        if local_name(colour) == "schemeClr" and self._theme is not None:
            name = self._map.get(colour.get("val", ""), colour.get("val", ""))
            of_theme = self._theme.find(f".//{A}clrScheme/{A}{name}/*")
            return of_theme is not None and _is_white(of_theme)
        return _is_white(colour)

    def hides(self, run: etree._Element, shape: Shape, beneath: Sequence[Shape]) -> bool:
        """Return whether a run of a shape is white on white."""
        colour = run.find(f"{A}rPr/{A}solidFill/*")
        if colour is None or not self.is_white or not self.is_white_colour(colour):
            return False
        if run.find(f"{A}rPr/{A}highlight") is not None or _is_filled(shape, self):
            return False
        box = shape.box
        return box is not None and not any(
            other.box is not None and other.box.overlaps(box) and _is_filled(other, self) for other in beneath
        )


def _is_white(colour: etree._Element) -> bool:
    return (
        "FFFFFF" in {colour.get("val", "").upper(), colour.get("lastClr", "").upper()} or colour.get("val") == "white"
    )


def _is_filled(shape: Shape, paper: Paper) -> bool:
    if local_name(shape.element) != "sp":
        return True
    properties = shape.element.find(f"{P}spPr")
    for fill in () if properties is None else properties:
        if local_name(fill) == _NO_FILL:
            return False
        if fill.tag in _FILLS:
            return not (len(fill) == 1 and paper.is_white_colour(fill[0]))
    return shape.element.find(f"{P}style/{A}fillRef") is not None or shape.placeholder is not None
