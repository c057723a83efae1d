"""How old the facts of an answer are, by the cadence that brings them: an index by refreshes, weights by retrains.

A change falls at any moment between two runs, so it waits half an interval on average and a whole one at most. With a
share r of the documents changing in a month, about 1 - exp(-r x months) have changed within a time: the share that is
out of date. Formulas alone: they hold where every run succeeds and brings every change.
"""

import math
from dataclasses import dataclass

DAYS_PER_YEAR = 365.25
DAYS_PER_MONTH = DAYS_PER_YEAR / 12


@dataclass(frozen=True, slots=True)
class Staleness:
    """How long a change waits until an answer can know of it.

    Attributes:
        mean_days: on average.
        max_days: at most.
        outdated: share of the documents that changed since, on average; None: the change rate is not known.
    """

    mean_days: float
    max_days: float
    outdated: float | None


def staleness(times_per_year: float, change_rate: float | None) -> Staleness:
    """Return how old facts are that come so many times a year.

    Args:
        times_per_year: refreshes or retrains; above 0.
        change_rate: share of the documents that changes in a month.
    """
    longest = DAYS_PER_YEAR / times_per_year
    share = None if change_rate is None else 1 - math.exp(-change_rate * longest / 2 / DAYS_PER_MONTH)
    return Staleness(longest / 2, longest, share)
