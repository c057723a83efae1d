"""PowerPoint decks by python-pptx: shapes in any order of drawing, moved and hidden slides, notes, groups, tables."""

import io
import random
import re
import zipfile
from typing import Any

import pptx
import pytest
from pptx.dml.color import RGBColor
from pptx.util import Emu, Inches

from tasks.corpus.parsing.extract import Extractor
from tasks.errors import ParseError
from tasks.params import ParsingParams
from tests.world.made import NUM_DOCUMENTS, Words, check

_ROW = Inches(1)


class Author:
    """Writes one deck. Each slide is a column of rows, whose shapes are drawn in random order."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.words = Words(self.rng)
        self.deck: Any = pptx.Presentation()

    def write(self) -> bytes:
        order = list(range(self.rng.randint(1, 4)))
        for _ in order:
            self.deck.slides.add_slide(self.deck.slide_layouts[self.rng.choice([5, 5, 6])])
        identifiers = list(self.deck.slides._sldIdLst)
        self.rng.shuffle(identifiers)
        for identifier in identifiers:  # the show goes another way than the parts' names
            self.deck.slides._sldIdLst.append(identifier)
        for number, slide in enumerate(self.deck.slides):
            self.fill(slide, seen=number == 0 or self.rng.random() < 0.8)
        saved = io.BytesIO()
        self.deck.save(saved)
        return saved.getvalue()

    def say(self, seen: bool) -> str:
        return self.words.shown(1, 4) if seen else self.words.unseen()

    def fill(self, slide: Any, *, seen: bool) -> None:
        if not seen:
            slide._element.set("show", "0")
        if slide.shapes.title is not None:
            slide.shapes.title.text = self.say(seen)
        draws = []
        for row in range(2, self.rng.randint(3, 7)):
            for left in (0, 4)[: self.rng.randint(1, 2)]:
                kind = self.rng.choice(["box", "box", "list", "table", "white", "beside", "hidden", "group"])
                shown = seen and kind not in {"white", "beside", "hidden"}
                draws.append((kind, Inches(left), _ROW * row, [self.say(shown) for _ in range(4)]))
        if seen:
            draws.append(("box", Inches(0), _ROW * 7, [self.say(seen) for _ in range(4)]))
        self.rng.shuffle(draws)
        for kind, left, top, texts in draws:
            self.draw(slide, kind, left, top, texts)
        if self.rng.random() < 0.4:
            slide.notes_slide.notes_text_frame.text = self.say(seen)

    def draw(self, slide: Any, kind: str, left: Emu, top: Emu, texts: list[str]) -> None:
        size = (Inches(3), Inches(0.6))
        if kind == "table":
            grid = slide.shapes.add_table(2, 2, left, top, *size).table
            for number, text in enumerate(texts):
                grid.cell(number // 2, number % 2).text = text
            return
        shapes = slide.shapes
        if kind == "group":
            shapes = slide.shapes.add_group_shape().shapes
        box = shapes.add_textbox(Inches(50) if kind == "beside" else left, top, *size)
        frame = box.text_frame
        frame.text = texts[0]
        for text in texts[1:]:
            paragraph = frame.add_paragraph()
            paragraph.add_run().text = text
            paragraph.level = 1 if kind == "list" else 0
        if kind == "white":
            for paragraph in frame.paragraphs:
                for run in paragraph.runs:
                    run.font.color.rgb = RGBColor(255, 255, 255)
        if kind == "hidden":
            box._element.nvSpPr.cNvPr.set("hidden", "1")


def test_decks_arrive_in_the_order_of_the_show_without_what_it_hides() -> None:
    for seed in range(NUM_DOCUMENTS):
        author = Author(seed)
        check(author.write(), ".pptx", author.words, seed)


def test_a_deck_on_which_the_reader_fails_is_damaged_and_the_next_is_read() -> None:
    good = Author(0).write()
    bad = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(good)) as old, zipfile.ZipFile(bad, "w") as new:
        for name in old.namelist():
            new.writestr(name, re.sub(rb'<p:sldSz cx="\d+"', b'<p:sldSz cx="wide"', old.read(name)))
    parsing = ParsingParams(timeout_seconds=30, max_memory_mb=1024, max_item_mb=1, max_characters=100_000)

    with Extractor(parsing) as extractor:
        with pytest.raises(ParseError) as refused:
            extractor.extract(bad.getvalue(), ".pptx")
        assert extractor.extract(good, ".pptx").text

    assert refused.value.code == "damaged"
    assert "must" in str(refused.value)
    assert "found" in str(refused.value)
