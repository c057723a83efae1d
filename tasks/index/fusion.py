"""Fusing two ranked lists: formulas on the standard library alone.

Reciprocal rank fusion: Cormack, Clarke, Buettcher, "Reciprocal Rank Fusion outperforms Condorcet and individual Rank
Learning Methods", SIGIR 2009. Score fusion: the convex combination of min-max normalised scores of Bruch, Gai,
Ingber, "An Analysis of Fusion Functions for Hybrid Retrieval", TOIS 2023.
"""

from collections.abc import Callable, Mapping, Sequence

Ranked = Sequence[tuple[int, float]]
"""Row ids with scores, best first."""


def reciprocal_rank_fusion(vector: Ranked, text: Ranked, *, k: int, vector_weight: float) -> dict[int, float]:
    """Sum of `weight / (k + rank)` over the lists, rank from 1; scaled so that 1.0 is first in both lists."""
    fused: dict[int, float] = {}
    for ranked, weight in ((vector, vector_weight), (text, 1 - vector_weight)):
        for rank, (row, _) in enumerate(ranked, start=1):
            fused[row] = fused.get(row, 0.0) + weight * (k + 1) / (k + rank)
    return fused


def score_fusion(vector: Ranked, text: Ranked, *, vector_weight: float) -> dict[int, float]:
    """Weighted sum of scores, each list scaled to [0, 1]; a row absent from a list counts as its lowest."""
    fused: dict[int, float] = {}
    for ranked, weight in ((vector, vector_weight), (text, 1 - vector_weight)):
        for row, score in _scaled(ranked).items():
            fused[row] = fused.get(row, 0.0) + weight * score
    return fused


def _scaled(ranked: Ranked) -> Mapping[int, float]:
    if not ranked:
        return {}
    low, high = min(score for _, score in ranked), max(score for _, score in ranked)
    span = high - low
    return {row: (score - low) / span if span > 0 else 1.0 for row, score in ranked}


def ordered(fused: Mapping[int, float], *, tie: Callable[[int], object] = lambda row: row) -> list[tuple[int, float]]:
    """Best first; equal scores in the order of `tie`, so that a search gives the same answer twice."""
    return sorted(fused.items(), key=lambda entry: (-entry[1], tie(entry[0])))
