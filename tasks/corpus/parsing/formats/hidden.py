"""Which elements of a page a browser does not show: by their own style or by a rule of the page itself.

`hidden`, `display: none`, `visibility: hidden`, no opacity, no size, no ink, moved or clipped out of sight; and what
stands where a browser that knows the element has something else to show (`video`, `canvas`, `noscript`).
"""

import re
from collections.abc import Iterator, Mapping

from lxml import etree

from tasks.corpus.parsing.formats.style_sheet import StyleSheets, declarations_of

SIGN = re.compile(
    r"\bhidden\b|<(?:dialog|datalist|title|noframes|video|audio|canvas|rp)\b|\bcolor\s*[:=]"
    r"|\b(?:display|visibility|opacity|font-size|text-indent|width|height|transform|translate|scale|zoom|filter|clip"
    r"|clip-path|left|top|right|bottom|text-fill-color|margin-(?:left|right|top))\s*:|\bopacity\(",
    re.I,
)
"""What stands in a page or a style sheet that hides anything."""
_WHITE = re.compile(
    r"white|#f[a-f]f[a-f]f[a-f]|#fff|rgba?\(\s*25[0-5][\s,]+25[0-5][\s,]+25[0-5].*|transparent"
    r"|hsla?\([^,\s]+[\s,]+[^,\s]+[\s,]+(?:9[89]|100)%.*",
    re.I,
)
_MAX_FADING = 500
"""Characters: a longer part that a style sheet paints without opacity fades in by a script once the page is there."""
_MOVES = ("text-indent", "margin-left", "margin-right", "margin-top")
_GROUND = ("background", "background-color", "background-image")
_NOTHING = re.compile(r"(?:0|0?\.0+)(?:px|pt|em|rem|%|vw|vh)?")
_FAINT = re.compile(r"(?:0|0?\.0(?:[0-4]\d*)?|[0-4](?:\.\d+)?%)")
_TINY = re.compile(
    r"(?:0?(?:\.\d+)?|1(?:\.0+)?)(?:px|pt)|(?:0|0?\.0\d*)(?:em|rem|ex|ch|%)?|0?(?:\.[01]\d*)?v(?:w|h|min|max)"
)
_DOT = re.compile(r"(?:0|0?\.\d+|1)px")
_CLIPPED = re.compile(r"rect\(\s*0[^,\d]*,?\s*0|rect\(\s*1px[ ,]+1px[ ,]+1px[ ,]+1px")
_CUT = re.compile(r"inset\(\s*(?:50|100)%|circle\(\s*0\b|polygon\((?:\s*0[a-z%]*\s+0[a-z%]*\s*,?)+\)")
_DECIDES = re.compile(
    r"display|visibility|opacity|font-size|text-|margin-|transform|filter|position|left|top|right|bottom|clip|height"
    r"|max-|width|translate|scale|zoom|content-visibility|overflow|color|background|padding|transition|-webkit-"
)
_SHRUNK = re.compile(r"scale[xy]?\(\s*0(?:\.0+)?\s*[,)]|opacity\(\s*0(?:\.0+)?%?\s*\)")
_NO_INK = re.compile(r"transparent|#(?:[0-9a-f]{3}0|[0-9a-f]{6}00)|(?:rgba|hsla)\(.*,\s*0(?:\.0+)?%?\s*\)", re.I)
_FAR = re.compile(r"-\d{4,}(?:px|pt)|-\d{3,}(?:em|rem|%|vw|vh)")
_MOVED = re.compile(r"-\d{4,}(?:px|pt|%)|-\d{3,}(?:em|rem|vw|vh)")
"""A shift by the element's own width (`translate(-100%)`) may end in sight."""
_INSTEAD = frozenset({"noframes", "noscript", "template", "video", "audio", "canvas", "rp"})
"""Elements whose words are for a browser that does not know them."""


def hidden_elements(root: etree._Element, styles: str) -> list[etree._Element]:
    """Return the elements that are not shown; `styles` are style sheets that lie beside the page."""
    sheets = [styles, *(sheet.text or "" for sheet in root.iter("style"))]
    rules = StyleSheets(sheets, decides=_DECIDES)
    hidden = [element for element in root.iter(etree.Element) if _is_hidden(element, _style(element, rules))]
    return hidden + list(_white_on_white(root, rules))


