"""The files of a version: a folder with a manifest, written and checked by sha256, fetched into the home once.

A manifest has a `format` and holds the sha256 of every other file under `files`. Readers ignore fields that they do not
know, and leave a newer format to newer software: no version is to blame for what this machine lacks.
"""

import hashlib
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict, fields, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from tasks.errors import ConfigurationError, CorruptionError, UnavailableError
from tasks.files import sha256_of_file, whole_folder, write_json, write_text
from tasks.releases.kind import ReleaseKind
from tasks.releases.model_registry import mlflow_client, none_if_absent
from tasks.releases.version import ReleaseVersion
from tasks.settings import Settings

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

logger = logging.getLogger(__name__)

FORMAT = 1


M = TypeVar("M", bound="DataclassInstance")


def write_manifest(folder: Path, kind: ReleaseKind, manifest: M) -> M:
    """Write the manifest with the sha256 of every file that is in the folder."""
    files = {name: sha256_of_file(folder / name) for name in sorted(_file_names(folder, kind))}
    whole = replace(manifest, files=files)
    write_json(folder / str(kind.manifest), asdict(whole))
    return whole


def read_manifest(
    folder: Path, kind: ReleaseKind, into: type[M], *, sha256: Callable[[Path], str] = sha256_of_file
) -> M:
    """Read a manifest and check every file against it.

    Raises:
        CorruptionError: no manifest, a file missing, changed or added.
        UnavailableError: the manifest has a newer format than this software reads.
    """
    raw = _read(folder, kind)
    _check_files(folder, kind, raw.get("files", {}), sha256)
    return known_fields(into, raw, f"the {kind.name}'s {kind.manifest}")


def check_format(raw: Mapping[str, Any], what: str) -> None:
    """Leave what newer software wrote to newer software.

    Raises:
        UnavailableError: its format is newer.
    """
    if raw.get("format", FORMAT) > FORMAT:
        raise UnavailableError(
            f"{what} must have a format up to {FORMAT} to be read here, found {raw['format']}; upgrade Almanac here"
        )


def known_fields(into: type[M], raw: Mapping[str, Any], what: str) -> M:
    """Make a dataclass from the fields that it knows; others are of newer software.

    Raises:
        CorruptionError: a field is missing.
    """
    names = {field.name for field in fields(into)}
    try:
        return into(**{name: value for name, value in raw.items() if name in names})
    except TypeError as error:
        raise CorruptionError(f"{what} must hold its fields, found: {error}; register it again") from error


def cached_folder(settings: Settings, version: ReleaseVersion) -> Path:
    """Return where the files of a version lie once they were fetched; nothing is checked."""
    return settings.layout.cache / f"{version.kind.artifacts}s" / f"{version.version}-{version.run_id}"


def release_folder(settings: Settings, version: ReleaseVersion) -> Path:
    """Return the folder of a version's files, fetched into the home once and checked each time.

    Raises:
        ConfigurationError: its run holds no such files.
        CorruptionError: a file is not what the manifest says.
        UnavailableError: the manifest has a newer format than this software reads.
        DependencyError: MLflow does not answer.
    """
    from filelock import FileLock

    target = cached_folder(settings, version)
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(target.with_name(f"{target.name}.lock")):
        if not _is_whole(target, version.kind, partial(cached_sha256, settings=settings)):
            _fetch(settings, version, target)
    return target


def fetch_file(settings: Settings, version: ReleaseVersion, name: str, target: Path) -> None:
    """Fetch one file of a version's run into the folder `target`.

    Raises:
        UnavailableError: the run does not hold it.
        DependencyError: MLflow does not answer.
    """
    path = f"{version.kind.artifacts}/{name}"
    if not _has_artifact(settings, version, path):
        raise UnavailableError(
            f"{version} must have {path} in its run in MLflow, found none there and none here; copy it from the home "
            "that made it"
        )
    with mlflow_client(settings) as client:
        downloaded = Path(client.download_artifacts(version.run_id, path, str(target)))
    downloaded.replace(target / name)


def cached_sha256(path: Path, settings: Settings) -> str:
    """Return the file's digest, computed once for each path, size and time of change."""
    status = path.stat()
    sign = hashlib.sha256(f"{path.resolve()}|{status.st_size}|{status.st_mtime_ns}".encode()).hexdigest()
    cached = settings.layout.cache / "sha256" / sign[:32]
    if cached.is_file() and len(digest := cached.read_text(encoding="ascii")) == hashlib.sha256().digest_size * 2:
        return digest
    digest = sha256_of_file(path)
    write_text(cached, digest)
    return digest


def _read(folder: Path, kind: ReleaseKind) -> dict[str, Any]:
    try:
        raw: dict[str, Any] = json.loads((folder / str(kind.manifest)).read_text(encoding="utf-8"))
        check_format(raw, f"the {kind.name}'s {kind.manifest}")
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise CorruptionError(
            f"an {kind.name} must hold a readable {kind.manifest}, found: {' '.join(str(error).split())}; "
            "register it again, or delete its folder to fetch it again"
        ) from error
    return raw


def _check_files(folder: Path, kind: ReleaseKind, files: Mapping[str, str], sha256: Callable[[Path], str]) -> None:
    present = _file_names(folder, kind)
    wrong = sorted(present ^ set(files))
    wrong += [name for name in sorted(present & set(files)) if sha256(folder / name) != files[name]]
    if wrong:
        raise CorruptionError(
            f"the {kind.name}'s files must be those of its manifest, {wrong[0]!r} is not ({len(wrong)} in all); "
            "register it again, or delete its folder to fetch it again"
        )


def _file_names(folder: Path, kind: ReleaseKind) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} - {str(kind.manifest)}


def _is_whole(folder: Path, kind: ReleaseKind, sha256: Callable[[Path], str]) -> bool:
    if not folder.is_dir():
        return False
    try:
        _check_files(folder, kind, _read(folder, kind).get("files", {}), sha256)
    except CorruptionError as error:
        logger.warning("fetching the %s again: %s", kind.name, error)
        return False
    return True


def _fetch(settings: Settings, version: ReleaseVersion, target: Path) -> None:
    kind = version.kind
    if not version.run_id or not _has_artifact(settings, version, kind.artifacts):
        raise ConfigurationError(
            f"{kind.name} {version.version} must have a run with its files under `{kind.artifacts}/`, found none; "
            "promote another"
        )
    with whole_folder(target) as beside:
        with mlflow_client(settings) as client:
            client.download_artifacts(version.run_id, kind.artifacts, str(beside))
        for path in (beside / kind.artifacts).iterdir():
            path.rename(beside / path.name)
        (beside / kind.artifacts).rmdir()
        _check_files(beside, kind, _read(beside, kind).get("files", {}), sha256_of_file)


def _has_artifact(settings: Settings, version: ReleaseVersion, path: str) -> bool:
    parent, _, name = path.rpartition("/")
    with mlflow_client(settings) as client:
        entries = none_if_absent(client.list_artifacts, version.run_id, parent or None)
    return any(entry.path.rpartition("/")[2] == name for entry in entries or [])
