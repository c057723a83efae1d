"""HTML, EPUB, OpenDocument, FictionBook, RTF, Org and notebooks with known content."""

import csv
import io
import json
import random
from collections.abc import Callable
from email.message import EmailMessage
from html import escape

import pytest
from ebooklib import epub
from odf import style as odf_style
from odf import table as odf_table
from odf import text as odf_text
from odf.office import Annotation
from odf.opendocument import OpenDocumentText

from tasks.corpus.parsing.extract_worker import extract
from tests.world.made import NUM_DOCUMENTS, SIGNS, Words, check

_SECRET_STYLES = (
    *("display:none", "visibility: hidden", "color:#ffffff", "color: white", "font-size:0", "opacity:0"),
    *("height:0;overflow:hidden", "transform: scale(0)", "filter: opacity(0%)", "color: rgba(9, 9, 9, 0)"),
    *("color:#abc;background:#abc", "margin-left:-9999px", "position:absolute; clip: rect(0, 0, 0, 0)"),
)
_HEAD = (
    "<style>.secret{display:none} .pale, .x{color:#fff} .bar{background:#123456} "
    ".box > .inner, table.no td b {display:none} [data-away]{visibility:hidden} @media print{p{display:none}}</style>"
)


def page(words: Words, rng: random.Random) -> str:
    """The body of a random page."""

    def hidden() -> str:
        text = escape(words.unseen())
        ways = [f'<p style="{way}">{text}</p>' for way in _SECRET_STYLES]
        ways += [f"<p hidden>{text}</p>", f'<p class="secret">{text}</p>', f'<span class="pale">{text}</span>']
        ways += [f'<div class="box"><p class="inner">{text}</p></div>', f"<p data-away>{text}</p>"]
        ways += [f"<dialog>{text}</dialog>", f"<datalist><option>{text}</option></datalist>"]
        return rng.choice([*ways, f"<!-- {text} -->", f"<script>var x = '{text}'</script>"])

    def shown(least: int = 1, most: int = 6) -> str:
        return escape(words.shown(least, most))

    kinds: list[Callable[[], str]] = [
        lambda: f"<p>{shown()} <b>{shown(1, 1)}</b> <i>{shown(1, 1)}</i> {shown()}</p>",
        lambda: f"<h2>{shown(1, 4)}</h2>",
        lambda: "<ul>" + "".join(f"<li>{shown()}</li>" for _ in range(3)) + "</ul>",
        lambda: "<ol>" + "".join(f"<li>{shown()}</li>" for _ in range(3)) + "</ol>",
        lambda: f"<pre><code>{shown()}\n{shown()}</code></pre>",
        lambda: f'<div class="bar"><b class="pale">{shown()}</b></div>',
        lambda: f"<blockquote><p>{shown()}</p></blockquote>",
        lambda: f'<p class="inner">{shown()} <ins>{shown(1, 2)}</ins> <mark>{shown(1, 2)}</mark></p>',
        lambda: f"<svg><title></title><text>{shown(1, 3)}</text><text>{shown(1, 3)}</text></svg>",
        lambda: f'<p>{shown()}<br>{shown()} <a href="https://example.com/a">{shown(1, 2)}</a></p>',
        lambda: (
            "<table>" + "".join(f"<tr><td>{shown(1, 2)}</td><td>{shown(1, 2)}</td></tr>" for _ in "abc") + "</table>"
        ),
        hidden,
        hidden,
    ]
    parts = [rng.choice(kinds)() for _ in range(rng.randint(3, 9))]
    return "".join([*parts, f"<p>{shown()}</p>"])


def html_file(words: Words, rng: random.Random) -> bytes:
    return f"<!doctype html><html><head><title>T</title>{_HEAD}</head><body>{page(words, rng)}</body></html>".encode()


def epub_file(words: Words, rng: random.Random) -> bytes:
    book = epub.EpubBook()
    book.set_title("Book")
    chapters = []
    for number in range(rng.randint(1, 4)):
        name = rng.choice(["chapter {}.xhtml", "kapitel-ü{}.xhtml", "a&b{}.xhtml", "part%20{}.xhtml"]).format(
            9 - number
        )
        chapter = epub.EpubHtml(title=f"{number}", file_name=f"text/{name}")
        chapter.content = f"<html><head>{_HEAD}</head><body>{page(words, rng).replace('<br>', '<br/>')}</body></html>"
        chapter.add_link(href="../styles/book.css", rel="stylesheet", type="text/css")
        book.add_item(chapter)
        chapters.append(chapter)
    css = _HEAD.removeprefix("<style>").removesuffix("</style>")
    book.add_item(epub.EpubItem(uid="css", file_name="styles/book.css", media_type="text/css", content=css))
    book.spine = ["nav", *chapters]
    book.add_item(epub.EpubNav())
    saved = io.BytesIO()
    epub.write_epub(saved, book)
    return saved.getvalue()


