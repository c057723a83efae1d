"""FictionBook (.fb2) to Markdown: bodies, sections, poems, tables, notes."""

from collections.abc import Iterator

from lxml import etree

from tasks.corpus.parsing.formats.markdown import Blocks, fenced, heading, link, table
from tasks.corpus.parsing.formats.office.ooxml import local_name, parse_xml
from tasks.corpus.parsing.formats.reading import Reading, damaged

_HREF = "{http://www.w3.org/1999/xlink}href"
_LINES = {"p", "v", "subtitle", "text-author", "date"}


def read_fiction_book(data: bytes) -> Reading:
    """Read an .fb2 file.

    Raises:
        ParseError: `damaged`.
    """
    root = parse_xml(data)
    if local_name(root) != "FictionBook":
        raise damaged(f"an XML file of {local_name(root)!r}")
    titles = (element for element in root.iter(etree.Element) if local_name(element) == "book-title")
    title = next((_line(element) for element in titles), "")
    blocks = Blocks()
    for element in root.iter(etree.Element):
        if local_name(element) == "annotation" and local_name(_parent(element)) == "title-info":
            _add_children(blocks, element, 1)
    for body in (element for element in root if local_name(element) == "body"):
        if body.get("name") in {"notes", "comments"}:
            _add_notes(blocks, body)
        else:
            _add_children(blocks, body, 1)
    return Reading(blocks.text(), title)


def _add_children(blocks: Blocks, parent: etree._Element, level: int) -> None:
    for element in parent:
        _add(blocks, element, level)


def _add(blocks: Blocks, element: etree._Element, level: int) -> None:
    name = local_name(element)
    if name == "title":
        blocks.add(heading(level, " ".join(_line(line) for line in element if local_name(line) == "p")))
    elif name == "subtitle":
        blocks.add(heading(level + 1, _line(element)))
    elif name == "section":
        _add_children(blocks, element, level + 1)
    elif name == "stanza":
        blocks.add("\n".join(_line(line) for line in element if local_name(line) in _LINES | {"title"}))
    elif name == "table":
        rows = [row for row in element if local_name(row) == "tr"]
        blocks.add(table([list(_cells(row)) for row in rows]))
    elif name in _LINES:
        children = list(element)
        is_code = len(children) == 1 and local_name(children[0]) == "code" and not (element.text or "").strip()
        code = "".join(element.itertext())
        blocks.add(fenced(code.split("\n")) if is_code and "\n" in code.strip() else _line(element))
    elif name == "image":
        blocks.add(element.get("alt", "") or element.get("title", ""))
    else:  # epigraph, cite, poem, annotation
        _add_children(blocks, element, level)


def _cells(row: etree._Element) -> Iterator[str]:
    for cell in row:
        yield _line(cell)
        span = cell.get("colspan", "1")
        yield from [""] * (min(int(span), 1000) - 1 if span.isdigit() else 0)


def _add_notes(blocks: Blocks, body: etree._Element) -> None:
    """Notes by their identifiers, to which the text refers."""
    for element in body:
        if local_name(element) != "section" or not element.get("id"):
            _add(blocks, element, 1)
            continue
        inner = Blocks()
        for child in element:
            if local_name(child) != "title":  # its number, which the mark repeats
                _add(inner, child, 2)
        blocks.add(f"[^{element.get('id')}]: " + inner.text().replace("\n", "\n    "))


def _line(element: etree._Element) -> str:
    return " ".join(_inline(element).split())


def _inline(element: etree._Element) -> str:
    parts = [element.text or ""]
    for child in element:
        target = child.get(_HREF, "")
        if local_name(child) == "a" and child.get("type") == "note" and target.startswith("#"):
            parts.append(f"[^{target[1:]}]")
        elif local_name(child) == "a":
            parts.append(link(_inline(child), "" if target.startswith("#") else target))
        elif local_name(child) == "image":
            parts.append(child.get("alt", ""))
        else:
            parts.append(_inline(child))
        parts.append(child.tail or "")
    return "".join(parts)


def _parent(element: etree._Element) -> etree._Element:
    parent = element.getparent()
    return element if parent is None else parent
