"""Word files (.docx) to Markdown: body, tables, text boxes, notes, page headers, with all changes accepted.

Left out: what Word hides (`vanish`), paints white on white or makes too small to see, deleted rows, comments.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from lxml import etree

from tasks.corpus.parsing.formats.markdown import Blocks, heading, table
from tasks.corpus.parsing.formats.office.ooxml import RELATIONSHIP, Package, is_on
from tasks.corpus.parsing.formats.office.word_inline import Inline, Story, chosen
from tasks.corpus.parsing.formats.office.word_numbering import Numbering
from tasks.corpus.parsing.formats.office.word_styles import VAL, Styles, W, is_shaded, style_of
from tasks.corpus.parsing.formats.reading import Reading

_ALTERNATIVES = "{http://schemas.openxmlformats.org/markup-compatibility/2006}AlternateContent"
_WRAPPERS = {f"{W}{name}" for name in ("ins", "moveTo", "customXml", "smartTag", "sdtContent")}
_ORDERED = re.compile(r"\d{1,9}[.)]")
_REMOVED = {f"{W}{name}" for name in ("del", "moveFrom")}


def read_word(data: bytes) -> Reading:
    """Read a .docx file.

    Raises:
        ParseError: `damaged`.
    """
    package = Package.open(data)
    part = package.main_part("word/document.xml")
    return _Word(package, part).read()


@dataclass(slots=True)
class _Notes:
    """Notes in the order in which the text refers to them: (kind, identifier) to their number."""

    numbers: dict[tuple[str, str], int] = field(default_factory=dict)

    def mark(self, kind: str, identifier: str) -> str:
        return f"[^{self.numbers.setdefault((kind, identifier), len(self.numbers) + 1)}]"


class _Word:
    def __init__(self, package: Package, part: str) -> None:
        self._package = package
        self._part = part
        self._styles = Styles(self._related("styles"))
        self._numbering = Numbering(self._related("numbering"), self._styles)
        self._notes = _Notes()
        self._inline = Inline(package, self._styles, self._notes.mark)
        self._pending = ""

    def _related(self, kind: str) -> etree._Element | None:
        name = self._package.target(self._part, kind)
        return None if name is None else self._package.xml(name)

    def read(self) -> Reading:
        root = self._package.xml(self._part)
        body = root.find(f"{W}body")
        blocks = Blocks()
        for text in self._page_parts(root, "header"):
            blocks.add(text)
        if body is not None:
            self._fill(blocks, body, Story(self._part), shaded=False)
        for text in (*self._page_parts(root, "footer"), *self._note_texts()):
            blocks.add(text)
        return Reading(blocks.text(), self._package.title, self._inline.num_hidden)

    def _fill(self, blocks: Blocks, parent: etree._Element, story: Story, *, shaded: bool) -> None:
        for element in self._children(parent):
            if element.tag == f"{W}p":
                self._add_paragraph(blocks, element, story, shaded=shaded)
            elif element.tag == f"{W}tbl":
                self._flush(blocks)
                self._add_table(blocks, element, story)
        self._flush(blocks)

    def _flush(self, blocks: Blocks) -> None:
        text, self._pending = self._pending, ""
        blocks.add(text)

    def _children(self, parent: etree._Element) -> Iterator[etree._Element]:
        """Paragraphs and tables, those inside wrappers too, without what was deleted."""
        for element in parent:
            if element.tag in _WRAPPERS:
                yield from self._children(element)
            elif element.tag == f"{W}sdt":
                content = element.find(f"{W}sdtContent")
                yield from () if content is None else self._children(content)
            elif element.tag == _ALTERNATIVES:
                for choice in chosen(element):
                    yield from self._children(choice) if choice.tag not in {f"{W}p", f"{W}tbl"} else [choice]
            elif element.tag not in _REMOVED:
                yield element

    def _add_paragraph(self, blocks: Blocks, paragraph: etree._Element, story: Story, *, shaded: bool) -> None:
        properties = paragraph.find(f"{W}pPr")
        text = self._pending + self._inline.text(paragraph, story, shaded=shaded)
        self._pending = ""
        if _runs_on(properties):
            self._pending = text
            return
        boxes, story.boxes = story.boxes, []
        self._add_text(blocks, properties, text)
        for box in boxes:
            self._fill(blocks, box, story, shaded=True)

    def _add_text(self, blocks: Blocks, properties: etree._Element | None, text: str) -> None:
        if not text.strip():
            if self._styles.is_code(properties):
                blocks.add_code("")
            return
        label = self._numbering.label(properties)
        level = self._styles.heading_level(properties)
        if level:
            blocks.add(heading(level, f"{label.text} {text}" if label else text))
        elif label is not None:
            ordered = _ORDERED.fullmatch(label.text)
            blocks.add_item(label.level, *((label.text, text) if ordered else ("-", f"{label.text} {text.strip()}")))
        elif self._styles.is_code(properties):
            for line in text.split("\n"):
                blocks.add_code(line)
        else:
            blocks.add(text.strip())

    def _add_table(self, blocks: Blocks, element: etree._Element, story: Story) -> None:
        rows = [self._cells(row, story, self._is_on_ground(element)) for row in self._rows(element)]
        if len(rows) == 1 and len(rows[0]) == 1:
            blocks.add(rows[0][0])
            return
        blocks.add(table(rows))

    def _is_on_ground(self, element: etree._Element) -> bool:
        properties = element.find(f"{W}tblPr")
        if properties is None:
            return False
        return is_shaded(properties.find(f"{W}shd")) or self._styles.table_is_shaded(style_of(properties))

    def _rows(self, element: etree._Element) -> Iterator[etree._Element]:
        for row in self._children(element):
            if row.tag != f"{W}tr":
                continue
            properties = row.find(f"{W}trPr")
            if properties is not None and properties.find(f"{W}del") is not None:
                continue
            if properties is not None and is_on(properties.find(f"{W}hidden"), VAL):
                self._inline.num_hidden += sum(len(text.text or "") for text in row.iter(f"{W}t"))
                continue
            yield row

    def _cells(self, row: etree._Element, story: Story, shaded: bool) -> list[str]:
        properties = row.find(f"{W}trPr")
        cells = [""] * _whole(properties, "gridBefore", 0)
        for cell in self._children(row):
            if cell.tag != f"{W}tc":
                continue
            look = cell.find(f"{W}tcPr")
            merged = None if look is None else look.find(f"{W}vMerge")
            ground = shaded or (look is not None and is_shaded(look.find(f"{W}shd")))
            hidden = merged is not None and merged.get(VAL, "continue") == "continue"
            cells.append("" if hidden else self._text_of(cell, story, shaded=ground))
            cells += [""] * (_whole(look, "gridSpan", 1) - 1)
        return cells

    def _text_of(self, element: etree._Element, story: Story, *, shaded: bool = False) -> str:
        inner = Blocks()
        pending, self._pending = self._pending, ""
        self._fill(inner, element, story, shaded=shaded)
        self._pending = pending
        return inner.text()

    def _note_texts(self) -> Iterator[str]:
        """The notes that the text refers to; a note may refer to another."""
        roots = {kind: self._elements_of(f"{kind}s") for kind in ("footnote", "endnote")}
        done = 0
        while done < len(self._notes.numbers):
            (kind, identifier), number = list(self._notes.numbers.items())[done]
            done += 1
            part, elements = roots[kind]
            if identifier in elements:
                text = self._text_of(elements[identifier], Story(part))
                yield f"[^{number}]: " + text.strip().replace("\n", "\n    ")

    def _elements_of(self, kind: str) -> tuple[str, dict[str, etree._Element]]:
        part = self._package.target(self._part, kind)
        if part is None:
            return "", {}
        return part, {element.get(f"{W}id", ""): element for element in self._package.xml(part)}

    def _page_parts(self, root: etree._Element, kind: str) -> Iterator[str]:
        """Texts at the head or foot of pages, each once, without page numbers."""
        settings = self._related("settings")
        even = settings is not None and is_on(settings.find(f"{W}evenAndOddHeaders"), VAL)
        seen = set()
        for section in root.iter(f"{W}sectPr"):
            first = is_on(section.find(f"{W}titlePg"), VAL)
            for reference in section.iter(f"{W}{kind}Reference"):
                form = reference.get(f"{W}type", "default")
                if (form == "first" and not first) or (form == "even" and not even):
                    continue
                relation = self._package.relationships(self._part).get(reference.get(f"{RELATIONSHIP}id", ""))
                if relation is None or relation.target in seen or relation.target not in self._package:
                    continue
                seen.add(relation.target)
                story = Story(relation.target, page_numbers=False)
                text = self._text_of(self._package.xml(relation.target), story)
                if any(sign.isalpha() for sign in text) and text not in seen:
                    seen.add(text)
                    yield text


def _runs_on(properties: etree._Element | None) -> bool:
    """Whether what follows stands in the same paragraph: the mark between was deleted, or this is a large initial."""
    if properties is None:
        return False
    frame = properties.find(f"{W}framePr")
    if frame is not None and frame.get(f"{W}dropCap", "none") != "none":
        return True
    mark = properties.find(f"{W}rPr")
    return mark is not None and any(mark.find(f"{W}{name}") is not None for name in ("del", "moveFrom"))


def _whole(properties: etree._Element | None, name: str, otherwise: int) -> int:
    element = None if properties is None else properties.find(f"{W}{name}")
    text = "" if element is None else element.get(VAL, "")
    return min(int(text), 1000) if text.isdigit() else otherwise
