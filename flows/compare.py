"""The comparison: the four strategies on the same held-out questions.

answerers ─▶ evaluate (base, fine-tuned; closed-book, with retrieval) ─▶ price ─▶ recommend ─▶ table, plots ─▶ MLflow
"""

from pathlib import Path

from prefect import flow

from flows.progress import LISTENER, show_report
from flows.steps import step
from tasks.model.comparison.compare import chosen_answerer, compare_strategies
from tasks.model.comparison.log import log_comparison, log_report
from tasks.model.comparison.report import ComparisonResult, Report, write_report
from tasks.params import Params, load_params
from tasks.settings import Settings


@step()
def measure(params: Params, settings: Settings, challenger: bool, version: str | None, folder: Path | None) -> Report:
    """Ask every question of every strategy; what was asked before is read."""
    tuned = chosen_answerer(params, settings, challenger=challenger, version=version, folder=folder)
    return compare_strategies(params, settings, tuned, progress=LISTENER.get())


@step(retries=2)
def log(report: Report, folder: Path, settings: Settings) -> str:
    """Log numbers, table, plots and single answers in MLflow."""
    run_id = log_report(settings, report, folder)
    log_comparison(settings, report.evaluations)
    return run_id


@flow(name="compare")
def compare(
    challenger: bool = False,
    version: str | None = None,
    answerer: Path | None = None,
    output: Path | None = None,
    profile: str | None = None,
) -> ComparisonResult:
    """Compare base and fine-tuned answerer, closed-book and with retrieval.

    Args:
        challenger: take the challenger for the fine-tuned answerer, in place of the champion.
        version: take this version.
        answerer: take the answerer in this folder.
        output: where the table and the plots go; default: `$ALMANAC_HOME/comparison`.
        profile: of `params.yaml`.
    """
    settings = Settings()
    params = load_params(settings.params, profile or settings.profile)
    report = measure(params, settings, challenger, version, answerer)
    folder = write_report(report, output or settings.layout.comparison)
    show_report("comparison", (folder / "comparison.md").read_text(encoding="utf-8"))
    return ComparisonResult(report, folder, log(report, folder, settings))
