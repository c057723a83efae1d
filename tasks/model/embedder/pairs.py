"""Questions with the chunk that answers them and hard negatives: what the embedding model is tuned on.

Texts are those that the live index embedded, and only such as the training's audience may read.
"""

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from tasks.errors import CorruptionError, GateError
from tasks.files import write_json_lines
from tasks.index.access import TrainingGroups
from tasks.index.passage import Passage
from tasks.model.examples.example import Example, read_examples

if TYPE_CHECKING:
    from tasks.index.access import AccessMap
    from tasks.index.search import Index, Mode
    from tasks.params import Params
    from tasks.settings import Settings

NEGATIVES_PER_QUESTION = 4
MAX_NEGATIVE_RATIO = 0.95
"""A chunk as near to the question as this share of the positive's similarity may answer it too: it is no negative.

Moreira et al., "NV-Retriever: Improving text embedding models with effective hard-negative mining", 2024.
"""
CANDIDATES = 30
IDS_PER_QUERY = 500


@dataclass(frozen=True, slots=True)
class ChunkText:
    """A chunk as the index embeds it: with title and headings.

    Attributes:
        group: its document; batches are filled document by document.
    """

    key: str
    group: str
    text: str


@dataclass(frozen=True, slots=True)
class Pair:
    """A question and its chunk.

    Attributes:
        relevant: keys of all chunks that answer it, `positive` among them; none of them is ever a negative.
        negatives: near to the question, nearest first.
    """

    question: str
    positive: ChunkText
    relevant: tuple[str, ...]
    negatives: tuple[ChunkText, ...]
    split: Literal["train", "validation"]


@dataclass(frozen=True, slots=True)
class EmbedderQuestion:
    """A question, and the chunks of the live index that answer it."""

    question: str
    relevant: tuple[str, ...]
    split: Literal["train", "validation"]


@dataclass(frozen=True, slots=True)
class _Row:
    text: ChunkText
    vector: Any


def write_example_pairs(examples: Path, output: Path, params: "Params", settings: "Settings") -> int:
    """Write pairs of the answerable examples whose chunk is in the live index, with mined negatives; return how many.

    Raises:
        ConfigurationError: no index was released yet.
        CorruptionError: the training set or the index cannot be read.
        GateError: no example has its chunk in the live index.
    """
    from tasks.index.access_tables import load_access
    from tasks.index.live import open_index, serving
    from tasks.index.table import connect

    db = connect(settings)
    index = open_index(db, serving(settings).release, params, settings)
    questions = list(questions_of_examples(read_examples(examples)))
    depth = min(CANDIDATES, params.search.candidates)
    pairs = mine_pairs(questions, index, load_access(db), audience=params.examples.audience, depth=depth)
    count = write_pairs(pairs, output)
    if count == 0:
        raise GateError(
            f"the embedder needs answerable examples on chunks of the live index, found none among {len(questions)}; "
            "make the training set anew with `almanac retrain`"
        )
    return count


def questions_of_examples(examples: Iterable[Example]) -> Iterator[EmbedderQuestion]:
    """Yield the answerable examples' questions, each once."""
    seen: set[str] = set()
    for example in examples:
        if example.answerable and example.question not in seen:
            seen.add(example.question)
            relevant = tuple(example.passages[number - 1].chunk_id for number in example.support)
            yield EmbedderQuestion(example.question, relevant, example.split)


def mine_pairs(
    questions: Sequence[EmbedderQuestion],
    index: "Index",
    access: "AccessMap",
    *,
    audience: str,
    depth: int = CANDIDATES,
) -> Iterator[Pair]:
    """Find positives and hard negatives in a release; a question without a readable chunk is left out.

    For held-out questions full-text search chooses: what the index's own embedder picked, or left out, would measure
    that embedder and a tuned one by different standards.

    Args:
        questions: with the ids of their chunks.
        index: the release.
        access: who may read what, as of now.
        audience: the group whose documents may enter the weights.
        depth: how far down the results negatives are sought.
    """
    from tasks.index.search import Request

    rows = _Rows(index, access, audience)
    rows.fetch([key for question in questions for key in question.relevant])
    for question in questions:
        readable = [key for key in dict.fromkeys(question.relevant) if key in rows.rows]
        if not readable:
            continue
        held_out = question.split == "validation"
        mode: Mode | None = "full_text" if held_out else None
        passages = index.search(
            Request(question.question, groups=TrainingGroups({audience}), mode=mode, top_k=depth), access
        )
        if held_out:
            positive, bound = next((p.chunk_id for p in passages if p.chunk_id in readable), readable[0]), math.inf
        else:
            positive, nearest = rows.nearest(readable, index.embedder.embed_questions([question.question])[0])
            bound = MAX_NEGATIVE_RATIO * nearest
        near = [passage.chunk_id for passage in passages if _is_negative(passage, question, bound)]
        rows.fetch(near)
        negatives = [rows.rows[key].text for key in near if key in rows.rows][:NEGATIVES_PER_QUESTION]
        text = rows.rows[positive].text
        different = tuple(negative for negative in negatives if negative.text != text.text)
        yield Pair(question.question, text, tuple(readable), different, question.split)


def _is_negative(passage: Passage, question: EmbedderQuestion, bound: float) -> bool:
    near = passage.similarity is not None and passage.similarity < bound
    return near and passage.chunk_id not in question.relevant


class _Rows:
    """Rows of a release that may enter weights as the audience reads them, each read once."""

    def __init__(self, index: "Index", access: "AccessMap", audience: str) -> None:
        self._table, self._access, self._groups = index.table, access, TrainingGroups({audience})
        self.rows: dict[str, _Row] = {}

    def fetch(self, keys: Iterable[str]) -> None:
        from lancedb.expr import col

        new = sorted(set(keys) - set(self.rows))
        for begin in range(0, len(new), IDS_PER_QUERY):
            part = new[begin : begin + IDS_PER_QUERY]
            query = self._table.search().where(col("chunk_id").isin(part)).limit(len(part))
            columns = ["chunk_id", "document_id", "access_id", "search_text", "vector"]
            for row in query.select(columns).to_arrow().to_pylist():
                place = row["document_id"], row["access_id"]
                if self._access.may_read(*place, self._groups) and self._access.may_train(*place):
                    text = ChunkText(row["chunk_id"], row["document_id"], row["search_text"])
                    self.rows[row["chunk_id"]] = _Row(text, np.asarray(row["vector"]))

    def nearest(self, keys: Iterable[str], vector: npt.NDArray[np.float32]) -> tuple[str, float]:
        """Return the known key whose vector is nearest, and its cosine."""
        cosines = {key: float(np.dot(self.rows[key].vector, vector)) for key in keys}
        best = max(cosines, key=lambda key: cosines[key])
        return best, cosines[best]


def write_pairs(pairs: Iterable[Pair], path: Path) -> int:
    """Write JSON lines whole or not at all; return the number of pairs."""
    return write_json_lines(path, pairs)


def read_pairs(path: Path) -> list[Pair]:
    """Read the pairs of a file.

    Raises:
        CorruptionError: it cannot be read, or a line is no pair.
    """
    try:
        with path.open(encoding="utf-8") as stream:
            return [_pair(json.loads(line)) for line in stream]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CorruptionError(f"{path} must hold one pair in JSON a line, found: {error}; make it anew") from error


def _pair(raw: dict[str, Any]) -> Pair:
    return Pair(
        question=raw["question"],
        positive=ChunkText(**raw["positive"]),
        relevant=tuple(raw["relevant"]),
        negatives=tuple(ChunkText(**negative) for negative in raw["negatives"]),
        split=raw["split"],
    )
