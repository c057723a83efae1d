"""A copy of the home that can be restored, checked file by file.

The lease keeps writers away; a reader, or a trace that is written, does no harm (`tasks.backup.copying`).
"""

import datetime as dt
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tasks.backup.copying import copy_home
from tasks.corpus.tombstones import merge_tombstones
from tasks.errors import ConfigurationError, CorruptionError
from tasks.files import sha256_of_file, whole_folder, write_json
from tasks.home import FORMAT
from tasks.releases.tracking_store import open_store
from tasks.settings import Settings

MANIFEST = "backup.json"


@dataclass(frozen=True, slots=True)
class Backup:
    """What a backup holds.

    Attributes:
        folder: where it lies.
        at: when it was taken, UTC.
        format: of the home.
        num_bytes: of all files.
        sums: sha256 by path within the home.
        not_copied: stores that lie elsewhere, with what keeps them.
    """

    folder: Path
    at: str
    format: int
    num_bytes: int
    sums: dict[str, str]
    not_copied: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """Return the fields of `--json`: counts in place of the sums."""
        fields = {"folder": str(self.folder), "at": self.at, "files": len(self.sums), "bytes": self.num_bytes}
        return fields | {"not_copied": list(self.not_copied)}


def back_up(settings: Settings, folder: Path) -> Backup:
    """Copy the home into a new folder, whole or not at all; call under the lease.

    Raises:
        ConfigurationError: the folder is there already, or lies in the home.
        DependencyError: the disk is full or refuses.
        sqlite3.Error: a database is damaged.
    """
    home, folder = settings.layout.root, folder.resolve()
    if folder.exists() or folder.is_relative_to(home):
        raise ConfigurationError(f"a backup must go to a new folder outside the home, found {folder}; name another one")
    with whole_folder(folder) as beside:
        beside.chmod(0o700)
        copy_home(home, beside / "home")
        files = sorted(path for path in (beside / "home").rglob("*") if path.is_file())
        backup = Backup(
            folder=folder,
            at=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
            format=FORMAT,
            num_bytes=sum(path.stat().st_size for path in files),
            sums={str(path.relative_to(beside / "home")): sha256_of_file(path) for path in files},
            not_copied=tuple(_elsewhere(settings)),
        )
        write_json(beside / MANIFEST, asdict(backup) | {"folder": str(folder), "home": str(home)})
    return backup


def restore(settings: Settings, folder: Path, tombstones: Path | None = None) -> Backup:
    """Bring a backup back as the home, which must be absent or empty; addresses in it follow.

    Args:
        settings: whose home.
        folder: the backup.
        tombstones: `forgotten/tombstones.json` of the home that was lost: what was forgotten since the backup.

    Raises:
        ConfigurationError: the folder is no backup, or the home holds something, or is of newer software.
        CorruptionError: a file is not what was backed up; nothing is restored.
        DependencyError: the disk is full or refuses.
    """
    home, backup = settings.layout.root, _read(folder)
    if home.exists() and any(home.iterdir()):
        raise ConfigurationError(
            f"a backup must be restored into an empty home, found files in {home}; move it away, or set ALMANAC_HOME"
        )
    damaged = [name for name, digest in backup.sums.items() if not _holds(folder / "home" / name, digest)]
    if damaged:
        raise CorruptionError(
            f"the backup {folder} must hold its files as they were, found {len(damaged)} others, the first "
            f"{damaged[0]}; restore another backup"
        )
    with whole_folder(home) as beside:
        beside.chmod(0o700)
        copy_home(folder / "home", beside)
        write_json(beside / "home.json", {"format": backup.format, "root": _root(folder)})
    open_store(settings)
    if tombstones is not None:
        merge_tombstones(settings, tombstones)
    return backup


def _read(folder: Path) -> Backup:
    try:
        raw = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        backup = Backup(folder, raw["at"], raw["format"], raw["num_bytes"], raw["sums"], tuple(raw["not_copied"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigurationError(
            f"{folder} must be a backup with its {MANIFEST}, found: {error!r}; name a folder that `almanac backup` made"
        ) from error
    if backup.format > FORMAT:
        raise ConfigurationError(
            f"the backup {folder} must have a format up to {FORMAT}, found {backup.format}; upgrade Almanac here"
        )
    return backup


def _root(folder: Path) -> str:
    root: str = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["home"]
    return root


def _holds(path: Path, digest: str) -> bool:
    return path.is_file() and sha256_of_file(path) == digest


def _elsewhere(settings: Settings) -> Iterator[str]:
    home = settings.layout.root
    places = {
        "index": settings.index_uri,
        "snapshots": settings.remote,
        "shared state": settings.shared_state,
        "MLflow": settings.tracking_uri.removeprefix("sqlite:///"),
        "API keys": str(settings.api_keys),
    }
    for name, place in places.items():
        if place and ("://" in place or not Path(place).resolve().is_relative_to(home)):
            yield f"{name}: {place}"
