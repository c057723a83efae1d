"""Markdown parsers that threads may share.

markdown-it compiles its rules at the first text. A second thread that comes meanwhile gets the rules that are ready by
then: it raises, so that a document is set aside, or overlooks a link in a draft.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from markdown_it import MarkdownIt


def compiled(parser: "MarkdownIt") -> "MarkdownIt":
    """Return the parser once all its rules are ready; rules must not be enabled or disabled afterwards."""
    for ruler in (parser.core.ruler, parser.block.ruler, parser.inline.ruler, parser.inline.ruler2):
        ruler.getRules("")
    return parser


def block_parser(*, code_by_indentation: bool = True) -> "MarkdownIt":
    """Return a parser of CommonMark and tables that reads the blocks of a text, not what stands inside a line."""
    from markdown_it import MarkdownIt

    blocks = MarkdownIt("commonmark").enable("table").disable("inline")
    return compiled(blocks if code_by_indentation else blocks.disable("code"))
