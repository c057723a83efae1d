"""The comparison: retrieval alone and any number of answerers on the same held-out questions.

answerers ─▶ evaluate (each closed-book, with retrieval) ─▶ price ─▶ recommend ─▶ table, plots ─▶ MLflow
"""

from collections.abc import Sequence
from pathlib import Path

from prefect import flow

from flows.progress import LISTENER, show_report
from flows.steps import step
from tasks.model.comparison.answerers import compared_answerers
from tasks.model.comparison.compare import compare_strategies
from tasks.model.comparison.log import log_comparison, log_report
from tasks.model.comparison.report import ComparisonResult, Report, write_report
from tasks.model.evaluation.metrics import Mode
from tasks.model.knowledge_base import limited_to
from tasks.params import Params, load_params
from tasks.settings import Settings


@step()
def measure(params: Params, settings: Settings, answerers: Sequence[str], modes: Sequence[Mode]) -> Report:
    """Ask every question of every strategy; what was asked before is read."""
    compared = compared_answerers(answerers, params, settings)
    return compare_strategies(params, settings, compared, modes=modes, progress=LISTENER.get())


@step(retries=2)
def log(report: Report, folder: Path, settings: Settings) -> str:
    """Log numbers, table, plots and single answers in MLflow."""
    run_id = log_report(settings, report, folder)
    log_comparison(settings, report.evaluations)
    return run_id


@flow(name="compare")
def compare(
    answerers: Sequence[str] = (),
    closed_book: bool = True,
    output: Path | None = None,
    profile: str | None = None,
    knowledge_base: str | None = None,
) -> ComparisonResult:
    """Compare answerers, closed-book and with retrieval, with each other and with retrieval alone.

    Args:
        answerers: names (`tasks.model.comparison.answerers`); default: the base, and the champion where there is one.
        closed_book: ask each without passages too.
        output: where the table and the plots go; default: `$ALMANAC_HOME/comparison`, or a folder of it.
        profile: of `params.yaml`, for questions, retrieval and the base.
        knowledge_base: whose questions and documents alone are asked, and whose own answerers are compared.
    """
    settings = Settings()
    params = limited_to(knowledge_base, load_params(settings.params, profile or settings.profile))
    report = measure(params, settings, answerers, ("closed_book", "retrieval") if closed_book else ("retrieval",))
    folder = write_report(report, output or settings.layout.comparison_of(params.knowledge_bases.only))
    show_report("comparison", (folder / "comparison.md").read_text(encoding="utf-8"))
    return ComparisonResult(report, folder, log(report, folder, settings))
