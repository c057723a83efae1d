"""The weighted scorecard: criteria with levels, points of each strategy at a level, and what a level rules out.

A strategy's score is the sum over what is known of weight times points; what is not known adds nothing. The best score
among the strategies that nothing rules out is recommended, the simpler one where two are equal. Formulas alone: the
table itself is `tasks.advise.criteria`.

That a criterion moves the recommendation one way only can be read off the table. For instance: if from level to level
fine-tuning gains on no other strategy and no other one is ruled out, then a higher level never turns the recommendation
to fine-tuning. The tests hold the table to such properties.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from tasks.advise.strategy import Strategy
from tasks.errors import ConfigurationError

Value = str | float | bool
Step = Literal[
    "goal",
    "how dynamic the knowledge is",
    "which data are there",
    "quality and traceability",
    "latency and throughput",
    "team and timeline",
    "security and offline",
]
Card = Literal["quality", "latency", "cost", "freshness", "data", "compliance", "traceability", "team"]
CARDS: tuple[Card, ...] = ("quality", "latency", "cost", "freshness", "data", "compliance", "traceability", "team")


@dataclass(frozen=True, slots=True)
class Level:
    """One level of a criterion.

    Attributes:
        name: a word, as `needs` in params.yaml has it.
        meaning: what it says of the case.
        points: of each strategy, -2 to 2, in the order of `Strategy`.
        why: the reason for the points.
        at_least: of a number, the smallest that is of this level; levels stand in ascending order.
        rules_out: strategies that cannot be had at this level, whatever else speaks for them.
    """

    name: str
    meaning: str
    points: tuple[int, int, int, int, int]
    why: str = ""
    at_least: float | None = None
    rules_out: tuple[Strategy, ...] = ()


@dataclass(frozen=True, slots=True)
class Criterion:
    """One line of the scorecard.

    Attributes:
        step: of the walk to a decision.
        card: under which of the eight headings it counts.
        weight: 3 where a wrong choice makes answers wrong or forbidden, 2 where it makes the work much dearer or worse,
            1 where it can be put right within weeks.
        justification: why it has this weight and these levels.
        question: what is asked where it is not known; empty: only measured, never asked.
        ready_at: the level from which on a model can be trained, where work can bring it about: the next phase hangs on
            it; empty: no such level.
    """

    name: str
    title: str
    step: Step
    card: Card
    weight: int
    justification: str
    question: str
    levels: tuple[Level, ...]
    ready_at: str = ""

    @property
    def is_number(self) -> bool:
        """Say whether its value is a number, cut into levels."""
        return self.levels[0].at_least is not None

    def level(self, value: Value) -> Level:
        """Return the level of a value.

        Raises:
            ConfigurationError: it has no such level.
        """
        if self.is_number and not isinstance(value, str):
            reached = [level for level in self.levels if level.at_least is not None and value >= level.at_least]
            if reached:
                return reached[-1]
        word = {True: "yes", False: "no"}.get(value, value) if isinstance(value, bool) else value
        for level in self.levels:
            if level.name == word:
                return level
        names = ", ".join(level.name for level in self.levels)
        raise ConfigurationError(f"`{self.name}` must be one of {names}, found {value!r}")


@dataclass(frozen=True, slots=True)
class Fact:
    """What is known of a criterion.

    Attributes:
        source: where it comes from, in a person's words.
        shown: the value as a person reads it; empty: the level's meaning is enough.
    """

    value: Value
    source: str
    shown: str = ""


@dataclass(frozen=True, slots=True)
class Scorecard:
    """The scores of a case.

    Attributes:
        levels: of each known criterion, by name.
        totals: weighted points of each strategy.
        ruled_out: the reasons against each strategy that cannot be had.
    """

    levels: Mapping[str, Level]
    totals: Mapping[Strategy, int]
    ruled_out: Mapping[Strategy, tuple[str, ...]] = field(default_factory=dict)

    @property
    def admissible(self) -> list[Strategy]:
        """Return the strategies that nothing rules out, best first."""
        open_ = [strategy for strategy in Strategy if strategy not in self.ruled_out]
        return sorted(open_, key=lambda strategy: (-self.totals[strategy], strategy.rank))

    @property
    def best(self) -> Strategy:
        """Return the recommended strategy; `neither` where needs exclude each other and nothing is left."""
        return self.admissible[0] if self.admissible else Strategy.NEITHER


def score(
    criteria: Sequence[Criterion],
    facts: Mapping[str, Value],
    measured_out: Mapping[Strategy, tuple[str, ...]] | None = None,
) -> Scorecard:
    """Score what is known.

    Args:
        criteria: the table.
        facts: values by the names of criteria; what is absent is not known.
        measured_out: strategies that a measurement rules out (too slow, too dear), with the reasons.

    Raises:
        ConfigurationError: a value has no level.
    """
    levels = {entry.name: entry.level(facts[entry.name]) for entry in criteria if entry.name in facts}
    totals = dict.fromkeys(Strategy, 0)
    ruled_out: dict[Strategy, list[str]] = {name: list(why) for name, why in (measured_out or {}).items()}
    for criterion in criteria:
        level = levels.get(criterion.name)
        if level is None:
            continue
        for strategy, points in zip(Strategy, level.points, strict=True):
            totals[strategy] += criterion.weight * points
        for strategy in level.rules_out:
            ruled_out.setdefault(strategy, []).append(f"{criterion.title}: {level.meaning}")
    return Scorecard(levels, totals, {name: tuple(why) for name, why in ruled_out.items()})


def points_by_card(criteria: Sequence[Criterion], scorecard: Scorecard) -> dict[Card, dict[Strategy, int]]:
    """Return the weighted points of each strategy by heading; a heading of which nothing is known is absent."""
    sums: dict[Card, dict[Strategy, int]] = {}
    for criterion in criteria:
        level = scorecard.levels.get(criterion.name)
        if level is None:
            continue
        line = sums.setdefault(criterion.card, dict.fromkeys(Strategy, 0))
        for strategy, points in zip(Strategy, level.points, strict=True):
            line[strategy] += criterion.weight * points
    return {card: sums[card] for card in CARDS if card in sums}


@dataclass(frozen=True, slots=True)
class Change:
    """What would change the recommendation: one criterion at another level.

    Attributes:
        has_level: whether the criterion has a level now; else it is not known.
    """

    criterion: str
    level: Level
    strategy: Strategy
    has_level: bool


def changes(
    criteria: Sequence[Criterion],
    facts: Mapping[str, Value],
    measured_out: Mapping[Strategy, tuple[str, ...]] | None = None,
) -> list[Change]:
    """Return every single level that would change the recommendation, in the order of the table."""
    now = score(criteria, facts, measured_out)
    turned = []
    for criterion in criteria:
        current = now.levels.get(criterion.name)
        for level in criterion.levels:
            if current is not None and level.name == current.name:
                continue
            then = score(criteria, {**facts, criterion.name: value_of(level)}, measured_out).best
            if then is not now.best:
                turned.append(Change(criterion.name, level, then, current is not None))
    return turned


def unready(criteria: Sequence[Criterion], levels: Mapping[str, Level]) -> list[tuple[Criterion, Level]]:
    """Return what is not ready for training, or not known to be, each with the level that it must reach."""
    missing = []
    for criterion in criteria:
        if not criterion.ready_at:
            continue
        goal, current = criterion.level(criterion.ready_at), levels.get(criterion.name)
        if current is None or criterion.levels.index(current) < criterion.levels.index(goal):
            missing.append((criterion, goal))
    return missing


def value_of(level: Level) -> Value:
    """Return a value of a level: its smallest number, or its word."""
    return level.name if level.at_least is None else level.at_least
