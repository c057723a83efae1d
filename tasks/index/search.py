"""Hybrid search over one release: both legs pre-filtered inside the database, fused, checked again, fetched.

No text of an asker reaches a filter: filters are typed expressions over interned access ids and allow-listed names.
Under a filter that leaves few rows the vector leg searches exactly, since an index would lose most of them.
"""

import datetime as dt
import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

import numpy as np
import numpy.typing as npt

from tasks.errors import ConfigurationError
from tasks.index.access import AccessMap
from tasks.index.fusion import Ranked, ordered, reciprocal_rank_fusion, score_fusion
from tasks.index.lance_errors import lance_errors
from tasks.index.passage import Passage
from tasks.params import IndexParams, SearchParams

if TYPE_CHECKING:
    from lancedb.expr import Expr
    from lancedb.table import LanceTable

    from tasks.index.embedding.embedder import Embedder

Mode = Literal["hybrid", "vector", "full_text"]
COLUMNS = [
    "chunk_id",
    "document_id",
    "knowledge_base",
    "access_id",
    "uri",
    "title",
    "headings",
    "text",
    "start",
    "end",
    "updated_at",
    "expires_at",
]
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,79}")
MAX_SEARCH_WORDS = 64
"""A full-text query is cut to its first distinct words: 5,000 words cost 0.4 seconds a query."""


@dataclass(frozen=True, slots=True)
class Request:
    """One search.

    Attributes:
        groups: the asker's groups; `everyone` is added.
        knowledge_bases: search only these; empty: all.
    """

    question: str
    groups: Collection[str] = ()
    knowledge_bases: Collection[str] = ()
    mode: Mode | None = None
    top_k: int | None = None


class Index:
    """One release of the index, open for reading; safe for use by several threads."""

    def __init__(
        self, table: "LanceTable", embedder: "Embedder", search: SearchParams, index: IndexParams, *, release: str
    ) -> None:
        """Search `table`, a handle checked out at a release, whose vectors `embedder` made."""
        self.table, self.embedder, self.release = table, embedder, release
        self._search, self._index = search, index
        with lance_errors(f"the release {release}"):
            self._has_vector_index = any("vector" in entry.columns for entry in table.list_indices())
        self._count = lru_cache(maxsize=1024)(self.table.count_rows)
        self._expiries = lru_cache(maxsize=1)(self._read_expiries)

    def search(self, request: Request, access: AccessMap) -> list[Passage]:
        """The passages that the asker may read, best first.

        Raises:
            ConfigurationError: the question is empty or too long, `top_k` or a name is out of range.
        """
        question = self._checked_question(request.question)
        readable = access.readable_ids(request.groups)
        if not readable:
            return []
        vector = self.embedder.embed([question])[0]
        filters = _filters(readable, request.knowledge_bases)
        fused = self._fused(request.mode or self._search.mode, question, vector, filters)
        return self._passages(fused, vector, request, access)

    def _checked_question(self, question: str) -> str:
        stripped = " ".join(question.split())
        if not stripped:
            raise ConfigurationError("a question must hold at least one word, found none; write one")
        if len(stripped) > self._search.max_question_characters:
            raise ConfigurationError(
                f"a question must have at most {self._search.max_question_characters} characters, "
                f"found {len(stripped)}; shorten it, or raise search.max_question_characters"
            )
        return stripped

    def next_expiry(self) -> dt.datetime | None:
        """Return when the next document of the release expires; None where none will."""
        now = dt.datetime.now(dt.UTC)
        return min((moment for moment in self._expiries() if moment > now), default=None)

    @lance_errors("the release that serves")
    def _fused(
        self, mode: Mode, question: str, vector: npt.NDArray[np.float32], filters: "Expr"
    ) -> list[tuple[int, float]]:
        near = self._vector_leg(vector, filters) if mode != "full_text" else []
        words = self._text_leg(question, filters) if mode != "vector" else []
        if mode != "hybrid":
            return [*near, *words]
        weight = self._search.vector_weight
        if self._search.fusion == "rrf":
            return ordered(reciprocal_rank_fusion(near, words, k=self._search.rrf_k, vector_weight=weight))
        return ordered(score_fusion(near, words, vector_weight=weight))

    def _vector_leg(self, vector: npt.NDArray[np.float32], filters: "Expr") -> Ranked:
        query = self.table.search(vector, vector_column_name="vector").distance_type("cosine").where(filters)
        if not self._has_vector_index or self._count(filters.to_sql()) <= self._index.exact_below_rows:
            query = query.bypass_vector_index()
        else:
            query = query.nprobes(self._index.num_probes).refine_factor(self._index.refine_factor)
        found = query.select(["chunk_id", "_distance"]).with_row_id(True).limit(self._search.candidates).to_arrow()
        return [(row["_rowid"], 1.0 - row["_distance"]) for row in _in_order(found, "_distance", descending=False)]

    def _text_leg(self, question: str, filters: "Expr") -> Ranked:
        words = list(dict.fromkeys(re.findall(r"\w+", question)))[:MAX_SEARCH_WORDS]
        if not words:
            return []
        query = self.table.search(" ".join(words), query_type="fts", fts_columns="search_text").where(filters)
        found = query.select(["chunk_id", "_score"]).with_row_id(True).limit(self._search.candidates).to_arrow()
        return [(row["_rowid"], row["_score"]) for row in _in_order(found, "_score", descending=True)]

    def _passages(
        self,
        fused: Sequence[tuple[int, float]],
        question: npt.NDArray[np.float32],
        request: Request,
        access: AccessMap,
    ) -> list[Passage]:
        top_k = self._checked_top_k(request.top_k)
        now = dt.datetime.now(dt.UTC)
        taken: Counter[str] = Counter()
        passages: list[Passage] = []
        for row, score in self._rows(fused, 4 * top_k):
            if not _may_return(row, request, access, now):
                continue
            if taken[row["document_id"]] >= self._search.max_chunks_per_document:
                continue
            taken[row["document_id"]] += 1
            passages.append(_passage(row, score, question))
            if len(passages) == top_k:
                break
        return passages

    def _checked_top_k(self, top_k: int | None) -> int:
        wanted = self._search.top_k if top_k is None else top_k
        if not 1 <= wanted <= self._search.candidates:
            raise ConfigurationError(f"top_k must be in [1, {self._search.candidates}], found {wanted}")
        return wanted

    def _rows(self, fused: Sequence[tuple[int, float]], num_rows: int) -> Iterator[tuple[dict[str, Any], float]]:
        """Rows with their scores, fetched a few at a time: most candidates are never looked at."""
        for begin in range(0, len(fused), num_rows):
            part = fused[begin : begin + num_rows]
            rows = self._fetch([row_id for row_id, _ in part])
            yield from ((rows[row_id], score) for row_id, score in part)

    @lance_errors("the release that serves")
    def _read_expiries(self) -> frozenset[dt.datetime]:
        rows = self.table.search().where("expires_at IS NOT NULL").select(["expires_at"]).to_arrow()
        return frozenset(rows["expires_at"].to_pylist())

    @lance_errors("the release that serves")
    def _fetch(self, row_ids: Sequence[int]) -> dict[int, dict[str, Any]]:
        if not row_ids:
            return {}
        found = self.table.take_row_ids(list(row_ids)).select([*COLUMNS, "vector"]).with_row_id().to_arrow()
        return {row.pop("_rowid"): row for row in found.to_pylist()}


