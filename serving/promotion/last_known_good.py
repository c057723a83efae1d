"""The pair that served last, kept on disk: a restart without MLflow serves it again. Its files are in the home."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from tasks.answer.answerer import BASE, MANIFEST
from tasks.answer.registry import MODEL as ANSWERER
from tasks.errors import CorruptionError
from tasks.files import sha256_of_file, write_json
from tasks.index.registration import MODEL as INDEX
from tasks.settings import Settings


@dataclass(frozen=True, slots=True)
class LastKnownGood:
    """What served last.

    Attributes:
        release: number of the index release.
        index_version: MLflow's version of it.
        answerer_version: MLflow's version of the answerer, or `base`.
        answerer_folder: relative to the home; empty for the base model.
        answerer_digest: sha256 of the folder's manifest, which holds those of all its files.
    """

    release: int
    index_version: str
    index_run: str
    answerer_version: str
    answerer_run: str = ""
    answerer_folder: str = ""
    answerer_digest: str = ""

    @property
    def index_key(self) -> tuple[str, str, str]:
        """As `serving.promotion.aliases.Target.key`."""
        return (INDEX, self.index_version, self.index_run)

    @property
    def answerer_key(self) -> tuple[str, str, str] | None:
        """As `serving.promotion.aliases.Target.key`; None for the base model."""
        return None if self.is_base else (ANSWERER, self.answerer_version, self.answerer_run)

    @property
    def is_base(self) -> bool:
        """Whether the base model served."""
        return self.answerer_version == BASE


def remember(settings: Settings, pair: LastKnownGood) -> None:
    """Keep the pair.

    Raises:
        DependencyError: the disk refused.
    """
    write_json(_path(settings), asdict(pair))


def recall(settings: Settings) -> LastKnownGood | None:
    """The pair that served last; None before the first.

    Raises:
        CorruptionError: the file is not what was written.
    """
    path = _path(settings)
    try:
        return LastKnownGood(**json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        raise CorruptionError(
            f"{path} must name the pair that served last, found: {error!r}; delete it and start the server with MLflow"
        ) from error


def folder_of(settings: Settings, pair: LastKnownGood) -> Path:
    """The answerer's folder.

    Raises:
        CorruptionError: it is gone or its manifest is another.
    """
    folder = settings.home.resolve() / pair.answerer_folder
    found = digest_of(folder) if (folder / MANIFEST).is_file() else "none"
    if found != pair.answerer_digest:
        raise CorruptionError(
            f"answerer {pair.answerer_version} must have the manifest that served, found {found[:16]} in {folder}; "
            "start MLflow, so that it is fetched again"
        )
    return folder


def digest_of(folder: Path) -> str:
    """The sha256 of an answerer's manifest."""
    return sha256_of_file(folder / MANIFEST)


def _path(settings: Settings) -> Path:
    return settings.home.resolve() / "serving" / "last_known_good.json"
