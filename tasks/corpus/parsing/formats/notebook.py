"""Jupyter notebooks (.ipynb) to Markdown: cells of text as they are written, code in fences, results as text."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import cast

from tasks.corpus.parsing.decode import decode_text
from tasks.corpus.parsing.formats.markdown import fenced
from tasks.corpus.parsing.formats.markdown_reader import without_unseen
from tasks.corpus.parsing.formats.reading import Reading, damaged

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_SHOWN = ("text/markdown", "text/plain")


def read_notebook(data: bytes) -> Reading:
    """Read an .ipynb file.

    Raises:
        ParseError: `damaged`, or it can't be decoded.
    """
    try:
        book = json.loads(decode_text(data))
    except (ValueError, RecursionError) as error:
        raise damaged(error) from error
    if not isinstance(book, Mapping):
        raise damaged(f"a JSON {type(book).__name__}")
    metadata = _mapping(book.get("metadata"))
    language = str(_mapping(metadata.get("language_info")).get("name") or "")
    read = [part for cell in _cells(book) for part in _parts(cell, language)]
    parts = [text.strip("\n") for text, _ in read]
    title = metadata.get("title")
    text = "\n\n".join(part for part in parts if part.strip())
    return Reading(text, title if isinstance(title, str) else "", sum(num_hidden for _, num_hidden in read))


def _cells(book: Mapping[str, object]) -> Iterator[Mapping[str, object]]:
    """Cells of a notebook of today, or of the sheets that earlier ones had."""
    sheets = [book, *_entries(book.get("worksheets"))]
    for sheet in sheets:
        yield from _entries(sheet.get("cells"))


def _parts(cell: Mapping[str, object], language: str) -> Iterator[tuple[str, int]]:
    """The texts of a cell, and how many characters of each its reader never sees."""
    text = _text(cell.get("source", cell.get("input")))
    kind = cell.get("cell_type")
    if kind == "heading":
        level = cell.get("level")
        yield "#" * (level if isinstance(level, int) else 1) + " " + text, 0
    elif kind != "code":
        yield (text, 0) if kind == "raw" else without_unseen(text)
    elif text.strip():
        code = fenced(text.strip("\n").split("\n"))
        ticks = len(code) - len(code.lstrip("`"))
        yield code[:ticks] + language + code[ticks:], 0
    if kind == "code":
        for output in _entries(cell.get("outputs")):
            yield _output(output)


def _output(output: Mapping[str, object]) -> tuple[str, int]:
    if output.get("output_type") in {"error", "pyerr"}:
        return f"{output.get('ename', '')}: {output.get('evalue', '')}", 0
    data = _mapping(output.get("data")) or output
    for name in (*_SHOWN, "text"):
        if name in data:
            text = _COLOURS.sub("", _text(data[name])).strip("\n")
            if name == "text/markdown":
                return without_unseen(text)
            return (fenced(text.split("\n")) if text.strip() else text), 0
    return "", 0


def _text(value: object) -> str:
    if isinstance(value, list):
        return "".join(part for part in value if isinstance(part, str))
    return value if isinstance(value, str) else ""


def _mapping(value: object) -> Mapping[str, object]:
    return cast("Mapping[str, object]", value) if isinstance(value, Mapping) else {}


def _entries(value: object) -> list[Mapping[str, object]]:
    return [_mapping(entry) for entry in value if isinstance(entry, Mapping)] if isinstance(value, list) else []