def _in_order(found: Any, column: str, *, descending: bool) -> list[dict[str, Any]]:
    """Rows best first; equal scores by chunk id, so that ranks do not depend on how the table was written."""
    sign = -1 if descending else 1
    rows: list[dict[str, Any]] = found.to_pylist()
    return sorted(rows, key=lambda row: (sign * row[column], row["chunk_id"]))


def _filters(readable: Sequence[int], knowledge_bases: Collection[str]) -> "Expr":
    """Access first, then knowledge bases; values only ever enter as typed literals."""
    from lancedb.expr import col

    allowed = col("access_id").isin(list(readable))
    if not knowledge_bases:
        return allowed
    for name in knowledge_bases:
        if not _NAME.fullmatch(name):
            raise ConfigurationError(f"a knowledge base's name must match {_NAME.pattern}, found {name[:80]!r}")
    return allowed.and_(col("knowledge_base").isin(sorted(knowledge_bases)))


def _may_return(row: dict[str, Any], request: Request, access: AccessMap, now: dt.datetime) -> bool:
    """The check in Python behind the filter in the database: both must agree before a row leaves."""
    if not access.may_read(row["document_id"], row["access_id"], request.groups):
        return False
    if request.knowledge_bases and row["knowledge_base"] not in request.knowledge_bases:
        return False
    return row["expires_at"] is None or bool(row["expires_at"] > now)


def _passage(row: dict[str, Any], score: float, question: npt.NDArray[np.float32]) -> Passage:
    similarity = float(np.dot(np.asarray(row["vector"], dtype=np.float32), question))
    kept = {name: row[name] for name in COLUMNS if name not in ("access_id", "expires_at")}
    return Passage(**kept, score=score, similarity=similarity)


def checked_mode(mode: str | None) -> Mode | None:
    """A search mode by name.

    Raises:
        ConfigurationError: there is no such mode.
    """
    if mode is not None and mode not in get_args(Mode):
        raise ConfigurationError(f"mode must be one of {', '.join(get_args(Mode))}, found {mode[:40]!r}")
    return cast(Mode | None, mode)
