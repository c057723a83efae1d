"""The characters of a Word paragraph: runs, fields, links, notes, as Word shows them with all changes accepted."""

from collections.abc import Callable
from dataclasses import dataclass, field

from lxml import etree

from tasks.corpus.parsing.formats.markdown import link
from tasks.corpus.parsing.formats.office.drawing import drawing_text
from tasks.corpus.parsing.formats.office.office_math import M, linear
from tasks.corpus.parsing.formats.office.ooxml import RELATIONSHIP, Package, is_on, local_name
from tasks.corpus.parsing.formats.office.symbols import symbol
from tasks.corpus.parsing.formats.office.word_styles import VAL, Styles, W, is_shaded, style_of

_COMPATIBILITY = "{http://schemas.openxmlformats.org/markup-compatibility/2006}"
_VML = "{urn:schemas-microsoft-com:vml}"
_REMOVED = {
    f"{W}{name}" for name in ("del", "moveFrom", "rPr", "pPr", "sdtPr", "sdtEndPr", "customXmlPr", "smartTagPr")
}
_HIDDEN_FIELDS = {"TC", "XE", "TA", "RD", "PRIVATE"}
_PAGE_FIELDS = {"PAGE", "NUMPAGES", "SECTIONPAGES", "SECTION"}
_SIGNS = {"tab": "\t", "ptab": "\t", "br": "\n", "cr": "\n", "noBreakHyphen": "-"}


@dataclass(slots=True)
class _Field:
    """A field that is open: `result` once its code is over."""

    code: str = ""
    result: bool = False


