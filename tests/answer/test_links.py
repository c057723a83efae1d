"""No link or picture of a draft leads where no passage leads, however it is written; code and other text stay."""

import re
from collections.abc import Iterator

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from tasks.answer.draft import visible
from tasks.answer.generators.base import Generation, TextStream
from tasks.answer.shown.links import bounded

PASSAGES = ["The pump's manual is at https://pumps.example/manual.", "Write to [the desk](mailto:desk@pumps.example)."]
EVIL = "https://evil.example/c?d=secret"


@pytest.mark.parametrize(
    ("draft", "shown"),
    [
        (f"Nine bar. ![x]({EVIL})", "Nine bar. x"),
        (f"Nine bar. ![]({EVIL} 'title')", "Nine bar."),
        (f"See [the manual]({EVIL}) [1].", "See [the manual] [1]."),
        (f"See [the manual][m].\n\n[m]: {EVIL}", "See [the manual][m]."),
        (f"See [m].\n\n[m]:\n  <{EVIL}>\n", "See [m]."),
        (f"See <{EVIL}>.", f"See {EVIL}."),
        (f'<img src="{EVIL}">Nine.', "Nine."),
        ("<img src=//evil.example/x", ""),
        (f"[![a]({EVIL})]({EVIL})", "[a]"),
        ("[a](javascript:alert(1)) [b](//evil.example) [c](&#104;ttps://evil.example)", "[a] [b] [c]"),
        ("![a](https://pumps.example/manual)", "a"),
        ("nine\u202ebar", "ninebar"),
    ],
)
def test_what_leads_elsewhere_loses_its_address(draft: str, shown: str) -> None:
    assert bounded(draft, PASSAGES).strip() == shown


@pytest.mark.parametrize(
    "draft",
    [
        "See [the manual](https://pumps.example/manual) or <https://pumps.example/manual/>.",
        "Write to [the desk](mailto:desk@pumps.example).",
        "See [below](#valves) and [the page](docs/valves.md?x=1).",
        f"```md\n![x]({EVIL})\n```\n\nWrite `[x]({EVIL})` or `<{EVIL}>`.",
        "It works![1][2] List<String>, <T>(x), p<0.05, f(x)[0](y), [WARN]: no, argv[1]: [x]",
        f"The address {EVIL} in plain text is marked as unverified, not taken out.",
        'Put `x` into <div class="box">.',
    ],
)
def test_what_leads_nowhere_else_stays(draft: str) -> None:
    assert bounded(draft, PASSAGES) == draft


def test_a_link_may_lead_to_a_passage_itself() -> None:
    draft = "See [it](https://wiki.example/pump)."
    assert bounded(draft, PASSAGES) == "See [it]."
    assert bounded(draft, PASSAGES, ["https://wiki.example/pump"]) == draft


PIECES = st.sampled_from(
    [
        *"![]()<>`\\\n \"'a|",
        *("](", "![", "]:", "\n\n", EVIL, "//evil.example", "<img src=", "<a href='", "```\n", "- ", "> ", "    "),
        *("[a]", "[a]: ", "&#x68;ttps:", "javascript:", "https://pumps.example/manual", "<div>\n"),
    ]
)
DRAFTS = st.lists(PIECES, max_size=14).map("".join)


@given(DRAFTS)
@example(f"![a\\]b]({EVIL})")
@example(f"![a [b] c]({EVIL})")
@example(f"![a\n\n[a]: {EVIL}")
@example(f"<div>\n<img src={EVIL}\n</div>")
def test_no_way_of_writing_leads_elsewhere(draft: str) -> None:
    assert list(foreign(bounded(draft, PASSAGES))) == []


@given(DRAFTS, st.integers(1, 9))
def test_a_stream_never_shows_what_the_answer_does_not_hold(draft: str, size: int) -> None:
    assert list(foreign("".join(visible(pieces(draft, size), PASSAGES)))) == []


def pieces(draft: str, size: int) -> TextStream:
    for start in range(0, len(draft), size):
        yield draft[start : start + size]
    return Generation(draft, 0, 0)


def foreign(text: str) -> Iterator[str]:
    """What a program that renders Markdown with HTML would fetch or lead to."""
    for token in tokens(MarkdownIt("commonmark", {"html": True}).enable("table").parse(text)):
        address = str(token.attrGet("src") or token.attrGet("href") or "")
        if token.type in ("image", "link_open") and "evil" in address:
            yield address
        if token.type.startswith("html_"):
            yield from re.findall(r"<[a-z][^<>]*evil[^<>]*>", token.content, re.IGNORECASE)


def tokens(parsed: list[Token]) -> Iterator[Token]:
    for token in parsed:
        yield token
        yield from tokens(token.children or [])
