"""How well chunks are ranked for questions, by question. NumPy alone.

Formulas: Manning, Raghavan, Schütze, "Introduction to Information Retrieval", 2008, chapter 8; grades are 0 and 1.
"""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

DEPTH = 10

Values = npt.NDArray[np.float64]


def ranking_values(scores: npt.NDArray[np.floating], relevant: npt.NDArray[np.bool_]) -> Mapping[str, Values]:
    """Return the metrics of a ranking by falling score, each `(num_questions,)`; of equals the irrelevant come first.

    Args:
        scores: `(num_questions, num_chunks)`.
        relevant: the same shape; each question has a relevant chunk.

    Raises:
        ValueError: the shapes differ, or a question has no relevant chunk.
    """
    if scores.shape != relevant.shape or not relevant.any(axis=1).all():
        raise ValueError(f"each question needs a relevant chunk among its scores, found shapes {scores.shape}")
    order = np.lexsort((relevant, -scores), axis=1)
    hits = np.take_along_axis(relevant, order, axis=1)
    num_relevant = hits.sum(axis=1)
    first = hits.argmax(axis=1) + 1
    return {
        "recall_at_1": hits[:, :1].sum(axis=1) / num_relevant,
        "recall_at_5": hits[:, :5].sum(axis=1) / num_relevant,
        "mrr_at_10": np.where(first <= DEPTH, 1 / first, 0.0),
        "ndcg_at_10": _ndcg(hits, num_relevant),
    }


def _ndcg(hits: npt.NDArray[np.bool_], num_relevant: npt.NDArray[np.int_]) -> Values:
    depth = min(DEPTH, hits.shape[1])
    discounts = 1 / np.log2(np.arange(2, depth + 2))
    ideal = np.cumsum(discounts)[np.minimum(num_relevant, depth) - 1]
    values: Values = (hits[:, :depth] * discounts).sum(axis=1) / ideal
    return values


def cross_entropies(scores: npt.NDArray[np.floating], relevant: npt.NDArray[np.bool_]) -> Values:
    """Return for each question how unlikely a relevant chunk is by the softmax of the scores, in nats.

    Args:
        scores: `(num_questions, num_chunks)`.
        relevant: the same shape; each question has a relevant chunk.
    """
    shifted = np.exp((scores - scores.max(axis=1, keepdims=True)).astype(np.float64))
    values: Values = np.log(shifted.sum(axis=1)) - np.log((shifted * relevant).sum(axis=1))
    return values
