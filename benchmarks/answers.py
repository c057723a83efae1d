"""Questions whose answer needs certain places of the default corpus: does all of it stand in what is read?

The file is third-party text, read where it lies: `answers/drafts.jsonl` beside the public sets' folder.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.data import bench_file


@dataclass(frozen=True, slots=True)
class Wanted:
    """A question, and for each fact of its answer the places, document and words, any of which is enough."""

    question: str
    facts: tuple[tuple[tuple[str, str], ...], ...]

    def stands_in(self, passages: Sequence[tuple[str, str]]) -> bool:
        """Whether the passages, document and text, hold a place of each fact."""
        texts = [(document, " ".join(text.split())) for document, text in passages]
        return all(
            any(
                document == place and " ".join(words.split()) in text
                for place, words in fact
                for document, text in texts
            )
            for fact in self.facts
        )


def answers_file(name: str) -> Path | None:
    """A file of the folder `answers` beside the public sets, None where it is not at hand."""
    sets = bench_file(".")
    path = sets.parent / "answers" / name if sets else None
    return path if path and path.exists() else None


def load_wanted(path: Path) -> list[Wanted]:
    """The answerable questions; a follow-up is asked as a conversation would search it."""
    from tasks.answer.conversation import last_turn

    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [
        Wanted(last_turn([*row["history"], row["question"]]).searched(), tuple(map(_places, row["anchors"])))
        for row in rows
        if row["anchors"]
    ]


def _places(anchor: dict[str, str | list[str]]) -> tuple[tuple[str, str], ...]:
    return tuple((str(anchor["document"]), words) for words in [str(anchor["anchor"]), *anchor["also"]])
