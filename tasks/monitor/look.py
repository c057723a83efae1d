"""One look: reads traces, golden questions, releases and scans, judges them, and keeps the page in MLflow."""

import datetime as dt
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from tasks.corpus.snapshot import fold_state
from tasks.errors import ConfigurationError
from tasks.files import write_json, write_text
from tasks.index.golden import load_golden
from tasks.index.live import LiveIndex
from tasks.index.release import load_release, release_numbers
from tasks.index.search import Request
from tasks.index.snapshots import snapshot_files
from tasks.monitor.judge import RECENT_DAYS, REFERENCE_DAYS, Judgement, judge
from tasks.monitor.observation import Observation, day_of, read_observations
from tasks.monitor.report import MonitorReport, as_markdown, findings_of
from tasks.params import Params
from tasks.releases.model_registry import mlflow_client
from tasks.releases.tracking_store import experiment_id
from tasks.settings import Settings
from tasks.tenant import of_tenant

EXPERIMENT = "almanac-monitor"
MAX_GOLDEN = 200
STALE_DAYS = 180
_MILLION = 1_000_000


def look(params: Params, settings: Settings, *, now: dt.datetime) -> MonitorReport:
    """Look at the last weeks.

    Raises:
        DependencyError: MLflow or the index does not answer.
    """
    since = now - dt.timedelta(days=RECENT_DAYS + REFERENCE_DAYS + 1)
    observations, live = read_observations(settings, since=since), _live(params, settings)
    judgement = _judged(observations, live, params, today=day_of(now))
    waited, stale = days_since_refresh(params, settings, now), stale_sources(live, settings, now)
    week = [entry for entry in observations if entry.day >= day_of(now) - RECENT_DAYS]
    return MonitorReport(
        at=now.isoformat(timespec="seconds"),
        judgement=judgement,
        findings=tuple(findings_of(judgement, waited, stale)),
        days_since_refresh=waited,
        stale_sources=stale,
        tokens=sum(entry.prompt_tokens + entry.completion_tokens for entry in week),
        cost=cost_of(week, params),
        currency=params.compare.currency,
    )


def log_look(settings: Settings, report: MonitorReport) -> str:
    """Keep a look in MLflow; return its run.

    Raises:
        DependencyError: MLflow does not answer.
    """
    with mlflow_client(settings) as client, tempfile.TemporaryDirectory(prefix="almanac-monitor-") as folder:
        run = client.create_run(experiment_id(client, settings, of_tenant(EXPERIMENT)), run_name=f"monitor {report.at}")
        run_id = str(run.info.run_id)
        for name, value in report.metrics().items():
            client.log_metric(run_id, name, value)
        write_text(Path(folder) / "monitor.md", as_markdown(report))
        write_json(Path(folder) / "monitor.json", report.as_json())
        client.log_artifacts(run_id, folder)
        client.set_terminated(run_id)
    return run_id


def days_since_refresh(params: Params, settings: Settings, now: dt.datetime) -> float | None:
    """Return how long ago sources were scanned from here, or a release was made; None: neither ever was."""
    scans = [settings.layout.scan / f"{source.name}.parquet" for source in params.sources]
    moments = [dt.datetime.fromtimestamp(path.stat().st_mtime, dt.UTC) for path in scans if path.exists()]
    if numbers := release_numbers(settings):
        moments.append(dt.datetime.fromisoformat(load_release(settings, numbers[-1]).created_at))
    return (now - max(moments)).total_seconds() / 86_400 if moments else None


def stale_sources(live: LiveIndex | None, settings: Settings, now: dt.datetime) -> dict[str, int]:
    """Return the days since the newest document of a source changed, where they are too many."""
    if live is None:
        return {}
    state = fold_state(snapshot_files(settings, live.serving.release)).select(["source", "updated_at"])
    newest = state.group_by("source").aggregate([("updated_at", "max")])
    ages: Mapping[str, int] = {
        row["source"]: (now - row["updated_at_max"]).days
        for row in newest.filter(pc.is_valid(newest["updated_at_max"])).to_pylist()
    }
    return {source: days for source, days in sorted(ages.items()) if days > STALE_DAYS}


def cost_of(observations: Sequence[Observation], params: Params) -> float | None:
    """Return what the tokens cost; None: no price is set."""
    prices = params.compare.prices
    if prices.prompt_tokens_million is None or prices.completion_tokens_million is None:
        return None
    prompt = sum(entry.prompt_tokens for entry in observations)
    completion = sum(entry.completion_tokens for entry in observations)
    return float(prompt * prices.prompt_tokens_million + completion * prices.completion_tokens_million) / _MILLION


def _judged(observations: list[Observation], live: LiveIndex | None, params: Params, *, today: int) -> Judgement:
    def embed(questions: Sequence[str]) -> npt.NDArray[np.float32]:
        assert live is not None  # nothing was answered without a release
        return live.embedder.embed(questions)

    return judge(observations, today=today, golden=_golden(live, params), embed=embed)


def _golden(live: LiveIndex | None, params: Params) -> npt.NDArray[np.float64] | None:
    """Ask the release the golden questions that have an answer; the operator's look may see every document."""
    if live is None or params.index_gate.golden is None:
        return None
    groups = {group for names in live.access().sets.values() for group in names}
    asked = [entry for entry in load_golden(Path(params.index_gate.golden)) if entry.document is not None]
    retrieved = [live.search(Request(entry.question, tuple(sorted(groups)))) for entry in asked[:MAX_GOLDEN]]
    best = [max((passage.similarity or 0.0 for passage in passages), default=0.0) for passages in retrieved]
    return np.array(best, dtype=np.float64)


def _live(params: Params, settings: Settings) -> LiveIndex | None:
    try:
        return LiveIndex(params, settings)
    except ConfigurationError:  # nothing was released yet
        return None
