"""Hybrid search over one release: both legs pre-filtered inside the database, fused, checked again, fetched.

No text of an asker reaches a filter: filters are typed expressions over interned access ids and allow-listed names.
Under a filter that leaves few rows the vector leg searches exactly, since an index would lose most of them.
"""

import datetime as dt
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from itertools import islice
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tasks.errors import ConfigurationError
from tasks.index.access import AccessMap
from tasks.index.chunking.context import HEADING_SEPARATOR
from tasks.index.lance_errors import lance_errors, rows_of
from tasks.index.passage import PASSAGE_COLUMNS, Passage
from tasks.index.search.choice import chosen
from tasks.index.search.full_text import FullText
from tasks.index.search.fusion import Ranked, fused, ordered
from tasks.index.search.neighbours import Hit, Span, joined
from tasks.index.search.request import Mode, Request, filters_of, may_return
from tasks.index.search.rerank import Reranker, mixed
from tasks.index.search.titles import Titles
from tasks.params import IndexParams, SearchParams

if TYPE_CHECKING:
    from lancedb.expr import Expr
    from lancedb.table import LanceTable

    from tasks.index.embedding.embedder import Embedder

COLUMNS = [
    *PASSAGE_COLUMNS,
    "source",
    "access_id",
    "expires_at",
    "facets",
    "ordinal",
    "gap",
    "starts_in_code",
    "ends_in_code",
]
MIN_CONTENT_CHARACTERS = 16
UNNAMED_WEIGHT = 0.5
"""Of a vector's score, where the question has a name that the chunk lacks and others hold."""
NAMED_PLACE = 5
"""Where a document that the question names stands if the search did not find it: still among the excerpts' passages."""
MAX_OPENING_ORDINAL = 6
"""Among the first so many chunks is the beginning of what a document says."""
MAX_LOOKED_AT = 100
"""Rows that are read to say whether an asker may read any."""
MAX_SEARCHES_AT_ONCE = 8
"""Vector legs that run beside their full-text legs; more wait."""
NO_METRICS: Mapping[str, float] = MappingProxyType({})


