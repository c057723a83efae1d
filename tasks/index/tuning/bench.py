"""Measuring settings on golden questions: what does not hang on a proposal is computed once.

Vectors, each leg's longest list, rows and token vectors are remembered for one asker without filters, the one who may
read everything: settings are measured, not an asker.
"""

import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tasks.index.access_tables import load_access
from tasks.index.embedding.embedder import Embedder
from tasks.index.golden import Located, support_rank
from tasks.index.search import Index, Request
from tasks.index.search.rerank import Reranker, build_reranker
from tasks.index.table import connect
from tasks.index.tuning.diff import Setting
from tasks.params import ChunkingParams, Params, SearchParams
from tasks.settings import Settings

if TYPE_CHECKING:
    from lancedb.expr import Expr
    from lancedb.table import LanceTable

CANDIDATES = (50, 100, 200, 400)
_NUM_LATENCY_QUESTIONS = 12


@dataclass(frozen=True, slots=True)
class Proposal:
    """Settings that are measured; an index of chunks of this size must be on the bench."""

    search: SearchParams
    chunking: ChunkingParams


@dataclass(frozen=True, slots=True)
class Measured:
    """What some questions gave.

    Attributes:
        gains: nDCG of the passages shown, `(num_questions,)`: there is one relevant place.
        latency_ms: median of a search.
    """

    gains: npt.NDArray[np.float64]
    latency_ms: float


class _RememberedRows(Index):
    """An index whose rows are fetched once for all proposals; for one asker without filters."""

    def __init__(self, *args: Any, rows: "_Rows", **options: Any) -> None:
        super().__init__(*args, **options)
        self._rows = rows

    def vector_rows(self, vector: npt.NDArray[np.float32], filters: "Expr", limit: int) -> list[dict[str, Any]]:
        key = vector.tobytes()
        if key not in self._rows.near:
            self._rows.near[key] = super().vector_rows(vector, filters, max(CANDIDATES))
        return self._rows.near[key][:limit]

    def text_rows(self, question: str, filters: "Expr", limit: int) -> list[dict[str, Any]]:
        if question not in self._rows.text:
            rows = super().text_rows(question, filters, max(CANDIDATES))
            self._rows.text[question] = sorted(rows, key=lambda row: -row["_score"])
        return self._rows.text[question][:limit]

    def name_rows(self, question: str, filters: "Expr", limit: int) -> list[dict[str, Any]]:
        if question not in self._rows.named:
            self._rows.named[question] = super().name_rows(question, filters, max(CANDIDATES))
        return self._rows.named[question][:limit]

    def rows_of(self, row_ids: Sequence[int]) -> dict[int, dict[str, Any]]:
        missing = [row_id for row_id in row_ids if row_id not in self._rows.whole]
        self._rows.whole |= super().rows_of(missing)
        return {row_id: self._rows.whole[row_id] for row_id in row_ids}

    def rows_at(self, places: Sequence[tuple[str, int]]) -> list[dict[str, Any]]:
        key = tuple(sorted(places))
        if key not in self._rows.places:
            self._rows.places[key] = super().rows_at(places)
        return self._rows.places[key]


class _Rows:
    """Rows by what asks for them."""

    def __init__(self) -> None:
        self.near: dict[bytes, list[dict[str, Any]]] = {}
        self.text: dict[str, list[dict[str, Any]]] = {}
        self.named: dict[str, list[dict[str, Any]]] = {}
        self.whole: dict[int, dict[str, Any]] = {}
        self.places: dict[tuple[tuple[str, int], ...], list[dict[str, Any]]] = {}


class _RememberedVectors:
    """An embedder that embeds each question once."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self._vectors: dict[str, npt.NDArray[np.float32]] = {}
        self._tokens: dict[str, npt.NDArray[np.float16]] = {}

    def embed_questions(self, questions: Sequence[str]) -> npt.NDArray[np.float32]:
        for question in questions:
            if question not in self._vectors:
                self._vectors[question] = self._embedder.embed_questions([question])[0]
        return np.stack([self._vectors[question] for question in questions])

    def embed_tokens(self, texts: Sequence[str]) -> list[npt.NDArray[np.float16]]:
        missing = [text for text in dict.fromkeys(texts) if text not in self._tokens]
        if missing:
            self._tokens |= dict(zip(missing, self._embedder.embed_tokens(missing), strict=True))
        return [self._tokens[text] for text in texts]


class Bench:
    """Measures proposals on indexes of one corpus, one for each size of chunks."""

    def __init__(
        self, params: Params, settings: Settings, embedder: Embedder, tables: "Mapping[int, LanceTable]"
    ) -> None:
        """Take the tables by `chunking.max_tokens`; `embedder` made their vectors."""
        self._params, self._settings, self._embedder, self._tables = params, settings, embedder, tables
        self._access = load_access(connect(settings))
        self._groups = frozenset[str]().union(*self._access.sets.values())
        self._vectors = _RememberedVectors(embedder)
        self._rows = {max_tokens: _Rows() for max_tokens in tables}
        self._rerankers: dict[tuple[str, int], Reranker | None] = {}
        self._latencies: dict[tuple[Setting, ...], float] = {}

    @property
    def chunk_sizes(self) -> tuple[int, ...]:
        """The values of `chunking.max_tokens` that can be measured."""
        return tuple(sorted(self._tables))

    def remembered(self, proposal: Proposal) -> Index:
        """Return an index with these settings whose searches are cheap, and so not to be timed."""
        embedder: Any = self._vectors
        search, max_tokens = proposal.search, proposal.chunking.max_tokens
        if (search.rerank, max_tokens) not in self._rerankers:
            self._rerankers[search.rerank, max_tokens] = build_reranker(search, embedder, self._settings)
        return _RememberedRows(
            self._tables[max_tokens],
            embedder,
            search,
            self._params.index,
            release="tuning",
            reranker=self._rerankers[search.rerank, max_tokens],
            rows=self._rows[max_tokens],
        )

    def plain(self, proposal: Proposal) -> Index:
        """Return an index as the server has it, its reranker cold."""
        search, table = proposal.search, self._tables[proposal.chunking.max_tokens]
        reranker = build_reranker(search, self._embedder, self._settings)
        return Index(table, self._embedder, search, self._params.index, release="tuning", reranker=reranker)

    def measure(self, index: Index, questions: Sequence[Located]) -> Measured:
        """Ask as one who may read everything."""
        gains: list[float] = []
        seconds: list[float] = []
        for entry in questions:
            begin = time.perf_counter()
            passages = index.search(Request(entry.question.question, groups=self._groups), self._access)
            seconds.append(time.perf_counter() - begin)
            rank = support_rank(entry, passages)
            gains.append(0.0 if rank is None else float(1 / np.log2(1 + rank)))
        return Measured(np.array(gains), 1000 * statistics.median(seconds))

    def latency_ms(self, proposal: Proposal, questions: Sequence[Located]) -> float:
        """Return median of a few plain searches; once for settings that cost the same."""
        search = proposal.search
        key = (
            search.rerank,
            search.rerank_candidates if search.rerank != "none" else 0,
            search.candidates,
            proposal.chunking.max_tokens,
        )
        if key not in self._latencies:
            few = questions[:: max(len(questions) // _NUM_LATENCY_QUESTIONS, 1)]
            self._latencies[key] = self.measure(self.plain(proposal), few).latency_ms
        return self._latencies[key]
