"""Costs from prototype to scale, as a person and a program read them."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from tasks.model.comparison.cost import VOLUMES, Crossing, Line, Scale
from tasks.model.comparison.freshness import Staleness


def scale_json(scale: Scale) -> dict[str, Any]:
    """Return the field `scale` of `almanac compare --json`."""
    return {
        "lines": [
            asdict(line) | {"month": {str(volume): line.month(volume) for volume in VOLUMES}} for line in scale.lines
        ],
        "break_even": [
            {
                "first": _name(crossing.first),
                "second": _name(crossing.second),
                "questions_per_month": crossing.questions_per_month,
                "cost": crossing.cost,
                "cheaper_above": _name(crossing.cheaper_above),
            }
            for crossing in scale.crossings
        ],
        "cheapest": {str(volume): _name(scale.cheapest(volume)) for volume in VOLUMES},
    }


def scale_markdown(scale: Scale, currency: str) -> Iterator[str]:
    """Yield the lines of a section: a table of months and every break-even."""
    yield f"## Cost of a month from prototype to scale ({currency})"
    yield ""
    yield "| questions a month | " + " | ".join(f"{volume:,}" for volume in VOLUMES) + " |"
    yield "|---" * (len(VOLUMES) + 1) + "|"
    for line in scale.lines:
        yield f"| {_name(line)} | " + " | ".join(f"{line.month(volume):,.3g}" for volume in VOLUMES) + " |"
    cheapest = " | ".join(_name(scale.cheapest(volume)) for volume in VOLUMES)
    yield f"| cheapest, whatever the quality | {cheapest} |"
    yield ""
    yield f"Break-evens: {len(scale.crossings)}"
    yield ""
    yield from (f"- {_crossing(crossing)}" for crossing in scale.crossings)
    yield ""


def staleness_markdown(retrieval: Staleness, weights: Staleness) -> Iterator[str]:
    """Yield the lines of a section: how long a change waits by refresh and by retrain."""
    yield "## How old facts are"
    yield ""
    yield "| | mean days | at most | documents that changed since |"
    yield "|---|---|---|---|"
    for title, value in (("with retrieval: the next refresh", retrieval), ("closed-book: the next retrain", weights)):
        share = "change rate not known" if value.outdated is None else f"{value.outdated:.1%}"
        yield f"| {title} | {value.mean_days:.1f} | {value.max_days:.1f} | {share} |"
    yield ""


def _name(line: Line) -> str:
    return f"{line.title}, {line.billing}"


def _crossing(crossing: Crossing) -> str:
    other = crossing.second if crossing.cheaper_above is crossing.first else crossing.first
    return (
        f"from {crossing.questions_per_month:,.0f} a month on, {_name(crossing.cheaper_above)} costs less than "
        f"{_name(other)}"
    )