class Index:
    """One release of the index, open for reading; safe for use by several threads."""

    def __init__(
        self,
        table: "LanceTable",
        embedder: "Embedder",
        search: SearchParams,
        index: IndexParams,
        *,
        release: str,
        reranker: Reranker | None = None,
        metrics: Mapping[str, float] = NO_METRICS,
    ) -> None:
        """Search `table`, a handle checked out at a release: `embedder` made its vectors, its gate gave `metrics`."""
        self.table, self.embedder, self.release, self.metrics = table, embedder, release, metrics
        self._search, self._index, self._reranker = search, index, reranker
        with lance_errors(f"the release {release}"):
            self._has_vector_index = any("vector" in entry.columns for entry in table.list_indices())
            names = table.schema.names
        self._columns = [name for name in COLUMNS if name in names]
        self._can_join = "gap" in names
        self._leg_columns = [name for name in ("chunk_id", "num_content_characters") if name in names]
        self._full_text = FullText(table, index.language)
        self._legs = ThreadPoolExecutor(MAX_SEARCHES_AT_ONCE, thread_name_prefix="almanac-search")
        self._count = lru_cache(maxsize=1024)(self.table.count_rows)
        self._expiries = lru_cache(maxsize=1)(self._read_expiries)
        self._titles = lru_cache(maxsize=1)(self._read_titles)

    def search(self, request: Request, access: AccessMap) -> list[Passage]:
        """Return the passages that the asker may read, best first.

        Raises:
            ConfigurationError: the question is empty or too long, `top_k` or a name is out of range.
        """
        question = self._checked_question(request.question)
        readable = access.readable_ids(request.groups)
        if not readable:
            return []
        vector = self.embedder.embed_questions([question])[0]
        filters = filters_of(request, readable)
        mode, top_k = request.mode or self._search.mode, self._checked_top_k(request.top_k)
        candidates = self._fused(mode, question, vector, filters)
        hits = chosen(
            self._reranked(question, self._permitted(candidates, request, access)),
            question,
            top_k=top_k,
            max_chunks_per_document=self._search.max_chunks_per_document,
            language=self._index.language,
        )
        if mode == "hybrid":
            permitted = partial(self._permitted, request=request, access=access)
            hits = self._with_named(question, vector, filters, hits, permitted, top_k=top_k)[:top_k]
        return [_passage(span, vector) for span in self._joined(hits, request, access)]

    def holds(self, request: Request, access: AccessMap) -> bool:
        """Return whether there is a chunk that the asker may read by the filters of a request, whatever it asks.

        Among the first so many by the database's filter: what was closed since the last refresh may hide one.
        """
        readable = access.readable_ids(request.groups)
        if not readable:
            return False
        query = self.table.search().where(filters_of(request, readable)).select(self._columns).limit(MAX_LOOKED_AT)
        now = dt.datetime.now(dt.UTC)
        return any(may_return(row, request, access, now) for row in rows_of(query, f"the release {self.release}"))

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
        if mode == "vector":
            return list(self._vector_leg(vector, filters))
        if mode == "full_text":
            return list(self._text_leg(question, filters))
        vectors = self._legs.submit(self._vector_leg, vector, filters)
        words = self._text_leg(question, filters)
        named = self.name_rows(question, filters, self._search.candidates)
        return ordered(fused(_named_first(vectors.result(), named), words, self._search))

    def _with_named(
        self,
        question: str,
        vector: npt.NDArray[np.float32],
        filters: "Expr",
        hits: list[Hit],
        permitted: Callable[[Sequence[tuple[int, float]]], Iterator[Hit]],
        *,
        top_k: int,
    ) -> list[Hit]:
        """The hits with the best chunk of each document that the question names and that is not among them.

        Where the question asks for nothing but such documents, with their beginnings first.
        """
        from lancedb.expr import col, lit

        titles = self._titles()
        openings = [
            hit
            for title in titles.alone_in(question, self._index.language)
            for hit in islice(permitted(self._opening(filters.and_(col("title") == lit(title)))), 1)
        ]
        ids = {hit.row["chunk_id"] for hit in openings}
        hits = [*openings, *(hit for hit in hits if hit.row["chunk_id"] not in ids)]
        absent = titles.named_in(question, but={hit.row["title"] for hit in hits})
        legs = (self._fused("hybrid", question, vector, filters.and_(col("title") == lit(title))) for title in absent)
        extra = [hit for candidates in legs for hit in islice(permitted(candidates), 1)]
        place = min(NAMED_PLACE, top_k) - len(extra)
        return [*hits[:place], *extra, *hits[place:]] if place > 0 else hits

    def _opening(self, filters: "Expr") -> list[tuple[int, float]]:
        """The first chunk that says something, by row id."""
        from lancedb.expr import col, lit

        early = filters.and_(col("ordinal") < lit(MAX_OPENING_ORDINAL))
        rows = self.table.search().where(early).select([*self._leg_columns, "ordinal"]).with_row_id(True).to_arrow()
        said = [row for row in rows.to_pylist() if self._weight(row) == 1.0]
        return [(row["_rowid"], 1.0) for row in sorted(said, key=lambda row: row["ordinal"])]

    def _vector_leg(self, vector: npt.NDArray[np.float32], filters: "Expr") -> Ranked:
        rows = self.vector_rows(vector, filters, self._search.candidates)
        return self._ranked(rows, "_distance", lambda distance: 1.0 - distance)

    def vector_rows(self, vector: npt.NDArray[np.float32], filters: "Expr", limit: int) -> list[dict[str, Any]]:
        """Return the rows nearest to a vector, with `_rowid` and `_distance`, nearest first."""
        query = self.table.search(vector, vector_column_name="vector").distance_type("cosine").where(filters)
        if not self._has_vector_index or self._count(filters.to_sql()) <= self._index.exact_below_rows:
            query = query.bypass_vector_index()
        else:
            query = query.nprobes(self._index.num_probes).refine_factor(self._index.refine_factor)
        rows = query.select([*self._leg_columns, "_distance"]).with_row_id(True).limit(limit).to_arrow()
        nearest: list[dict[str, Any]] = rows.to_pylist()
        return nearest

    def _text_leg(self, question: str, filters: "Expr") -> Ranked:
        return self._ranked(self.text_rows(question, filters, self._search.candidates), "_score", lambda score: score)

    def word_scores(self, question: str, filters: "Expr") -> dict[str, float]:
        """Return the scores of the full-text leg by chunk id."""
        rows = self.text_rows(question, filters, self._search.candidates)
        return {row["chunk_id"]: self._weight(row) * row["_score"] for row in rows}

    def text_rows(self, question: str, filters: "Expr", limit: int) -> list[dict[str, Any]]:
        """Return the rows with a question's terms, with `_rowid` and `_score`, in no order."""
        return self._full_text.search(question, filters, self._leg_columns, limit)

    def _ranked(self, rows: list[dict[str, Any]], column: str, score_of: Callable[[float], float]) -> Ranked:
        """Rows best first; equal scores by chunk id, so that ranks do not depend on how the table was written."""
        scored = [(row["_rowid"], self._weight(row) * score_of(row[column]), row["chunk_id"]) for row in rows]
        return [(row, score) for row, score, _ in sorted(scored, key=lambda entry: (-entry[1], entry[2]))]

    def _weight(self, row: Mapping[str, Any]) -> float:
        """Less than 1 for a chunk that says nothing: a heading, badges, a list of links."""
        says_something = row.get("num_content_characters", MIN_CONTENT_CHARACTERS) >= MIN_CONTENT_CHARACTERS
        return 1.0 if says_something else self._search.empty_chunk_weight

    def _permitted(self, candidates: Sequence[tuple[int, float]], request: Request, access: AccessMap) -> Iterator[Hit]:
        """The candidates that may leave, fetched a few at a time: most are never looked at."""
        now = dt.datetime.now(dt.UTC)
        num_rows = max(4 * self._checked_top_k(request.top_k), self._search.rerank_candidates if self._reranker else 0)
        for begin in range(0, len(candidates), num_rows):
            part = candidates[begin : begin + num_rows]
            rows = self.rows_of([row_id for row_id, _ in part])
            for row_id, score in part:
                if may_return(rows[row_id], request, access, now):
                    yield Hit(rows[row_id], score)

    def _reranked(self, question: str, hits: Iterator[Hit]) -> Iterator[Hit]:
        """The first candidates in the order of both stages, then the others as they were."""
        if self._reranker is not None:
            first = list(islice(hits, self._search.rerank_candidates))
            ids = [hit.row["chunk_id"] for hit in first]
            second = self._reranker.scores(question, ids, [_read_by_reranker(hit.row) for hit in first])
            scores = mixed([hit.score for hit in first], second, self._search.rerank_weight)
            again = [Hit(hit.row, score) for hit, score in zip(first, scores, strict=True)]
            yield from sorted(again, key=lambda hit: -hit.score)
        yield from hits

    def _joined(self, hits: Sequence[Hit], request: Request, access: AccessMap) -> list[Span]:
        if not self._can_join or not self._search.join_neighbours:
            return [Span(hit, (hit.row,)) for hit in hits]
        now = dt.datetime.now(dt.UTC)
        return joined(
            hits, lambda places: [row for row in self.rows_at(places) if may_return(row, request, access, now)]
        )

    @lance_errors("the release that serves")
    def rows_at(self, places: Sequence[tuple[str, int]]) -> list[dict[str, Any]]:
        """Return the rows of places, and others of the same documents."""
        from lancedb.expr import col

        documents = sorted({document for document, _ in places})
        ordinals = sorted({ordinal for _, ordinal in places})
        wanted = col("document_id").isin(documents).and_(col("ordinal").isin(ordinals))
        rows: list[dict[str, Any]] = self.table.search().where(wanted).select(self._columns).to_arrow().to_pylist()
        return rows

    def name_rows(self, question: str, filters: "Expr", limit: int) -> list[dict[str, Any]]:
        """Return the rows that hold a flag or an identifier of the question as it was typed."""
        return self._full_text.with_names(question, filters, self._leg_columns, limit)

    def _checked_top_k(self, top_k: int | None) -> int:
        wanted = self._search.top_k if top_k is None else top_k
        if not 1 <= wanted <= self._search.candidates:
            raise ConfigurationError(f"top_k must be in [1, {self._search.candidates}], found {wanted}")
        return wanted

    @lance_errors("the release that serves")
    def _read_expiries(self) -> frozenset[dt.datetime]:
        rows = self.table.search().where("expires_at IS NOT NULL").select(["expires_at"]).to_arrow()
        return frozenset(rows["expires_at"].to_pylist())

    @lance_errors("the release that serves")
    def _read_titles(self) -> Titles:
        if "ordinal" not in self._columns:
            return Titles([])
        rows = self.table.search().where("ordinal = 0").select(["title"]).to_arrow()
        return Titles(rows["title"].to_pylist())

    @lance_errors("the release that serves")
    def rows_of(self, row_ids: Sequence[int]) -> dict[int, dict[str, Any]]:
        """Return whole rows by row id."""
        if not row_ids:
            return {}
        rows = self.table.take_row_ids(list(row_ids)).select([*self._columns, "vector"]).with_row_id().to_arrow()
        return {row.pop("_rowid"): row for row in rows.to_pylist()}


def _named_first(near: Ranked, named: Sequence[Mapping[str, Any]]) -> Ranked:
    """The vector leg with less for rows that hold no name of the question, where others hold one.

    Vectors do not see signs: `--dry-run` is near to a page about a tank that runs dry.
    """
    holders = {row["_rowid"] for row in named}
    if not holders:
        return near
    weighted = [(row, score if row in holders else UNNAMED_WEIGHT * score) for row, score in near]
    return sorted(weighted, key=lambda entry: -entry[1])


def _read_by_reranker(row: Mapping[str, Any]) -> str:
    return "\n\n".join(
        filter(None, (HEADING_SEPARATOR.join(filter(None, (row["title"], row["headings"]))), row["text"]))
    )


def _passage(span: Span, question: npt.NDArray[np.float32]) -> Passage:
    row = span.best.row
    kept = {name: row[name] for name in PASSAGE_COLUMNS}
    return Passage(
        **kept | {"text": span.text(), "start": span.start, "end": span.end},
        score=span.best.score,
        similarity=float(np.dot(np.asarray(row["vector"], dtype=np.float32), question)),
    )
