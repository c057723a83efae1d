"""Documents with known content: every visible word arrives once, in order, signs intact; no hidden one does.

A format's own test writes documents by its authoring library from a seed; what failed is made again from that seed.
`ALMANAC_WORLD_DOCUMENTS` sets how many a format are made.
"""

import os
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from tasks.corpus.parsing.clean import clean
from tasks.corpus.parsing.extract_worker import extract

NUM_DOCUMENTS = int(os.environ.get("ALMANAC_WORLD_DOCUMENTS", "12"))
SIGNS = (
    *[""] * 12,
    *(
        "<10",
        ">10",
        "&Co",
        "-5",
        "+3.50",
        "5%",
        "€9",
        "$1,000",
        "C#",
        "C++",
        "'s",
        '"q"',
        "*x*",
        "_y_",
        "2**8",
        "[WARN]:",
    ),
    *(
        "C:/tmp",
        "`z`",
        "\\d+",
        "#1",
        "~3",
        "é",
        "ß",
        "中文",
        "½",
        "°C",
        "…",
        "<name>",
        "&amp;",
        "--all",
        "=1",
        "{a}",
        "^2",
    ),
)
_LETTERS = "abcdefgijklmnopqrstuwxy"


@dataclass(slots=True)
class Words:
    """Words that occur once in a document, in the order in which a reader of it meets them."""

    rng: random.Random
    signs: tuple[str, ...] = SIGNS
    visible: list[str] = field(default_factory=list)
    hidden: list[str] = field(default_factory=list)
    _count: int = 0

    def _new(self, begin: str) -> str:
        self._count += 1
        letters = "".join(self.rng.choices(_LETTERS, k=3))
        return f"{begin}{letters}{self._count:04d}z{self.rng.choice(self.signs)}"

    def shown(self, least: int = 1, most: int = 6) -> str:
        """Words that must arrive, with blanks between."""
        words = [self._new("v") for _ in range(self.rng.randint(least, most))]
        self.visible += words
        return " ".join(words)

    def unseen(self) -> str:
        """Words that must not arrive."""
        words = [self._new("h") for _ in range(self.rng.randint(1, 3))]
        self.hidden += words
        return " ".join(words)

    def aside(self, make: Callable[[], str]) -> tuple[str, list[str]]:
        """Words made now that a reader meets later: the caller appends them where they stand."""
        before = len(self.visible)
        text = make()
        later = self.visible[before:]
        del self.visible[before:]
        return text, later


def check(data: bytes, ending: str, words: Words, seed: int, *, in_order: bool = True) -> None:
    """Read a document and compare what arrives with what was written."""
    text = clean(extract(data, ending).text)[0]
    for word in words.hidden:
        assert word.split("z")[0] + "z" not in text, (seed, "hidden", word, text)
    place = 0
    for word in words.visible:
        stem = word[: word.index("z") + 1]
        assert text.count(stem) == 1, (seed, "not once", word, text.count(stem), text)
        at = text.index(stem)
        assert text.startswith(word, at), (seed, "mutilated", word, text[at : at + len(word) + 5])
        assert not in_order or at >= place, (seed, "order", word, text)
        place = at
