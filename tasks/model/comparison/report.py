"""The report of a comparison: its record, and what a person and a program read of it."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tasks.bootstrap import Interval
from tasks.files import whole_file, write_json
from tasks.index.golden import GoldenQuestion
from tasks.markdown_table import markdown_table
from tasks.model.comparison.cost import Scale, scale
from tasks.model.comparison.cost_page import scale_json, scale_markdown, staleness_markdown
from tasks.model.comparison.freshness import Staleness, staleness
from tasks.model.comparison.plots import break_evens, plot_cost, plot_quality, plot_scale
from tasks.model.comparison.strategies import Measured, Recommendation, paired, shown
from tasks.model.evaluation.evaluate import Evaluation
from tasks.model.evaluation.house_style import STYLE_METRICS
from tasks.params import Params

SHOWN = (
    "useful_share",
    "holds_anchor",
    "answer_f1",
    "f1",
    "exact_match",
    "contains",
    "token_recall",
    "answered_share",
    "abstention_recall",
    "citation_precision",
    "traceability",
    "claim_support",
    "false_refusals",
    "judged_right",
    "style",
    "style_rules",
    "words_to_read",
    "prompt_tokens",
    "completion_tokens",
    "machine_seconds",
)


@dataclass(frozen=True, slots=True)
class Freshness:
    """What changed since the fine-tuned answerer's corpus.

    Attributes:
        questions: ids of the held-out questions on new or changed documents.
        note: why it cannot be measured; empty: it can.
        unchanged: ids of those on documents that are as they were; empty where it cannot be measured.
    """

    questions: frozenset[str]
    note: str
    unchanged: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Report:
    """The comparison.

    Attributes:
        missing: golden questions that could not be asked, with the reason.
        fresh: the headline metric on changed documents, by strategy; `unchanged`: on those that are as they were.
        index_gb: what the index takes on disk; 0 where it lies elsewhere.
    """

    measured: tuple[Measured, ...]
    recommendation: Recommendation
    evaluations: Mapping[str, Evaluation]
    num_questions: int
    missing: tuple[tuple[GoldenQuestion, str], ...]
    freshness: Freshness
    fresh: Mapping[str, Interval]
    unchanged: Mapping[str, Interval]
    notes: tuple[str, ...]
    release: str
    params: Params
    index_gb: float = 0.0

    @property
    def place(self) -> str:
        """Return what was asked, as `index release 3`, or `index release 3, knowledge base handbook alone`."""
        only = self.params.knowledge_bases.only
        return f"index release {self.release}" + (f", knowledge base {only} alone" if only is not None else "")

    def scale(self) -> Scale:
        """Return what each strategy costs from prototype to scale."""
        return scale(self.measured, self.params.compare, index_gb=self.index_gb)

    def staleness(self) -> tuple[Staleness, Staleness]:
        """Return how old facts are with retrieval, and closed-book in trained weights."""
        compare, rate = self.params.compare, self.params.needs.change_rate
        return staleness(compare.refreshes_per_year, rate), staleness(compare.retrains_per_year, rate)


@dataclass(frozen=True, slots=True)
class ComparisonResult:
    """A comparison with where it was written.

    Attributes:
        folder: holds the table, the numbers and the plots.
        mlflow_run: id of the run that holds them too.
    """

    report: Report
    folder: Path
    mlflow_run: str

    def as_json(self) -> dict[str, Any]:
        """Return the fields of `almanac compare --json`."""
        places = {"folder": str(self.folder), "mlflow_run": self.mlflow_run}
        return as_json(self.report) | {"table": table(self.report)} | places


def as_json(report: Report) -> dict[str, Any]:
    """Return the fields of `almanac compare --json`."""
    return {
        "strategies": {entry.strategy.name: _entry(entry, report) for entry in report.measured},
        "recommendation": report.recommendation.strategy.name,
        "reasons": list(report.recommendation.reasons),
        "differences": [asdict(entry) for entry in differences(report)],
        "freshness": {
            "questions": len(report.freshness.questions),
            "unchanged": len(report.freshness.unchanged),
            "note": report.freshness.note,
        },
        "break_even": [
            {"questions_per_month": volume, "per_thousand": cost} for volume, cost in break_evens(report.measured)
        ],
        "scale": scale_json(report.scale()),
        "staleness": {
            name: asdict(value) for name, value in zip(("retrieval", "weights"), report.staleness(), strict=True)
        },
        "questions": report.num_questions,
        "missing": [{"question": question.id, "reason": reason} for question, reason in report.missing],
        "notes": list(report.notes),
        "index_release": report.release,
        "knowledge_base": report.params.knowledge_bases.only,
    }


def _entry(entry: Measured, report: Report) -> dict[str, Any]:
    compare = report.params.compare
    fresh, unchanged = (each.get(entry.strategy.name) for each in (report.fresh, report.unchanged))
    return {
        "answerer": entry.answerer,
        "metrics": {name: asdict(value) for name, value in entry.metrics.items()},
        "latency": dict(entry.latency),
        "cost": asdict(entry.cost)
        | {
            "per_thousand_questions": entry.cost.per_thousand(compare.questions_per_month),
            "questions_per_month": compare.questions_per_month,
            "currency": compare.currency,
        },
        "freshness": None if fresh is None else asdict(fresh),
        "unchanged": None if unchanged is None else asdict(unchanged),
    }


@dataclass(frozen=True, slots=True)
class Difference:
    """The paired difference of a metric between two strategies on the same questions.

    Attributes:
        distinct: its interval does not hold 0.
    """

    of: str
    against: str
    metric: str
    mean: float
    low: float
    high: float
    distinct: bool


def differences(report: Report) -> list[Difference]:
    """Return the paired differences of the headline metric and of `answer_f1` between every two strategies."""
    gate = report.params.model_gate
    pairs = []
    for place, first in enumerate(report.measured):
        for second in report.measured[place + 1 :]:
            for name in dict.fromkeys((gate.headline, "answer_f1")):
                change = paired(second, first, name, confidence=gate.confidence, num_resamples=gate.num_resamples)
                if change is not None:
                    distinct = change.low > 0 or change.high < 0
                    names = (second.strategy.name, first.strategy.name, name)
                    pairs.append(Difference(*names, change.mean, change.low, change.high, distinct))
    return pairs


def table(report: Report) -> list[dict[str, str]]:
    """Return one row a property, one column a strategy, as a person reads it."""
    rows = [_line(name, report, _metric_cell(name)) for name in SHOWN if _is_line(name, report)]
    rows.append(_line("latency p50 / p95 (s)", report, _latency_cell))
    compare = report.params.compare
    rows.append(
        _line(
            f"cost of 1000 questions ({compare.currency}, {compare.questions_per_month} a month)",
            report,
            lambda entry: f"{entry.cost.per_thousand(compare.questions_per_month):.3g}",
        )
    )
    rows.append(_line("of it machine time of answering", report, lambda entry: f"{1000 * entry.cost.per_question:.3g}"))
    headline, freshness = report.params.model_gate.headline, report.freshness
    rows.append(_line(f"{headline} on {len(freshness.questions)} changed", report, _part_cell(report.fresh)))
    if report.unchanged:
        rows.append(_line(f"{headline} on {len(freshness.unchanged)} unchanged", report, _part_cell(report.unchanged)))
    return rows


def _is_line(name: str, report: Report) -> bool:
    """Style has a line where it is configured; machine seconds stand in the cost."""
    return name != "machine_seconds" and (
        name not in STYLE_METRICS or any(name in entry.metrics for entry in report.measured)
    )


def _line(name: str, report: Report, cell: Callable[[Measured], str]) -> dict[str, str]:
    return {"": name} | {entry.strategy.title: cell(entry) for entry in report.measured}


def _metric_cell(name: str) -> Callable[[Measured], str]:
    def cell(entry: Measured) -> str:
        value = entry.metrics.get(name)
        if value is None:
            return "-"
        return f"{value.mean:.0f}" if name.endswith("_tokens") else shown(value)

    return cell


def _latency_cell(entry: Measured) -> str:
    return f"{entry.latency['p50_seconds']:.2f} / {entry.latency['p95_seconds']:.2f}"


def _part_cell(values: Mapping[str, Interval]) -> Callable[[Measured], str]:
    def cell(entry: Measured) -> str:
        value = values.get(entry.strategy.name)
        return "-" if value is None else shown(value)

    return cell


def markdown(report: Report) -> str:
    """Return the report as a Markdown page."""
    rows = table(report)
    lines = [
        "# Comparison",
        "",
        f"{report.num_questions} held-out questions over {report.place}; in brackets the "
        f"{report.params.model_gate.confidence:.0%} interval of a bootstrap over the questions.",
        "",
        markdown_table(list(rows[0]), [list(row.values()) for row in rows]),
        "",
        f"Recommended: **{report.recommendation.strategy.title}**.",
        "",
        *(f"- {reason}" for reason in report.recommendation.reasons),
        "",
        "Paired differences:",
        "",
        *(f"- {_difference(entry)}" for entry in differences(report)),
        "",
        *scale_markdown(report.scale(), report.params.compare.currency),
        *staleness_markdown(*report.staleness()),
        "Notes:",
        "",
        *(f"- {note}" for note in (*report.notes, *filter(None, [report.freshness.note]))),
    ]
    return "\n".join(lines) + "\n"


def _difference(entry: Difference) -> str:
    verdict = "" if entry.distinct else ": not told apart"
    change = f"{entry.mean:+.3f} [{entry.low:+.3f}, {entry.high:+.3f}]"
    return f"{entry.metric} of {entry.of} against {entry.against}: {change}{verdict}"


def write_report(report: Report, folder: Path) -> Path:
    """Write `comparison.md`, `comparison.json` and the plots into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    plot_quality(report.measured, folder / "quality.png", headline=report.params.model_gate.headline)
    plot_cost(report.measured, report.params.compare, folder / "cost.png")
    plot_scale(report.scale(), folder / "scale.png", currency=report.params.compare.currency)
    write_json(folder / "comparison.json", as_json(report))
    with whole_file(folder / "comparison.md") as beside:
        beside.write_text(markdown(report), encoding="utf-8")
    return folder
