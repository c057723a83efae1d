"""Which answerer serves: MLflow's `almanac-answerer` and its aliases; the files of a version, fetched once.

Reads only; `tasks.model.answerer.register` writes.
"""

import json
import logging
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.answer.answerer import BASE, Answerer, base_answerer, load_answerer, read_manifest
from tasks.errors import CorruptionError, DependencyError
from tasks.files import write_json
from tasks.params import Params
from tasks.releases.model_registry import CHAMPION, mlflow_client, model_versions
from tasks.settings import Settings

if TYPE_CHECKING:
    from mlflow import MlflowClient

logger = logging.getLogger(__name__)

MODEL = "almanac-answerer"


@dataclass(frozen=True, slots=True)
class AnswererVersion:
    """A registered answerer.

    Attributes:
        version: MLflow's version.
        tags: as they stand in MLflow: `gate`, `served`, `rolled_back`, `refused` …
    """

    version: str
    run_id: str
    aliases: tuple[str, ...]
    tags: dict[str, str]


def answerer_versions(settings: Settings) -> list[AnswererVersion]:
    """All registered answerers, oldest first; empty where none was registered.

    Raises:
        DependencyError: MLflow does not answer.
    """
    with mlflow_client(settings) as client:
        return _versions(client)


def champion_answerer(settings: Settings) -> AnswererVersion | None:
    """The version that the alias `champion` names; None: the base model serves."""
    return next((entry for entry in answerer_versions(settings) if CHAMPION in entry.aliases), None)


def answerer_files(settings: Settings, entry: AnswererVersion) -> Path:
    """The folder of a version's files, fetched into the home once and checked each time.

    Raises:
        CorruptionError: a file is not what the manifest says.
        DependencyError: MLflow does not answer.
    """
    from filelock import FileLock

    target = settings.home.resolve() / "cache" / "answerers" / f"{entry.version}-{entry.run_id}"
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(target.with_name(f"{target.name}.lock")):
        if not _is_whole(target):
            _fetch(settings, entry, target)
    return target


def _is_whole(folder: Path) -> bool:
    if not folder.is_dir():
        return False
    try:
        read_manifest(folder)
    except CorruptionError as error:
        logger.warning("fetching the answerer again: %s", error)
        return False
    return True


def _fetch(settings: Settings, entry: AnswererVersion, target: Path) -> None:
    beside = target.with_name(f"{target.name}.partial")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir()
    with mlflow_client(settings) as client:
        client.download_artifacts(entry.run_id, "answerer", str(beside))
    read_manifest(beside / "answerer")
    shutil.rmtree(target, ignore_errors=True)
    (beside / "answerer").rename(target)
    shutil.rmtree(beside)


def load_champion(params: Params, settings: Settings) -> Answerer:
    """The answerer that the alias names, else the base model; where MLflow does not answer, what was champion last.

    Raises:
        ConfigurationError: the version does not fit this project's base model or prompt.
        CorruptionError: its files are not what they were.
        DependencyError: MLflow does not answer, and the files of the last champion are not in the home.
    """
    last = settings.home.resolve() / "answerer.json"
    try:
        champion = champion_answerer(settings)
        write_json(last, None if champion is None else asdict(champion))
    except DependencyError as error:
        champion = _last_champion(last)
        logger.warning("%s; answering with answerer %s", error, champion.version if champion else BASE)
    if champion is None:
        return base_answerer(params.generation, settings)
    folder = answerer_files(settings, champion)
    return load_answerer(folder, params.generation, settings, version=champion.version)


def _last_champion(path: Path) -> AnswererVersion | None:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return None if found is None else AnswererVersion(**found | {"aliases": tuple(found["aliases"])})
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise CorruptionError(
            f"{path} must name the answerer that was champion last, found: {error!r}; delete it and start MLflow"
        ) from error


def _versions(client: "MlflowClient") -> list[AnswererVersion]:
    return [
        AnswererVersion(str(entry.version), str(entry.run_id), aliases, dict(entry.tags))
        for entry, aliases in model_versions(client, MODEL)
    ]
