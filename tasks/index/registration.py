"""An index release as a version in MLflow: its run with metrics, lineage and manifest. Knows MLflow only."""

import datetime as dt
from collections.abc import Mapping
from pathlib import Path

from tasks.index.release import MANIFEST, Release, manifest_bytes
from tasks.markdown_table import markdown_table
from tasks.releases.kind import INDEX
from tasks.releases.lifecycle import mark, register, version_with_key, versions
from tasks.releases.model_registry import mlflow_client
from tasks.releases.tags import Tag
from tasks.releases.tracking_store import experiment_id
from tasks.releases.version import ReleaseVersion
from tasks.settings import Settings


def register_index(settings: Settings, release: Release, *, artifacts: Path, automatic: bool) -> ReleaseVersion:
    """Make the release a version of `almanac-index`, once.

    Args:
        settings: where MLflow is.
        release: the manifest.
        artifacts: a folder (manifest, gate report, plan) that is logged with the run.
        automatic: whether policy `auto` will promote it; kept as a tag, so that a killed refresh can be finished.

    Raises:
        DependencyError: MLflow does not answer.
    """
    registered = version_with_key(settings, INDEX, str(release.number))
    if registered is not None:
        return registered
    return register(
        settings,
        INDEX,
        key=str(release.number),
        run_id=_log_run(settings, release, artifacts),
        tags=_tags(release) | {Tag.AUTOMATIC: str(automatic).lower()},
        description=_description(release),
    )


def renew_manifest(settings: Settings, release: Release) -> None:
    """Bring a manifest that was written anew into the release's run; a release that is not registered has none.

    Raises:
        DependencyError: MLflow does not answer.
    """
    registered = version_with_key(settings, INDEX, str(release.number))
    if registered is None:
        return
    with mlflow_client(settings) as client:
        client.log_text(registered.run_id, manifest_bytes(release).decode(), f"{INDEX.artifacts}/{MANIFEST}")
    mark(settings, registered, {Tag.LANCE_VERSION: str(release.lance_version)})


def index_versions(settings: Settings) -> list[ReleaseVersion]:
    """Return all registered index releases, oldest first; a version that no refresh made has no release to serve."""
    return [entry for entry in versions(settings, INDEX) if entry.number is not None]


def _log_run(settings: Settings, release: Release, artifacts: Path) -> str:
    from mlflow.entities import Metric, Param

    moment = int(dt.datetime.fromisoformat(release.created_at).timestamp() * 1000)
    numbers = {"num_documents": release.num_documents, "num_chunks": release.num_chunks, **release.metrics}
    with mlflow_client(settings) as client:
        place = experiment_id(client, settings, INDEX.model)
        run = client.create_run(place, run_name=release.lance_tag, tags={str(Tag.RELEASE): str(release.number)})
        run_id: str = run.info.run_id
        client.log_batch(
            run_id,
            metrics=[Metric(name, float(value), moment, 0) for name, value in numbers.items()],
            params=[Param(name, value) for name, value in _lineage(release).items()],
        )
        client.log_artifacts(run_id, str(artifacts), INDEX.artifacts)
        client.set_terminated(run_id)
    return run_id


def _lineage(release: Release) -> dict[str, str]:
    return {
        "corpus_tag": release.corpus.tag,
        "corpus_commit": release.corpus.commit,
        "corpus_md5": release.corpus.md5,
        "base_release": str(release.base),
        "params_digest": release.params_digest,
        "git_commit": str(release.git_commit),
        "parser": release.fingerprint.parser,
        "chunking": release.fingerprint.chunking,
        "embedder": release.fingerprint.embedder,
    }


def _tags(release: Release) -> dict[str, str]:
    return {
        Tag.LANCE_TAG: release.lance_tag,
        Tag.LANCE_VERSION: str(release.lance_version),
        Tag.EMBEDDER: release.fingerprint.embedder,
        Tag.CORPUS: release.corpus.tag,
    }


def _description(release: Release) -> str:
    rows: Mapping[str, float] = {"documents": release.num_documents, "chunks": release.num_chunks, **release.metrics}
    table = markdown_table(("metric", "value"), ((name, f"{value:.4g}") for name, value in rows.items()))
    return (
        f"Index release {release.number} of corpus `{release.corpus.tag}`, made from release {release.base}.\n\n"
        f"{table}\n"
    )
