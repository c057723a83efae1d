r"""How much a chunk says: letters and digits outside headings, badges, pictures and lines of links alone.

A chunk without content (`## Links`, a row of badges, a table of contents) matches a short question by its few words,
and answers nothing. For instance `## Docs\n\n- [Guide](https://x.y/guide)\n- [API](https://x.y/api)` says 0, the same
list with `: every function with its arguments` behind a link says 31.
"""

import re
from itertools import zip_longest

_IMAGE = re.compile(r"!\[[^\]]*\](?:\([^)\s]*(?:\s+\"[^\"]*\")?\)|\[[^\]]*\])")
_LINK = re.compile(r"\[((?:[^\[\]]|\[[^\[\]]*\])*)\](?:\([^)\s]*(?:\s+\"[^\"]*\")?\)|\[[^\]]*\])")
_DEFINITION = re.compile(r"^\s*\[[^\]]+\]:\s*\S+.*$")
_URL = re.compile(r"<?\b(?:https?://|www\.|mailto:)\S+")
_TAG = re.compile(r"</?[A-Za-z][^<>]*>")
_HEADING = re.compile(r"^\s{0,3}#{1,6}\s")
_UNDERLINE = re.compile(r"^\s{0,3}(?:=+|-{3,})\s*$")
_FENCE = re.compile(r"^\s*(`{3,}|~{3,})")
_MARK = re.compile(r"^[\s>*+\-|•·]*(?:\d+[.)])?[\s\-*|]*")
_DENSE = re.compile(r"[\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
_SIGN = re.compile(r"[\W_]+")


def num_content_characters(text: str) -> int:
    """Return the number of letters and digits of `text` that say something."""
    total = 0
    fence = ""
    lines = text.splitlines()
    for line, following in zip_longest(lines, lines[1:], fillvalue=""):
        if mark := _FENCE.match(line):
            fence = "" if fence and mark[1].startswith(fence) else fence or mark[1]
        elif fence:
            total += _num_signs(line)
        elif not (_HEADING.match(line) or _UNDERLINE.match(line) or _DEFINITION.match(line)):
            total += 0 if _UNDERLINE.match(following) and line.strip() else _num_in_line(line)
    return total


def _num_in_line(line: str) -> int:
    """A line whose words are all link texts or addresses points elsewhere; in a sentence a link's text counts."""
    plain = _TAG.sub(" ", _IMAGE.sub(" ", line))
    # Links before bare addresses: an address within a link would take the link's end with it.
    if not _num_signs(_MARK.sub("", _URL.sub(" ", _LINK.sub(" ", plain)))):
        return 0
    return _num_signs(_URL.sub(" ", _LINK.sub(r"\1", plain)))


def _num_signs(text: str) -> int:
    """An ideograph or a syllable says as much as three letters."""
    signs = _SIGN.sub("", text)
    return len(signs) + 2 * len(_DENSE.findall(signs))
