"""HTML pages to Markdown by kreuzberg, without the head and without what a browser does not show.

Left out, and counted: what `tasks.corpus.parsing.formats.hidden` says is not shown.
"""

import re

from lxml import etree
from lxml import html as lxml_html

from tasks.corpus.parsing.decode import decode_html
from tasks.corpus.parsing.formats.hidden import SIGN, hidden_elements
from tasks.corpus.parsing.formats.reading import Reading
from tasks.corpus.parsing.formats.unescape import unescaped
from tasks.corpus.parsing.html_head import split_head
from tasks.corpus.parsing.kreuzberg_parser import run_kreuzberg

_FOREIGN = re.compile(r"<(?:svg|math|ins|mark|select)\b", re.I)
_REMARK = re.compile(r"<!--.*?-->|<!\[CDATA\[[^>]*>", re.S)


def read_html(data: bytes, styles: str = "") -> Reading:
    """Read an HTML page; `styles` are style sheets that lie beside it.

    Raises:
        ParseError: it can't be decoded.
    """
    page, title = split_head(decode_html(data))
    page, num_hidden = without_hidden(page, styles)
    page = _REMARK.sub("", page)  # between two lists kreuzberg writes it as text, as it does with CDATA anywhere
    extracted = run_kreuzberg(page.encode("utf-8", "replace"), "text/html")
    return Reading(unescaped(extracted.text, rows_only=True), title, num_hidden)


def without_hidden(page: str, styles: str = "") -> tuple[str, int]:
    """Return the page without the elements that a browser does not show, and how many characters these held."""
    if not any(map(SIGN.search, (page, styles))) and not _FOREIGN.search(page):
        return page, 0
    parser = lxml_html.HTMLParser(encoding="utf-8", no_network=True, remove_comments=True, huge_tree=True)
    try:
        root = lxml_html.document_fromstring(page.encode("utf-8", "replace"), parser=parser)
    except (etree.ParserError, etree.XMLSyntaxError, ValueError):
        return page, 0
    hidden = hidden_elements(root, styles)
    num_hidden = sum(_remove(element) for element in hidden)
    if not _made_plain(root) and not hidden:
        return page, 0
    return str(lxml_html.tostring(root, encoding="unicode")), num_hidden


def _made_plain(root: etree._Element) -> bool:
    """Put plain text in the place of what kreuzberg drops or writes with marks of its own; whether there was any."""
    foreign = list(root.iter("svg", "math", "ins", "mark", "select"))
    for element in foreign:
        if element.tag in {"ins", "mark"}:
            element.tag = "span"
            continue
        text = formula(element) if element.tag == "math" else _shown_text(element)
        tail, attributes = element.tail, element.attrib
        attributes.clear()
        for child in list(element):
            element.remove(child)
        element.tag, element.text, element.tail = "span", text, tail
    return bool(foreign)


def _shown_text(element: etree._Element) -> str:
    """The words of a drawing, or the entries of a list to choose from."""
    texts = (" ".join("".join(each.itertext()).split()) for each in element.iter("text", "option"))
    return "; ".join(text for text in texts if text)


def formula(element: etree._Element) -> str:
    """A formula of MathML on one line: `a/b`, `x^2`, `x_i`, without the notes that repeat it in another language."""
    kind = element.tag.rpartition("}")[2].rpartition(":")[2] if isinstance(element.tag, str) else ""
    if kind.startswith("annotation"):
        return ""
    parts = [formula(child) for child in element if isinstance(child.tag, str)]
    sign = {"mfrac": "/", "msup": "^", "msub": "_"}.get(kind)
    if sign and len(parts) == 2:
        return sign.join(part if len(part) == 1 or part.isalnum() else f"({part})" for part in parts)
    text = " ".join((element.text or "").split())
    return f" {text} " if kind == "mo" and text and not parts else text + "".join(parts)


def _remove(element: etree._Element) -> int:
    """Take an element out, unless one around it went before; what stands behind it stays."""
    parent = element.getparent()
    if parent is None:
        return 0
    text = "".join(element.itertext())
    element.drop_tree()
    return len(text.strip())
