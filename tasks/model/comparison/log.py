"""A comparison in MLflow: one run with numbers, table and plots; and question by question in its evaluation view."""

import sys
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from tasks.corpus.document import sha256
from tasks.model.comparison.report import Report, as_json
from tasks.model.evaluation.evaluate import Evaluation
from tasks.model.evaluation.metrics import METRICS, EvaluationRow, Mode
from tasks.model.training import run_log
from tasks.releases.model_registry import mlflow_client
from tasks.releases.tracking_store import experiment_id
from tasks.settings import Settings
from tasks.tenant import of_tenant

EXPERIMENT = "almanac-compare"
MAX_ROWS = 100
"""Rows of the evaluation view: MLflow takes about 0.4 seconds for each."""
_SCORED = ("useful_share", "holds_anchor", "answer_f1", "claim_support", "citation_precision")


def log_report(settings: Settings, report: Report, folder: Path) -> str:
    """Log numbers, table and plots as one run; the same comparison again goes to the same run. Returns its id.

    Raises:
        DependencyError: MLflow does not answer.
    """
    content = as_json(report)
    identities = sorted(evaluation.identity for evaluation in report.evaluations.values())
    only = report.params.knowledge_bases.only
    key = sha256(EXPERIMENT, report.release, str(report.num_questions), *identities, *([only] if only else []))[:32]
    run_id = run_log.open_run(settings, of_tenant(EXPERIMENT), key, name=f"compare on {report.place}")
    run_log.log_params(settings, run_id, {"compare": report.params.compare.model_dump(mode="json")})
    run_log.log_metrics(settings, run_id, dict(_numbers(content)))
    run_log.log_files(settings, run_id, folder, "comparison")
    run_log.end_run(settings, run_id, tags={"recommendation": content["recommendation"]})
    return run_id


def _numbers(content: Mapping[str, Any]) -> Sequence[tuple[str, float]]:
    return [
        (f"{name}/{metric}", value["mean"])
        for name, entry in content["strategies"].items()
        for metric, value in entry["metrics"].items()
    ] + [
        (f"{name}/{what}", value)
        for name, entry in content["strategies"].items()
        for what, value in (
            ("latency_p50_seconds", entry["latency"]["p50_seconds"]),
            ("latency_p95_seconds", entry["latency"]["p95_seconds"]),
            ("cost_per_thousand_questions", entry["cost"]["per_thousand_questions"]),
        )
    ]


def log_comparison(
    settings: Settings,
    evaluations: Mapping[str, Evaluation],
    *,
    experiment: str = EXPERIMENT,
    mode: Mode = "retrieval",
    max_rows: int = MAX_ROWS,
) -> dict[str, str]:
    """Return each answerer's answers as an evaluation run, so that MLflow's page shows the questions side by side.

    The answers are those that were given; nothing is asked again. Judges are ours: formulas, no model.

    Args:
        settings: where MLflow is.
        evaluations: by the name that the run gets.
        experiment: to log to; made where it is absent.
        mode: whose rows are shown.
        max_rows: the first so many questions.

    Returns:
        Run ids by name.

    Raises:
        DependencyError: MLflow does not answer.
    """
    import mlflow

    with mlflow_client(settings) as client:
        place = experiment_id(client, settings, of_tenant(experiment))
        mlflow.set_tracking_uri(settings.tracking_uri)
        mlflow.set_experiment(experiment_id=place)
        return {
            name: _evaluation_run(name, [row for row in evaluation.rows if row.mode == mode][:max_rows])
            for name, evaluation in evaluations.items()
        }


def _evaluation_run(name: str, rows: Sequence[EvaluationRow]) -> str:
    import mlflow

    by_id = {row.question_id: row for row in rows}
    data = [
        {
            "inputs": {"question": row.question, "id": row.question_id},
            "outputs": {"answer": row.answer, "outcome": row.outcome, "cited": list(row.cited)},
            "expectations": {"expected_response": row.reference if row.answerable else "no answer in the documents"},
        }
        for row in rows
    ]
    # MLflow prints where the evaluation is to be seen; standard output belongs to `--json`.
    with mlflow.start_run(run_name=name) as run, redirect_stdout(sys.stderr):
        mlflow.genai.evaluate(data=data, scorers=[_scorer(metric, by_id) for metric in _SCORED])
    return str(run.info.run_id)


def _scorer(metric: str, rows: Mapping[str, EvaluationRow]) -> Any:
    from mlflow.genai.scorers import scorer

    formula = METRICS[metric]

    @scorer(name=metric)
    def score(inputs: dict[str, Any]) -> float | None:
        row = rows[inputs["id"]]
        return formula.value(row) if formula.weight(row) else None

    return score
