"""A trained answerer as a version in MLflow: its files, its signature, and the alias `challenger`.

Plain files stand in the run (`answerer/`); MLflow's model loaders are not used. Knows MLflow only.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tasks.model.training.run_log import log_files
from tasks.releases.kind import ANSWERER, ReleaseKind
from tasks.releases.lifecycle import challenge, register, version_with_key
from tasks.settings import Settings


def register_answerer(
    settings: Settings,
    kind: ReleaseKind,
    *,
    key: str,
    run_id: str,
    folder: Path,
    tags: Mapping[str, str],
    description: str,
) -> str:
    """Make an answerer that passed its gate a version and the challenger, once; return MLflow's version.

    Args:
        settings: where MLflow is.
        kind: the general answerer, or a knowledge base's own.
        key: of the retrain; the same key is registered once, also after a kill at any line.
        run_id: the run that holds the files.
        folder: the answerer as `tasks.answer.answerer` describes it, with its card.
        tags: of the version: corpus, training_set, base, method, `metric.*`.
        description: Markdown, what a person reads before promoting.

    Raises:
        CorruptionError: the logged files are not those of the manifest.
        DependencyError: MLflow does not answer.
    """
    if version_with_key(settings, kind, key) is None:
        log_files(settings, run_id, folder, kind.artifacts)
    version = register(settings, kind, key=key, run_id=run_id, tags=tags, description=description)
    challenge(settings, version)
    return version.version


def write_signature(folder: Path) -> None:
    """Describe what goes in and out, for MLflow's page; `MLmodel` names no flavor, so that no loader of MLflow runs."""
    from mlflow.models import Model, ModelSignature
    from mlflow.types import ColSpec, DataType, Schema
    from mlflow.types.schema import Array

    inputs = Schema([ColSpec(DataType.string, "question"), ColSpec(Array(DataType.string), "passages")])
    signature = ModelSignature(inputs=inputs, outputs=Schema([ColSpec(DataType.string, "answer")]))
    model: Any = Model(artifact_path=ANSWERER.artifacts, signature=signature, model_uuid=None, utc_time_created="")
    model.save(str(folder / "MLmodel"))
