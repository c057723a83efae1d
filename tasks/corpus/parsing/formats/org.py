"""Org files to Markdown by kreuzberg, without escapes, comments and drawers, which an export does not show."""

import re

from tasks.corpus.parsing.decode import decode_text
from tasks.corpus.parsing.formats.reading import Reading
from tasks.corpus.parsing.formats.unescape import unescaped
from tasks.corpus.parsing.kreuzberg_parser import run_kreuzberg

_BEGIN = re.compile(r"\s*#\+begin_(\w+)", re.IGNORECASE)
_COMMENT = re.compile(r"\s*#(?:\s|$)")
_DRAWER = re.compile(r"\s*:(?:PROPERTIES|LOGBOOK):\s*$", re.IGNORECASE)
_DRAWER_END = re.compile(r"\s*:END:\s*$", re.IGNORECASE)


def read_org(data: bytes) -> Reading:
    """Read an .org file.

    Raises:
        ParseError: it can't be decoded.
    """
    text, num_hidden = _without_comments(decode_text(data))
    extracted = run_kreuzberg(text.encode("utf-8", "replace"), "text/x-org")
    return Reading(unescaped(extracted.text), extracted.title, num_hidden)


def _without_comments(text: str) -> tuple[str, int]:
    kept: list[str] = []
    num_hidden = 0
    end: re.Pattern[str] | None = None
    drops = False
    for line in text.splitlines():
        if end is None and (block := _BEGIN.match(line)):
            end, drops = re.compile(rf"\s*#\+end_{block[1]}", re.IGNORECASE), block[1].lower() == "comment"
        elif end is None and _DRAWER.match(line):
            end, drops = _DRAWER_END, True
        hidden = drops if end is not None else _COMMENT.match(line) is not None
        if hidden:
            num_hidden += len(line.strip())
        else:
            kept.append(line)
        if end is not None and end.match(line):
            end = None
    return "\n".join(kept) + "\n", num_hidden
