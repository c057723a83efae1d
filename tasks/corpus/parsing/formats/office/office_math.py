"""Formulas of Word and PowerPoint on one line: (a+b)/c, x^2, √(y), as a person would type them."""

from collections.abc import Callable, Mapping

from lxml import etree

from tasks.corpus.parsing.formats.office.ooxml import local_name

M = "{http://schemas.openxmlformats.org/officeDocument/2006/math}"


def linear(element: etree._Element) -> str:
    """Return a formula as text on one line."""
    name = local_name(element)
    if name == "t":
        return element.text or ""
    if name.endswith("Pr"):
        return ""
    return _FORMS.get(name, _inside)(element)


def _inside(element: etree._Element) -> str:
    return "".join(linear(child) for child in element)


def _part(element: etree._Element, name: str) -> str:
    part = element.find(f"{M}{name}")
    return "" if part is None else _inside(part)


def _group(element: etree._Element, name: str) -> str:
    text = _part(element, name)
    return text if len(text) < 2 or text.isalnum() else f"({text})"


def _nary(element: etree._Element) -> str:
    sign = element.find(f"{M}naryPr/{M}chr")
    shown = "∫" if sign is None else sign.get(f"{M}val", "∫")
    lower, upper = _group(element, "sub"), _group(element, "sup")
    return shown + (f"_{lower}" if lower else "") + (f"^{upper}" if upper else "") + " " + _part(element, "e")


def _delimited(element: etree._Element) -> str:
    begin, end = (element.find(f"{M}dPr/{M}{name}") for name in ("begChr", "endChr"))
    parts = ", ".join(_inside(part) for part in element.findall(f"{M}e"))
    return (
        ("(" if begin is None else begin.get(f"{M}val", "")) + parts + (")" if end is None else end.get(f"{M}val", ""))
    )


def _fraction(element: etree._Element) -> str:
    return f"{_group(element, 'num')}/{_group(element, 'den')}"


def _scripts(element: etree._Element) -> str:
    parts = ((_group(element, name), sign) for name, sign in (("sub", "_"), ("sup", "^")))
    return _group(element, "e") + "".join(sign + text for text, sign in parts if text)


def _radical(element: etree._Element) -> str:
    return f"{_part(element, 'deg')}√({_part(element, 'e')})"


def _matrix(element: etree._Element) -> str:
    rows = (", ".join(_inside(cell) for cell in row.iter(f"{M}e")) for row in element.iter(f"{M}mr"))
    return "[" + "; ".join(rows) + "]"


_FORMS: Mapping[str, Callable[[etree._Element], str]] = {
    "f": _fraction,
    "sSup": _scripts,
    "sSub": _scripts,
    "sSubSup": _scripts,
    "rad": _radical,
    "nary": _nary,
    "d": _delimited,
    "m": _matrix,
}
