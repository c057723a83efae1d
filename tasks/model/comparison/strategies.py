"""The strategies of the decision table: what each costs, where costs meet, and which one the data favour.

Formulas alone; what they take is measured in `tasks.model.comparison.compare`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tasks.bootstrap import Interval
from tasks.model.evaluation.metrics import Mode, Ratio, difference_of
from tasks.params import CompareParams

SECONDS_PER_HOUR = 3600
MONTHS_PER_YEAR = 12


@dataclass(frozen=True, slots=True)
class Strategy:
    """A way to answer: which answerer, and whether passages are read.

    Attributes:
        answerer: as it is named in this comparison: `excerpt`, `base`, `fine_tuned`, a profile, a version.
        is_trained: whether its training is part of the cost.
        rank: simpler ones come first; the simpler of two that the data do not tell apart is preferred.
    """

    name: str
    title: str
    answerer: str
    mode: Mode
    rank: int
    is_trained: bool = False


EXCERPT = Strategy("excerpt", "retrieval alone", "excerpt", "retrieval", 0)
"""The best excerpt, no model: what a user could have without any."""


def strategies_of(answerer: str, place: int, *, is_trained: bool, modes: Sequence[Mode]) -> list[Strategy]:
    """Return the strategies of an answerer that writes.

    Args:
        answerer: its name in this comparison.
        place: among the answerers, the simpler ones first.
        is_trained: whether it was trained here.
        modes: `closed_book`, `retrieval`, or both.
    """
    title = answerer.replace("_", "-")
    offered = (
        Strategy(
            f"{answerer}_closed_book", f"{title}, closed-book", answerer, "closed_book", 2 * place + 1, is_trained
        ),
        Strategy(f"{answerer}_retrieval", f"{title} + retrieval", answerer, "retrieval", 2 * place + 2, is_trained),
    )
    return [strategy for strategy in offered if strategy.mode in modes]


@dataclass(frozen=True, slots=True)
class Cost:
    """What a strategy costs, in the currency of `compare`.

    Attributes:
        per_question: machine time of one question.
        training_per_month: amortised; None: the answerer does not say how long it was trained.
        refresh_per_month: of the index; 0 without retrieval.
    """

    per_question: float
    training_per_month: float | None
    refresh_per_month: float

    @property
    def fixed_per_month(self) -> float:
        """What is paid whether anybody asks or not; unknown training counts as nothing."""
        return (self.training_per_month or 0.0) + self.refresh_per_month

    def per_thousand(self, questions_per_month: float) -> float:
        """Cost of a thousand questions at a volume, the fixed part shared by all questions of the month."""
        return 1000 * (self.per_question + self.fixed_per_month / questions_per_month)


def cost_of(
    strategy: Strategy,
    params: CompareParams,
    *,
    machine_seconds: float,
    training_seconds: float | None,
    refresh_seconds: float,
) -> Cost:
    """Price measured seconds.

    Args:
        strategy: what is priced.
        params: the hour's price, retrains and refreshes a year.
        machine_seconds: of one question.
        training_seconds: of one retrain; None: unknown.
        refresh_seconds: of one refresh.
    """
    second = params.machine_cost_per_hour / SECONDS_PER_HOUR
    training = _monthly(training_seconds, params.retrains_per_year, second) if strategy.is_trained else 0.0
    refresh = _monthly(refresh_seconds, params.refreshes_per_year, second) if strategy.mode == "retrieval" else 0.0
    return Cost(machine_seconds * second, training, refresh or 0.0)


def _monthly(seconds: float | None, times_per_year: float, price: float) -> float | None:
    return None if seconds is None else seconds * price * times_per_year / MONTHS_PER_YEAR


def break_even(first: Cost, second: Cost) -> float | None:
    """Return questions a month at which two strategies cost the same; None: one is cheaper at any volume."""
    slope = first.per_question - second.per_question
    if slope == 0:
        return None
    volume = (second.fixed_per_month - first.fixed_per_month) / slope
    return volume if volume > 0 else None


@dataclass(frozen=True, slots=True)
class Measured:
    """What was measured of a strategy.

    Attributes:
        metrics: values with intervals; a metric that was not measured is absent.
        parts: the same by question, for paired comparison.
        latency: `p50_seconds`, `p95_seconds`, `questions`: asked one at a time, by the clock on the wall.
    """

    strategy: Strategy
    answerer: str
    metrics: Mapping[str, Interval]
    parts: Mapping[str, Mapping[str, Ratio]]
    latency: Mapping[str, float]
    cost: Cost


@dataclass(frozen=True, slots=True)
class Recommendation:
    """A strategy with the reasons, each of them a measured result."""

    strategy: Strategy
    reasons: tuple[str, ...]


def recommend(
    measured: Sequence[Measured], params: CompareParams, *, headline: str, confidence: float, num_resamples: int
) -> Recommendation:
    """Return the simplest strategy that the data do not tell from the one with the highest headline metric.

    Args:
        measured: all on the same questions.
        params: the volume, for the costs that are named.
        headline: the metric that decides, as `useful_share`.
        confidence: of the paired intervals.
        num_resamples: of the bootstrap.
    """
    best = max(measured, key=lambda entry: entry.metrics[headline].mean)
    reasons = [f"{best.strategy.title} has the highest {headline}: {shown(best.metrics[headline])}"]
    if best.metrics[headline].mean == 0:
        reasons.append("no strategy got any question right: this recommends nothing but the simplest")
    tied = [best]
    for entry in measured:
        if entry is best:
            continue
        change = paired(best, entry, headline, confidence=confidence, num_resamples=num_resamples)
        distinct = change is not None and change.low > 0
        reasons.append(_pair_reason(best, entry, change, distinct=distinct, headline=headline))
        if not distinct:
            tied.append(entry)
    chosen = min(tied, key=lambda entry: entry.strategy.rank)
    if chosen is not best:
        reasons.append(f"of those that are not told apart, {chosen.strategy.title} is the simplest to keep")
    reasons += _consequences(chosen, params)
    return Recommendation(chosen.strategy, tuple(reasons))


def paired(first: Measured, second: Measured, metric: str, *, confidence: float, num_resamples: int) -> Interval | None:
    """Return difference of a metric, first minus second, on the same questions; None: one of them has no value."""
    return difference_of(first.parts[metric], second.parts[metric], confidence=confidence, num_resamples=num_resamples)


def shown(interval: Interval) -> str:
    """Return a value with its interval."""
    return f"{interval.mean:.3f} [{interval.low:.3f}, {interval.high:.3f}]"


def _pair_reason(best: Measured, other: Measured, change: Interval | None, *, distinct: bool, headline: str) -> str:
    difference = (
        "no common question"
        if change is None
        else f"{headline} {change.mean:+.3f} [{change.low:+.3f}, {change.high:+.3f}]"
    )
    if distinct:
        return f"{best.strategy.title} is better than {other.strategy.title}: {difference}"
    return f"the data do not tell apart {best.strategy.title} and {other.strategy.title}: {difference}"


def _consequences(chosen: Measured, params: CompareParams) -> list[str]:
    volume = params.questions_per_month
    cost = f"{chosen.cost.per_thousand(volume):.3g} {params.currency} a thousand questions at {volume} a month"
    if chosen.strategy.mode == "closed_book":
        return [f"it costs {cost}", "it cites nothing: no answer can be checked against a document"]
    traced = chosen.metrics.get("traceability")
    if traced is None:
        return [f"it costs {cost}", "it answered no question: traceability is not measurable"]
    return [f"it costs {cost}", f"{shown(traced)} of its answers cite a passage that holds the reference's anchor"]
