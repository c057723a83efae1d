"""The full-text leg: the question's terms by BM25, and for words that nobody wrote the words that are spelt almost so.

For instance `datsets` stands in no document that the asker may read: it is also searched as every term within two
edits (`dataset`), at a lower weight than an exact word. Exchanged neighbours (`laod`) are tried by name, since they
count as two edits.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from tasks.index.search.terms import question_names, question_terms

if TYPE_CHECKING:
    from lancedb.expr import Expr
    from lancedb.query import FullTextQuery
    from lancedb.table import LanceTable

TERMS_COLUMN = "terms"
LEGACY_COLUMN = "search_text"
"""Releases of before the terms are asked by words alone, so that a rollback to them answers."""

_MIN_FUZZY_CHARACTERS = 4
_TWO_EDITS_FROM = 6
_MAX_FUZZY_TERMS = 4
_MAX_EXPANSIONS = 20
_FUZZY_WEIGHT = 0.5


class FullText:
    """Full-text search over one release."""

    def __init__(self, table: "LanceTable", language: str) -> None:
        """Search the terms of `table`, which were cut for `language`."""
        self._table, self._language = table, language
        self._column = TERMS_COLUMN if TERMS_COLUMN in table.schema.names else LEGACY_COLUMN
        self._is_absent = lru_cache(maxsize=4096)(self._is_absent_uncached)

    def search(self, question: str, filters: "Expr", columns: Sequence[str], limit: int) -> list[dict[str, Any]]:
        """Return rows with `_rowid`, `_score` and these columns, in no order; empty where nothing is asked."""
        terms = question_terms(question, self._language)
        if not terms:
            return []
        return self._rows(self._query(terms, filters), filters, columns, limit)

    def with_names(self, question: str, filters: "Expr", columns: Sequence[str], limit: int) -> list[dict[str, Any]]:
        """Return such rows that hold a name of the question with its signs; empty where it has none."""
        names = question_names(question, self._language)
        return self._rows(self._match(" ".join(names)), filters, columns, limit) if names else []

    def _rows(
        self, wanted: "FullTextQuery", filters: "Expr", columns: Sequence[str], limit: int
    ) -> list[dict[str, Any]]:
        query = self._table.search(wanted, query_type="fts").where(filters)
        rows: list[dict[str, Any]] = (
            query.select([*columns, "_score"]).with_row_id(True).limit(limit).to_arrow().to_pylist()
        )
        return rows

    def _query(self, terms: Sequence[str], filters: "Expr") -> "FullTextQuery":
        from lancedb.query import BooleanQuery, Occur

        exact = self._match(" ".join(terms))
        misspelt = self._misspelt(terms, filters)
        if not misspelt:
            return exact
        variants = " ".join(variant for term in misspelt for variant in _exchanged(term))
        near = [self._match(variants, boost=_FUZZY_WEIGHT), *map(self._match_nearly, misspelt)]
        return BooleanQuery([(Occur.SHOULD, query) for query in (exact, *near)])

    def _match_nearly(self, term: str) -> "FullTextQuery":
        edits = 1 if len(term) < _TWO_EDITS_FROM else 2
        return self._match(term, boost=_FUZZY_WEIGHT, fuzziness=edits, max_expansions=_MAX_EXPANSIONS, prefix_length=1)

    def _match(self, terms: str, **options: float) -> "FullTextQuery":
        from lancedb.query import MatchQuery

        build: Callable[..., FullTextQuery] = MatchQuery
        return build(terms, self._column, **options)

    def _misspelt(self, terms: Sequence[str], filters: "Expr") -> list[str]:
        """Words of a question that stand nowhere, by this asker's filter: whether others wrote them is not told."""
        long = [term for term in terms if len(term) >= _MIN_FUZZY_CHARACTERS and term.isalpha()]
        return [term for term in long if self._is_absent(term, _Hashed(filters))][:_MAX_FUZZY_TERMS]

    def _is_absent_uncached(self, term: str, filters: "_Hashed") -> bool:
        query = self._table.search(self._match(term), query_type="fts").where(filters.expression)
        return not query.select(["chunk_id", "_score"]).limit(1).to_arrow().num_rows


class _Hashed:
    """A filter as part of a cache's key: by its SQL text, which is only compared."""

    __slots__ = ("_text", "expression")

    def __init__(self, expression: "Expr") -> None:
        self.expression, self._text = expression, expression.to_sql()

    def __hash__(self) -> int:
        return hash(self._text)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Hashed) and self._text == other._text


def _exchanged(term: str) -> list[str]:
    """The term with each pair of neighbours exchanged: `laod` gives `alod`, `load`, `lado`."""
    pairs = range(len(term) - 1)
    return [term[:at] + term[at + 1] + term[at] + term[at + 2 :] for at in pairs if term[at] != term[at + 1]]
