"""Excel workbooks by openpyxl and XlsxWriter: what shows and what hides, formats of all kinds."""

import datetime as dt
import io
import random
from collections.abc import Callable

import openpyxl
import pytest
import xlsxwriter
import xlwt
from openpyxl.comments import Comment
from openpyxl.styles import Font, PatternFill
from openpyxl.worksheet.worksheet import Worksheet

from tasks.corpus.parsing.extract_worker import extract
from tasks.corpus.parsing.formats.office.number_format import show_number
from tests.world.made import NUM_DOCUMENTS, Words, check


def number_cell(rng: random.Random) -> tuple[object, str, str]:
    """A value, a format, and what Excel shows."""
    number = rng.randint(1, 99_999)
    cents = rng.randint(0, 99)
    day = dt.date(1990, 1, 1) + dt.timedelta(days=rng.randint(0, 15_000))
    minute = dt.time(rng.randint(0, 23), rng.randint(0, 59))
    ways: list[tuple[object, str, str]] = [
        (number, "General", str(number)),
        (-number, "General", str(-number)),
        (number / 1000, "0.0%", f"{number / 10:.1f}%"),
        (number + cents / 100, "#,##0.00", f"{number + cents / 100:,.2f}"),
        (-number - cents / 100, "[$€-407] #,##0.00", f"-€ {number + cents / 100:,.2f}"),
        (number, '"$"#,##0', f"${number:,}"),
        (-number, "#,##0;(#,##0)", f"({number:,})"),
        (number, "000000", f"{number:06}"),
        (day, rng.choice(["yyyy-mm-dd", "dd.mm.yyyy", "m/d/yy", "d-mmm-yy", 'yyyy"年"m"月"d"日"']), day.isoformat()),
        (day, "mmmm yyyy", f"{day:%B %Y}"),
        (dt.datetime.combine(day, minute), "yyyy-mm-dd h:mm", f"{day.isoformat()} {minute.hour}:{minute:%M}"),
        (minute, "hh:mm", f"{minute:%H:%M}"),
        (dt.timedelta(hours=number % 90, minutes=minute.minute), "[h]:mm", f"{number % 90}:{minute:%M}"),
        (number, '0 "kg"', f"{number} kg"),
    ]
    return rng.choice(ways)


