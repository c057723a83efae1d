"""One MLflow run of a training: found again by its key, so that a retrain that was killed goes on in the same run.

Knows MLflow only, and of the training no more than names and numbers.
"""

import json
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.answer.prompt import Prompt
from tasks.answer.prompt_registry import registered, registry_name
from tasks.errors import DependencyError
from tasks.releases.model_registry import mlflow_client
from tasks.releases.tracking_store import experiment_id
from tasks.settings import Settings

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric

logger = logging.getLogger(__name__)

KEY = "almanac.key"
MAX_DIGEST_CHARACTERS = 36
FLUSH_SECONDS = 5.0
SYSTEM_METRICS_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class TrainingData:
    """What a run was trained on, as MLflow's `Inputs` shows it.

    Attributes:
        digest: of the examples' file; MLflow keeps 36 characters.
        source: where it can be had again: registry, tag and commit of DVC.
        profile: counts.
    """

    name: str
    digest: str
    source: Mapping[str, Any]
    profile: Mapping[str, Any]
    revision: str


def open_run(settings: Settings, experiment: str, key: str, *, name: str, parent: str | None = None) -> str:
    """Start a run, or go on in the one that has this key; return its id.

    Raises:
        DependencyError: MLflow does not answer.
    """
    with mlflow_client(settings) as client:
        experiment_key = experiment_id(client, settings, experiment)
        run_id = _run_with_key(client, experiment_key, key)
        if run_id is not None:
            client.update_run(run_id, status="RUNNING")
            return run_id
        tags = {KEY: key} | ({"mlflow.parentRunId": parent} if parent else {})
        return str(client.create_run(experiment_key, run_name=name, tags=tags).info.run_id)


def end_run(
    settings: Settings, run_id: str, *, tags: Mapping[str, str] | None = None, status: str = "FINISHED"
) -> None:
    """Set the last tags and the status (`FINISHED` or `FAILED`)."""
    from mlflow.entities import RunTag

    with mlflow_client(settings) as client:
        client.log_batch(run_id, tags=[RunTag(name, value) for name, value in (tags or {}).items()])
        client.set_terminated(run_id, status)


def log_params(settings: Settings, run_id: str, params: Mapping[str, Any]) -> None:
    """Log parameters, nested ones by their path (`fine_tuning.learning_rate`); those that the run has stay as they are.

    A run that goes on after a kill may go on with other code, which MLflow does not take as another value.
    """
    from mlflow.entities import Param

    with mlflow_client(settings) as client:
        logged = client.get_run(run_id).data.params
        new = [Param(name, str(value)[:6000]) for name, value in _flat(params) if name not in logged]
        client.log_batch(run_id, params=new)


def log_metrics(settings: Settings, run_id: str, metrics: Mapping[str, float], *, step: int = 0) -> None:
    """Log numbers once: those that stand in the run with the same value are left."""
    with mlflow_client(settings) as client:
        logged = client.get_run(run_id).data.metrics
        new = {name: value for name, value in metrics.items() if logged.get(name) != float(value)}
        client.log_batch(run_id, metrics=[_metric(name, value, step) for name, value in new.items()])


def log_files(settings: Settings, run_id: str, folder: Path, artifact_path: str) -> None:
    """Log a folder's files; the same files may be logged again."""
    with mlflow_client(settings) as client:
        client.log_artifacts(run_id, str(folder), artifact_path)


def log_dataset(settings: Settings, run_id: str, data: TrainingData) -> None:
    """Log what the run was trained on, once."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    dataset = Dataset(
        name=data.name,
        digest=data.digest[:MAX_DIGEST_CHARACTERS],
        source_type="dvc",
        source=json.dumps(dict(data.source)),
        profile=json.dumps(dict(data.profile)),
    )
    tags = [InputTag("mlflow.data.context", "training"), InputTag("dvc_revision", data.revision)]
    with mlflow_client(settings) as client:
        inputs = client.get_run(run_id).inputs
        if inputs is None or dataset.digest not in {logged.dataset.digest for logged in inputs.dataset_inputs}:
            client.log_inputs(run_id, [DatasetInput(dataset, tags)])


def log_prompt(settings: Settings, run_id: str, prompt: Prompt) -> str:
    """Put the prompt into MLflow's prompt registry, a version for each text; return `prompts:/name/version`."""
    from mlflow.tracing.constant import TraceTagKey

    name = registry_name(prompt)
    with mlflow_client(settings) as client:
        version = registered(client, prompt)
        # Not `link_prompt_version_to_run`, which asks the process's own tracking server and not this client's.
        linked = json.dumps([{"name": name, "version": str(version)}])
        client.set_tag(run_id, TraceTagKey.LINKED_PROMPTS, linked)
        return f"prompts:/{name}/{version}"


@dataclass(slots=True)
class Curves:
    """Loss curves, written every few seconds while training goes on.

    A step that the run has is not written again, so that a resumed training continues its curve. While MLflow does not
    answer, points wait: training goes on.
    """

    settings: Settings
    run_id: str
    _waiting: list[tuple[str, float, int]] = field(default_factory=list)
    _written: dict[str, set[int]] = field(default_factory=dict)
    _flushed: float = field(default_factory=time.monotonic)

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Keep the values of an optimiser step."""
        self._waiting += [(name, value, step) for name, value in values.items()]
        if time.monotonic() - self._flushed < FLUSH_SECONDS:
            return
        try:
            self.flush()
        except DependencyError as error:
            self._flushed = time.monotonic()
            logger.warning("the curves are written later: %s", error)

    def flush(self) -> None:
        """Write what waits.

        Raises:
            DependencyError: MLflow does not answer; the points wait on.
        """
        with mlflow_client(self.settings) as client:
            for name in {name for name, _, _ in self._waiting} - set(self._written):
                history = client.get_metric_history(self.run_id, name)
                self._written[name] = {point.step for point in history}
            new = [point for point in self._waiting if point[2] not in self._written[point[0]]]
            for batch in _batches(new, 500):
                client.log_batch(self.run_id, metrics=[_metric(*point) for point in batch])
        for name, _, step in new:
            self._written[name].add(step)
        self._waiting, self._flushed = [], time.monotonic()


@contextmanager
def system_metrics(settings: Settings, run_id: str) -> Iterator[None]:
    """Log processor, memory and disk of this machine with the run while the block lasts."""
    from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

    monitor: Any = SystemMetricsMonitor(  # type: ignore[no-untyped-call]
        run_id, sampling_interval=SYSTEM_METRICS_SECONDS, resume_logging=True, tracking_uri=settings.tracking_uri
    )
    monitor.start()
    try:
        yield
    finally:
        monitor.finish()


def _run_with_key(client: "MlflowClient", experiment: str, key: str) -> str | None:
    runs = client.search_runs([experiment], f"tags.`{KEY}` = '{key}'", max_results=1)
    return str(runs[0].info.run_id) if runs else None


def _flat(values: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{path}{name}.")
        else:
            yield f"{path}{name}", value


def _metric(name: str, value: float, step: int) -> "Metric":
    from mlflow.entities import Metric

    return Metric(name, float(value), int(time.time() * 1000), step)


def _batches(points: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    for start in range(0, len(points), size):
        yield points[start : start + size]