def odt_file(words: Words, rng: random.Random) -> bytes:
    document = OpenDocumentText()
    secrets = []
    for name, look in (("gone", {"display": "none"}), ("pale", {"color": "#ffffff"})):
        secret = odf_style.Style(name=name, family="text")
        secret.addElement(odf_style.TextProperties(**look))
        document.automaticstyles.addElement(secret)
        secrets.append(secret)

    def paragraph(text: str) -> odf_text.P:
        return odf_text.P(text=text)

    def add() -> None:
        kind = rng.choice(["p", "p", "h", "list", "table", "hidden", "comment", "tab"])
        if kind == "h":
            document.text.addElement(odf_text.H(outlinelevel=rng.randint(1, 4), text=words.shown(1, 4)))
        elif kind == "list":
            listed = odf_text.List()
            for _ in range(3):
                item = odf_text.ListItem()
                item.addElement(paragraph(words.shown()))
                listed.addElement(item)
            document.text.addElement(listed)
        elif kind == "table":
            grid = odf_table.Table()
            grid.addElement(odf_table.TableColumn(numbercolumnsrepeated=2))
            for _ in range(3):
                row = odf_table.TableRow()
                for _ in range(2):
                    cell = odf_table.TableCell()
                    cell.addElement(paragraph(words.shown(1, 2)))
                    row.addElement(cell)
                grid.addElement(row)
            document.text.addElement(grid)
        else:
            line = paragraph(words.shown() + " ")
            if kind == "hidden":
                line.addElement(odf_text.Span(stylename=rng.choice(secrets), text=words.unseen()))
            if kind == "comment":
                note = Annotation()
                note.addElement(paragraph(words.unseen()))
                line.addElement(note)
            if kind == "tab":
                line.addElement(odf_text.Tab())
                line.addText(words.shown())
                line.addElement(odf_text.LineBreak())
                line.addElement(odf_text.S(c=3))
                line.addText(words.shown())
            document.text.addElement(line)

    for _ in range(rng.randint(2, 7)):
        add()
    document.text.addElement(paragraph(words.shown()))
    saved = io.BytesIO()
    document.save(saved)
    return saved.getvalue()


def fb2_file(words: Words, rng: random.Random) -> bytes:
    def shown() -> str:
        return escape(words.shown())

    kinds: list[Callable[[], str]] = [
        lambda: f"<p>{shown()} <strong>{shown()}</strong> {shown()}</p>",
        lambda: f"<section><title><p>{shown()}</p></title><p>{shown()}</p></section>",
        lambda: f"<poem><stanza><v>{shown()}</v><v>{shown()}</v></stanza></poem>",
        lambda: f"<cite><p>{shown()}</p></cite>",
        lambda: (
            f"<table><tr><th>{shown()}</th><th>{shown()}</th></tr><tr><td>{shown()}</td><td>{shown()}</td></tr></table>"
        ),
    ]
    body = "".join(rng.choice(kinds)() for _ in range(rng.randint(1, 6)))
    space = "http://www.gribuser.ru/xml/fictionbook/2.0"
    return (
        f'<?xml version="1.0" encoding="UTF-8"?><FictionBook xmlns="{space}"><body>{body}</body></FictionBook>'.encode()
    )


def rtf_file(words: Words, rng: random.Random) -> bytes:
    def written(text: str) -> str:
        for sign in "\\{}":
            text = text.replace(sign, "\\" + sign)
        return "".join(sign if sign.isascii() else f"\\u{ord(sign)}?" for sign in text)

    kinds: list[Callable[[], str]] = [
        lambda: written(words.shown()) + "\\par\n",
        lambda: f"{written(words.shown())} {{\\b {written(words.shown())}}} {{\\i {written(words.shown())}}}\\par\n",
        lambda: f"{written(words.shown())}\\tab {written(words.shown())}\\line {written(words.shown())}\\par\n",
        lambda: f"{written(words.shown())} {{\\v {written(words.unseen())}}}\\par\n",
    ]
    body = "".join(rng.choice(kinds)() for _ in range(rng.randint(1, 6)))
    return f"{{\\rtf1\\ansi\\ansicpg1252\\deff0{{\\fonttbl{{\\f0 Arial;}}}}\n{body}}}".encode("ascii")


