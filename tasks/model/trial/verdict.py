"""The verdict on a challenger: better, worse or not yet, by what users see. Formulas alone.

| Metric | Of | Worse is |
|---|---|---|
| `disapproval` | rated answers: share that was rated down | more |
| `abstentions` | all answers: share that is no answer | more, by over .03 |
| `unverified` | claims: share that was not found in what was read | more, by over .03 |
| `log_seconds` | all answers: natural logarithm of the seconds | slower by over a fifth |

`worse`: the interval of one metric lies wholly beyond its tolerance. `better`: the interval of one metric but the
seconds lies wholly on the good side of 0, and no metric's mean is beyond its tolerance, however few its answers. Else
`not yet`. The four share alpha: the whole is ever wrong with probability alpha at most, where the intervals hold.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from tasks.model.trial.sequential import Difference, Mean, Tally, difference

Verdict = Literal["better", "worse", "not yet"]
ALPHA = 0.05


@dataclass(frozen=True, slots=True)
class Metric:
    """What is watched; smaller is better.

    Attributes:
        tolerance: a loss that is borne.
        prior_sd: the size of effects at which the test is quickest.
        decides: whether a gain makes a challenger better.
    """

    name: str
    tolerance: float
    prior_sd: float
    decides: bool = True


METRICS = (
    Metric("disapproval", 0.0, 0.1),
    Metric("abstentions", 0.03, 0.1),
    Metric("unverified", 0.03, 0.1),
    Metric("log_seconds", 0.18, 0.3, decides=False),
)


@dataclass(frozen=True, slots=True)
class Compared:
    """One metric of both versions.

    Attributes:
        change: challenger minus champion; None: too few answers of one of them.
    """

    metric: str
    challenger: Mean | None
    champion: Mean | None
    change: Difference | None

    @property
    def loss(self) -> float:
        """Return the difference of the means as they stand, however few the answers; 0 where one has none."""
        return self.challenger.value - self.champion.value if self.challenger and self.champion else 0.0


@dataclass(frozen=True, slots=True)
class TrialVerdict:
    """What can be said now.

    Attributes:
        reason: one line.
    """

    verdict: Verdict
    reason: str
    compared: tuple[Compared, ...]


def judge(challenger: Mapping[str, Tally], champion: Mapping[str, Tally]) -> TrialVerdict:
    """Judge the answers so far, by metric."""
    compared = tuple(_compare(metric, challenger, champion) for metric in METRICS)
    judged = [(metric, entry.change) for metric, entry in zip(METRICS, compared, strict=True) if entry.change]
    if not judged:
        return TrialVerdict("not yet", "too few users or answers of one version", compared)
    for metric, change in judged:
        if change.low > metric.tolerance:
            return TrialVerdict("worse", _said(metric, change), compared)
    borne = all(entry.loss <= metric.tolerance for metric, entry in zip(METRICS, compared, strict=True))
    for metric, change in judged:
        if metric.decides and change.high < 0 and borne:
            return TrialVerdict("better", _said(metric, change), compared)
    return TrialVerdict("not yet", "; ".join(_said(metric, change) for metric, change in judged), compared)


def _compare(metric: Metric, challenger: Mapping[str, Tally], champion: Mapping[str, Tally]) -> Compared:
    new, old = (version.get(metric.name, Tally()).mean() for version in (challenger, champion))
    change = difference(new, old, alpha=ALPHA / len(METRICS), prior_sd=metric.prior_sd) if new and old else None
    return Compared(metric.name, new, old, change)


def _said(metric: Metric, change: Difference) -> str:
    return f"{metric.name} {change.mean:+.3f} [{change.low:+.3f}, {change.high:+.3f}]"
