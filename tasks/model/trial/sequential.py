"""An always-valid comparison of two versions: it may be looked at after every answer, and stopped at any of them.

The mixture sequential probability ratio test (Robbins 1970; for two streams of an A/B test Johari, Koomen, Pekelis and
Walsh, "Always Valid Inference: Continuous Monitoring of A/B Tests", Operations Research 70(3), 2022), turned round into
an interval: with d the difference of the means, V its variance and T the prior variance of the effect,

    d +- sqrt( V (V + T) / T x (2 ln(1 / alpha) + ln((V + T) / V)) )

covers the true difference at all times at once with probability 1 - alpha. That holds for normal means of known
variance, and nearly for others as answers gather: so nothing is said below `MIN_USERS` users and `MIN_ANSWERS` answers
of each version, and `benchmarks.trial` counts the false alarms.

Users are given to versions, not answers: answers of one user are alike. So V is that of a ratio of sums over users (the
delta method: Deng, Knoblich and Lu, KDD 2018). NumPy alone.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

MIN_USERS = 20
MIN_ANSWERS = 100


@dataclass(frozen=True, slots=True)
class Observation:
    """A value of one answer.

    Attributes:
        weight: what it counts: claims of the answer, or 1; 0: the metric says nothing of it.
    """

    user: str
    value: float
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Mean:
    """The mean of one version with its variance, users being independent.

    Attributes:
        answers: that count.
    """

    value: float
    variance: float
    users: int
    answers: int


@dataclass(frozen=True, slots=True)
class Difference:
    """Challenger minus champion, with an interval that holds at all times at once."""

    mean: float
    low: float
    high: float


class Tally:
    """The observations of one metric so far, summed up by user."""

    def __init__(self, observations: Iterable[Observation] = ()) -> None:
        """Count the observations."""
        self._sums: dict[str, float] = {}
        self._weights: dict[str, float] = {}
        self._answers = 0
        for observation in observations:
            self.add(observation)

    def add(self, observation: Observation) -> None:
        """Count one more; without weight it says nothing."""
        user, weight = observation.user, observation.weight
        if weight > 0:
            self._sums[user] = self._sums.get(user, 0.0) + observation.value * weight
            self._weights[user] = self._weights.get(user, 0.0) + weight
            self._answers += 1

    def mean(self) -> Mean | None:
        """Return the mean over all answers; None: none counts."""
        if not self._answers:
            return None
        sums, weights = np.array(list(self._sums.values())), np.array(list(self._weights.values()))
        value, num = float(sums.sum() / weights.sum()), len(sums)
        spread = float(np.square(sums - value * weights).sum())
        variance = spread / weights.sum() ** 2 * num / (num - 1) if num > 1 else math.inf
        return Mean(value, float(variance), num, self._answers)


def difference(challenger: Mean, champion: Mean, *, alpha: float, prior_sd: float) -> Difference | None:
    """Return the difference with its always-valid interval; None: too few users or answers of one of them.

    Args:
        challenger: its mean.
        champion: its mean.
        alpha: the probability that the interval is ever wrong.
        prior_sd: the size of effects at which the test is quickest, in the unit of the value.
    """
    enough = all(mean.users >= MIN_USERS and mean.answers >= MIN_ANSWERS for mean in (challenger, champion))
    if not enough:
        return None
    # No spread at all (every answer the same) is what few answers show by chance: as if one answer had differed.
    least = 1 / challenger.answers**2 + 1 / champion.answers**2
    variance, prior = max(challenger.variance + champion.variance, least), prior_sd**2
    radius = math.sqrt(
        variance * (variance + prior) / prior * (2 * math.log(1 / alpha) + math.log((variance + prior) / variance))
    )
    mean = challenger.value - champion.value
    return Difference(mean, mean - radius, mean + radius)