@dataclass(slots=True)
class Story:
    """A text of its own: the body, a note, a header.

    Attributes:
        part: name of the part that it stands in.
        boxes: text boxes anchored in the paragraph that was read last.
    """

    part: str
    page_numbers: bool = True
    boxes: list[etree._Element] = field(default_factory=list)
    fields: list[_Field] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a run stands: the look that its paragraph gives, and the ground of its cell."""

    style: str | None
    shaded: bool


class Inline:
    """Reads paragraphs of one file; counts what Word does not show."""

    def __init__(self, package: Package, styles: Styles, note: Callable[[str, str], str]) -> None:
        """Take the package, its styles, and what gives the mark of a note of a kind and identifier."""
        self._package = package
        self._styles = styles
        self._note = note
        self.num_hidden = 0

    def text(self, paragraph: etree._Element, story: Story, *, shaded: bool = False) -> str:
        """Return a paragraph's characters; its text boxes are left in the story."""
        properties = paragraph.find(f"{W}pPr")
        ground = shaded or (properties is not None and is_shaded(properties.find(f"{W}shd")))
        place = _Place(style_of(properties), ground)
        return "".join(self._of(child, story, place) for child in paragraph)

    def _of(self, element: etree._Element, story: Story, place: _Place) -> str:
        tag = element.tag
        text = ""
        if tag == f"{W}r":
            text = self._run(element, story, place)
        elif tag == f"{W}hyperlink":
            text = link(self._inside(element, story, place), self._target(element, story))
        elif tag == f"{W}fldSimple":
            shown = _is_shown(element.get(f"{W}instr", ""), story)
            text = self._inside(element, story, place) if shown else ""
        elif tag.startswith(M):
            text = linear(element)
        elif tag == f"{_COMPATIBILITY}AlternateContent":
            text = "".join(self._of(child, story, place) for child in chosen(element))
        elif tag.startswith(W) and tag not in _REMOVED:
            text = self._inside(element, story, place)
        return text

    def _inside(self, element: etree._Element, story: Story, place: _Place) -> str:
        return "".join(self._of(child, story, place) for child in element)

    def _target(self, element: etree._Element, story: Story) -> str:
        relationship = self._package.relationships(story.part).get(element.get(f"{RELATIONSHIP}id", ""))
        if relationship is None or not relationship.external:
            return ""
        anchor = element.get(f"{W}anchor")
        return relationship.target + (f"#{anchor}" if anchor else "")

    def _run(self, run: etree._Element, story: Story, place: _Place) -> str:
        properties = run.find(f"{W}rPr")
        if properties is not None and properties.find(f"{W}del") is not None:
            return ""
        look = self._styles.look(place.style, style_of(properties)).over(properties)
        hidden = look.is_hidden(on_ground=place.shaded)
        parts = []
        for child in run:
            text = self._piece(child, story, place)
            if hidden and child.tag not in {f"{W}fldChar", f"{W}instrText"}:
                self.num_hidden += len(text.strip())
                text = ""
            parts.append(text)
        return "".join(parts)

    def _piece(self, element: etree._Element, story: Story, place: _Place) -> str:
        name = local_name(element)
        if name == "fldChar":
            return self._turn(element, story)
        if name == "instrText":
            if story.fields and not story.fields[-1].result:
                story.fields[-1].code += element.text or ""
            return ""
        if any(not each.result or not _is_shown(each.code, story) for each in story.fields):
            return ""
        return self._shown(element, name, story, place)

    def _shown(self, element: etree._Element, name: str, story: Story, place: _Place) -> str:
        text = _SIGNS.get(name, "")
        if name == "t":
            text = element.text or ""
        elif name in {"footnoteReference", "endnoteReference"}:
            text = self._note(name.removesuffix("Reference"), element.get(f"{W}id", ""))
        elif name == "sym":
            text = symbol(element.get(f"{W}font", ""), element.get(f"{W}char", ""))
        elif name == "ruby":
            text = self._ruby(element, story, place)
        elif name == "AlternateContent":
            text = "".join(self._piece(child, story, place) for child in chosen(element))
        elif name in {"drawing", "pict", "object"}:
            text = self._drawing(element, story)
        return text

    def _turn(self, element: etree._Element, story: Story) -> str:
        """A field begins, turns from its code to its result, or ends; a tick box of a form shows its state."""
        match element.get(f"{W}fldCharType"):
            case "begin":
                story.fields.append(_Field())
                box = element.find(f"{W}ffData/{W}checkBox")
                if box is not None:
                    state = box.find(f"{W}checked")
                    state = box.find(f"{W}default") if state is None else state
                    return "☒" if is_on(state, VAL) else "☐"
            case "separate" if story.fields:
                story.fields[-1].result = True
            case "end" if story.fields:
                story.fields.pop()
        return ""

    def _ruby(self, element: etree._Element, story: Story, place: _Place) -> str:
        base, above = (element.find(f"{W}{name}") for name in ("rubyBase", "rt"))
        shown = "" if base is None else self._inside(base, story, place)
        reading = "" if above is None else self._inside(above, story, place)
        return f"{shown}({reading})" if reading else shown

    def _drawing(self, element: etree._Element, story: Story) -> str:
        for box in element.iter(f"{W}txbxContent"):
            if not _within(box, element, {f"{W}txbxContent", f"{_COMPATIBILITY}Fallback"}):
                story.boxes.append(box)
        written = [path.get("string", "") for path in element.iter(f"{_VML}textpath")]
        return "".join(written) + drawing_text(element, self._package, story.part)


def _is_shown(code: str, story: Story) -> bool:
    name = (code.split() or [""])[0].upper()
    return name not in _HIDDEN_FIELDS and (story.page_numbers or name not in _PAGE_FIELDS)


def _within(element: etree._Element, top: etree._Element, tags: set[str]) -> bool:
    for ancestor in element.iterancestors():
        if ancestor is top:
            return False
        if ancestor.tag in tags:
            return True
    return False


def chosen(alternatives: etree._Element) -> list[etree._Element]:
    """Return what is shown of several forms of one content: the first that is there."""
    for choice in alternatives.findall(f"{_COMPATIBILITY}Choice"):
        if len(choice):
            return list(choice)
    fallback = alternatives.find(f"{_COMPATIBILITY}Fallback")
    return [] if fallback is None else list(fallback)
