"""What stands before the text of a chunk when it is embedded: title and headings, and the header of a table cut in two.

Knows only the tokenizer.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenizers import Tokenizer

MAX_CHARACTERS_PER_TOKEN = 12
"""A tokenizer may call a word of a megabyte one unknown token; the budget holds in characters too."""

HEADING_SEPARATOR = " › "  # noqa: RUF001
_TABLE_SHARE = 4
"""The header of a table may take at most a fourth of a chunk's tokens."""


class Contexts:
    """Contexts by heading path and by table header, each cut to a number of tokens."""

    def __init__(self, title: str, tokenizer: "Tokenizer", *, max_context_tokens: int, max_tokens: int) -> None:
        self._title, self._tokenizer, self._max_tokens = title, tokenizer, max_context_tokens
        self._max_header_tokens = min(max_context_tokens, max_tokens // _TABLE_SHARE)
        self._headings: dict[tuple[str, ...], tuple[str, int]] = {}
        self._headers: dict[str, tuple[str, int]] = {}

    def text(self, headings: tuple[str, ...], header: str = "") -> str:
        """Return the context of a chunk under the headings; with a header row, if its text begins within a table."""
        return "\n\n".join(filter(None, (self._of_headings(headings)[0], self._of_header(header)[0])))

    def num_tokens(self, headings: tuple[str, ...], header: str = "") -> int:
        """Return how many tokens the context takes, with the empty line behind it."""
        return self._of_headings(headings)[1] + self.num_header_tokens(header)

    def num_header_tokens(self, header: str) -> int:
        """Return how many of them the header row takes."""
        return self._of_header(header)[1]

    def count(self, text: str) -> int:
        """Return the number of tokens of a text, without special tokens."""
        return len(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def _of_headings(self, headings: tuple[str, ...]) -> tuple[str, int]:
        if headings not in self._headings:
            names = [self._title, *(name for name in headings if name != self._title)]
            self._headings[headings] = self._cut(HEADING_SEPARATOR.join(filter(None, names)), self._max_tokens)
        return self._headings[headings]

    def _of_header(self, header: str) -> tuple[str, int]:
        if not header:
            return "", 0
        if header not in self._headers:
            self._headers[header] = self._cut(header, self._max_header_tokens)
        return self._headers[header]

    def _cut(self, context: str, max_tokens: int) -> tuple[str, int]:
        context = context[: max_tokens * MAX_CHARACTERS_PER_TOKEN]
        offsets = self._tokenizer.encode(context, add_special_tokens=False).offsets
        if len(offsets) > max_tokens:
            context = context[: offsets[max_tokens][0]].rstrip() if max_tokens else ""
        return context, self.count(f"{context}\n\n")
