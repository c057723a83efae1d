"""Which hits are shown: no document alone, no text twice, each subject that the question names, the newest version."""

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np

from tasks.index.search.neighbours import Hit, Row
from tasks.index.search.terms import question_terms

POOL_FACTOR = 4
"""So many times `top_k` hits are looked at."""
SAME_FACT = 0.95
"""Cosine above which two chunks say the same, one of them perhaps of an older version."""


def chosen(hits: Iterator[Hit], question: str, *, top_k: int, max_chunks_per_document: int, language: str) -> list[Hit]:
    """Return `top_k` hits, best first.

    A question that names several documents (`What is the difference between dill and cloudpickle?`) gets the best hit
    of each before the second of any. Copies of a text take one place, that of the best, with the newest of them.
    """
    pool = list(islice(hits, POOL_FACTOR * top_k))
    newest = _newest_copies(pool)
    first = _best_of_named(pool, frozenset(question_terms(question, language)), language)
    behind = [hit for hit in pool if not any(hit is entry for entry in first)]
    taken: Counter[str] = Counter()
    shown: set[str] = set()
    best: list[Hit] = []
    for hit in (*first, *behind, *hits):
        text = _same_text(hit)
        if text in shown:
            continue
        row = newest.get(text, hit.row)
        if taken[row["document_id"]] < max_chunks_per_document:
            taken[row["document_id"]] += 1
            shown.add(text)
            best.append(Hit(row, hit.score))
        if len(best) == top_k:
            break
    return newest_first(best)


def _newest_copies(pool: Sequence[Hit]) -> dict[str, Row]:
    """By text the row that shows it: the first, or one that was updated later."""
    newest: dict[str, Row] = {}
    for hit in pool:
        before = newest.setdefault(_same_text(hit), hit.row)
        if None not in (before["updated_at"], hit.row["updated_at"]) and hit.row["updated_at"] > before["updated_at"]:
            newest[_same_text(hit)] = hit.row
    return newest


def _same_text(hit: Hit) -> str:
    """Equal for copies; capitals and white space do not count, signs do."""
    return " ".join(hit.row["text"].casefold().split())


def _best_of_named(pool: Sequence[Hit], asked: frozenset[str], language: str) -> list[Hit]:
    """The best hit of each document whose title the question holds, if it holds several."""
    best: dict[str, Hit] = {}
    for hit in pool:
        title = question_terms(hit.row["title"], language)
        if title and asked.issuperset(title):
            best.setdefault(hit.row["title"], hit)
    return list(best.values()) if len(best) > 1 else []


def newest_first(hits: Sequence[Hit]) -> list[Hit]:
    """Exchange hits that say the same so that the one updated last comes first; scores keep their places.

    For instance the fee of 2026 (score .81) and, nearly word for word, that of 2027 (.80) change places.
    """
    if len(hits) < 2:
        return list(hits)
    rows = [hit.row for hit in hits]
    vectors = np.array([row["vector"] for row in rows], dtype=np.float32)
    same = vectors @ vectors.T >= SAME_FACT
    for place in range(len(rows)):
        for other in range(place + 1, len(rows)):
            here, there = rows[place]["updated_at"], rows[other]["updated_at"]
            if same[place, other] and here is not None and there is not None and there > here:
                rows[place], rows[other] = rows[other], rows[place]
                same[[place, other]] = same[[other, place]]
                same[:, [place, other]] = same[:, [other, place]]
    return [Hit(row, hit.score) for row, hit in zip(rows, hits, strict=True)]
