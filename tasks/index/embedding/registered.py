"""Embedders that were tuned: MLflow's `almanac-embedder` and its aliases; the files of a version, fetched once.

`embedding.model` names one as `mlflow:almanac-embedder@champion` or `mlflow:almanac-embedder/3`. A refresh pins what it
finds there, and a release keeps the pinned name: no alias changes how a release that serves is asked.
Reads only; `tasks.model.embedder.registry` writes.
"""

import hashlib
import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.errors import ConfigurationError, CorruptionError
from tasks.files import sha256_of_file, whole_file, write_json
from tasks.params import EmbeddingParams
from tasks.releases.model_registry import mlflow_client
from tasks.settings import Settings

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

MODEL = "almanac-embedder"
MANIFEST = "embedder.json"
ARTIFACTS = "embedder"
FORMAT = 1
_PREFIX = "mlflow:"
_REFERENCE = re.compile(
    rf"{_PREFIX}{MODEL}(@(?P<alias>[\w.-]+)|/(?P<version>[1-9][0-9]*)(:(?P<run_id>[0-9a-f]{{32}}))?)"
)


@dataclass(frozen=True, slots=True)
class EmbedderManifest:
    """What a tuned embedder is made of.

    Attributes:
        base: identity of the embedder that was tuned.
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


def is_registered(model: str) -> bool:
    """Whether `embedding.model` names a registered embedder."""
    return model.startswith(_PREFIX)


def pinned(params: EmbeddingParams, settings: Settings) -> EmbeddingParams:
    """The same parameters with the version and run that an alias of MLflow names now; other models as they are.

    Raises:
        ConfigurationError: no embedder has this alias or version.
        DependencyError: MLflow does not answer.
    """
    if not is_registered(params.model) or _parsed(params.model)["run_id"] is not None:
        return params
    found = _find(params.model, settings)
    return params.model_copy(update={"model": f"{_PREFIX}{MODEL}/{found.version}:{found.run_id}"})


def registered_folder(model: str, settings: Settings) -> Path:
    """The folder of a registered embedder, fetched into the home once and checked each time.

    Raises:
        ConfigurationError: no embedder has this alias or version.
        CorruptionError: a file is not what the manifest says.
        DependencyError: MLflow does not answer; not asked for a pinned name whose files are here.
    """
    parts = _parsed(model)
    if parts["run_id"] is None:
        found = _find(model, settings)
        parts = {"version": str(found.version), "run_id": str(found.run_id)}
    target = settings.home.resolve() / "cache" / "embedders" / f"{parts['version']}-{parts['run_id']}"
    if not target.is_dir():
        _fetch(str(parts["run_id"]), target, settings)
    read_manifest(target, settings)
    return target


def write_manifest(folder: Path, manifest: EmbedderManifest) -> EmbedderManifest:
    """Write the manifest with the sha256 of every file that is in the folder."""
    files = {name: sha256_of_file(folder / name) for name in sorted(_file_names(folder))}
    whole = replace(manifest, files=files)
    write_json(folder / MANIFEST, asdict(whole))
    return whole


def read_manifest(folder: Path, settings: Settings) -> EmbedderManifest:
    """Read a manifest and check every file against it.

    Raises:
        CorruptionError: no manifest, a file missing, changed or added.
    """
    try:
        manifest = EmbedderManifest(**json.loads((folder / MANIFEST).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise CorruptionError(
            f"a tuned embedder must hold a readable {MANIFEST}, found: {' '.join(str(error).split())}; "
            f"delete {folder} to fetch it again"
        ) from error
    if manifest.format != FORMAT:
        raise CorruptionError(f"{MANIFEST} must have format {FORMAT}, found {manifest.format}; upgrade Almanac")
    present = _file_names(folder)
    wrong = sorted(present ^ set(manifest.files))
    both = sorted(present & set(manifest.files))
    wrong += [name for name in both if known_sha256(folder / name, settings) != manifest.files[name]]
    if wrong:
        raise CorruptionError(
            f"the embedder's files must be those of its manifest, {wrong[0]!r} is not ({len(wrong)} in all); "
            f"delete {folder} to fetch them again"
        )
    return manifest


def known_sha256(path: Path, settings: Settings) -> str:
    """The file's digest, computed once for each path, size and time of change."""
    status = path.stat()
    sign = hashlib.sha256(f"{path.resolve()}|{status.st_size}|{status.st_mtime_ns}".encode()).hexdigest()
    known = settings.home.resolve() / "cache" / "sha256" / sign[:32]
    if known.is_file() and len(digest := known.read_text(encoding="ascii")) == hashlib.sha256().digest_size * 2:
        return digest
    digest = sha256_of_file(path)
    with whole_file(known) as beside:
        beside.write_text(digest, encoding="ascii")
    return digest


def _file_names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} - {MANIFEST}


def _parsed(model: str) -> dict[str, str | None]:
    match = _REFERENCE.fullmatch(model)
    if match is None:
        raise ConfigurationError(
            f"embedding.model must be `{_PREFIX}{MODEL}@<alias>` or `{_PREFIX}{MODEL}/<version>`, found {model!r}; "
            "correct it in params.yaml"
        )
    return match.groupdict()


def _find(model: str, settings: Settings) -> "ModelVersion":
    from mlflow.exceptions import MlflowException

    parts = _parsed(model)
    with mlflow_client(settings) as client:
        try:
            return _version(client, parts["alias"], parts["version"])
        except MlflowException as error:
            if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                raise
    raise ConfigurationError(
        f"embedding.model {model!r} must name a registered embedder, MLflow at {settings.tracking_uri} has none; "
        "set the alias in the MLflow UI, or name another model"
    )


def _version(client: "MlflowClient", alias: str | None, version: str | None) -> "ModelVersion":
    if alias is not None:
        return client.get_model_version_by_alias(MODEL, alias)
    return client.get_model_version(MODEL, str(version))


def _fetch(run_id: str, target: Path, settings: Settings) -> None:
    beside = target.with_name(f"{target.name}.partial")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    with mlflow_client(settings) as client:
        client.download_artifacts(run_id, ARTIFACTS, str(beside))
    (beside / ARTIFACTS).rename(target)
    shutil.rmtree(beside)
