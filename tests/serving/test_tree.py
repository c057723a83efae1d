"""The tree that a page is built from: markers and claims stand where the Markdown has them, in any nesting."""

from collections.abc import Iterator
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from serving.api.tree import answer_tree
from tasks.answer.answer import Answer
from tasks.answer.check.claims import Claim
from tasks.answer.citations import Citation
from tasks.index.passage import Passage

PASSAGE = Passage(
    chunk_id="c",
    document_id="wiki:locks",
    knowledge_base="wiki",
    uri="https://wiki.example/locks",
    title="Locks",
    headings="",
    text="The guide is at https://zephyr.example/locks.",
    start=0,
    end=45,
    updated_at=None,
    score=1.0,
    similarity=None,
)


def answer(text: str, *claims: str) -> Answer:
    """An answer whose claims are these parts of its text."""
    cited = Citation(1, "wiki:locks", "https://wiki.example/locks", "Locks", "", "", 0, 0, False)
    checked = tuple(
        Claim(claim, text.index(claim), text.index(claim) + len(claim), (1,), "unverified", (), None)
        for claim in claims
    )
    return Answer(text, "answer", None, (cited,), checked, (PASSAGE,), "", 0, 0)


def leaves(nodes: list[Any]) -> Iterator[dict[str, Any]]:
    for node in nodes:
        yield from leaves(node["children"]) if "children" in node else [node]


def said(nodes: list[Any], claim: int) -> str:
    return "".join(leaf.get("text", f"({leaf.get('number')})") for leaf in leaves(nodes) if leaf.get("claim") == claim)


def test_claims_are_marked_over_bold_code_and_markers() -> None:
    tree = answer_tree(answer("One. It **is** `x**2` [1]. Three.", "It **is** `x**2` [1]."))
    assert said(tree, 0) == "It is x**2 (1)."


def test_claims_in_lists_and_tables_are_marked() -> None:
    text = "Steps:\n\n1. Take it [1].\n2. Give it back.\n\n| a | b |\n|---|---|\n| `retries` | 3 [1] |\n"
    tree = answer_tree(answer(text, "Give it back.", "| `retries` | 3 [1] |"))
    assert said(tree, 0) == "Give it back."
    assert said(tree, 1) == "retries3 (1)"


def test_equal_sentences_are_told_apart_by_their_order() -> None:
    text = "Yes it does. No. Yes it does."
    first = answer(text, "Yes it does.", "No.")
    last = Claim("Yes it does.", 17, 29, (), "unverified", (), None)
    tree = answer_tree(Answer(text, "answer", None, (), (*first.claims, last), (), "", 0, 0))
    assert [said(tree, number) for number in (0, 1, 2)] == ["Yes it does.", "No.", "Yes it does."]


def test_only_cited_markers_outside_of_code_become_markers() -> None:
    tree = answer_tree(answer("It is [1], [2] and `argv[1]` [1, 1].\n\n```\nx[1]\n```"))
    assert [leaf["number"] for leaf in leaves(tree) if leaf["type"] == "marker"] == [1, 1, 1]
    assert [leaf["text"] for leaf in leaves(tree) if leaf["type"] in ("code", "code_block")] == ["argv[1]", "x[1]\n"]


def test_links_lead_only_where_passages_do() -> None:
    text = "[a](https://zephyr.example/locks) [b](https://evil.example) [c](javascript:alert(1)) [d](https://wiki.example/locks)"
    urls = [node["url"] for node in answer_tree(answer(text))[0]["children"] if node["type"] == "link"]  # type: ignore[index, union-attr]
    assert urls == ["https://zephyr.example/locks", "https://wiki.example/locks"]


@given(st.lists(st.sampled_from(["**", "*", "`", "[1]", "- ", "\n\n", "| a | b |\n|-|-|\n", "word", "x.", "<b>", "#"])))
def test_no_text_is_lost_or_added_by_markers_and_claims(parts: list[str]) -> None:
    text = " ".join(parts)
    plain = "".join(leaf.get("text", "") for leaf in leaves(answer_tree(answer(text))))
    marked = answer_tree(answer(text, *dict.fromkeys(part for part in parts if part == "word")))
    assert "".join(leaf.get("text", "") for leaf in leaves(marked)) == plain
