"""OpenDocument texts (.odt) to Markdown by kreuzberg, without what the author's program does not show.

Left out, and counted: hidden text and sections, text of a hidden or white style, hidden rows. Left out: deleted changes
and comments.
"""

import io
import zipfile
from collections.abc import Iterator

from lxml import etree

from tasks.corpus.parsing.formats.office.ooxml import Package, local_name
from tasks.corpus.parsing.formats.reading import Reading
from tasks.corpus.parsing.formats.unescape import unescaped
from tasks.corpus.parsing.kreuzberg_parser import run_kreuzberg

_OFFICE = "{urn:oasis:names:tc:opendocument:xmlns:office:1.0}"
_TEXT = "{urn:oasis:names:tc:opendocument:xmlns:text:1.0}"
_STYLE = "{urn:oasis:names:tc:opendocument:xmlns:style:1.0}"
_FO = "{urn:oasis:names:tc:opendocument:xmlns:xsl-fo-compatible:1.0}"
_TABLE = "{urn:oasis:names:tc:opendocument:xmlns:table:1.0}"
_CONTENT, _STYLES = "content.xml", "styles.xml"
_REMOVED = {f"{_OFFICE}annotation", f"{_OFFICE}annotation-end", f"{_TEXT}tracked-changes", f"{_TEXT}hidden-text"}
_SHOWN = {f"{_TEXT}p", f"{_TEXT}h", f"{_TEXT}span"}
_MAX_BLANKS = 1000
_MEDIA_TYPE = "application/vnd.oasis.opendocument.text"


def read_open_document(data: bytes) -> Reading:
    """Read an .odt file.

    Raises:
        ParseError: `damaged`.
    """
    package = Package.open(data)
    root = package.xml(_CONTENT)
    roots = [package.xml(_STYLES), root] if _STYLES in package else [root]
    hidden = set(_hidden_styles(roots))
    num_hidden = sum(_remove(element) for element in list(root.iter(etree.Element)) if _is_hidden(element, hidden))
    for element in list(root.iter(f"{_TEXT}s")):
        _spell_blanks(element)
    extracted = run_kreuzberg(_packed(data, etree.tostring(root, xml_declaration=True, encoding="UTF-8")), _MEDIA_TYPE)
    return Reading(unescaped(extracted.text), extracted.title, num_hidden)


def _hidden_styles(roots: list[etree._Element]) -> Iterator[str]:
    for root in roots:
        for style in root.iter(f"{_STYLE}style"):
            look = style.find(f"{_STYLE}text-properties")
            if look is None:
                continue
            ground = look.get(f"{_FO}background-color", "transparent")
            is_white = look.get(f"{_FO}color", "").lower() == "#ffffff" and ground in {"transparent", "#ffffff"}
            on_paper = style.find(f"{_STYLE}paragraph-properties[@{_FO}background-color]") is None
            if look.get(f"{_TEXT}display") == "none" or (is_white and on_paper):
                yield style.get(f"{_STYLE}name", "")


def _is_hidden(element: etree._Element, styles: set[str]) -> bool:
    tag = element.tag
    if tag in _REMOVED:
        return True
    if tag in {f"{_TABLE}table-row", f"{_TABLE}table-column"}:
        return bool(element.get(f"{_TABLE}visibility") in {"collapse", "filter"})
    if tag == f"{_TEXT}section":
        return bool(element.get(f"{_TEXT}display") == "none")
    return tag in _SHOWN and element.get(f"{_TEXT}style-name") in styles


def _remove(element: etree._Element) -> int:
    parent = element.getparent()
    if parent is None:
        return 0
    text = "" if local_name(element) in {"annotation", "tracked-changes"} else "".join(element.itertext())
    _keep_tail(element, parent)
    parent.remove(element)
    return len(text.strip())


def _keep_tail(element: etree._Element, parent: etree._Element) -> None:
    before = element.getprevious()
    if before is None:
        parent.text = (parent.text or "") + (element.tail or "")
    else:
        before.tail = (before.tail or "") + (element.tail or "")


def _spell_blanks(element: etree._Element) -> None:
    """Several blanks are an element of their own, which kreuzberg passes over."""
    parent = element.getparent()
    count = element.get(f"{_TEXT}c", "1")
    element.tail = " " * min(int(count) if count.isdigit() else 1, _MAX_BLANKS) + (element.tail or "")
    _keep_tail(element, parent)
    parent.remove(element)


def _packed(data: bytes, content: bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(packed, "w") as new:
        for entry in old.infolist():
            new.writestr(entry.filename, content if entry.filename == _CONTENT else old.read(entry))
    return packed.getvalue()
