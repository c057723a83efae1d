"""What a refresh starts from: the release that serves, or the newest one that waits for a person."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tasks.corpus.plan import IndexedDocument, known_documents
from tasks.corpus.snapshot import fold_state
from tasks.index.registration import index_versions
from tasks.index.release import Release, load_release, release_numbers
from tasks.index.snapshots import snapshot_files
from tasks.releases.kind import INDEX
from tasks.releases.lifecycle import note_champion, note_rolled_back
from tasks.releases.version import ReleaseVersion
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
    versions: tuple[ReleaseVersion, ...] = ()
    indexed: Mapping[str, Mapping[str, IndexedDocument]] = field(default_factory=dict)


def find_base(settings: Settings) -> Base:
    """Return the champion; but the newest release while it has never served, since it waits for a person.

    What a person did in the UI is noted as if by command: a champion set there has served, and a newer release that
    served before it was taken back.

    Raises:
        DependencyError: MLflow does not answer.
        CorruptionError: a manifest or a snapshot is damaged.
    """
    versions = corrected_versions(settings)
    serving = _serving(versions)
    number = _base_number(versions, serving, release_numbers(settings))
    if number is None:
        return Base(versions=tuple(versions))
    release = load_release(settings, number)
    champion = load_release(settings, serving.release) if serving else None
    state = fold_state(snapshot_files(settings, release))
    return Base(release, champion, tuple(versions), known_documents(state))


def corrected_versions(settings: Settings) -> list[ReleaseVersion]:
    """Return the versions, once their tags say what a person did in the UI."""
    versions = index_versions(settings)
    serving = _serving(versions)
    if serving is None:
        return versions
    newest = [entry for entry in versions if entry.served or entry is serving][-1]
    moved_back = newest is not serving and not newest.rolled_back
    if serving.served and not serving.rolled_back and not moved_back:
        return versions
    note_champion(settings, serving)
    if moved_back:
        note_rolled_back(settings, INDEX, newest.version)
    return index_versions(settings)


def _serving(versions: Sequence[ReleaseVersion]) -> ReleaseVersion | None:
    return next((entry for entry in versions if entry.is_champion), None)


def _base_number(
    versions: Sequence[ReleaseVersion], serving: ReleaseVersion | None, on_disk: Sequence[int]
) -> int | None:
    waiting = [v.release for v in versions if not v.served and not v.rolled_back and v.release in on_disk]
    if waiting and (serving is None or waiting[-1] > serving.release):
        return waiting[-1]
    return serving.release if serving else None


def unregistered(settings: Settings, versions: Sequence[ReleaseVersion]) -> list[int]:
    """Return the releases whose manifest stands but that a killed refresh, or one without MLflow, did not register."""
    registered = {entry.release for entry in versions}
    newest = max(registered, default=0)
    return [number for number in release_numbers(settings) if number not in registered and number > newest]


def unpromoted(versions: Sequence[ReleaseVersion]) -> ReleaseVersion | None:
    """Return the newest version, if policy `auto` was to promote it and was killed before."""
    newest = versions[-1] if versions else None
    if newest is None or newest.served or newest.rolled_back or not newest.automatic:
        return None
    return newest
