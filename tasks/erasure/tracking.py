"""MLflow without some documents: traces that show them, files of runs that quote them, marks on models trained on them.

A trace names the documents that it shows (`tasks.answer.trace`); the text of a question or of a rating may quote one
all the same, so what MLflow shows of each trace is searched for the needles too.
"""

import json
import shutil
from collections.abc import Collection, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from tasks.answer.trace import EXPERIMENT
from tasks.answer.trace_search import TRACES_PER_PAGE, answer_traces
from tasks.erasure.byte_search import Needles
from tasks.releases.answerers import answerer_kinds
from tasks.releases.kind import EMBEDDER
from tasks.releases.lifecycle import mark, versions
from tasks.releases.model_registry import mlflow_client
from tasks.releases.tags import Tag
from tasks.releases.version import ReleaseVersion
from tasks.settings import Settings
from tasks.tenant import of_tenant

if TYPE_CHECKING:
    pass

DOCUMENTS_TAG = "almanac.document_ids"
LOCATION_TAG = "mlflow.artifactLocation"
ON_TEXTS = "continual_pretraining"
"""The method whose training set is the corpus itself."""


def delete_traces(settings: Settings, document_ids: Collection[str], needles: Needles) -> int:
    """Delete every trace that shows a document or quotes it, its files included; return how many.

    Raises:
        DependencyError: MLflow does not answer.
    """
    with mlflow_client(settings) as client:
        experiment = client.get_experiment_by_name(of_tenant(EXPERIMENT))
        if experiment is None:
            return 0
        place = str(experiment.experiment_id)
        # The whole list first: deleting moves the pages.
        shown = [trace.info for trace in answer_traces(settings) if _shows(trace, document_ids, needles)]
        for begin in range(0, len(shown), TRACES_PER_PAGE):
            part = shown[begin : begin + TRACES_PER_PAGE]
            client.delete_traces(place, trace_ids=[info.trace_id for info in part])
        for info in shown:
            _remove_files(settings, info.tags.get(LOCATION_TAG))
    return len(shown)


def count_traces(settings: Settings, document_ids: Collection[str], needles: Needles) -> int:
    """Return how many traces show or quote a document.

    Raises:
        DependencyError: MLflow does not answer.
    """
    return sum(_shows(trace, document_ids, needles) for trace in answer_traces(settings))


def trained_on(settings: Settings, training_sets: Collection[str], snapshots: Collection[str]) -> list[ReleaseVersion]:
    """Return the models that were trained on any of these training sets, or on the texts of these snapshots.

    Raises:
        DependencyError: MLflow does not answer.
    """
    return [
        version
        for kind in (*answerer_kinds(settings), EMBEDDER)
        for version in versions(settings, kind)
        if version.tags.get(Tag.TRAINING_SET) in training_sets
        or (version.tags.get(Tag.METHOD) == ON_TEXTS and version.tags.get(Tag.CORPUS) in snapshots)
    ]


def mark_models(settings: Settings, models: Sequence[ReleaseVersion], moment: str) -> None:
    """Say on each version that it was trained on what was taken back.

    Raises:
        DependencyError: MLflow does not answer.
    """
    for version in models:
        mark(settings, version, {Tag.TRAINED_ON_FORGOTTEN: moment})


def _shows(trace: Any, document_ids: Collection[str], needles: Needles) -> bool:
    with suppress(ValueError):
        if set(json.loads(trace.info.tags.get(DOCUMENTS_TAG, "[]"))) & set(document_ids):
            return True
    return needles.stand_in(trace.to_json())


def _remove_files(settings: Settings, location: str | None) -> None:
    """Remove the files of a trace; MLflow leaves them."""
    if location is None:
        return
    if urlsplit(location).scheme not in ("", "file"):
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        repository: Any = get_artifact_repository(location, settings.tracking_uri)
        repository.delete_artifacts()
        return
    folder = Path(unquote(urlsplit(location).path))
    shutil.rmtree(folder.parent if folder.name == "artifacts" else folder, ignore_errors=True)
