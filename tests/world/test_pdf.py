"""PDFs by reportlab: prose, columns, code, ruled tables, hyphens, and text that nobody sees."""

import io
import random

import pytest
from PIL import Image, ImageDraw
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import getSampleStyleSheet
from reportlab.lib.utils import ImageReader
from reportlab.pdfbase.pdfmetrics import stringWidth
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import BaseDocTemplate, Flowable, Frame, PageTemplate, Paragraph, Preformatted, Spacer, Table

from tasks.corpus.parsing.extract_worker import extract
from tasks.errors import ParseError
from tests.world.made import NUM_DOCUMENTS, SIGNS, Words, check

_WIDTH, _HEIGHT = A4
_STYLES = getSampleStyleSheet()
_LATIN = tuple(sign for sign in SIGNS if sign.isascii() or sign in {"é", "ß", "½", "°C"})


_UNSEEN = ("white", "inkless", "tiny", "beside", "blacked out", "covered")


class _Hidden(Flowable):  # type: ignore[misc]
    """Text that takes no place and that nobody sees."""

    def __init__(self, text: str, way: str) -> None:
        super().__init__()
        self._text, self._way = text, way

    def wrap(self, width: float, height: float) -> tuple[float, float]:
        return width, 14

    def draw(self) -> None:
        canvas = self.canv
        canvas.saveState()
        size, x = (0.5 if self._way == "tiny" else 10), (3000 if self._way == "beside" else 0)
        if self._way == "white":
            canvas.setFillColorRGB(1, 1, 1)
        text = canvas.beginText(x, 2)
        text.setFont("Helvetica", size)
        text.setTextRenderMode(3 if self._way == "inkless" else 0)
        text.textOut(self._text)
        if self._way == "blacked out":
            self._box()
        canvas.drawText(text)
        if self._way == "covered":
            self._box()
        canvas.restoreState()

    def _box(self) -> None:
        self.canv.setFillColorRGB(0, 0, 0)
        self.canv.rect(-2, -2, stringWidth(self._text, "Helvetica", 10) + 6, 16, stroke=0, fill=1)


class _OnGround(_Hidden):
    """White letters on a dark ground are seen."""

    def draw(self) -> None:
        self.canv.setFillColorRGB(0.1, 0.2, 0.4)
        self.canv.rect(-2, -2, stringWidth(self._text, "Helvetica", 10) + 6, 16, stroke=0, fill=1)
        super().draw()


class Author:
    """Writes one PDF of one or two columns."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.words = Words(self.rng, signs=_LATIN)

    def write(self) -> bytes:
        story: list[Flowable] = []
        kinds = [self.prose, self.prose, self.prose, self.heading, self.hidden, self.ground]
        num_columns = self.rng.choice([1, 1, 2])
        kinds += [self.table, self.code] if num_columns == 1 else [self.prose] * 4
        for _ in range(self.rng.randint(3, 9)):
            story += [self.rng.choice(kinds)(), Spacer(1, 12)]
        story.append(self.prose())
        saved = io.BytesIO()
        document = BaseDocTemplate(saved, pagesize=A4)
        width = (_WIDTH - 140) / num_columns
        frames = [Frame(60 + place * (width + 20), 60, width, _HEIGHT - 120) for place in range(num_columns)]
        document.addPageTemplates(PageTemplate(frames=frames))
        document.build(story)
        return saved.getvalue()

    def prose(self) -> Flowable:
        text = self.words.shown(12, 60).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        return Paragraph(text + " .", _STYLES[self.rng.choice(["BodyText", "Normal"])])

    def heading(self) -> Flowable:
        text = self.words.shown(1, 3).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        return Paragraph(text, _STYLES[self.rng.choice(["Heading1", "Heading2"])])

    def code(self) -> Flowable:
        return Preformatted("\n".join("    " * (row % 3) + self.words.shown(1, 3) for row in range(4)), _STYLES["Code"])

    def table(self) -> Flowable:
        rows = [[self.words.shown(1, 1) for _ in range(3)] for _ in range(self.rng.randint(2, 5))]
        return Table(rows, style=[("GRID", (0, 0), (-1, -1), 0.5, "black")])

    def hidden(self) -> Flowable:
        return _Hidden(self.words.unseen(), self.rng.choice(_UNSEEN))

    def ground(self) -> Flowable:
        return _OnGround(self.words.shown(1, 2), "white")


def test_pdfs_arrive_in_the_order_of_reading_without_what_nobody_sees() -> None:
    for seed in range(NUM_DOCUMENTS):
        author = Author(seed)
        check(author.write(), ".pdf", author.words, seed)


def drawn(lines: list[tuple[float, float, str]], font: str = "Helvetica") -> bytes:
    saved = io.BytesIO()
    canvas = Canvas(saved, pagesize=A4)
    canvas.setFont(font, 11)
    for left, top, text in lines:
        canvas.drawString(left, _HEIGHT - top, text)
    canvas.save()
    return saved.getvalue()


def test_columns_drawn_line_by_line_are_read_one_after_the_other() -> None:
    left = ["The council met in the old mill", "and looked at the plans for the", "new bridge over the river."]
    right = ["The pipes of the wash house are", "older than the house itself and", "will be laid anew in summer."]
    rows = [(x, 100 + 14 * row, text) for row in range(3) for x, text in ((60, left[row]), (330, right[row]))]

    assert extract(drawn(rows), ".pdf").text.split("\n\n") == [" ".join(left), " ".join(right)]


def test_a_word_that_was_cut_at_the_end_of_a_line_is_whole_again() -> None:
    text = extract(
        drawn([(60, 100, "The shop sells many instru-"), (60, 114, "ments of brass and wood.")]), ".pdf"
    ).text

    assert text == "The shop sells many instruments of brass and wood."


def test_lines_of_code_stay_lines_with_their_indent() -> None:
    code = [(60, 100, "while (true) {"), (73.2, 114, "step();"), (60, 128, "}")]

    assert extract(drawn(code, "Courier"), ".pdf").text == "```\nwhile (true) {\n  step();\n}\n```"


def test_cells_without_lines_stay_rows() -> None:
    rows = [(x, 100 + 16 * row, f"r{row}c{x}") for row in range(4) for x in (60, 200, 340)]

    assert extract(drawn(rows), ".pdf").text == "\n".join(f"r{row}c60 r{row}c200 r{row}c340" for row in range(4))


def test_a_scanned_page_is_counted_and_read_where_ocr_is_set() -> None:
    scan = Image.new("L", (1200, 300), 255)
    ImageDraw.Draw(scan).text((40, 100), "The valve is open", font_size=72, fill=0)
    saved = io.BytesIO()
    canvas = Canvas(saved, pagesize=A4)
    canvas.drawString(60, 700, "First page.")
    canvas.showPage()
    canvas.drawImage(ImageReader(scan), 60, 500, 480, 120)
    canvas.save()

    counted = extract(saved.getvalue(), ".pdf")
    assert counted.text == "First page."
    assert counted.metadata() == {"pages": "2", "pages_without_text": "1"}
    try:
        read = extract(saved.getvalue(), ".pdf", "eng")
    except ParseError as error:
        pytest.skip(f"no OCR here: {error}")
    assert read.text == "First page.\n\nThe valve is open"
    assert read.metadata() == {}
