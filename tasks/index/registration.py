"""Index releases in MLflow: a run with metrics and lineage, a version of `almanac-index`, and its alias.

The alias `champion` is the only truth of what serves: a person moves it in the MLflow UI, `almanac rollback` moves it
back. Knows MLflow only.
"""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.index.release import Release
from tasks.releases.model_registry import CHALLENGER, CHAMPION, ensure_model, mlflow_client, model_versions, now
from tasks.settings import Settings

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

MODEL = "almanac-index"


@dataclass(frozen=True, slots=True)
class Version:
    """A registered index release.

    Attributes:
        version: MLflow's version.
        served: whether it ever was champion.
        rolled_back: whether it was taken back.
    """

    version: str
    release: int
    aliases: tuple[str, ...]
    served: bool
    rolled_back: bool
    automatic: bool


def register(settings: Settings, release: Release, *, artifacts: Path, automatic: bool) -> str:
    """Make the release a version of `almanac-index`, once; return MLflow's version.

    Args:
        settings: where MLflow is.
        release: the manifest.
        artifacts: a folder (manifest, gate report, plan) that is logged with the run.
        automatic: whether policy `auto` will promote it; kept as a tag, so that a killed refresh can be finished.
    """
    with mlflow_client(settings) as client:
        known = {entry.release: entry.version for entry in _versions(client)}
        if release.number in known:
            return known[release.number]
        run_id = _log_run(client, settings, release, artifacts)
        tags = _tags(release) | {"automatic": str(automatic).lower()}
        version = client.create_model_version(
            MODEL, source=f"runs:/{run_id}/release", run_id=run_id, tags=tags, description=_description(release)
        )
        return str(version.version)


def promote(settings: Settings, version: str) -> None:
    """Move the alias `champion` to a version."""
    with mlflow_client(settings) as client:
        # In this order: a version that served and is champion no more counts as taken back by a person.
        client.set_registered_model_alias(MODEL, CHAMPION, version)
        client.set_model_version_tag(MODEL, version, "served", now())


def challenge(settings: Settings, version: str) -> None:
    """Move the alias `challenger` to a version: passed its gate, waits for a person."""
    with mlflow_client(settings) as client:
        client.set_registered_model_alias(MODEL, CHALLENGER, version)


def roll_back(settings: Settings, *, abandoned: str, to: str) -> None:
    """Move `champion` back and say on the abandoned version that it was taken back."""
    with mlflow_client(settings) as client:
        client.set_model_version_tag(MODEL, abandoned, "rolled_back", now())
        client.delete_model_version_tag(MODEL, to, "rolled_back")
        client.set_registered_model_alias(MODEL, CHAMPION, to)


def versions(settings: Settings) -> list[Version]:
    """All registered index releases, oldest first."""
    with mlflow_client(settings) as client:
        return _versions(client)


def champion(settings: Settings) -> Version | None:
    """The version that the alias `champion` names, None if there is none."""
    return next((entry for entry in versions(settings) if CHAMPION in entry.aliases), None)


def _versions(client: "MlflowClient") -> list[Version]:
    entries = [_version(entry, aliases) for entry, aliases in model_versions(client, MODEL)]
    return sorted((entry for entry in entries if entry is not None), key=lambda entry: entry.release)


def _version(entry: "ModelVersion", aliases: tuple[str, ...]) -> Version | None:
    """None for a version that no refresh made: it has no release to serve."""
    if not entry.tags.get("release", "").isdigit():
        return None
    return Version(
        version=str(entry.version),
        release=int(entry.tags["release"]),
        aliases=aliases,
        served="served" in entry.tags,
        rolled_back="rolled_back" in entry.tags,
        automatic=entry.tags.get("automatic") == "true",
    )


def _log_run(client: "MlflowClient", settings: Settings, release: Release, artifacts: Path) -> str:
    from mlflow.entities import Metric, Param

    run = client.create_run(
        _experiment(client, settings), run_name=release.lance_tag, tags={"release": str(release.number)}
    )
    run_id: str = run.info.run_id
    moment = int(dt.datetime.fromisoformat(release.created_at).timestamp() * 1000)
    numbers = {"num_documents": release.num_documents, "num_chunks": release.num_chunks, **release.metrics}
    client.log_batch(
        run_id,
        metrics=[Metric(name, float(value), moment, 0) for name, value in numbers.items()],
        params=[Param(name, value) for name, value in _lineage(release).items()],
    )
    client.log_artifacts(run_id, str(artifacts), "release")
    client.set_terminated(run_id)
    ensure_model(client, MODEL, "Index releases. The alias `champion` serves.")
    return run_id


def _experiment(client: "MlflowClient", settings: Settings) -> str:
    found = client.get_experiment_by_name(MODEL)
    if found is not None:
        return str(found.experiment_id)
    location = None
    if settings.tracking_uri.startswith("sqlite:///"):
        location = (settings.home.resolve() / "mlartifacts" / MODEL).as_uri()
    return str(client.create_experiment(MODEL, artifact_location=location))


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
        "release": str(release.number),
        "gate": "passed",
        "lance_tag": release.lance_tag,
        "lance_version": str(release.lance_version),
        "embedder": release.fingerprint.embedder,
        "corpus": release.corpus.tag,
    }


def _description(release: Release) -> str:
    rows: Mapping[str, float] = {"documents": release.num_documents, "chunks": release.num_chunks, **release.metrics}
    table = "\n".join(f"| {name} | {value:.4g} |" for name, value in rows.items())
    return (
        f"Index release {release.number} of corpus `{release.corpus.tag}`, made from release {release.base}.\n\n"
        f"| metric | value |\n|---|---|\n{table}\n"
    )
