"""PowerPoint decks (.pptx) to Markdown: slides in the order of the show, shapes in the order of reading, notes.

Left out: hidden slides and shapes, what lies beside the slide, white on white, comments, slide numbers. What stands at
the foot of many slides is told once, at the end.
"""

from collections.abc import Iterator, Sequence

from lxml import etree

from tasks.corpus.parsing.formats.markdown import Blocks, heading, table
from tasks.corpus.parsing.formats.office.drawing import A, charts, diagrams
from tasks.corpus.parsing.formats.office.office_math import M, linear
from tasks.corpus.parsing.formats.office.ooxml import RELATIONSHIP, Package, is_on, local_name
from tasks.corpus.parsing.formats.office.powerpoint_paper import Paper
from tasks.corpus.parsing.formats.office.powerpoint_shapes import TITLES, Box, P, Shape, in_reading_order, shapes_of
from tasks.corpus.parsing.formats.office.word_inline import chosen
from tasks.corpus.parsing.formats.office.word_numbering import numeral
from tasks.corpus.parsing.formats.reading import Reading

_FEET = {"ftr", "dt", "hdr"}
_BODIES = {"body", "obj", "subTitle"}
_BULLETS = ("buNone", "buChar", "buAutoNum", "buBlip")
_USUAL_SIZE = (9_144_000, 6_858_000)


def read_powerpoint(data: bytes) -> Reading:
    """Read a .pptx file.

    Raises:
        ParseError: `damaged`.
    """
    package = Package.open(data)
    return _Deck(package, package.main_part("ppt/presentation.xml")).read()


class _Deck:
    def __init__(self, package: Package, part: str) -> None:
        self._package = package
        self._part = part
        self._root = package.xml(part)
        size = self._root.find(f"{P}sldSz")
        width, height = _USUAL_SIZE if size is None else (int(size.get(name, "1")) for name in ("cx", "cy"))
        self._slide_box = Box(0, 0, width, height)
        self._num_hidden = 0
        self._feet: dict[str, None] = {}

    def read(self) -> Reading:
        blocks = Blocks()
        for entry in self._root.iterfind(f"{P}sldIdLst/{P}sldId"):
            relation = self._package.relationships(self._part).get(entry.get(f"{RELATIONSHIP}id", ""))
            if relation is not None and relation.target in self._package:
                self._add_slide(blocks, relation.target)
        for text in self._feet:
            blocks.add(text)
        return Reading(blocks.text(), self._package.title, self._num_hidden)

    def _add_slide(self, blocks: Blocks, part: str) -> None:
        root = self._package.xml(part)
        if not is_on(root, "show"):
            self._num_hidden += sum(len(text.text or "") for text in root.iter(f"{A}t"))
            return
        slide = _Slide(self._package, part, root, self._slide_box)
        slide.add_to(blocks)
        self._num_hidden += slide.num_hidden
        self._feet |= dict.fromkeys(slide.feet)
        if notes := self._notes(part):
            blocks.add(f"Notes: {notes}")

    def _notes(self, part: str) -> str:
        notes = self._package.target(part, "notesSlide")
        if notes is None:
            return ""
        bodies = (shape for shape in shapes_of(self._package.xml(notes)) if shape.role == "body")
        lines = (paragraph_text(line) for body in bodies for line in body.element.iter(f"{A}p"))
        return "\n\n".join(line.strip() for line in lines if line.strip())


