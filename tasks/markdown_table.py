"""Rows to a table in Markdown. Not tabulate, which escapes no `|` in a cell and needs as many lines around it."""

from collections.abc import Iterable, Sequence


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table whose cells hold their text on one line, `|` escaped; without a line break at its end."""
    lines = [_line(row) for row in rows]
    return "\n".join([_line(head), "|" + "---|" * len(head), *lines])


def _line(cells: Sequence[object]) -> str:
    return "| " + " | ".join(" ".join(str(cell).splitlines()).replace("|", "\\|") for cell in cells) + " |"
