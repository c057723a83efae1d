"""Embedders that were tuned: MLflow's `almanac-embedder` and its aliases; the files of a version, fetched once.

`embedding.model` may name one as `mlflow:almanac-embedder@champion` or `mlflow:almanac-embedder/3`. Reads only;
`tasks.model.embedder.registry` writes.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tasks.errors import ConfigurationError
from tasks.releases.folder import FORMAT, cached_sha256, read_manifest, release_folder
from tasks.releases.kind import EMBEDDER
from tasks.releases.lifecycle import named, versions
from tasks.releases.model_registry import mlflow_client
from tasks.releases.version import ReleaseVersion
from tasks.settings import Settings

_PREFIX = "mlflow:"
_NAME = "almanac-embedder"
"""In parameters and manifests for each tenant; in MLflow it is the tenant's own."""
_REFERENCE = re.compile(
    rf"{_PREFIX}{_NAME}(@(?P<alias>[\w.-]+)|/(?P<version>[1-9][0-9]*)(:(?P<run_id>[0-9a-f]{{32}}))?)"
)


@dataclass(frozen=True, slots=True)
class EmbedderManifest:
    """What a tuned embedder is made of.

    Attributes:
        base: identity of the embedder that was tuned.
        root: identity of the first of them, where the base was tuned itself; None before there was this field.
        training: the parameters, steps and seconds of the training.
        metrics: on held-out pairs, before and after.
        lineage: training set, its revision, corpus, git commit.
        files: sha256 of each file by its path in the folder.
    """

    base: str
    training: Mapping[str, Any]
    metrics: Mapping[str, Any]
    lineage: Mapping[str, Any]
    files: Mapping[str, str]
    format: int = FORMAT
    root: str | None = None


def is_registered(model: str) -> bool:
    """Say whether `embedding.model` names a registered embedder."""
    return model.startswith(_PREFIX)


def registered_folder(model: str, settings: Settings) -> Path:
    """Return the folder of a registered embedder, fetched into the home once and checked each time.

    Raises:
        ConfigurationError: no embedder has this alias or version.
        CorruptionError: a file is not what the manifest says.
        DependencyError: MLflow does not answer; not asked for a pinned name whose files are here.
    """
    parts = parsed(model)
    if parts["run_id"] is None:
        return release_folder(settings, registered_version(model, settings))
    return release_folder(settings, ReleaseVersion(EMBEDDER, str(parts["version"]), str(parts["run_id"])))


def read_embedder(folder: Path, settings: Settings) -> EmbedderManifest:
    """Read the manifest of a tuned embedder and check every file against it.

    Raises:
        CorruptionError: no manifest, a file missing, changed or added.
        UnavailableError: the manifest has a newer format than this software reads.
    """
    return read_manifest(folder, EMBEDDER, EmbedderManifest, sha256=partial(cached_sha256, settings=settings))


def pinned_name(version: ReleaseVersion) -> str:
    """Return what names a version and its run for ever."""
    return f"{_PREFIX}{_NAME}/{version.version}:{version.run_id}"


def version_named_by(model: str) -> str | None:
    """Return the version that `embedding.model` names; None for an alias, and for a model that is not registered."""
    return parsed(model)["version"] if is_registered(model) else None


def parsed(model: str) -> dict[str, str | None]:
    """Return alias, version and run id of `embedding.model`, each where it names one.

    Raises:
        ConfigurationError: it is no name of a registered embedder.
    """
    match = _REFERENCE.fullmatch(model)
    if match is None:
        raise ConfigurationError(
            f"embedding.model must be `{_PREFIX}{EMBEDDER.model}@<alias>` or `{_PREFIX}{EMBEDDER.model}/<version>`, "
            f"found {model!r}; correct it in params.yaml"
        )
    return match.groupdict()


def registered_version(model: str, settings: Settings) -> ReleaseVersion:
    """Return the version that `embedding.model` names now.

    Raises:
        ConfigurationError: no embedder has this alias or version.
        DependencyError: MLflow does not answer.
    """
    parts = parsed(model)
    with mlflow_client(settings) as client:
        version = named(client, EMBEDDER, str(parts["alias"])) if parts["alias"] else None
    if parts["version"]:
        version = next((entry for entry in versions(settings, EMBEDDER) if entry.version == parts["version"]), None)
    if version is None:
        raise ConfigurationError(
            f"embedding.model {model!r} must name a registered embedder, MLflow at {settings.tracking_uri} has none; "
            "set the alias in the MLflow UI, or name another model"
        )
    return version