def org_file(words: Words, rng: random.Random) -> bytes:
    kinds: list[Callable[[], str]] = [
        lambda: words.shown() + "\n" + words.shown() + "\n",
        lambda: "*" * rng.randint(1, 3) + " " + words.shown(1, 4) + "\n",
        lambda: "".join(f"- {words.shown()}\n" for _ in range(3)),
        lambda: f"# {words.unseen()}\n",
        lambda: "".join(f"| {words.shown(1, 2)} | {words.shown(1, 2)} |\n" for _ in range(3)),
        lambda: f"#+BEGIN_SRC python\n{words.shown()}\n#+END_SRC\n",
    ]
    return "\n".join([*(rng.choice(kinds)() for _ in range(rng.randint(1, 6))), words.shown()]).encode()


def notebook_file(words: Words, rng: random.Random) -> bytes:
    def cell() -> dict[str, object]:
        kind = rng.choice(["markdown", "code"])
        code = {"outputs": [], "execution_count": None} if kind == "code" else {}
        return {"cell_type": kind, "metadata": {}, "source": [words.shown() + "\n", words.shown()]} | code

    cells = [cell() for _ in range(rng.randint(1, 6))]
    return json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}).encode()


def csv_file(words: Words, rng: random.Random) -> bytes:
    saved = io.StringIO()
    rows = [[words.shown(1, 3) for _ in range(3)] for _ in range(rng.randint(2, 6))]
    csv.writer(saved).writerows(rows)
    return saved.getvalue().encode()


def mail_file(words: Words, rng: random.Random) -> bytes:
    message = EmailMessage()
    message["Subject"] = words.shown(1, 3)
    message["From"] = "clerk@example.com"
    if rng.random() < 0.5:
        message.set_content("\n".join("  " * (row % 2) + words.shown() for row in range(3)))
    else:
        message.set_content(f"<html><head>{_HEAD}</head><body>{page(words, rng)}</body></html>", subtype="html")
    return bytes(message)


_MARKS = {"*x*", "_y_", "`z`", "2**8", "\\d+", "[WARN]:", "~3", "=1", "^2", "{a}", "#1", "<name>", "&amp;"}
_PLAIN = tuple(sign for sign in SIGNS if sign not in _MARKS)
"""In a mark-up of its own such signs are marks."""


@pytest.mark.parametrize(
    ("write", "ending", "signs"),
    [
        (html_file, ".html", SIGNS),
        (epub_file, ".epub", SIGNS),
        (odt_file, ".odt", SIGNS),
        (fb2_file, ".fb2", SIGNS),
        (rtf_file, ".rtf", SIGNS),
        (org_file, ".org", _PLAIN),
        (notebook_file, ".ipynb", SIGNS),
        (csv_file, ".csv", SIGNS),
        (mail_file, ".eml", SIGNS),
    ],
)
def test_documents_arrive_as_they_are_shown(
    write: Callable[[Words, random.Random], bytes], ending: str, signs: tuple[str, ...]
) -> None:
    for seed in range(NUM_DOCUMENTS):
        rng = random.Random(seed)
        words = Words(rng, signs=signs)
        check(write(words, rng), ending, words, seed)


def test_a_remark_between_two_lists_is_no_text() -> None:
    text = extract(b"<ul><li>one</li></ul><!-- remark --><ul><li>two</li></ul>", ".html").text

    assert "remark" not in text
    assert text.index("one") < text.index("two")


@pytest.mark.parametrize(
    ("mark_up", "text"),
    [
        ("<math><mfrac><mi>a</mi><mrow><mi>b</mi><mo>+</mo><mn>1</mn></mrow></mfrac></math>", "a/(b + 1)"),
        (
            "<math><semantics><msup><mi>x</mi><mn>2</mn></msup><annotation>x^{2} again</annotation></semantics></math>",
            "x^2",
        ),
        ("<select><option>One</option><option>Two</option></select>", "One; Two"),
        ("<dialog open>Seen</dialog>", "Seen"),
        ("<p style='color:transparent;background:linear-gradient(red,blue);background-clip:text'>Seen</p>", "Seen"),
        ("<div style='height:0;padding-bottom:56%;overflow:hidden'>Seen</div>", "Seen"),
    ],
)
def test_what_a_page_shows_in_other_ways_arrives(mark_up: str, text: str) -> None:
    page = f"<!doctype html><html><body><p>Before</p>{mark_up}<p>After</p></body></html>"
    assert extract(page.encode(), ".html").text.split() == ["Before", *text.split(), "After"]
