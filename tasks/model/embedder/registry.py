"""Tuned embedders in MLflow: a version of `almanac-embedder` for each that passed its gate, and its aliases.

With `embedding.model: mlflow:almanac-embedder@champion` the next refresh notices that the alias moved: it makes an
index with the new embedder from the snapshot, and the index gate judges it by the golden questions before it serves.
Plain files stand in the run (`embedder/`). Knows MLflow only.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.errors import ConfigurationError
from tasks.index.embedding.registered import ARTIFACTS, MODEL, EmbedderManifest, read_manifest, registered_folder
from tasks.model.embedder.card import CARD
from tasks.model.embedder.result import HEADLINE, EmbedderResult
from tasks.model.training.run_log import end_run, log_files, log_metrics, log_params, open_run
from tasks.releases.model_registry import CHALLENGER, CHAMPION, ensure_model, mlflow_client, now
from tasks.settings import Settings

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

KEY = "retrain"
_DESCRIPTION = (
    "Embedding models tuned on the documents' questions. A refresh with `embedding.model: "
    "mlflow:almanac-embedder@champion` makes an index with the champion and judges it before it serves."
)


def judge_embedder(result: EmbedderResult) -> tuple[str, ...]:
    """Reasons why a tuned embedder is no challenger; none: it is better than its base with confidence."""
    if result.improved:
        return ()
    gain = result.gain[HEADLINE]
    return (
        f"{HEADLINE} must be above the base's with confidence, found {gain.mean:+.3f} [{gain.low:+.3f}, "
        f"{gain.high:+.3f}] on {result.num_questions} questions",
    )


def register_embedder(settings: Settings, folder: Path, *, key: str, tags: Mapping[str, str] | None = None) -> str:
    """Make a tuned embedder that passed its gate a version and the challenger, once; return MLflow's version.

    Args:
        settings: where MLflow is.
        folder: of `train_embedder`.
        key: of the retrain; the same key is registered once, also after a kill at any line.
        tags: more tags of the version: corpus, training set …

    Raises:
        CorruptionError: the files are not those of the manifest.
        DependencyError: MLflow does not answer.
    """
    manifest = read_manifest(folder, settings)
    known = _with_key(settings, key)
    if known is None:
        run_id = _log(settings, folder, manifest, key)
        known = _create(settings, folder, run_id, {KEY: key, "base": manifest.base, **(tags or {})})
    registered_folder(f"mlflow:{MODEL}/{known.version}", settings)
    if "challenged" not in known.tags:
        with mlflow_client(settings) as client:
            client.set_registered_model_alias(MODEL, CHALLENGER, known.version)
            client.set_model_version_tag(MODEL, known.version, "challenged", now())
    return str(known.version)


def promote_embedder(settings: Settings, version: str) -> None:
    """Move the alias `champion` to a version; the next refresh makes the index that uses it.

    Raises:
        ConfigurationError: there is no such version.
        CorruptionError: its files are not those of its manifest.
        DependencyError: MLflow does not answer.
    """
    if not version.isdecimal():
        raise ConfigurationError(f"a version of {MODEL} must be a number, found {version!r}; see the MLflow UI")
    registered_folder(f"mlflow:{MODEL}/{version}", settings)
    with mlflow_client(settings) as client:
        client.set_model_version_tag(MODEL, version, "served", now())
        client.set_registered_model_alias(MODEL, CHAMPION, version)
        if client.get_registered_model(MODEL).aliases.get(CHALLENGER) == version:
            client.delete_registered_model_alias(MODEL, CHALLENGER)


def _log(settings: Settings, folder: Path, manifest: EmbedderManifest, key: str) -> str:
    run_id = open_run(settings, MODEL, key, name=folder.name)
    numbers = {
        f"{when}.{name}": value for when in ("before", "after") for name, value in manifest.metrics[when].items()
    }
    log_params(settings, run_id, {"base": manifest.base, **manifest.training, **manifest.lineage})
    log_metrics(settings, run_id, numbers)
    log_files(settings, run_id, folder, ARTIFACTS)
    end_run(settings, run_id, tags={"base": manifest.base})
    return run_id


def _create(settings: Settings, folder: Path, run_id: str, tags: Mapping[str, str]) -> "ModelVersion":
    with mlflow_client(settings) as client:
        ensure_model(client, MODEL, _DESCRIPTION)
        return client.create_model_version(
            MODEL,
            source=f"runs:/{run_id}/{ARTIFACTS}",
            run_id=run_id,
            tags={"gate": "passed", "created_at": now(), **tags},
            description=(folder / CARD).read_text(encoding="utf-8"),
        )


def _with_key(settings: Settings, key: str) -> "ModelVersion | None":
    with mlflow_client(settings) as client:
        found = client.search_model_versions(f"name='{MODEL}'", max_results=10000)
    return next((entry for entry in found if entry.tags.get(KEY) == key), None)
