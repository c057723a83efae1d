"""Held-out questions over the chunks that they are ranked among: what chooses a step, and what measures the gain.

The gain is measured as a reader meets it, in both legs of search: words find much of what tuned vectors gain, and what
both find is no gain (docs/embedder.md has the figures).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tasks.corpus.document import sha256
from tasks.errors import GateError
from tasks.index.search.fusion import Ranked, fused
from tasks.model.embedder.chunks import ChunkText
from tasks.model.embedder.pairs import Pair
from tasks.model.embedder.ranking import Values, ranking_values

if TYPE_CHECKING:
    from tasks.index.embedding.embedder import Embedder, Vectors
    from tasks.params import SearchParams

MIN_PAIRS = 8
SELECTION_POOL = 500
CHOOSING = 4
"""One document in so many of those held out chooses the step, the others measure.

Choosing is cheap in questions, since it goes by the smooth loss; measuring, by ranks, is not.
"""


@dataclass(frozen=True, slots=True)
class Questions:
    """Held-out questions and the chunks that they are ranked over.

    Attributes:
        relevant: `(num_questions, num_chunks)`.
        words: scores of full-text search, the same shape; 0 where it does not find the chunk.
        num_golden: so many of them, the last ones, are golden questions.
    """

    questions: tuple[str, ...]
    texts: tuple[str, ...]
    relevant: Any
    words: Any
    num_golden: int = 0

    def scores(self, embedder: "Embedder", vectors: "Vectors | None" = None) -> "Vectors":
        """Return cosines `(num_questions, num_chunks)`.

        Args:
            embedder: that is measured.
            vectors: what it gives for `texts`, where they were embedded before.
        """
        chunks = embedder.embed(self.texts) if vectors is None else vectors
        scores: Vectors = embedder.embed_questions(self.questions) @ chunks.T
        return scores

    def values(
        self, embedder: "Embedder", search: "SearchParams", vectors: "Vectors | None" = None
    ) -> Mapping[str, Values]:
        """Return the metrics of an embedder, by question: in search, and as `vector_…` of its cosines alone.

        Args:
            embedder: that is measured.
            search: the mode, how many candidates each leg has, and how they are fused. No reranker is asked.
            vectors: what it gives for `texts`, where they were embedded before.
        """
        cosines = self.scores(embedder, vectors)
        found = np.full(cosines.shape, -np.inf)
        for row, (near, words) in enumerate(zip(cosines, self.words, strict=True)):
            for place, score in _candidates(near, words, search).items():
                found[row, place] = score
        alone = ranking_values(cosines, self.relevant)
        return {**ranking_values(found, self.relevant), **{f"vector_{name}": alone[name] for name in alone}}


def questions_of(pairs: Sequence[Pair], others: Iterable[ChunkText] = (), *, max_chunks: int | None) -> Questions:
    """Return the questions of `pairs` over their own chunks and the `others`, `max_chunks` where that is not None."""
    chunks = {chunk.text: chunk for chunk in chunks_of(pairs)}
    for chunk in others:
        if max_chunks is not None and len(chunks) >= max_chunks:
            break
        chunks.setdefault(chunk.text, chunk)
    places = {text: place for place, text in enumerate(chunks)}
    relevant = np.zeros((len(pairs), len(chunks)), dtype=np.bool_)
    words = np.zeros((len(pairs), len(chunks)))
    for row, pair in enumerate(pairs):
        keys = {*pair.relevant, pair.positive.key}
        relevant[row] = [chunk.key in keys for chunk in chunks.values()]
        relevant[row, places[pair.positive.text]] = True
        words[row] = [pair.words.get(chunk.key, 0.0) for chunk in chunks.values()]
    return Questions(tuple(pair.question for pair in pairs), tuple(chunks), relevant, words)


def _candidates(
    cosines: npt.NDArray[np.float32], words: npt.NDArray[np.float64], search: "SearchParams"
) -> Mapping[int, float]:
    """Scores by chunk of what the legs find for one question."""
    near = _best(cosines, search.candidates) if search.mode != "full_text" else []
    said = [entry for entry in _best(words, search.candidates) if entry[1] > 0] if search.mode != "vector" else []
    return fused(near, said, search)


def _best(scores: npt.NDArray[np.floating], count: int) -> Ranked:
    return [(int(place), float(scores[place])) for place in np.argsort(-scores, kind="stable")[:count]]


def chunks_of(pairs: Sequence[Pair]) -> list[ChunkText]:
    """Return the pairs' own chunks and their negatives."""
    return [chunk for pair in pairs for chunk in (pair.positive, *pair.negatives)]


def held_out(rows: Sequence[Pair], pool: Sequence[ChunkText]) -> tuple[Questions, Questions]:
    """Return questions that choose the step, and questions that measure, golden ones last.

    No document of the training set is in both.

    Args:
        rows: pairs of all splits.
        pool: chunks of the index, which those that measure are ranked over: among a handful of chunks that full-text
            search picked, an embedder that ranks an index better can look no better.

    Raises:
        GateError: too few pairs.
    """
    validation = [pair for pair in rows if pair.split == "validation"]
    num_train = sum(pair.split == "train" for pair in rows)
    groups = sorted({pair.positive.group for pair in validation}, key=sha256)
    if min(num_train, len(validation)) < MIN_PAIRS or len(groups) < 2:
        raise GateError(
            f"the embedder needs {MIN_PAIRS} pairs for training and {MIN_PAIRS} for validation on 2 documents, found "
            f"{num_train} and {len(validation)} on {len(groups)}; make more examples (examples.num_synthetic, feedback)"
        )
    choosing = set(groups[::CHOOSING])
    selection = [pair for pair in validation if pair.positive.group in choosing]
    report = [pair for pair in validation if pair.positive.group not in choosing]
    train = chunks_of([pair for pair in rows if pair.split == "train"])
    golden = [pair for pair in rows if pair.split == "golden"]
    measuring = questions_of([*report, *golden], pool, max_chunks=None)
    return questions_of(selection, train, max_chunks=SELECTION_POOL), replace(measuring, num_golden=len(golden))
