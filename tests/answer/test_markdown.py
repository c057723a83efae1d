import json
from collections.abc import Callable

import pytest
from markdown_it import MarkdownIt

from tasks.answer import markdown
from tasks.answer.markdown import blocks, to_tree, urls
from tasks.answer.shown import links
from tasks.corpus.parsing import title


def test_html_and_pictures_of_a_draft_are_no_nodes():
    tree = json.dumps(to_tree("<script>x()</script> ![p](https://evil.example/?q=1) [t](javascript:alert(1))"))
    assert "evil.example" not in tree
    assert '"link"' not in tree
    assert '"text": "<script>x()</script> "' in tree


def test_link_is_one_only_where_a_passage_holds_its_address():
    allowed = urls(["See https://a.example/docs."])
    assert '"link"' in json.dumps(to_tree("[d](https://a.example/docs)", allowed))
    assert '"link"' not in json.dumps(to_tree("[d](https://b.example/docs)", allowed))


def test_code_block_keeps_its_language_and_text():
    (node,) = to_tree("```py\nx = 1 < 2\n```")
    assert node == {"type": "code_block", "language": "py", "text": "x = 1 < 2\n"}


def test_blocks_know_their_places():
    text = "# H\n\nOne.\n\n- two\n\n```\nthree\n```\n\n| a |\n|---|\n| 4 |\n"
    assert [(block.kind, text[block.start : block.end]) for block in blocks(text)] == [
        ("heading", "H"),
        ("paragraph", "One."),
        ("item", "two"),
        ("code", "```\nthree\n```"),
        ("row", "| 4 |"),
    ]


@pytest.mark.parametrize("parser", [title._blocks, title._inline, markdown._parser, links._parser])
def test_parser_that_threads_share_has_all_its_rules_before_the_first_text(parser: Callable[[], MarkdownIt]) -> None:
    """A thread that comes while another one compiles them would get a part of the rules."""
    parser.cache_clear()  # type: ignore[attr-defined]
    own = parser()
    for ruler in (own.core.ruler, own.block.ruler, own.inline.ruler, own.inline.ruler2):
        assert ruler.__cache__ is not None
