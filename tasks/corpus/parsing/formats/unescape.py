r"""The characters of a text in place of kreuzberg's escapes for Markdown: `R\&D` is `R&D`, `x \< 5` is `x < 5`.

Code keeps its backslashes, and a bar in a table's cell stays escaped, since it would end the cell.
"""

import re
from collections.abc import Iterator

_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_CODE_OR_ESCAPE = re.compile(
    r"(?P<code>(?<![\\`])(`+)(?!`).+?(?<!`)\2(?!`))|\\(?P<sign>[!-/:-@\[-`{-~])|&#(?P<number>\d{1,6});"
)
_ROW = re.compile(r"\s*\|")


def unescaped(text: str, *, rows_only: bool = False, signs: str = "") -> str:
    """Return the text without escapes.

    Args:
        text: kreuzberg's Markdown.
        rows_only: in rows of tables alone, where it has them for HTML.
        signs: those that were escaped; '': all.
    """
    return "\n".join(_lines(text, rows_only=rows_only, signs=signs))


def _lines(text: str, *, rows_only: bool, signs: str) -> Iterator[str]:
    fence = ""
    for line in text.split("\n"):
        mark = _FENCE.match(line)
        if fence:
            if mark and mark[1].startswith(fence) and not line.strip(" `~"):
                fence = ""
            yield line
        elif mark:
            fence = mark[1]
            yield line
        else:
            is_row = _ROW.match(line) is not None
            yield line if rows_only and not is_row else _plain(line, is_row=is_row, signs=signs)


def _plain(line: str, *, is_row: bool, signs: str) -> str:
    def sign(match: re.Match[str]) -> str:
        if match["code"]:
            return match["code"]
        if match["number"]:
            return chr(int(match["number"])) if 0 < int(match["number"]) < 0xD800 else match[0]
        stays = (is_row and match["sign"] == "|") or (signs and match["sign"] not in signs)
        return match[0] if stays else match["sign"]

    return _CODE_OR_ESCAPE.sub(sign, line) if "\\" in line or "&#" in line else line
