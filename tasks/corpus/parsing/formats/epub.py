"""Books (.epub) to Markdown: the chapters in the order of the spine, whatever their names look like."""

import posixpath
from collections.abc import Iterator
from urllib.parse import unquote

from lxml import etree

from tasks.corpus.parsing.formats.html import read_html
from tasks.corpus.parsing.formats.office.ooxml import Package, local_name
from tasks.corpus.parsing.formats.reading import Reading, damaged
from tasks.errors import ParseError

_CONTAINER = "META-INF/container.xml"
_PAGES = {"application/xhtml+xml", "text/html", "application/xml", "text/xml", "application/x-dtbook+xml"}
_NAVIGATION = "nav"


def read_epub(data: bytes) -> Reading:
    """Read an .epub file.

    Raises:
        ParseError: `damaged`; `partial`: a chapter of the spine is missing or can't be read.
    """
    package = Package.open(data)
    name = _book(package)
    root = package.xml(name)
    folder = posixpath.dirname(name)
    styles = "\n".join(_styles(package, folder, root))
    chapters = [read_html(_entry(package, folder, href), styles) for href in _spine(root)]
    title = next((" ".join((e.text or "").split()) for e in root.iter(etree.Element) if local_name(e) == "title"), "")
    text = "\n\n".join(chapter.text.strip() for chapter in chapters if chapter.text.strip())
    return Reading(text, title, sum(chapter.num_hidden for chapter in chapters))


def _book(package: Package) -> str:
    """The name of the book's own description, as the container tells it."""
    if _CONTAINER not in package:
        raise damaged(f"no {_CONTAINER}")
    for element in package.xml(_CONTAINER).iter(etree.Element):
        path = unquote(element.get("full-path", ""))
        if local_name(element) == "rootfile" and path in package:
            return path
    raise damaged("a container that names no book")


def _spine(root: etree._Element) -> list[str]:
    """The chapters' names in the order of reading; the table of contents is none."""
    entries = {e.get("id", ""): e for e in root.iter(etree.Element) if local_name(e) == "item"}
    names = [e.get("idref", "") for e in root.iter(etree.Element) if local_name(e) == "itemref"]
    chapters = [entries[name] for name in names if name in entries]
    shown = [e for e in chapters if _NAVIGATION not in e.get("properties", "").split()]
    return [e.get("href", "") for e in shown if e.get("media-type", "") in _PAGES]


def _styles(package: Package, folder: str, root: etree._Element) -> Iterator[str]:
    for element in root.iter(etree.Element):
        if local_name(element) == "item" and element.get("media-type") == "text/css":
            try:
                yield _entry(package, folder, element.get("href", "")).decode("utf-8", "replace")
            except ParseError:  # a book without its style sheet is read all the same
                continue


def _entry(package: Package, folder: str, href: str) -> bytes:
    plain = posixpath.normpath(posixpath.join(folder, href.partition("#")[0]))
    for name in (plain, posixpath.normpath(posixpath.join(folder, unquote(href).partition("#")[0])), unquote(plain)):
        if name in package:
            return package.read(name)
    raise ParseError("partial", f"the book must hold all chapters that it names, found no {href!r}; pack it again")
