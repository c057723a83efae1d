"""The plots of a comparison: quality against latency, cost against volume, the same from prototype to scale."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tasks.files import whole_file
from tasks.model.comparison.cost import VOLUMES, Scale
from tasks.model.comparison.strategies import Measured, break_even
from tasks.params import CompareParams

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_VOLUME_SPAN = 30
"""The volume axis goes from the stated volume divided by this to it times this."""


def plot_quality(measured: Sequence[Measured], path: Path, *, headline: str) -> None:
    """Draw the headline metric with its interval over the median latency."""
    figure, axes = _figure()
    for entry in measured:
        quality, latency = entry.metrics[headline], entry.latency["p50_seconds"]
        spread = [[max(quality.mean - quality.low, 0)], [max(quality.high - quality.mean, 0)]]
        axes.errorbar([latency], [quality.mean], yerr=spread, fmt="o", capsize=4, label=entry.strategy.title)
    axes.set_xlabel("latency, median of single questions (s)")
    axes.set_ylabel(headline)
    axes.set_xlim(left=0)
    axes.set_ylim(0, 1)
    _save(figure, axes, path)


def plot_cost(measured: Sequence[Measured], params: CompareParams, path: Path) -> None:
    """Cost of a thousand questions over the questions of a month; a mark where two with retrieval cost the same."""
    figure, axes = _figure()
    volumes = np.geomspace(max(params.questions_per_month / _VOLUME_SPAN, 1), params.questions_per_month * _VOLUME_SPAN)
    for entry in measured:
        axes.plot(volumes, [entry.cost.per_thousand(volume) for volume in volumes], label=entry.strategy.title)
    for volume, cost in break_evens(measured):
        if volumes[0] <= volume <= volumes[-1]:
            axes.plot([volume], [cost], "kx", label=f"break-even at {volume:,.0f} a month")
    axes.axvline(params.questions_per_month, color="grey", linewidth=0.8, linestyle=":")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("questions a month")
    axes.set_ylabel(f"{params.currency} a thousand questions")
    _save(figure, axes, path)


_DASHES = {"by the second": "-", "standing machine": "--", "by the token": ":"}


def plot_scale(scale: Scale, path: Path, *, currency: str) -> None:
    """Draw the cost of a month over its questions, a line for each way to pay, with every break-even marked."""
    figure, axes = _figure()
    colours: dict[str, str] = {}
    volumes = np.geomspace(VOLUMES[0], VOLUMES[-1], 200)
    for line in scale.lines:
        colour = colours.setdefault(line.strategy, f"C{len(colours)}")
        costs = [line.month(volume) for volume in volumes]
        axes.plot(volumes, costs, _DASHES[line.billing], color=colour, label=f"{line.title}, {line.billing}")
    for number, crossing in enumerate(scale.crossings):
        label = f"{len(scale.crossings)} break-evens" if number == 0 else None
        axes.plot([crossing.questions_per_month], [crossing.cost], "kx", label=label)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("questions a month")
    axes.set_ylabel(f"{currency} a month")
    _save(figure, axes, path)


def break_evens(measured: Sequence[Measured]) -> list[tuple[float, float]]:
    """Return volume and cost of a thousand questions where the strategies of one mode cost the same."""
    crossings = []
    for first in measured:
        for second in measured:
            if first.strategy.rank < second.strategy.rank and first.strategy.mode == second.strategy.mode:
                volume = break_even(first.cost, second.cost)
                if volume is not None:
                    crossings.append((volume, first.cost.per_thousand(volume)))
    return crossings


def _figure() -> tuple["Figure", "Axes"]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    return figure, figure.subplots()


def _save(figure: "Figure", axes: "Axes", path: Path) -> None:
    axes.grid(visible=True, alpha=0.3)
    axes.legend(fontsize="small")
    with whole_file(path) as beside:
        figure.savefig(beside, format="png", dpi=120)
