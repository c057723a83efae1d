"""The pictures of a model card: loss by step, quality by topic, answers and abstentions against what was right."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.files import whole_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Curve = Sequence[tuple[int, float]]
"""Points of step and value."""

_COLOURS = ("#8a8f98", "#2a78b8", "#d9722e")


def plot_loss(curves: Mapping[str, Curve], path: Path) -> None:
    """Draw the loss by optimiser step, a line for each curve."""
    figure = _figure(6.4, 3.6)
    axes = figure.subplots()
    for (name, points), colour in zip(curves.items(), _COLOURS[1:], strict=False):
        marker = "o" if len(points) < 30 else None
        axes.plot([step for step, _ in points], [value for _, value in points], label=name, color=colour, marker=marker)
    axes.set(xlabel="step", ylabel="loss, nats a token")
    axes.legend(frameon=False)
    _save(figure, path)


def plot_topics(quality: Mapping[str, Mapping[str, float]], path: Path, *, metric: str) -> None:
    """Return one metric by topic.

    Args:
        quality: answerer to topic to value in [0, 1].
        path: of the PNG.
        metric: its name.
    """
    topics = sorted({topic for values in quality.values() for topic in values}, reverse=True)
    figure = _figure(6.4, 1.2 + 0.45 * len(topics))
    axes = figure.subplots()
    height = 0.8 / max(len(quality), 1)
    for rank, ((name, values), colour) in enumerate(zip(quality.items(), _COLOURS, strict=False)):
        places = [index + 0.4 - height * (rank + 0.5) for index in range(len(topics))]
        axes.barh(places, [values.get(topic, 0.0) for topic in topics], height=height, label=name, color=colour)
    axes.set(xlabel=metric, xlim=(0, 1), yticks=range(len(topics)), yticklabels=topics)
    axes.legend(frameon=False)
    _save(figure, path)


def plot_confusion(counts: Mapping[str, Sequence[Sequence[int]]], path: Path) -> None:
    """Draw answered or abstained, against answerable or not.

    Args:
        counts: answerer to `[[answered, abstained] of the answerable, [answered, abstained] of the unanswerable]`.
        path: of the PNG.
    """
    figure = _figure(2.6 * len(counts) + 0.8, 3.0)
    for axes, (name, table) in zip(figure.subplots(1, len(counts), squeeze=False)[0], counts.items(), strict=True):
        shares = [[cell / max(sum(row), 1) for cell in row] for row in table]
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        for row, cells in enumerate(table):
            for column, cell in enumerate(cells):
                colour = "white" if shares[row][column] > 0.6 else "black"
                axes.text(column, row, str(cell), ha="center", va="center", color=colour)
        axes.set(title=name, xticks=(0, 1), xticklabels=("answers", "abstains"), yticks=(0, 1))
        axes.set_yticklabels(("answerable", "not"), rotation=90, va="center")
    _save(figure, path)


def _figure(width: float, height: float) -> "Figure":
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _save(figure: "Figure", path: Path) -> None:
    with whole_file(path) as beside:
        figure.savefig(beside, format="png", dpi=120)
