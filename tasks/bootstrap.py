"""Paired bootstrap: an interval for the mean difference of two systems on the same questions. NumPy alone.

Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, percentile interval, section 13.3.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean with its percentile interval."""

    mean: float
    low: float
    high: float


def paired_difference(
    candidate: npt.ArrayLike, baseline: npt.ArrayLike, *, confidence: float, num_resamples: int, seed: int = 0
) -> Interval:
    """Return mean of `candidate - baseline` over questions, with its interval.

    Args:
        candidate: (num_questions,) values of one system.
        baseline: (num_questions,) values of the other on the same questions.
        confidence: coverage in (0, 1).
        num_resamples: bootstrap samples.
        seed: of the resampling.

    Raises:
        ValueError: the shapes differ or there is no question.
    """
    new, old = np.asarray(candidate, dtype=np.float64), np.asarray(baseline, dtype=np.float64)
    if new.shape != old.shape or new.ndim != 1 or new.size == 0:
        raise ValueError(f"both systems need values for the same questions, found shapes {new.shape} and {old.shape}")
    difference = new - old
    draws = np.random.default_rng(seed).integers(0, difference.size, size=(num_resamples, difference.size))
    means = difference[draws].mean(axis=1)
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(difference.mean()), float(low), float(high))
