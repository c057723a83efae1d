"""HTML pages to Markdown by kreuzberg, without the head and without what a browser does not show.

Left out, and counted: `hidden`, `display: none`, `visibility: hidden`, no opacity, no size, white on white, by the
element's own style or by a rule for its class, name or kind in the page itself.
"""

import re
from collections.abc import Iterator, Mapping

from lxml import etree
from lxml import html as lxml_html

from tasks.corpus.parsing.decode import decode_html
from tasks.corpus.parsing.formats.reading import Reading
from tasks.corpus.parsing.formats.unescape import unescaped
from tasks.corpus.parsing.html_head import split_head
from tasks.corpus.parsing.kreuzberg_parser import run_kreuzberg

_SIGN = re.compile(r"\bhidden\b|display\s*:|visibility\s*:|opacity\s*:|font-size\s*:|\bcolor\s*[:=]|text-indent", re.I)
_COMMENT = re.compile(r"/\*.*?\*/", re.S)
_REMARK = re.compile(r"<!--.*?-->", re.S)
_AT_RULE = re.compile(r"@(?:media|supports|font-face|keyframes|page)[^{]*\{(?:[^{}]*\{[^{}]*\})*[^{}]*\}")
_RULE = re.compile(r"([^{}]+)\{([^{}]*)\}")
_SELECTOR = re.compile(r"([a-z][a-z0-9]*)?((?:\.[\w-]+)*)(#[\w-]+)?", re.I)
_WHITE = re.compile(r"white|#f[a-f]f[a-f]f[a-f]|#fff|rgba?\(\s*25[0-5][\s,]+25[0-5][\s,]+25[0-5].*|transparent", re.I)
_MAX_FADING = 500
"""Characters: a longer part that a style sheet paints without opacity fades in by a script once the page is there."""
_GROUND = ("background", "background-color", "background-image")
_NOTHING = re.compile(r"0(?:\.0+)?(?:px|pt|em|rem|%)?$")
_TINY = re.compile(r"(?:0(?:\.\d+)?|1(?:\.0+)?)(?:px|pt)$|0(?:\.0\d*)?(?:em|rem|%)?$")
_FAR = re.compile(r"-\d{4,}(?:px|pt)|-\d{3,}(?:em|rem|%)")


def read_html(data: bytes, styles: str = "") -> Reading:
    """Read an HTML page; `styles` are style sheets that lie beside it.

    Raises:
        ParseError: it can't be decoded.
    """
    page, title = split_head(decode_html(data))
    page, num_hidden = without_hidden(page, styles)
    page = _REMARK.sub("", page)  # between two lists kreuzberg writes it as text
    extracted = run_kreuzberg(page.encode("utf-8", "replace"), "text/html")
    return Reading(unescaped(extracted.text, rows_only=True), title, num_hidden)


def without_hidden(page: str, styles: str = "") -> tuple[str, int]:
    """Return the page without the elements that a browser does not show, and how many characters these held."""
    if not _SIGN.search(page) and not _SIGN.search(styles):
        return page, 0
    parser = lxml_html.HTMLParser(encoding="utf-8", no_network=True, remove_comments=True, huge_tree=True)
    try:
        root = lxml_html.document_fromstring(page.encode("utf-8", "replace"), parser=parser)
    except (etree.ParserError, etree.XMLSyntaxError, ValueError):
        return page, 0
    sheets = [styles, *(sheet.text or "" for sheet in root.iter("style"))]
    rules = [rule for sheet in sheets for rule in _rules(sheet)]
    hidden = [element for element in root.iter(etree.Element) if _is_hidden(element, _style(element, rules))]
    hidden += _white_on_white(root, rules)
    if not hidden:
        return page, 0
    num_hidden = sum(_remove(element) for element in hidden)
    return str(lxml_html.tostring(root, encoding="unicode")), num_hidden


def _remove(element: etree._Element) -> int:
    """Take an element out, unless one around it went before; what stands behind it stays."""
    parent = element.getparent()
    if parent is None:
        return 0
    text = "".join(element.itertext())
    element.drop_tree()
    return len(text.strip())


def _rules(sheet: str) -> Iterator[tuple[re.Match[str], Mapping[str, str]]]:
    """Rules of a style sheet for one class, name or kind of element, outside of media queries."""
    text = _AT_RULE.sub("", _COMMENT.sub("", sheet))
    for selectors, body in _RULE.findall(text):
        for selector in selectors.split(","):
            match = _SELECTOR.fullmatch(selector.strip())
            if match and match[0]:
                yield match, _declarations(body)


def _declarations(body: str) -> Mapping[str, str]:
    pairs = (entry.partition(":")[::2] for entry in body.split(";"))
    return {name.strip().lower(): value.replace("!important", "").strip().lower() for name, value in pairs if value}


def _style(element: etree._Element, rules: list[tuple[re.Match[str], Mapping[str, str]]]) -> dict[str, str]:
    style: dict[str, str] = {}
    classes = set((element.get("class") or "").split())
    for match, declarations in rules:
        kind, names, identifier = match.groups()
        if (
            (not kind or kind.lower() == element.tag)
            and set(names.split(".")[1:]) <= classes
            and (not identifier or identifier[1:] == element.get("id"))
        ):
            style.update(declarations)
    if element.tag == "font" and element.get("color"):
        style["color"] = element.get("color").lower()
    if element.get("bgcolor"):
        style["background"] = element.get("bgcolor").lower()
    if "opacity" in style and len("".join(element.itertext())) > _MAX_FADING:
        del style["opacity"]
    return {**style, **_declarations(element.get("style") or "")}


def _is_hidden(element: etree._Element, style: Mapping[str, str]) -> bool:
    if element.tag in {"html", "body", "head", "details"}:
        return False
    return (
        ("hidden" in element.attrib and element.get("hidden") != "until-found")
        or style.get("display") == "none"
        or style.get("visibility") in {"hidden", "collapse"}
        or _NOTHING.fullmatch(style.get("opacity", "")) is not None
        or _TINY.fullmatch(style.get("font-size", "")) is not None
        or _FAR.search(style.get("text-indent", "")) is not None
        or (style.get("position") in {"absolute", "fixed"} and _lies_beside(style))
    )


def _lies_beside(style: Mapping[str, str]) -> bool:
    return any(_FAR.search(style.get(side, "")) for side in ("left", "top", "right", "bottom"))


def _white_on_white(
    root: etree._Element, rules: list[tuple[re.Match[str], Mapping[str, str]]]
) -> Iterator[etree._Element]:
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
