"""What a person sees while a flow runs: a progress bar at the terminal, artifacts in the Prefect UI."""

import logging
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

import httpx
from prefect.artifacts import create_markdown_artifact, create_progress_artifact, update_progress_artifact
from prefect.context import FlowRunContext

from tasks.corpus.plan import RefreshPlan
from tasks.markdown_table import markdown_table
from tasks.tenant import of_tenant

logger = logging.getLogger(__name__)

T = TypeVar("T")
Listener = Callable[[str, int, int], None]
LISTENER: ContextVar[Listener | None] = ContextVar("progress_listener", default=None)
"""Called with stage, done and total; the command line sets it to draw a bar."""
TELLER: ContextVar[Callable[[str], None] | None] = ContextVar("progress_teller", default=None)
"""Called with a line for a person; the command line sets it to print on standard error."""
_unreported: set[UUID] = set()


def report_progress(stage: str, results: Iterable[T], total: int) -> Iterator[T]:
    """Pass results on, telling the listener and the Prefect UI how many came."""
    listener = LISTENER.get()
    artifact = _reported(create_progress_artifact, progress=0.0, key=of_tenant(stage)) if total else None
    if listener and total:
        listener(stage, 0, total)
    for done, result in enumerate(results, start=1):
        yield result
        if listener:
            listener(stage, done, total)
        if artifact:
            _reported(update_progress_artifact, artifact, progress=100.0 * done / total)


def report_to(stage: str) -> Callable[[int, int], None]:
    """Return what a step calls with done and total: the listener and the Prefect UI hear of it."""
    listener = LISTENER.get()
    artifact = _reported(create_progress_artifact, progress=0.0, key=of_tenant(stage))

    def report(done: int, total: int) -> None:
        if listener:
            listener(stage, done, total)
        if artifact:
            _reported(update_progress_artifact, artifact, progress=100.0 * done / total)

    return report


def tell(line: str) -> None:
    """Say a line to whoever waits for the flow."""
    teller = TELLER.get()
    if teller:
        teller(line)
    logger.info("%s", line)


def show_report(key: str, markdown: str) -> None:
    """Show any report as an artifact."""
    _show(key, markdown)


def show_plan(plan: RefreshPlan) -> None:
    """Show the plan as an artifact."""
    _show("refresh-plan", f"# Plan of the refresh\n\n{markdown_table(('', ''), plan.counts().items())}\n")


def show_gates(report: Path) -> None:
    """Show the document gate's report as an artifact."""
    _show("document-gate", (report / "documents.md").read_text(encoding="utf-8"))


def show_metrics(metrics: dict[str, float]) -> None:
    """Show metrics before and after as an artifact."""
    names = sorted({name.removeprefix("live_") for name in metrics})
    rows = [(name, _number(metrics, f"live_{name}"), _number(metrics, name)) for name in names]
    _show("index-gate", f"# Index gate\n\n{markdown_table(('metric', 'live', 'candidate'), rows)}\n")


def _number(metrics: dict[str, float], name: str) -> str:
    return f"{metrics[name]:.4g}" if name in metrics else ""


def _show(key: str, markdown: str) -> None:
    _reported(create_markdown_artifact, markdown, key=of_tenant(key))


def _reported(report: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Tell the Prefect server; one that stops answering is not asked again in this run, and stops nothing."""
    context = FlowRunContext.get()
    run = context.flow_run if context else None
    if run is None or run.id in _unreported:
        return None
    try:
        return report(*args, **kwargs)
    except httpx.HTTPError:
        _unreported.add(run.id)
        return None
