"""Costs from prototype to scale, and how old facts are: by hand, and by looking at every volume."""

import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.bootstrap import Interval
from tasks.model.comparison.cost import HOURS_PER_MONTH, VOLUMES, Line, Scale, crossings, scale
from tasks.model.comparison.cost_page import scale_json, scale_markdown, staleness_markdown
from tasks.model.comparison.freshness import staleness
from tasks.model.comparison.plots import plot_scale
from tasks.model.comparison.strategies import Cost, Measured, Strategy
from tasks.params import CompareParams
from tasks.params.prices import PricesParams
from tests.model.test_compare import PARAMS, measured

PRICES = PricesParams(
    utilisation=0.25,
    prompt_tokens_million=1.0,
    completion_tokens_million=4.0,
    storage_gb_month=0.5,
    labelling_hour=30.0,
    labelling_hours_per_retrain=10.0,
)
PRICED = PARAMS.model_copy(update={"prices": PRICES})


def entry(place: int, cost: Cost) -> Measured:
    found = measured(place, 0.5, cost=cost)
    tokens = {"prompt_tokens": Interval(400, 400, 400), "completion_tokens": Interval(50, 50, 50)}
    return Measured(found.strategy, "7", {**found.metrics, **tokens}, found.parts, found.latency, cost)


def lines(*entries: Measured, params: CompareParams = PRICED, index_gb: float = 2.0) -> dict[tuple[str, str], Line]:
    return {(line.strategy, line.billing): line for line in scale(entries, params, index_gb=index_gb).lines}


def strategy(place: int) -> Strategy:
    return measured(place, 0.5).strategy


def test_month_adds_training_labelling_refresh_and_storage() -> None:
    found = lines(entry(4, Cost(0.001, 6.0, 2.0)))[strategy(4).name, "by the second"]
    assert found.fixed == pytest.approx(6.0 + 2.0 + 2.0 * 0.5 + 30 * 10 * 4 / 12)
    assert found.month(10_000) == pytest.approx(found.fixed + 10.0)


def test_what_nobody_trained_pays_no_labelling_and_closed_book_no_storage() -> None:
    found = lines(entry(2, Cost(0.001, 0.0, 2.0)), entry(1, Cost(0.001, 0.0, 0.0)))
    assert found[strategy(2).name, "by the second"].fixed == pytest.approx(2.0 + 1.0)
    assert found[strategy(1).name, "by the second"].fixed == 0


def test_standing_machine_costs_its_month_until_it_is_full() -> None:
    found = lines(entry(1, Cost(0.001, 0.0, 0.0)))[strategy(1).name, "standing machine"]
    month = PARAMS.machine_cost_per_hour * HOURS_PER_MONTH
    assert found.month(100) == found.month(1000) == pytest.approx(month)
    assert found.bend == pytest.approx(month / (0.001 / 0.25))
    assert found.month(10_000_000) == pytest.approx(0.001 / 0.25 * 10_000_000)


def test_tokens_are_priced_where_prices_are_set() -> None:
    found = lines(entry(1, Cost(0.001, 0.0, 0.0)))
    assert found[strategy(1).name, "by the token"].per_question == pytest.approx((400 * 1.0 + 50 * 4.0) / 1e6)
    assert (strategy(1).name, "by the token") not in lines(entry(1, Cost(0.001, 0.0, 0.0)), params=PARAMS)


def test_retrieval_alone_reads_no_tokens() -> None:
    assert (strategy(0).name, "by the token") not in lines(measured(0, 0.5))


amounts = st.floats(0, 1e4)
rates = st.floats(1e-7, 0.1)


@given(st.tuples(amounts, rates, amounts), st.tuples(amounts, rates, amounts))
def test_every_break_even_is_found_and_none_is_made_up(
    one: tuple[float, float, float], two: tuple[float, float, float]
) -> None:
    first, second = (Line("s", "s", "by the second", *values) for values in (one, two))
    found = list(crossings(first, second))
    for crossing in found:
        assert VOLUMES[0] <= crossing.questions_per_month <= VOLUMES[-1]
        volume = crossing.questions_per_month
        assert first.month(volume) == pytest.approx(second.month(volume), rel=1e-6)
    grid = np.geomspace(VOLUMES[0], VOLUMES[-1], 400)
    gaps = [first.month(volume) - second.month(volume) for volume in grid]
    signs = [gap > 0 for gap in gaps if abs(gap) > 1e-6]
    assert len(found) >= sum(now != then for now, then in pairwise(signs))


def test_cheaper_side_is_named() -> None:
    flat = Line("flat", "flat", "standing machine", 0.0, 1e-9, 100.0)
    steep = Line("steep", "steep", "by the second", 0.0, 0.01)
    (crossing,) = crossings(flat, steep)
    assert crossing.questions_per_month == pytest.approx(10_000) and crossing.cheaper_above is flat


def test_page_json_and_plot_tell_the_same_break_evens(tmp_path: Path) -> None:
    result: Scale = scale([entry(2, Cost(0.004, 0.0, 1.0)), entry(4, Cost(0.001, 30.0, 1.0))], PRICED, index_gb=1.0)
    page, fields = "\n".join(scale_markdown(result, "USD")), scale_json(result)
    assert len(result.crossings) == len(fields["break_even"]) >= 2
    assert page.count("- from ") == len(result.crossings) and "| 10,000,000 |" in page
    assert set(fields["cheapest"]) == {str(volume) for volume in VOLUMES}
    plot_scale(result, tmp_path / "scale.png", currency="USD")
    assert (tmp_path / "scale.png").read_bytes().startswith(b"\x89PNG")


def test_change_waits_half_an_interval() -> None:
    weekly, quarterly = staleness(52, 0.1), staleness(4, 0.1)
    assert weekly.mean_days == pytest.approx(3.51, abs=0.01) and quarterly.mean_days == pytest.approx(45.7, abs=0.1)
    assert quarterly.max_days == pytest.approx(91.3, abs=0.1)
    assert quarterly.outdated == pytest.approx(1 - math.exp(-0.1 * 1.5), rel=1e-3)
    assert weekly.outdated is not None and quarterly.outdated is not None and weekly.outdated < quarterly.outdated / 10


def test_unknown_change_rate_is_said() -> None:
    assert "change rate not known" in "\n".join(staleness_markdown(staleness(52, None), staleness(4, None)))
