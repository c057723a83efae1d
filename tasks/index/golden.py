"""Golden questions: a question, its reference answer and the anchor of its support, or no answer in the documents.

The anchor (a document and a few words that occur in it) survives re-chunking. A question whose document or anchor is
gone from the corpus is reported, never dropped in silence.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tasks.errors import ConfigurationError
from tasks.index.passage import Passage

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True, slots=True)
class GoldenQuestion:
    """One line of a golden file; `document` and `anchor` are None where the documents hold no answer."""

    id: str
    question: str
    answer: str | None
    document: str | None
    anchor: str | None
    topic: str
    split: str


@dataclass(frozen=True, slots=True)
class Located:
    """A golden question with every place of its anchor in the corpus: offsets into the document's text."""

    question: GoldenQuestion
    positions: tuple[int, ...]


def load_golden(path: Path, split: str = "all") -> list[GoldenQuestion]:
    """Read the questions of a split.

    Raises:
        ConfigurationError: the file is absent, or a line is no golden question.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise ConfigurationError(
            f"the golden questions must be at {path}, found: {error.strerror}; set index_gate.golden to a file or null"
        ) from error
    questions = [_parse(path, number, line) for number, line in enumerate(lines, start=1) if line.strip()]
    return [question for question in questions if split in ("all", question.split)]


def load_evaluation(golden: str, reviewed: str | None, split: str = "all") -> list[GoldenQuestion]:
    """Read the questions of evaluation: those of `golden`, and those of the review queue's file where there is one.

    Raises:
        ConfigurationError: `golden` is absent, or a line is no golden question.
    """
    own = [Path(reviewed)] if reviewed is not None and Path(reviewed).exists() else []
    return [question for path in (Path(golden), *own) for question in load_golden(path, split)]


def _parse(path: Path, number: int, line: str) -> GoldenQuestion:
    try:
        question = GoldenQuestion(**json.loads(line))
    except (json.JSONDecodeError, TypeError) as error:
        raise ConfigurationError(f"{path}:{number} must be one golden question in JSON, found: {error}") from error
    if question.split not in SPLITS or (question.document is None) != (question.anchor is None):
        raise ConfigurationError(f"{path}:{number} must name a split of {SPLITS}, and document with anchor or neither")
    return question


def locate(
    questions: Iterable[GoldenQuestion], texts: Mapping[str, str]
) -> tuple[list[Located], list[tuple[GoldenQuestion, str]]]:
    """Find each anchor in the documents' texts; return the located questions, and the others with the reason."""
    located: list[Located] = []
    missing: list[tuple[GoldenQuestion, str]] = []
    for question in questions:
        if question.document is None or question.anchor is None:
            continue
        text = texts.get(question.document)
        positions = () if text is None else _positions(text, question.anchor)
        if positions:
            located.append(Located(question, positions))
        else:
            missing.append((question, "document absent" if text is None else "anchor absent"))
    return located, missing


def _positions(text: str, anchor: str) -> tuple[int, ...]:
    matches = []
    position = text.find(anchor)
    while position >= 0:
        matches.append(position)
        position = text.find(anchor, position + 1)
    return tuple(matches)


def support_rank(located: Located, passages: Sequence[Passage]) -> int | None:
    """Rank (from 1) of the first passage that holds the anchor, None if none does."""
    for rank, passage in enumerate(passages, start=1):
        if passage.document_id != located.question.document:
            continue
        if any(passage.start <= position < passage.end for position in located.positions):
            return rank
    return None
