"""What a model writes reaches the reader as it was written: no sign, tag, path or line of code is changed or lost.

Each draft is drawn by its own number: `ALMANAC_WORLD_EXAMPLES=100000` tries so many.
"""

import os
from random import Random

from serving.api.tree import answer_tree
from tasks.answer.draft import kept
from tests.serving.test_tree import answer, leaves

MANY = int(os.environ.get("ALMANAC_WORLD_EXAMPLES", "0")) or 1000
PASSAGES = ["The pump opens at nine bar.", "The valve is red: http://a.b/c_d?x=1&y=2"]
WORDS = (
    *("<name>", "List<String>", "p<0.05", "x>y&&z", "&lt;b&gt;", "&amp;", "<br>", "<!-- no -->", "</think", "<T>(x)"),
    *(
        "2**8",
        "**kwargs",
        "*args",
        "a_b_c",
        "__init__",
        "~/x",
        "$PATH",
        "${HOME}",
        "C:/Users/x",
        "C:\\temp\\new",
        "\\n",
    ),
    *(
        "[WARN]:",
        "[x]",
        "argv[1]",
        "a[0][1]",
        "[link](http://a.b/c_d?x=1&y=2)",
        "https://a.b/c_(d)",
        "{{x}}",
        "#1",
        "^a",
    ),
    *(
        "5 < 6 > 4",
        "5 %",
        "1,000.50",
        "-5",
        "€3",
        "C#",
        "C++",
        "e-mail <a@b.c>",
        "|x|",
        "a|b",
        "`a|b`",
        "`<x>`",
        "``a`b``",
    ),
    *(
        "--dry-run",
        "'quoted'",
        "“quoted”",
        "naïve",
        "日本語",
        "हिन्दी",
        "a\u200db",
        "😀",
        "e\u0301",
        "…",
        "x²",
        "½",
        "\\*no\\*",
    ),
)
LINES = (
    "{}",
    "- {}",
    "1. {}",
    "> {}",
    "# {}",
    "| {} | b |\n|---|---|\n| c | d |",
    "    {}",
    "```py\n{}\n```",
    "**{}**",
    "* {}",
)


def draft(draw: Random) -> str:
    """A few lines of words that are easily mangled, some with a marker."""
    lines = []
    for _ in range(draw.randint(1, 5)):
        words = [draw.choice(WORDS) for _ in range(draw.randint(1, 6))]
        if draw.random() < 0.5:
            words.append(f"[{draw.randint(1, 2)}]")
        lines.append(draw.choice(LINES).format(" ".join(words)))
    return draw.choice(["\n", "\n\n"]).join(lines).strip()


def letters(text: str) -> list[str]:
    return [sign for sign in text if sign.isalnum()]


def test_a_draft_is_kept_byte_for_byte() -> None:
    for seed in range(MANY):
        text = draft(Random(seed))
        assert kept(text, PASSAGES) == text, (seed, text)


def test_the_page_shows_all_of_it_whatever_is_cited() -> None:
    """Markers and claims cut the tree's leaves, and take nothing away."""
    for seed in range(MANY):
        draw = Random(seed)
        text = draft(draw)
        shown = [leaf.get("text") or f"[{leaf.get('number', '')}]" for leaf in leaves(answer_tree(answer(text)))]
        plain = [leaf.get("text") or "" for leaf in leaves(answer_tree(answer(text.replace("[1]", "[2]"))))]
        assert letters("".join(shown).replace("[1]", "[2]")) == letters("".join(plain)), (seed, text)