class Author:
    """Writes one workbook, and knows what Excel shows of it."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.words = Words(self.rng, signs=tuple(sign for sign in Words(self.rng).signs if sign != "|"))
        self.numbers: list[str] = []

    def write(self) -> bytes:
        book = openpyxl.Workbook()
        book.remove(book.worksheets[0])
        for number in range(self.rng.randint(1, 3)):
            state = "visible" if number == 0 else self.rng.choice(["visible", "hidden", "veryHidden"])
            name = self.words.shown(1, 1) if state == "visible" else self.words.unseen().split()[0]
            sheet = book.create_sheet(name.translate(str.maketrans("", "", "[]:*?/\\'")))
            if sheet.title != name:  # such signs can't stand in a sheet's name
                (self.words.visible if state == "visible" else self.words.hidden).remove(name)
            sheet.sheet_state = state
            self.fill(sheet, seen=state == "visible")
        saved = io.BytesIO()
        book.save(saved)
        return saved.getvalue()

    def fill(self, sheet: Worksheet, *, seen: bool) -> None:
        hidden_rows, hidden_columns = ({self.rng.randint(1, 8) for _ in range(self.rng.randint(0, 2))} for _ in "rc")
        for row in hidden_rows:
            sheet.row_dimensions[row].hidden = True
        for column in hidden_columns:
            sheet.column_dimensions["ABCDEFGH"[column - 1]].hidden = True
        for row in range(1, self.rng.randint(2, 8)):
            for column in range(1, self.rng.randint(3, 8)):
                self.cell(sheet, row, column, seen=seen and row not in hidden_rows and column not in hidden_columns)

        if seen:  # an empty sheet gives no text
            sheet.cell(9, 9, self.words.shown())

    def cell(self, sheet: Worksheet, row: int, column: int, *, seen: bool) -> None:
        kind = self.rng.choice(["text", "text", "number", "white", "ground", "none", "note", "hidden"])
        cell = sheet.cell(row, column)
        if kind == "none":
            return
        if kind == "number":
            cell.value, cell.number_format, shown = number_cell(self.rng)
            if seen:
                self.numbers.append(shown)
            return
        seen = seen and kind not in {"white", "hidden"}
        cell.value = self.words.shown(1, 3) if seen else self.words.unseen()
        if kind in {"white", "ground"}:
            cell.font = Font(color="FFFFFFFF")
        if kind == "ground":
            cell.fill = PatternFill("solid", fgColor="FF1F3864")
        if kind == "note":
            cell.comment = Comment(self.words.unseen(), "reviewer")
        if kind == "hidden":
            cell.number_format = ";;;"


def test_workbooks_arrive_as_excel_shows_them() -> None:
    for seed in range(NUM_DOCUMENTS):
        author = Author(seed)
        data = author.write()
        if author.words.visible or author.numbers:
            check(data, ".xlsx", author.words, seed)
            cells = extract(data, ".xlsx").text.replace("\n", " | ").split(" | ")
            shown = [cell.strip("| ") for cell in cells]
            assert [number for number in author.numbers if number not in shown] == [], seed


def test_a_formula_gives_the_value_that_was_saved_with_it() -> None:
    saved = io.BytesIO()
    with xlsxwriter.Workbook(saved) as book:
        sheet = book.add_worksheet("Sums")
        sheet.write_row(0, 0, ["Item", "Sum"])
        sheet.write(1, 0, "Pump")
        sheet.write_formula(1, 1, "=2*21", book.add_format({"num_format": "0.00"}), 42)

    assert extract(saved.getvalue(), ".xlsx").text == "## Sums\n\n| Item | Sum |\n| --- | --- |\n| Pump | 42.00 |"


@pytest.mark.parametrize(
    ("value", "code", "shown"),
    [
        (0.475, "0%", "48%"),
        (1_500_000, '0.0,,"M"', "1.5M"),
        (12345, "000-00", "123-45"),
        (2.25, "# ?/?", "2 1/4"),
        (12345.678, "0.00E+00", "1.23E+04"),
        (0.1 + 0.2, "General", "0.3"),
        (3, '[<5]"few";"many"', "few"),
        (5, "@", "5"),
        (7, ";;;", ""),
        (0.604166667, "h:mm AM/PM", "2:30 PM"),
        (0.0417, "mm:ss", "00:03"),
        (1.5, "d-mmm", "1-Jan"),
    ],
)
def test_a_number_is_shown_by_its_format(value: float, code: str, shown: str) -> None:
    assert show_number(value, code) == shown


def test_any_format_shows_something_or_nothing_but_never_fails() -> None:
    rng = random.Random(0)
    pieces: list[Callable[[], str]] = [
        lambda: rng.choice('0#?.,%/E+-;@[]"\\_*ymdhs: €'),
        lambda: rng.choice(["General", "[Red]", "[>5]", "AM/PM", "[h]", "[$€-407]", "yyyy", "0.00", "#,##0", "E+00"]),
    ]
    for _ in range(NUM_DOCUMENTS * 100):
        code = "".join(rng.choice(pieces)() for _ in range(rng.randint(1, 8)))
        assert isinstance(show_number(rng.choice([0, -1.5, 45_000.25, 1e20, 1e-9, 3e6]), code), str)


def test_a_workbook_of_excel_97_is_read_as_those_of_today() -> None:
    book = xlwt.Workbook()
    sheet = book.add_sheet("Plan")
    for column, value in enumerate(["Pump R&D <5", 0.475, dt.date(2025, 4, 14), "gone"]):
        form = ["General", "0.0%", "d/m/yyyy", ";;;;"][column]
        sheet.write(0, column, value, xlwt.easyxf(num_format_str=form))
        sheet.write(1, column, f"hidden row {column}")
    sheet.row(1).hidden = True
    sheet.col(4).hidden = True
    sheet.write(0, 4, "hidden column")
    secret = book.add_sheet("Secret")
    secret.write(0, 0, "hidden sheet")
    secret.visibility = 2
    saved = io.BytesIO()
    book.save(saved)

    read = extract(saved.getvalue(), ".xls")

    assert read.text == "## Plan\n\n| Pump R&D <5 | 47.5% | 2025-04-14 |\n| --- | --- | --- |"
    assert read.num_hidden > 0
