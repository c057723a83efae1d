"""What the last `almanac compare` says: which differences were shown, what was too slow, what each strategy costs.

Reads `comparison.json`, as `tasks.model.comparison.report` writes it.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tasks.advise.scorecard import Fact
from tasks.advise.strategy import Strategy
from tasks.errors import CorruptionError

_PAIRS = (
    ("writing_gain", Strategy.RAG, Strategy.RETRIEVAL),
    ("tuning_gain", Strategy.BOTH, Strategy.RAG),
    ("retrieval_gain", Strategy.BOTH, Strategy.FINE_TUNING),
    ("retrieval_gain", Strategy.RAG, Strategy.NEITHER),
)
"""What each measured criterion rests on: of, against; where two serve one criterion, the last that is there."""


@dataclass(frozen=True, slots=True)
class MonthlyCost:
    """What a strategy costs in a month at the stated volume, in the comparison's currency.

    Attributes:
        training: None: the answerer does not say how long it was trained.
        standing: the whole on a machine that stands ready all month; None: the comparison does not say.
    """

    strategy: Strategy
    total: float
    answering: float
    training: float | None
    refresh: float
    standing: float | None = None


@dataclass(frozen=True, slots=True)
class BreakEven:
    """Questions a month at which two strategies cost the same."""

    first: Strategy
    second: Strategy
    questions_per_month: float


@dataclass(frozen=True, slots=True)
class Measurement:
    """A comparison, read.

    Attributes:
        source: what was compared, in a person's words; empty where there is none.
        facts: the measured criteria.
        p95_seconds: by strategy.
        freshness: the headline metric on documents that changed since the training, in a person's words; empty where no
            such question was asked.
    """

    source: str = ""
    facts: Mapping[str, Fact] = field(default_factory=dict)
    p95_seconds: Mapping[Strategy, float] = field(default_factory=dict)
    costs: tuple[MonthlyCost, ...] = ()
    break_evens: tuple[BreakEven, ...] = ()
    currency: str = ""
    freshness: str = ""


def read_measurement(folder: Path, questions_per_month: float) -> Measurement | None:
    """Read the comparison of a folder; None: there is none.

    Raises:
        CorruptionError: the file is no comparison.
    """
    path = folder / "comparison.json"
    if not path.is_file():
        return None
    try:
        return _measurement(json.loads(path.read_text(encoding="utf-8")), questions_per_month)
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptionError(f"{path} must be a comparison, found: {error!r}; run `almanac compare` again") from error


def _measurement(content: Mapping[str, Any], volume: float) -> Measurement:
    entries = {
        strategy: content["strategies"][strategy.measured_as]
        for strategy in Strategy
        if strategy.measured_as in content["strategies"]
    }
    source = f"almanac compare, {content['questions']} questions, index release {content['index_release']}"
    return Measurement(
        source,
        _gains(content["differences"], source),
        {strategy: float(entry["latency"]["p95_seconds"]) for strategy, entry in entries.items()},
        tuple(
            _monthly(strategy, entry["cost"], volume, _standing(content, strategy, volume))
            for strategy, entry in entries.items()
        ),
        _break_evens({strategy: entry["cost"] for strategy, entry in entries.items()}),
        next((str(entry["cost"]["currency"]) for entry in entries.values()), ""),
        _freshness(content, entries),
    )


def _freshness(content: Mapping[str, Any], entries: Mapping[Strategy, Mapping[str, Any]]) -> str:
    asked = content.get("freshness", {})
    if not asked.get("questions") or not content["differences"]:
        return ""
    shares = []
    for strategy, entry in entries.items():
        on_changed, on_unchanged = entry["freshness"], entry.get("unchanged")
        if on_changed is not None:
            interval = f"{on_changed['mean']:.3f} [{on_changed['low']:.3f}, {on_changed['high']:.3f}]"
            beside = f" ({on_unchanged['mean']:.3f} on unchanged)" if on_unchanged else ""
            shares.append(f"{strategy.label.partition(' (')[0]} {interval}{beside}")
    return (
        f"{content['differences'][0]['metric']} on {asked['questions']} questions whose documents changed since the "
        f"training, {asked.get('unchanged', 0)} on others: {'; '.join(shares)}"
    )


def _gains(differences: Sequence[Mapping[str, Any]], source: str) -> dict[str, Fact]:
    headline = differences[0]["metric"] if differences else ""
    gains: dict[str, Fact] = {}
    for name, first, second in _PAIRS:
        for entry in differences:
            if entry["metric"] == headline and {entry["of"], entry["against"]} == {
                first.measured_as,
                second.measured_as,
            }:
                gains[name] = _gain(entry, reverse=entry["of"] != first.measured_as, source=source)
    return gains


def _gain(entry: Mapping[str, Any], *, reverse: bool, source: str) -> Fact:
    sign = -1 if reverse else 1
    mean, low, high = (sign * entry["mean"], *sorted((sign * entry["low"], sign * entry["high"])))
    word = "better" if low > 0 else "worse" if high < 0 else "not shown"
    return Fact(word, source, f"{entry['metric']} {mean:+.3f} [{low:+.3f}, {high:+.3f}]")


def _standing(content: Mapping[str, Any], strategy: Strategy, volume: float) -> float | None:
    for line in content.get("scale", {}).get("lines", ()):
        if line["strategy"] == strategy.measured_as and line["billing"] == "standing machine":
            return float(line["fixed"] + max(line["floor"], line["per_question"] * volume))
    return None


def _monthly(strategy: Strategy, cost: Mapping[str, Any], volume: float, standing: float | None) -> MonthlyCost:
    answering, training = cost["per_question"] * volume, cost["training_per_month"]
    refresh = cost["refresh_per_month"]
    return MonthlyCost(strategy, answering + (training or 0.0) + refresh, answering, training, refresh, standing)


def _break_evens(costs: Mapping[Strategy, Mapping[str, Any]]) -> tuple[BreakEven, ...]:
    names = list(costs)
    met = []
    for place, first in enumerate(names):
        for second in names[place + 1 :]:
            slope = costs[first]["per_question"] - costs[second]["per_question"]
            volume = (_fixed(costs[second]) - _fixed(costs[first])) / slope if slope else 0.0
            if volume > 0:
                met.append(BreakEven(first, second, volume))
    return tuple(met)


def _fixed(cost: Mapping[str, Any]) -> float:
    return float((cost["training_per_month"] or 0.0) + cost["refresh_per_month"])


def measured_out(
    measurement: Measurement | None, *, latency_seconds: float | None, budget_per_month: float | None
) -> dict[Strategy, tuple[str, ...]]:
    """Return the strategies that the comparison found too slow or too dear for the needs, with the reasons."""
    if measurement is None:
        return {}
    reasons: dict[Strategy, list[str]] = {}
    for strategy, seconds in measurement.p95_seconds.items():
        if latency_seconds is not None and seconds > latency_seconds:
            slow = f"too slow: {seconds:.2f} s at the 95th percentile, {latency_seconds:g} s allowed"
            reasons.setdefault(strategy, []).append(f"{slow} ({measurement.source})")
    for cost in measurement.costs:
        if budget_per_month is not None and cost.total > budget_per_month:
            reasons.setdefault(cost.strategy, []).append(
                f"too dear: {cost.total:.2f} {measurement.currency} a month, {budget_per_month:g} allowed "
                f"({measurement.source})"
            )
    return {strategy: tuple(why) for strategy, why in reasons.items()}
