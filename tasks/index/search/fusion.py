"""Fusing two ranked lists: formulas on the standard library alone.

Reciprocal rank fusion: Cormack, Clarke, Buettcher, "Reciprocal Rank Fusion outperforms Condorcet and individual Rank
Learning Methods", SIGIR 2009. Score fusion: the convex combination with theoretical-minimum scaling of Bruch, Gai,
Ingber, "An Analysis of Fusion Functions for Hybrid Retrieval", TOIS 2023, with 0 as the minimum of both legs: no word
in common (BM25), no likeness (cosine). Its weight hardly matters, and one weak list hurts less than by ranks: see
docs/retrieval.md.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tasks.params import SearchParams

Ranked = Sequence[tuple[int, float]]
"""Row ids with scores, best first."""


def fused(vector: Ranked, text: Ranked, search: "SearchParams") -> dict[int, float]:
    """Return the scores of both lists in one, as `search` says."""
    if search.fusion == "rrf":
        return reciprocal_rank_fusion(vector, text, k=search.rrf_k, vector_weight=search.vector_weight)
    return score_fusion(vector, text, vector_weight=search.vector_weight)


def reciprocal_rank_fusion(vector: Ranked, text: Ranked, *, k: int, vector_weight: float) -> dict[int, float]:
    """Sum of `weight / (k + rank)` over the lists, rank from 1; scaled so that 1.0 is first in both lists."""
    scores: dict[int, float] = {}
    for ranked, weight in ((vector, vector_weight), (text, 1 - vector_weight)):
        for rank, (row, _) in enumerate(ranked, start=1):
            scores[row] = scores.get(row, 0.0) + weight * (k + 1) / (k + rank)
    return scores


def score_fusion(vector: Ranked, text: Ranked, *, vector_weight: float) -> dict[int, float]:
    """Return weighted sum of scores as shares of each list's best; a row absent from a list counts 0 there.

    1.0 is first in both lists. Scores are BM25 or cosines; a negative cosine counts 0.
    """
    scores: dict[int, float] = {}
    for ranked, weight in ((vector, vector_weight), (text, 1 - vector_weight)):
        best = max((score for _, score in ranked), default=0.0)
        for row, score in ranked:
            scores[row] = scores.get(row, 0.0) + (weight * max(score, 0.0) / best if best > 0 else 0.0)
    return scores


def ordered(fused: Mapping[int, float], *, tie: Callable[[int], object] = lambda row: row) -> list[tuple[int, float]]:
    """Best first; equal scores in the order of `tie`, so that a search gives the same answer twice."""
    return sorted(fused.items(), key=lambda entry: (-entry[1], tie(entry[0])))
