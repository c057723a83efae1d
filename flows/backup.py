"""Backups of the home: taken beside what answers, restored without what was forgotten since."""

from pathlib import Path

from tasks.backup import backup as backups
from tasks.backup.backup import Backup
from tasks.corpus.tombstones import load_tombstones
from tasks.erasure.erase import erase
from tasks.erasure.receipt import Receipt
from tasks.erasure.subject import Wanted
from tasks.errors import ConfigurationError
from tasks.lease import hold_stores
from tasks.params import load_params
from tasks.settings import Settings


def back_up(folder: Path, wait_seconds: float = 0) -> Backup:
    """Copy the home into a new folder, while no flow writes.

    Raises:
        BusyError: a flow writes.
        ConfigurationError: the folder is there already, or lies in the home.
    """
    settings = Settings()
    with hold_stores(settings, purpose="backup", wait_seconds=wait_seconds):
        return backups.back_up(settings, folder)


def restore(folder: Path, tombstones: Path | None = None) -> tuple[Backup, Receipt | None]:
    """Bring a backup back as the home, and take out again what was forgotten; None: nothing of that was in it.

    Raises:
        ConfigurationError: it is no backup, or the home holds something.
        CorruptionError: the backup is damaged.
    """
    settings = Settings()
    backup = backups.restore(settings, folder, tombstones)
    forgotten = Wanted(tombstones=load_tombstones(settings))
    if not forgotten.tombstones.hashes:
        return backup, None
    with hold_stores(settings, purpose="restore") as lease:
        try:
            return backup, erase(settings, load_params(settings.params, settings.profile), forgotten, lease)
        except ConfigurationError:
            return backup, None  # nothing of it is in the backup
