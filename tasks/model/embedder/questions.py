"""Held-out questions over the chunks that they are ranked among: what chooses a step, and what measures the gain."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tasks.errors import GateError
from tasks.model.embedder.pairs import ChunkText, Pair
from tasks.model.embedder.ranking import Values, ranking_values

if TYPE_CHECKING:
    from tasks.index.embedding.embedder import Embedder

MIN_PAIRS = 8
SELECTION_POOL = 500
REPORT_POOL = 1000


@dataclass(frozen=True, slots=True)
class Questions:
    """Held-out questions and the chunks that they are ranked over.

    Attributes:
        relevant: `(num_questions, num_chunks)`.
    """

    questions: tuple[str, ...]
    texts: tuple[str, ...]
    relevant: Any

    def values(self, embedder: "Embedder") -> Mapping[str, Values]:
        """Return the metrics of an embedder, by question."""
        scores = embedder.embed_questions(self.questions) @ embedder.embed(self.texts).T
        return ranking_values(scores, self.relevant)


def questions_of(pairs: Sequence[Pair], others: Sequence[Pair] = (), *, max_chunks: int) -> Questions:
    """Return the questions of `pairs` over their own chunks and, up to `max_chunks`, those of `others`."""
    chunks = _chunks(pairs)
    for text, chunk in _chunks(others).items():
        if len(chunks) >= max_chunks:
            break
        chunks.setdefault(text, chunk)
    keys = [chunk.key for chunk in chunks.values()]
    relevant = np.array([[key in {*pair.relevant, pair.positive.key} for key in keys] for pair in pairs])
    for row, pair in enumerate(pairs):
        relevant[row, list(chunks).index(pair.positive.text)] = True
    return Questions(tuple(pair.question for pair in pairs), tuple(chunks), relevant)


def _chunks(pairs: Sequence[Pair]) -> dict[str, ChunkText]:
    return {chunk.text: chunk for pair in pairs for chunk in (pair.positive, *pair.negatives)}


def held_out(rows: Sequence[Pair]) -> tuple[Questions, Questions]:
    """Return questions that choose the step, and questions that measure; no document is in both."""
    validation = [pair for pair in rows if pair.split == "validation"]
    num_train = len(rows) - len(validation)
    groups = sorted(
        {pair.positive.group for pair in validation}, key=lambda name: hashlib.sha256(name.encode()).digest()
    )
    if min(num_train, len(validation)) < MIN_PAIRS or len(groups) < 2:
        raise GateError(
            f"the embedder needs {MIN_PAIRS} pairs for training and {MIN_PAIRS} for validation on 2 documents, found "
            f"{num_train} and {len(validation)} on {len(groups)}; make more examples (examples.num_synthetic, feedback)"
        )
    choosing = set(groups[::2])
    selection = [pair for pair in validation if pair.positive.group in choosing]
    report = [pair for pair in validation if pair.positive.group not in choosing]
    others = [pair for pair in rows if pair.split == "train"]
    return (
        questions_of(selection, max_chunks=SELECTION_POOL),
        questions_of(report, [*selection, *others], max_chunks=REPORT_POOL),
    )
