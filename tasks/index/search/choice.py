"""Which hits are shown: no document alone, no text twice, each subject that the question names, the newest version."""

import datetime as dt
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain, islice

import numpy as np

from tasks.index.search.neighbours import Hit, Row
from tasks.index.search.terms import question_terms

POOL_FACTOR = 4
"""So many times `top_k` hits are looked at."""
SAME_FACT = 0.95
"""Cosine above which two chunks say the same, one of them perhaps of an older version."""
MAX_SAME_FACT = 2
"""So many passages of one source say the same before others speak: a flood of near-copies crowds nothing out, and the
version of last year still stands beside that of this year."""


def chosen(hits: Iterator[Hit], question: str, *, top_k: int, max_chunks_per_document: int, language: str) -> list[Hit]:
    """Return `top_k` hits, best first.

    A question that names several documents (`What is the difference between dill and cloudpickle?`) gets the best hit
    of each before the second of any. Copies of a text take one place, that of the best, with the newest of them; near-
    copies beyond `MAX_SAME_FACT` of one source stand behind all others.
    """
    pool = list(islice(hits, POOL_FACTOR * top_k))
    newest = _newest_copies(pool)
    asked = frozenset(question_terms(question, language))
    first = _best_of_named(pool, asked, language)
    behind = [hit for hit in pool if not any(hit is entry for entry in first)]
    taken: Counter[str] = Counter()
    shown: set[str] = set()
    best: list[Hit] = []
    crowd: list[Hit] = []
    for hit in chain(first, behind, hits):
        text = _same_text(hit)
        if text in shown:
            continue
        shown.add(text)
        row = newest.get(text, hit.row)
        if taken[row["document_id"]] >= max_chunks_per_document:
            continue
        if _is_crowd(row, best, asked, language):
            crowd.append(Hit(row, hit.score))
            continue
        taken[row["document_id"]] += 1
        best.append(Hit(row, hit.score))
        if len(best) == top_k:
            break
    return [*newest_first(best), *crowd[: top_k - len(best)]]


def _is_crowd(row: Row, best: Sequence[Hit], asked: frozenset[str], language: str) -> bool:
    """Whether enough passages of its source say the same, and it has no word of the question that they lack.

    For instance the data sheets of three models differ in the model's name alone: the one that is asked about stays.
    """
    others = [hit.row for hit in best if hit.row.get("source") == row.get("source")]
    if len(others) < MAX_SAME_FACT:
        return False
    cosines = np.array([other["vector"] for other in others], np.float32) @ np.asarray(row["vector"], np.float32)
    same = [other for other, cosine in zip(others, cosines, strict=True) if cosine >= SAME_FACT]
    if len(same) < MAX_SAME_FACT:
        return False
    held = [asked & frozenset(question_terms(f"{each['title']} {each['text']}", language)) for each in (row, *same)]
    return held[0] <= frozenset().union(*held[1:])


def _newest_copies(pool: Sequence[Hit]) -> dict[str, Row]:
    """By text the row that shows it: the first, or one that was updated later."""
    newest: dict[str, Row] = {}
    for hit in pool:
        before = newest.setdefault(_same_text(hit), hit.row)
        if _is_newer(hit.row, before):
            newest[_same_text(hit)] = hit.row
    return newest


def _is_newer(row: Row, other: Row) -> bool:
    """Whether a row was updated later; a date that has not come yet says nothing."""
    here, there = row["updated_at"], other["updated_at"]
    return here is not None and there is not None and there < here <= dt.datetime.now(dt.UTC)


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
            if same[place, other] and _is_newer(rows[other], rows[place]):
                rows[place], rows[other] = rows[other], rows[place]
                same[[place, other]] = same[[other, place]]
                same[:, [place, other]] = same[:, [other, place]]
    return [Hit(row, hit.score) for row, hit in zip(rows, hits, strict=True)]