class _Slide:
    def __init__(self, package: Package, part: str, root: etree._Element, slide_box: Box) -> None:
        self._package = package
        self._part = part
        self._root = root
        self._slide_box = slide_box
        layout = package.target(part, "slideLayout")
        master = package.target(layout, "slideMaster") if layout else None
        self._models = [package.xml(name) for name in (layout, master) if name]
        self._paper = Paper(package, [name for name in (part, layout, master) if name])
        self._by_columns = bool(self._models) and self._models[0].get("type") in {"twoTxTwoObj", "twoObj"}
        self.num_hidden = 0
        self.feet: list[str] = []

    def add_to(self, blocks: Blocks) -> None:
        """Add what the slide shows."""
        drawn = [self._placed(shape) for shape in shapes_of(self._root)]
        shown = [shape for shape in drawn if self._is_shown(shape)]
        for shape in in_reading_order(shown, by_columns=self._by_columns):
            if shape.role in _FEET:
                text = " ".join(self._lines(shape, ()))
                self.feet += [text] if text.strip() else []
            elif shape.role != "sldNum":
                self._add(blocks, shape, drawn[: drawn.index(shape)])

    def _is_shown(self, shape: Shape) -> bool:
        properties = shape.properties
        hidden = properties is not None and properties.get("hidden") in {"1", "true"}
        beside = shape.box is not None and shape.role == "" and not _is_on(shape.box, self._slide_box)
        if hidden or beside:
            self.num_hidden += sum(len(text.text or "") for text in shape.element.iter(f"{A}t"))
        return not (hidden or beside)

    def _placed(self, shape: Shape) -> Shape:
        """A placeholder without a place stands where its layout or master has it."""
        if shape.box is not None or shape.placeholder is None:
            return shape
        box = next((model.box for model in self._models_of(shape) if model.box is not None), None)
        return Shape(shape.element, box)

    def _models_of(self, shape: Shape) -> Iterator[Shape]:
        own = shape.placeholder
        for root in self._models if own is not None else ():
            candidates = [model for model in shapes_of(root) if model.placeholder is not None]
            same = [model for model in candidates if _index(model) == _index(shape) and _index(shape) != "0"]
            like = [model for model in candidates if _family(model.role) == _family(shape.role)]
            yield from (same or like)[:1]

    def _add(self, blocks: Blocks, shape: Shape, beneath: Sequence[Shape]) -> None:
        name = local_name(shape.element)
        if shape.role in TITLES:
            blocks.add(heading(2, " ".join(self._lines(shape, beneath))))
        elif name == "sp":
            self._add_paragraphs(blocks, shape, beneath)
        elif name == "graphicFrame":
            self._add_frame(blocks, shape)
        elif name == "pic" and (words := _alternative_text(shape)):
            blocks.add(f"![{words}]({self._picture(shape)})")

    def _lines(self, shape: Shape, beneath: Sequence[Shape]) -> list[str]:
        return [self._text(line, shape, beneath) for line in shape.element.iterfind(f"{P}txBody/{A}p")]

    def _text(self, line: etree._Element, shape: Shape, beneath: Sequence[Shape]) -> str:
        hidden = [run for run in line.iter(f"{A}r") if self._paper.hides(run, shape, beneath)]
        self.num_hidden += sum(len(run.findtext(f"{A}t", "")) for run in hidden)
        return paragraph_text(line, hidden)

    def _add_paragraphs(self, blocks: Blocks, shape: Shape, beneath: Sequence[Shape]) -> None:
        counts: dict[int, int] = {}
        for line in shape.element.iterfind(f"{P}txBody/{A}p"):
            text = self._text(line, shape, beneath)
            if not text.strip():
                continue
            properties = line.find(f"{A}pPr")
            level = 0 if properties is None else int(properties.get("lvl", "0"))
            bullet = self._bullet(shape, properties, level)
            if bullet is None or local_name(bullet) == "buNone":
                counts.clear()
                blocks.add(text)
                continue
            for deeper in [place for place in counts if place > level]:
                del counts[deeper]
            blocks.add_item(level, _marker(bullet, level, counts), text)

    def _bullet(self, shape: Shape, properties: etree._Element | None, level: int) -> etree._Element | None:
        """The bullet of a paragraph: its own, its shape's, or by its placeholder in layout and master."""
        sources = [properties, shape.element.find(f"{P}txBody/{A}lstStyle/{A}lvl{level + 1}pPr")]
        if shape.placeholder is not None:
            models = self._models_of(shape)
            sources += [model.element.find(f"{P}txBody/{A}lstStyle/{A}lvl{level + 1}pPr") for model in models]
            if shape.role in _BODIES and self._models:
                sources.append(self._models[-1].find(f"{P}txStyles/{P}bodyStyle/{A}lvl{level + 1}pPr"))
        for source in sources:
            for name in _BULLETS if source is not None else ():
                bullet = source.find(f"{A}{name}")
                if bullet is not None:
                    return bullet
        return None

    def _add_frame(self, blocks: Blocks, shape: Shape) -> None:
        for grid in shape.element.iter(f"{A}tbl"):
            blocks.add(table([[_cell(cell) for cell in row.iterfind(f"{A}tc")] for row in grid.iterfind(f"{A}tr")]))
        for kind in (charts, diagrams):
            for text in kind(shape.element, self._package, self._part):
                blocks.add(text)

    def _picture(self, shape: Shape) -> str:
        picture = shape.element.find(f".//{A}blip")
        identifier = "" if picture is None else picture.get(f"{RELATIONSHIP}embed", "")
        relation = self._package.relationships(self._part).get(identifier)
        return "" if relation is None else "/".join(relation.target.split("/")[-2:])


def paragraph_text(line: etree._Element, hidden: Sequence[etree._Element] = ()) -> str:
    """Return the characters of a paragraph of DrawingML without its hidden runs."""
    parts = []
    for child in line:
        name = local_name(child)
        if child in hidden:
            continue
        if name == "r" or (name == "fld" and child.get("type") != "slidenum"):
            parts.append(child.findtext(f"{A}t", ""))
        elif name == "br":
            parts.append("\n")
        elif name == "AlternateContent":
            parts += [linear(each) for choice in chosen(child) for each in choice.iter(f"{M}oMath")]
        else:
            parts += [linear(each) for each in child.iter(f"{M}oMath")]
    return "".join(parts).replace("\v", "\n")


def _is_on(box: Box, slide: Box) -> bool:
    return box.overlaps(slide) or (box.width == 0 or box.height == 0)


def _index(shape: Shape) -> str:
    placeholder = shape.placeholder
    return "0" if placeholder is None else str(placeholder.get("idx", "0"))


def _family(role: str) -> str:
    return {"ctrTitle": "title", "subTitle": "body", "obj": "body"}.get(role, role)


def _marker(bullet: etree._Element, level: int, counts: dict[int, int]) -> str:
    if local_name(bullet) != "buAutoNum":
        return "-"
    counts[level] = counts.get(level, int(bullet.get("startAt", "1")) - 1) + 1
    form = bullet.get("type", "arabicPeriod")
    kinds = (
        ("alphaLc", "lowerLetter"),
        ("alphaUc", "upperLetter"),
        ("romanLc", "lowerRoman"),
        ("romanUc", "upperRoman"),
    )
    name = next((kind for begin, kind in kinds if form.startswith(begin)), "decimal")
    number = numeral(counts[level], name)
    sign = ")" if "Paren" in form else "."
    return f"{number}{sign}" if name == "decimal" else f"- {number}{sign}"


def _cell(cell: etree._Element) -> str:
    if cell.get("hMerge") in {"1", "true"} or cell.get("vMerge") in {"1", "true"}:
        return ""
    return " ".join(paragraph_text(line) for line in cell.iter(f"{A}p"))


def _alternative_text(shape: Shape) -> str:
    properties = shape.properties
    return "" if properties is None else " ".join(properties.get("descr", "").split())
