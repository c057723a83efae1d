"""Costs from prototype to scale: each strategy, each way to pay for answers, 100 to 10 million questions a month.

cost of a month = fixed + max(floor, per_question x questions)

| Way | floor | per question |
|---|---|---|
| by the second | 0 | machine seconds at the machine's price: as if no second were idle |
| standing machine | one machine for a month | machine seconds at the price, over the utilisation |
| by the token | 0 | tokens at an endpoint's prices, where they are set |

Fixed are training and labelling (trained answerers), refresh and storage (with retrieval). Every two lines are set
against each other; both are pieces of straight lines, so each break-even is exact. Formulas alone.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import Literal

from tasks.model.comparison.strategies import MONTHS_PER_YEAR, Cost, Measured
from tasks.params import CompareParams
from tasks.params.prices import PricesParams

VOLUMES = (100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000)
"""Questions a month: a prototype, a team, a department, a product, and two scales beyond."""
HOURS_PER_MONTH = 365.25 * 24 / MONTHS_PER_YEAR
_MILLION = 1e6

Billing = Literal["by the second", "standing machine", "by the token"]


@dataclass(frozen=True, slots=True)
class Line:
    """A strategy in one way to pay for it.

    Attributes:
        strategy: its name in the comparison.
        fixed: a month, whether anybody asks or not.
        per_question: of answering.
        floor: the least that answering costs in a month.
    """

    strategy: str
    title: str
    billing: Billing
    fixed: float
    per_question: float
    floor: float = 0.0

    def month(self, questions: float) -> float:
        """Return the cost of a month with so many questions."""
        return self.fixed + max(self.floor, self.per_question * questions)

    @property
    def bend(self) -> float:
        """Return the questions a month from which on the floor no longer holds."""
        return self.floor / self.per_question if self.per_question else 0.0


@dataclass(frozen=True, slots=True)
class Crossing:
    """Where two lines cost the same; above it `cheaper_above` costs less."""

    first: Line
    second: Line
    questions_per_month: float
    cost: float
    cheaper_above: Line


@dataclass(frozen=True, slots=True)
class Scale:
    """All lines with their break-evens in the range of `VOLUMES`."""

    lines: tuple[Line, ...]
    crossings: tuple[Crossing, ...]

    def cheapest(self, questions: float) -> Line:
        """Return the line that costs least at a volume; quality is not looked at."""
        return min(self.lines, key=lambda line: line.month(questions))


def scale(measured: Sequence[Measured], params: CompareParams, *, index_gb: float) -> Scale:
    """Price every strategy in every way.

    Args:
        measured: of one comparison.
        params: the machine's price, the cadences and the other prices.
        index_gb: what the index takes on disk.
    """
    lines = tuple(line for entry in measured for line in _lines(entry, params, index_gb))
    meetings = (crossing for first, second in combinations(lines, 2) for crossing in crossings(first, second))
    return Scale(lines, tuple(sorted(meetings, key=lambda crossing: crossing.questions_per_month)))


def _lines(entry: Measured, params: CompareParams, index_gb: float) -> Iterator[Line]:
    name, title = entry.strategy.name, entry.strategy.title
    fixed = _fixed(entry, params, index_gb)
    yield Line(name, title, "by the second", fixed, entry.cost.per_question)
    standing = entry.cost.per_question / params.prices.utilisation
    yield Line(name, title, "standing machine", fixed, standing, params.machine_cost_per_hour * HOURS_PER_MONTH)
    tokens = _token_cost(entry, params.prices)
    if tokens:
        yield Line(name, title, "by the token", fixed, tokens)


def _fixed(entry: Measured, params: CompareParams, index_gb: float) -> float:
    cost: Cost = entry.cost
    storage = params.prices.storage_gb_month * index_gb if entry.strategy.mode == "retrieval" else 0.0
    return cost.fixed_per_month + storage + (_labelling(params) if _is_trained(cost) else 0.0)


def _is_trained(cost: Cost) -> bool:
    """Whether an answerer was trained: what nobody trained costs nothing to train, what was trained may not say."""
    return cost.training_per_month is None or cost.training_per_month > 0


def _labelling(params: CompareParams) -> float:
    prices = params.prices
    return prices.labelling_hour * prices.labelling_hours_per_retrain * params.retrains_per_year / MONTHS_PER_YEAR


def _token_cost(entry: Measured, prices: PricesParams) -> float:
    """Return the price of a question's tokens; 0: no price is set, or no model writes."""
    if prices.prompt_tokens_million is None or prices.completion_tokens_million is None:
        return 0.0
    read, written = entry.metrics.get("prompt_tokens"), entry.metrics.get("completion_tokens")
    if read is None or written is None:
        return 0.0
    return (read.mean * prices.prompt_tokens_million + written.mean * prices.completion_tokens_million) / _MILLION


def crossings(first: Line, second: Line) -> Iterator[Crossing]:
    """Yield each volume within the range at which two lines change places, exactly."""
    lowest, highest = float(VOLUMES[0]), float(VOLUMES[-1])
    bends = sorted(bend for bend in (first.bend, second.bend) if lowest < bend < highest)
    for start, end in pairwise([lowest, *bends, highest]):
        before = first.month(start) - second.month(start)
        after = first.month(end) - second.month(end)
        if before * after < 0:
            volume = start + (end - start) * before / (before - after)
            yield Crossing(first, second, volume, first.month(volume), first if after < 0 else second)
