"""What a refresh starts from: the release that serves, or the newest one that waits for a person."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tasks.corpus.plan import KnownDocument, known_documents
from tasks.corpus.snapshot import fold_state
from tasks.index import registration
from tasks.index.registration import Version
from tasks.index.release import Release, load_release, release_numbers
from tasks.index.snapshots import snapshot_files
from tasks.releases.model_registry import CHAMPION, mark_rolled_back, mark_served
from tasks.settings import Settings


@dataclass(frozen=True, slots=True)
class Base:
    """The base of a refresh; `release` is None before the first.

    Attributes:
        champion: the release that serves, which the candidate is compared with.
        versions: all registered index releases.
    """

    release: Release | None = None
    champion: Release | None = None
    versions: tuple[Version, ...] = ()
    known: Mapping[str, Mapping[str, KnownDocument]] = field(default_factory=dict)


def find_base(settings: Settings) -> Base:
    """The champion; but the newest release while it has never served, since it waits for a person.

    What a person did in the UI is noted as if by command: a champion set there has served, and a newer release that
    served before it was taken back.

    Raises:
        DependencyError: MLflow does not answer.
        CorruptionError: a manifest or a snapshot is damaged.
    """
    versions = _versions(settings)
    serving = _serving(versions)
    number = _base_number(versions, serving, release_numbers(settings))
    if number is None:
        return Base(versions=tuple(versions))
    release = load_release(settings, number)
    champion = load_release(settings, serving.release) if serving else None
    state = fold_state(snapshot_files(settings, release))
    return Base(release, champion, tuple(versions), known_documents(state))


def _versions(settings: Settings) -> list[Version]:
    versions = registration.versions(settings)
    serving = _serving(versions)
    if serving is None:
        return versions
    newest = [entry for entry in versions if entry.served or entry is serving][-1]
    moved_back = newest is not serving and not newest.rolled_back
    if serving.served and not serving.rolled_back and not moved_back:
        return versions
    mark_served(settings, registration.MODEL, serving.version)
    if moved_back:
        mark_rolled_back(settings, registration.MODEL, newest.version)
    return registration.versions(settings)


def _serving(versions: Sequence[Version]) -> Version | None:
    return next((entry for entry in versions if CHAMPION in entry.aliases), None)


def _base_number(versions: Sequence[Version], serving: Version | None, on_disk: Sequence[int]) -> int | None:
    waiting = [v.release for v in versions if not v.served and not v.rolled_back and v.release in on_disk]
    if waiting and (serving is None or waiting[-1] > serving.release):
        return waiting[-1]
    return serving.release if serving else None


def unregistered(settings: Settings, versions: Sequence[Version]) -> list[int]:
    """Releases whose manifest stands but that a killed refresh, or one without MLflow, did not register."""
    known = {entry.release for entry in versions}
    newest = max(known, default=0)
    return [number for number in release_numbers(settings) if number not in known and number > newest]


def unpromoted(versions: Sequence[Version]) -> Version | None:
    """The newest version, if policy `auto` was to promote it and was killed before."""
    newest = versions[-1] if versions else None
    if newest is None or newest.served or newest.rolled_back or not newest.automatic:
        return None
    return newest