def _style(element: etree._Element, rules: StyleSheets) -> dict[str, str]:
    style = dict(rules.style(element))
    if element.tag == "font" and element.get("color"):
        style["color"] = element.get("color").lower()
    if element.get("bgcolor"):
        style["background"] = element.get("bgcolor").lower()
    if "opacity" in style and len("".join(element.itertext())) > _MAX_FADING:
        del style["opacity"]
    return {**style, **declarations_of(element.get("style") or "")}


def _is_hidden(element: etree._Element, style: Mapping[str, str]) -> bool:
    if element.tag in {"html", "body", "head", "details"}:
        return False
    return (
        ("hidden" in element.attrib and element.get("hidden") != "until-found")
        or _is_never_shown(element)
        or style.get("display") == "none"
        or style.get("visibility") in {"hidden", "collapse"}
        or style.get("content-visibility") == "hidden"
        or _FAINT.fullmatch(style.get("opacity", "")) is not None
        or _TINY.fullmatch(style.get("font-size", "")) is not None
        or any(_NOTHING.fullmatch(style.get(name, "")) for name in ("scale", "zoom"))
        or any(_FAR.search(style.get(name, "")) for name in _MOVES)
        or any(_MOVED.search(style.get(name, "")) for name in ("transform", "translate"))
        or any(_SHRUNK.search(style.get(name, "")) for name in ("transform", "filter"))
        or (style.get("position", "static") != "static" and _lies_beside(style))
        or _is_clipped(style)
        or _is_folded(element, style)
        or _has_no_ink(style)
    )


def _is_never_shown(element: etree._Element) -> bool:
    if element.tag == "title":  # in the head it is read apart; in a drawing it is what a pointer is told
        return not any(True for _ in element.iterancestors("head", "svg"))
    return element.tag in _INSTEAD or (element.tag in {"dialog", "datalist"} and "open" not in element.attrib)


def _is_clipped(style: Mapping[str, str]) -> bool:
    is_placed = style.get("position") in {"absolute", "fixed"}
    is_dot = _overflows_unseen(style) and all(_DOT.fullmatch(style.get(name, "")) for name in ("width", "height"))
    return _CUT.search(style.get("clip-path", "")) is not None or (
        is_placed and (is_dot or any(_CLIPPED.search(style.get(name, "")) for name in ("clip", "clip-path")))
    )


def _overflows_unseen(style: Mapping[str, str]) -> bool:
    return style.get("overflow") in {"hidden", "clip"}


def _is_folded(element: etree._Element, style: Mapping[str, str]) -> bool:
    """No height or width, and what overflows is not shown; a longer part is folded until a reader opens it."""
    has_none = any(_NOTHING.fullmatch(style.get(name, "")) for name in ("height", "max-height", "width", "max-width"))
    keeps = any(name.startswith(("padding", "transition")) for name in style)
    return has_none and not keeps and _overflows_unseen(style) and len("".join(element.itertext())) <= _MAX_FADING


def _has_no_ink(style: Mapping[str, str]) -> bool:
    """Letters without colour, or in that of their own ground; where the ground fills the letters they are seen."""
    colour, fill = style.get("color", ""), style.get("-webkit-text-fill-color", "")
    if any("background-clip" in name or name in {"text-shadow", "-webkit-text-stroke"} for name in style):
        return False
    on_itself = bool(colour) and colour in {style.get(name) for name in _GROUND}
    return on_itself or any(map(_NO_INK.fullmatch, (colour, fill)))


def _lies_beside(style: Mapping[str, str]) -> bool:
    return any(_FAR.search(style.get(side, "")) for side in ("left", "top", "right", "bottom"))


def _white_on_white(root: etree._Element, rules: StyleSheets) -> Iterator[etree._Element]:
    """Elements whose letters are white while no element around them has a ground that is not white."""
    for element in root.iter(etree.Element):
        style = _style(element, rules)
        if element.tag in {"html", "body"} or not _WHITE.fullmatch(style.get("color", "")):
            continue
        around = (_style(each, rules) for each in (element, *element.iterancestors()))
        if not any(_has_ground(each) for each in around) and not any(_has_ground(_style(e, rules)) for e in element):
            yield element


def _has_ground(style: Mapping[str, str]) -> bool:
    return any(name in style and not _WHITE.fullmatch(style[name]) and style[name] != "none" for name in _GROUND)
