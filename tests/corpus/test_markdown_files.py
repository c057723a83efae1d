"""Markdown with known content: what a reader sees arrives whole and as written, what no renderer shows does not.

`ALMANAC_WORLD_DOCUMENTS` sets how many documents are made.
"""

import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.corpus.parsing.extract_worker import extract
from tasks.corpus.parsing.formats.markdown_reader import without_unseen
from tests.corpus.parse_world import document
from tests.world.made import NUM_DOCUMENTS, SIGNS, Words, check

_STYLES = (
    *("display:none", "visibility: hidden", "opacity:.0", "opacity: 0.01", "font-size:0.1vw", "color:#fefefe"),
    *("position:relative;left:-9999px", "transform:translateX(-9999px)", "clip-path: polygon(0 0, 0 0)", "scale:0"),
    *("width:0;overflow:hidden", "position:absolute;width:1px;height:1px;overflow:hidden", "text-indent:-999em"),
    *("color:hsl(0,0%,100%)", "-webkit-text-fill-color:transparent", "content-visibility:hidden", "zoom:0"),
)
_NEVER = ("template", "noscript", "noframes", "video", "audio", "canvas", "rp", "script", "style", "dialog")
_SIGNS = tuple(sign for sign in SIGNS if sign not in {"<name>", "`z`", "[WARN]:", '"q"'})


def _hidden_part(words: Words, rng: random.Random, number: int) -> str:
    text = words.unseen()
    ways = [
        *(f'<p style="{style}">{text}</p>' for style in _STYLES),
        *(f"<{name}>{text}</{name}>" for name in _NEVER),
        *(f"<!-- {text} -->", f"<!--\n{text}\n\n{text}\n-->", f"<div hidden>{text}</div>"),
        *([f"<? {text} ?>"] if ">" not in text else []),  # to a browser it ends there
        f"<div hidden>\n\n{text}\n\n- {text}\n\n```\n{text}\n```\n\n> {text}\n\n</div>",
        *(f"[//{number}]: # ({text})", f'[remark {number}]: <> "{text}"', f"> <!-- {text}\n> {text} -->"),
        *(f"[{text}]: https://example.com/{number}", f"- <!-- {text} -->"),
    ]
    return rng.choice(ways)


def _shown_part(words: Words, rng: random.Random, number: int) -> str:
    def shown() -> str:
        return words.shown(1, 3)

    def unseen() -> str:
        return rng.choice(["<!-- {} -->", "<span hidden>{}</span>", "<i style='opacity:0'>{}</i>"]).format(
            words.unseen()
        )

    kinds: list[Callable[[], str]] = [
        lambda: f"{shown()} {unseen()} {shown()}\n{shown()}",
        lambda: f"## {shown()} {unseen()}",
        lambda: f"- {shown()} {unseen()}\n- {shown()}\n\n  {shown()} {unseen()}\n  1. {shown()}",
        lambda: f"> {shown()} {unseen()}\n> {shown()}",
        lambda: f"```html\n<!-- {shown()} -->\n<p hidden>{shown()}</p>\n```",
        lambda: f"Like so:\n\n    <!-- {shown()} -->\n    <p hidden>{shown()}</p>",
        lambda: f"{shown()} `<!-- {shown()} -->` {shown()} ``<b hidden> ` {shown()}</b>`` {unseen()}",
        lambda: f"\\<!-- {shown()} --> {shown()}",
        lambda: f"| {shown()} | b |\n|---|---|\n| `{shown()} | {unseen()} {shown()} |\n| {shown()} | {shown()}` |",
        lambda: f"<p aria-hidden=true>{shown()} {unseen()}</p>",
        lambda: f"<details><summary>{shown()}</summary>\n\n{shown()} {unseen()}\n\n</details>",
        lambda: f"{shown()} [a][ref{number}] {shown()}\n\n[ref{number}]: https://example.com/x",
        lambda: f"{shown()}[^{number}]\n\n[^{number}]: {shown()}",
        lambda: f"<!-- {words.unseen()} --> {shown()}",
    ]
    return rng.choice(kinds)()


def _file(words: Words, rng: random.Random) -> bytes:
    parts = [rng.choice([_shown_part, _shown_part, _hidden_part])(words, rng, number) for number in range(9)]
    return "\n\n".join([*parts, words.shown()]).encode()


def test_what_a_reader_sees_arrives_and_nothing_else_does() -> None:
    for seed in range(NUM_DOCUMENTS * 5):
        rng = random.Random(seed)
        words = Words(rng, signs=_SIGNS)
        check(_file(words, rng), ".md", words, seed)


@pytest.mark.parametrize(
    "text",
    [
        "a <b\nc > d <e f='g\n\nh'",
        "text <!-- that nothing closes\n\nmore",
        "a ` b <x> ``c` [d]: e\n\n[f][g]\n\n[g]: h 'i'",
        "<p style='opacity:0.5'>half</p>\n\n<p style='color:#fff;background:#000'>white on black</p>\n",
        "<div>\n\n\ue0000\ue001 private signs \ue0011\ue001\n\n</div>\n",
        "---\n\n***\n\n# a #\n\nb\n===\n\n\tcode <!-- c -->\n",
        "<p style='transform: translate(-50%, -100%)'>a tooltip</p>\n",
    ],
)
def test_what_hides_nothing_stays_sign_by_sign(text: str) -> None:
    assert without_unseen(text) == (text, 0)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\n\n<!-- x\n\ny -->\n\nb", "a\n\n\n\nb"),
        ("> a\n> <!-- x\n> y -->\n> b", "> a\n>\n> b"),
        ("- a <!-- x -->\n- <!-- y -->\n- b", "- a \n\n- b"),
        ("<!-- x --> 42", " 42"),
        ("# T <!-- x --> #", "# T  #"),
        ("a\n\n<div hidden>\n\nx", "a\n\n\n\n"),
    ],
)
def test_what_stands_around_stays_as_it_was(text: str, expected: str) -> None:
    shown, num_hidden = without_unseen(text)
    assert shown == expected
    assert num_hidden > 0


def test_remarks_of_mdx_are_left_out_and_its_code_is_not() -> None:
    text = "a {/* x */} b\n\n{/*\n\ny\n\n*/}\n\n`{/* c */}`\n\n    <!-- z -->\n"
    assert extract(text.encode(), ".mdx").text.split() == ["a", "b", "`{/*", "c", "*/}`"]


def test_hidden_text_of_markdown_counts_for_the_gate(tmp_path: Path) -> None:
    read = document(tmp_path, "a.md", "---\ntitle: T\n---\n# Tea\n\nHot.\n<!-- cold -->\n<i hidden>x</i>\n")
    assert read.text == "# Tea\n\nHot."
    assert read.metadata["left_out_characters"] == str(len("<!-- cold --><i hidden>x</i>"))


@pytest.mark.parametrize(
    "part", ["<!--", "`", "``` ", "<div hidden>", "<i style='opacity:1'>", "[a]: b\n\n", "> - ", "|"]
)
def test_a_hostile_file_costs_seconds_at_most(part: str) -> None:
    began = time.process_time()
    without_unseen(f"<!-- x -->\n\n{part * (40_000 // len(part))}\n\n|a|\n|-|\n|b|")
    assert time.process_time() - began < 20
