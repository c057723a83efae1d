"""Word files by python-docx, with what it lacks written as XML: changes, hidden runs, text boxes, notes."""

import io
import random

import docx
from docx.document import Document
from docx.enum.text import WD_COLOR_INDEX
from docx.opc.constants import RELATIONSHIP_TYPE
from docx.opc.packuri import PackURI
from docx.opc.part import Part
from docx.oxml import OxmlElement, parse_xml
from docx.oxml.ns import qn
from docx.shared import Pt, RGBColor
from docx.text.paragraph import Paragraph

from tests.world.made import NUM_DOCUMENTS, Words, check

_W = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
_BOX = (
    f'<w:r {_W} xmlns:mc="http://schemas.openxmlformats.org/markup-compatibility/2006" '
    'xmlns:wp="http://schemas.openxmlformats.org/drawingml/2006/wordprocessingDrawing" '
    'xmlns:a="http://schemas.openxmlformats.org/drawingml/2006/main" xmlns:v="urn:schemas-microsoft-com:vml" '
    'xmlns:wps="http://schemas.microsoft.com/office/word/2010/wordprocessingShape"><mc:AlternateContent>'
    '<mc:Choice Requires="wps"><w:drawing><wp:anchor><a:graphic><a:graphicData><wps:wsp><wps:txbx><w:txbxContent>'
    "<w:p><w:r><w:t>{0}</w:t></w:r></w:p></w:txbxContent></wps:txbx></wps:wsp></a:graphicData></a:graphic></wp:anchor>"
    "</w:drawing></mc:Choice><mc:Fallback><w:pict><v:shape><v:textbox><w:txbxContent><w:p><w:r><w:t>{0}</w:t></w:r></w:p>"
    "</w:txbxContent></v:textbox></v:shape></w:pict></mc:Fallback></mc:AlternateContent></w:r>"
)


def escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


class Author:
    """Writes one document of random blocks, and knows what Word shows of it."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.words = Words(self.rng)
        self.document: Document = docx.Document()
        self.notes: list[tuple[str, list[str]]] = []

    def write(self) -> bytes:
        if self.rng.random() < 0.3:
            self.document.sections[0].header.paragraphs[0].text = self.words.shown()
        hidden = self.document.styles.add_style("Secret", 2)
        hidden.font.hidden = True
        blocks = [
            self.paragraph,
            self.paragraph,
            self.runs,
            self.heading,
            self.list,
            self.table,
            self.changes,
            self.box,
        ]
        for _ in range(self.rng.randint(2, 7)):
            self.rng.choice(blocks)()
        if self.rng.random() < 0.3:
            self.document.sections[0].footer.paragraphs[0].text = self.words.shown()
        self.add_notes()
        saved = io.BytesIO()
        self.document.save(saved)
        return saved.getvalue()

    def paragraph(self) -> None:
        paragraph = self.document.add_paragraph(self.words.shown())
        if self.rng.random() < 0.3:
            self.note(paragraph)
        if self.rng.random() < 0.2:
            self.document.add_comment(paragraph.runs, self.words.unseen())

    def runs(self) -> None:
        """Runs of all looks, with tabs and line breaks between."""
        paragraph = self.document.add_paragraph()
        for _ in range(self.rng.randint(2, 6)):
            kinds = ["plain", "bold", "hidden", "white", "style", "tiny", "tab", "break", "shaded", "black", "marked"]
            kind = self.rng.choice(kinds)
            unseen = kind in {"hidden", "white", "style", "tiny", "black", "marked"}
            run = paragraph.add_run(self.words.unseen() if unseen else self.words.shown())
            run.bold = kind == "bold"
            if kind == "hidden":
                run.font.hidden = True
            if kind in {"white", "shaded"}:
                run.font.color.rgb = RGBColor(255, 255, 255)
            if kind == "shaded":
                run._r.get_or_add_rPr().append(parse_xml(f'<w:shd {_W} w:val="clear" w:fill="1F3864"/>'))
            if kind in {"black", "marked"}:
                run.font.color.rgb = RGBColor(0, 0, 0)
            if kind == "black":
                run._r.get_or_add_rPr().append(parse_xml(f'<w:shd {_W} w:val="clear" w:fill="000000"/>'))
            if kind == "marked":
                run.font.highlight_color = WD_COLOR_INDEX.BLACK
            if kind == "style":
                run.style = self.document.styles["Secret"]
            if kind == "tiny":
                run.font.size = Pt(1)
            paragraph.add_run("\t" if kind == "tab" else "\n" if kind == "break" else " ")

    def heading(self) -> None:
        self.document.add_heading(self.words.shown(1, 4), self.rng.randint(1, 4))

    def list(self) -> None:
        style = self.rng.choice(["List Bullet", "List Number", "List Bullet 2"])
        for _ in range(self.rng.randint(1, 4)):
            self.document.add_paragraph(self.words.shown(), style=style)

    def table(self) -> None:
        num_rows, num_columns = self.rng.randint(1, 4), self.rng.randint(1, 4)
        table = self.document.add_table(num_rows, num_columns)
        for row in table.rows:
            for cell in row.cells:
                cell.paragraphs[0].add_run(self.words.shown(1, 3)).bold = self.rng.random() < 0.4
                if self.rng.random() < 0.2:
                    cell.add_paragraph(self.words.shown(1, 3))

    def changes(self) -> None:
        """An insertion stays, a deletion goes, a move stands where it went."""
        paragraph = self.document.add_paragraph(self.words.shown() + " ")
        for tag, unseen in (("w:del", True), ("w:ins", False), ("w:moveFrom", True), ("w:moveTo", False)):
            change = OxmlElement(tag)
            change.set(qn("w:id"), "1")
            text = self.words.unseen() if unseen else self.words.shown()
            inner = "delText" if tag == "w:del" else "t"
            run = f'<w:r {_W}><w:{inner} xml:space="preserve">{escaped(text)} </w:{inner}></w:r>'
            change.append(parse_xml(run))
            paragraph._p.append(change)

    def box(self) -> None:
        paragraph = self.document.add_paragraph(self.words.shown())
        paragraph._p.append(parse_xml(_BOX.format(escaped(self.words.shown()))))

    def note(self, paragraph: Paragraph) -> None:
        text, later = self.words.aside(self.words.shown)
        self.notes.append((text, later))
        reference = f'<w:r {_W}><w:footnoteReference w:id="{len(self.notes) + 1}"/></w:r>'
        paragraph._p.append(parse_xml(reference))

    def add_notes(self) -> None:
        if not self.notes:
            return
        entries = "".join(
            f'<w:footnote w:id="{number}"><w:p><w:r><w:footnoteRef/></w:r><w:r><w:t>{escaped(text)}</w:t></w:r></w:p>'
            "</w:footnote>"
            for number, (text, _) in enumerate(self.notes, 2)
        )
        blob = f'<?xml version="1.0" encoding="UTF-8"?><w:footnotes {_W}>{entries}</w:footnotes>'.encode()
        kind = "application/vnd.openxmlformats-officedocument.wordprocessingml.footnotes+xml"
        part = Part(PackURI("/word/footnotes.xml"), kind, blob, self.document.part.package)
        self.document.part.relate_to(part, RELATIONSHIP_TYPE.FOOTNOTES)
        for _, later in self.notes:
            self.words.visible += later


def test_word_files_arrive_as_word_shows_them() -> None:
    for seed in range(NUM_DOCUMENTS):
        author = Author(seed)
        check(author.write(), ".docx", author.words, seed)
