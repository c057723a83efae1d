"""How much a chunk says."""

import pytest

from tasks.index.chunking.content import num_content_characters


@pytest.mark.parametrize(
    "text",
    [
        "## Installation",
        "Installation\n============",
        "# Ledger\n\n[![build](https://x.y/a.svg)](https://x.y) ![cover](b.svg)",
        "## Contents\n\n- [Install](#install)\n- [Use](#use)\n  1. [Files](#files)",
        "[English](https://x.y/README.md)\n • [Deutsch](https://x.y/README.de.md)\n • [Italiano](http://x.y/it)",
        "[@who]: https://x.y/who\n[next]: <https://x.y/next>",
        '<p align="center">\n<a href="https://x.y"><img alt="Logo" src="logo.svg"></a>\n</p>',
        "* https://x.y/one\n* <https://x.y/two>",
        "| [one](a) | [two](b) |\n|---|---|",
        "",
    ],
)
def test_chunk_of_headings_badges_and_links_says_nothing(text: str) -> None:
    assert num_content_characters(text) == 0


@pytest.mark.parametrize(
    ("text", "least"),
    [
        ("## Install\n\n```sh\npip install ledger\n```", 16),
        ("The ledger closes at noon.", 20),
        ("See the [guide](https://x.y/guide) before you close the ledger.", 30),
        ("- [close](#close): closes the ledger for the day", 25),
        ("```md\n# not a heading\n[a](b)\n```", 10),
        ("| rule | days |\n|---|---|\n| [keep](k) | thirty |", 14),
        ("报销单须在三十天内提交给财务部审核", 16),
    ],
)
def test_sentences_code_and_tables_say_something(text: str, least: int) -> None:
    assert num_content_characters(text) >= least
