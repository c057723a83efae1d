"""The answer of `almanac advise` as a record: what now and why, at what cost, what would change it, what is next."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from tasks.advise.measured import BreakEven, MonthlyCost
from tasks.advise.ratings import Triage
from tasks.advise.scorecard import Card, Fact
from tasks.advise.strategy import Strategy


@dataclass(frozen=True, slots=True)
class Reason:
    """One piece of evidence.

    Attributes:
        points: weighted, of the recommended strategy over the mean of all five; negative: it speaks against it.
        source: where the evidence comes from.
    """

    criterion: str
    title: str
    says: str
    why: str
    source: str
    points: float


@dataclass(frozen=True, slots=True)
class Unknown:
    """A question that nobody answered.

    Attributes:
        remedy: how it can be answered.
        would_change: what the recommendation would be at each level that changes it; empty: it would stay.
    """

    criterion: str
    question: str
    remedy: str
    would_change: Mapping[str, Strategy]


@dataclass(frozen=True, slots=True)
class Turn:
    """A change of one thing that is known, and what would be recommended then."""

    criterion: str
    says: str
    strategy: Strategy


@dataclass(frozen=True, slots=True)
class Phase:
    """One phase of the plan.

    Attributes:
        when: conditions, each with how it stands; the phase begins when all hold.
    """

    strategy: Strategy
    says: str
    when: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Advice:
    """What to do, and on what grounds.

    Attributes:
        strategy: recommended now.
        runner_up: the next best that nothing rules out; None: there is none.
        margin: weighted points between them.
        conflict: needs that exclude each other left no strategy; what is recommended is the least.
        settled: nothing unknown would change the recommendation.
        card: weighted points by heading and strategy.
        totals: weighted points of each strategy.
    """

    strategy: Strategy
    runner_up: Strategy | None
    margin: int
    conflict: bool
    settled: bool
    reasons: tuple[Reason, ...]
    against: tuple[Reason, ...]
    ruled_out: Mapping[Strategy, tuple[str, ...]]
    unknown: tuple[Unknown, ...]
    turns: tuple[Turn, ...]
    phases: tuple[Phase, ...]
    costs: tuple[MonthlyCost, ...]
    break_evens: tuple[BreakEven, ...]
    currency: str
    questions_per_month: float
    card: Mapping[Card, Mapping[Strategy, int]]
    totals: Mapping[Strategy, int]
    facts: Mapping[str, Fact]
    triage: Triage | None
    notes: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """Return the fields of `almanac advise --json`."""
        return asdict(self)
