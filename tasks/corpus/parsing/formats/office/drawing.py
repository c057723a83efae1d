"""What a drawing shows beside its text boxes: the alternative text of pictures, charts and diagrams (SmartArt)."""

from collections.abc import Iterator

from lxml import etree

from tasks.corpus.parsing.formats.markdown import table
from tasks.corpus.parsing.formats.office.ooxml import RELATIONSHIP, Package, local_name
from tasks.errors import ParseError

A = "{http://schemas.openxmlformats.org/drawingml/2006/main}"
_CHART = "{http://schemas.openxmlformats.org/drawingml/2006/chart}"
_DIAGRAM = "{http://schemas.openxmlformats.org/drawingml/2006/diagram}"
_PICTURE = "{http://schemas.openxmlformats.org/drawingml/2006/picture}"


def drawing_text(element: etree._Element, package: Package, part: str) -> str:
    """Return the pictures' alternative texts, the charts and the diagrams of an element, '' for none."""
    parts = [
        *_alternative_texts(element, package, part),
        *charts(element, package, part),
        *diagrams(element, package, part),
    ]
    return "\n\n".join(parts)


def _alternative_texts(element: etree._Element, package: Package, part: str) -> Iterator[str]:
    if element.find(f".//{_PICTURE}pic") is None:
        return
    for properties in element.iter():
        if local_name(properties) == "docPr" and (words := " ".join(properties.get("descr", "").split())):
            picture = element.find(f".//{A}blip")
            relation = "" if picture is None else picture.get(f"{RELATIONSHIP}embed", "")
            relationship = package.relationships(part).get(relation)
            target = "/".join(relationship.target.split("/")[-2:]) if relationship else ""
            yield f"![{words}]({target})" if target else words


def charts(element: etree._Element, package: Package, part: str) -> Iterator[str]:
    """Give each chart of an element as its title and a table of its values."""
    for chart in element.iter(f"{_CHART}chart"):
        root = _related(package, part, chart.get(f"{RELATIONSHIP}id", ""))
        if root is not None:
            yield from filter(None, _chart(root))


def diagrams(element: etree._Element, package: Package, part: str) -> Iterator[str]:
    """Give each diagram's texts, one on a line."""
    for relation in element.iter(f"{_DIAGRAM}relIds"):
        root = _related(package, part, relation.get(f"{RELATIONSHIP}dm", ""))
        if root is None:
            continue
        points = (paragraphs(point) for point in root.iter(f"{_DIAGRAM}pt") if point.get("type") not in {"pres", "doc"})
        if lines := [f"- {line}" for text in points for line in text.split("\n") if line.strip()]:
            yield "\n".join(lines)


def paragraphs(element: etree._Element) -> str:
    """Return the text of all paragraphs inside an element of DrawingML, one on a line."""
    lines = ("".join(text.text or "" for text in line.iter(f"{A}t")) for line in element.iter(f"{A}p"))
    return "\n".join(line for line in lines if line.strip())


def _related(package: Package, part: str, identifier: str) -> etree._Element | None:
    relationship = package.relationships(part).get(identifier)
    if relationship is None or relationship.external or relationship.target not in package:
        return None
    try:
        return package.xml(relationship.target)
    except ParseError:  # the drawing alone is damaged; the text around it is whole
        return None


def _chart(root: etree._Element) -> Iterator[str]:
    title = root.find(f"{_CHART}chart/{_CHART}title")
    if title is not None:
        yield paragraphs(title).replace("\n", " ")
    for axis in root.iter(f"{_CHART}catAx", f"{_CHART}valAx", f"{_CHART}dateAx"):
        name = axis.find(f"{_CHART}title")
        if name is not None:
            yield paragraphs(name).replace("\n", " ")
    series = [_series(each) for each in root.iter(f"{_CHART}ser")]
    names = [name for name, _ in series]
    categories = list(dict.fromkeys(category for _, values in series for category in values))
    if categories:
        yield table([["", *names], *([name, *(values.get(name, "") for _, values in series)] for name in categories)])


def _series(element: etree._Element) -> tuple[str, dict[str, str]]:
    name = " ".join(_values(element, "tx").values())
    categories = _values(element, "cat") or _values(element, "xVal")
    values = _values(element, "val") or _values(element, "yVal")
    return name, {categories.get(place, place): value for place, value in values.items()}


def _values(element: etree._Element, name: str) -> dict[str, str]:
    part = element.find(f"{_CHART}{name}")
    if part is None:
        return {}
    points = part.iter(f"{_CHART}pt")
    values = {point.get("idx", ""): point.findtext(f"{_CHART}v", "").strip() for point in points}
    single = part.findtext(f"{_CHART}v")
    return values or ({"0": single.strip()} if single else {})
