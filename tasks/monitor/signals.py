"""Whether the last days differ from the weeks before by more than chance: formulas, on NumPy alone.

A monitor looks each day, at several signals, for years: at the usual five percent it would cry wolf every week, and
nobody would listen by the time that it is right. So a signal counts only where its p-value is below `ALPHA` *and* the
difference is large enough to matter. Users ask several questions each and days differ, which the formulas do not know:
counts are divided by a factor that is estimated from the days of the reference (`overdispersion`).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

ALPHA = 1e-4
"""About 90 looks of 5 signals in a quarter, most of them at the same seven days: .02 false alarms by Bonferroni."""
MIN_ANSWERS = 50
"""Of each side; fewer say nothing."""
MIN_SHARE = 0.05
"""A share that moved by less is left alone, however sure it is."""
MIN_DISTANCE = 0.10
"""The Kolmogorov-Smirnov distance, likewise."""


@dataclass(frozen=True, slots=True)
class Shift:
    """How the last days differ from the reference.

    Attributes:
        before, now: means of the reference and of the last days; shares where events were counted.
        p_value: that chance alone makes as large a difference.
        is_alarm: it is too large for chance and large enough to matter.
    """

    name: str
    before: float
    now: float
    p_value: float
    is_alarm: bool


def share_rises(
    name: str, reference: Sequence[tuple[int, int]], recent: Sequence[tuple[int, int]], *, alpha: float = ALPHA
) -> Shift | None:
    """Test whether a share rose: a one-sided test of two proportions, with the spread from day to day.

    Args:
        name: of the signal.
        reference: `(events, trials)` of each day before.
        recent: the same of the last days.
        alpha: the p-value below which it is an alarm.

    Returns:
        None where either side has fewer than `MIN_ANSWERS` trials.
    """
    (hits, trials), (hits_now, trials_now) = _sums(reference), _sums(recent)
    if min(trials, trials_now) < MIN_ANSWERS:
        return None
    before, now = hits / trials, hits_now / trials_now
    pooled = (hits + hits_now) / (trials + trials_now)
    variance = pooled * (1 - pooled) * (1 / trials + 1 / trials_now) * overdispersion(reference)
    p_value = _upper_tail((now - before) / math.sqrt(variance)) if variance else 1.0
    return Shift(name, before, now, p_value, p_value < alpha and now - before >= MIN_SHARE)


def distribution_shifts(
    name: str, reference: npt.ArrayLike, recent: npt.ArrayLike, *, spread: float = 1.0, alpha: float = ALPHA
) -> Shift | None:
    """Test whether values are drawn from another distribution: two-sample Kolmogorov-Smirnov, asymptotic p-value.

    Args:
        name: of the signal.
        reference: shape (num_before,).
        recent: shape (num_now,).
        spread: by how much days differ more than chance makes them: `overdispersion`.
        alpha: the p-value below which it is an alarm.

    Returns:
        None where either side has fewer than `MIN_ANSWERS` values.
    """
    before, now = np.sort(np.asarray(reference, float)), np.sort(np.asarray(recent, float))
    if min(len(before), len(now)) < MIN_ANSWERS:
        return None
    points = np.concatenate([before, now])
    below = [np.searchsorted(side, points, side="right") / len(side) for side in (before, now)]
    distance = float(np.abs(below[0] - below[1]).max())
    size = len(before) * len(now) / (len(before) + len(now)) / spread
    p_value = _kolmogorov(distance * (math.sqrt(size) + 0.12 + 0.11 / math.sqrt(size)))
    means = float(before.mean()), float(now.mean())
    return Shift(name, *means, p_value, p_value < alpha and distance >= MIN_DISTANCE)


def too_many(count: int, before: int, *, share_of_time: float, alpha: float = ALPHA) -> float | None:
    """Return the p-value of a count, where it is too large for what came before; None: it is not.

    Args:
        count: of the last days.
        before: of the reference.
        share_of_time: the last days as a share of both together.
        alpha: the p-value below which it counts.
    """
    p_value = _binomial_tail(count, count + before, share_of_time)
    return p_value if p_value < alpha else None


def overdispersion(days: Sequence[tuple[int, int]]) -> float:
    """Return how much more the shares of days differ than chance makes them: X² by its degrees of freedom, ≥ 1."""
    days = [(hits, trials) for hits, trials in days if trials]
    hits, trials = _sums(days)
    share = hits / trials if trials else 0.0
    if len(days) < 2 or share in (0.0, 1.0):
        return 1.0
    chi = sum((hit - share * total) ** 2 / (total * share * (1 - share)) for hit, total in days)
    return max(1.0, chi / (len(days) - 1))


def _sums(days: Sequence[tuple[int, int]]) -> tuple[int, int]:
    return sum(hits for hits, _ in days), sum(trials for _, trials in days)


def _upper_tail(z: float) -> float:
    return 0.5 * math.erfc(z / math.sqrt(2))


def _kolmogorov(x: float) -> float:
    """Return the probability that Kolmogorov's statistic is above x (Numerical Recipes, 14.3.18)."""
    if x < 0.2:
        return 1.0
    terms = (2 * (-1) ** (k - 1) * math.exp(-2 * k * k * x * x) for k in range(1, 101))
    return float(min(1.0, max(0.0, sum(terms))))


def _binomial_tail(at_least: int, trials: int, share: float) -> float:
    """Return the probability of so many hits or more."""
    logs = (
        math.lgamma(trials + 1)
        - math.lgamma(k + 1)
        - math.lgamma(trials - k + 1)
        + k * math.log(share)
        + (trials - k) * math.log1p(-share)
        for k in range(at_least, trials + 1)
    )
    return min(1.0, sum(math.exp(value) for value in logs))
