"""Index releases as a person sees them: the list, what serves, and the way back."""

from dataclasses import dataclass

from tasks.errors import ConfigurationError
from tasks.index.registration import index_versions
from tasks.index.release import Release, load_release, release_numbers
from tasks.lease import LeaseHolder, current_writer
from tasks.releases.approval import Approver
from tasks.releases.kind import INDEX
from tasks.releases.last_served import remember_served
from tasks.releases.lifecycle import promote, roll_back
from tasks.releases.version import ReleaseEntry, ReleaseVersion, Rollback
from tasks.settings import Settings


@dataclass(frozen=True, slots=True)
class IndexStatus:
    """How the index stands.

    Attributes:
        serving: the champion; None before the first release.
        writer: who holds the lease; None: nobody writes.
        mlflow: its address.
        index: where the index lies.
    """

    serving: ReleaseEntry | None
    newest_release: int | None
    newest_created_at: str | None
    writer: LeaseHolder | None
    mlflow: str
    index: str


def list_releases(settings: Settings) -> list[ReleaseEntry]:
    """Return the releases that can be rolled back to, newest first."""
    by_number = {entry.release: entry for entry in index_versions(settings)}
    return [
        _entry(load_release(settings, number), by_number.get(number)) for number in reversed(release_numbers(settings))
    ]


def _entry(release: Release, version: ReleaseVersion | None) -> ReleaseEntry:
    return ReleaseEntry(
        kind=INDEX.name,
        version=release.number,
        mlflow_version=version.version if version else None,
        aliases=version.aliases if version else (),
        gate=version.gate if version else None,
        rolled_back=bool(version and version.rolled_back),
        created_at=release.created_at,
        documents=release.num_documents,
        chunks=release.num_chunks,
        metrics=dict(release.metrics),
        lineage={
            "base": release.base,
            "corpus": release.corpus.tag,
            "corpus_commit": release.corpus.commit,
            "corpus_md5": release.corpus.md5,
            "params_digest": release.params_digest,
            "embedder": release.fingerprint.embedder,
            "git_commit": release.git_commit,
        },
    )


def promote_index(settings: Settings, number: int, by: Approver | None = None) -> ReleaseVersion:
    """Move the alias to a release that is kept.

    Raises:
        ConfigurationError: there is no such release, it did not pass its gate, or a promoter is wanted and none given.
    """
    target = promote(settings, INDEX, version_of(settings, number), by)
    remember_served(settings, INDEX, target)
    return target


def roll_back_index(settings: Settings, number: int | None, by: Approver | None = None) -> Rollback:
    """Move the alias back to a release, by default to the newest one that served before.

    Raises:
        ConfigurationError: there is no such release, or none before.
    """
    kept = set(release_numbers(settings))
    to = None if number is None else version_of(settings, number)
    abandoned, target = roll_back(settings, INDEX, to=to, may_serve=lambda entry: entry.number in kept, by=by)
    if target is None:
        raise ConfigurationError("a rollback of the index must lead to a release, found none; run `almanac refresh`")
    remember_served(settings, INDEX, target)
    return Rollback(INDEX.name, target.release, abandoned.release)


def version_of(settings: Settings, number: int) -> str:
    """Return MLflow's version of a release that is kept and does not serve.

    Raises:
        ConfigurationError: there is none of that number.
    """
    kept = release_numbers(settings)
    for entry in index_versions(settings):
        if entry.number == number and number in kept and not entry.is_champion:
            load_release(settings, number)
            return entry.version
    raise ConfigurationError(
        f"this needs a kept release other than the serving one, found {number}; kept: {sorted(kept)}"
    )


def index_status(settings: Settings, serving: ReleaseVersion | None) -> IndexStatus:
    """Return what serves, which is the index's champion, the last refresh, and who holds the lease."""
    numbers = release_numbers(settings)
    newest = load_release(settings, numbers[-1]) if numbers else None
    return IndexStatus(
        serving=_entry(load_release(settings, serving.release), serving) if serving else None,
        newest_release=newest.number if newest else None,
        newest_created_at=newest.created_at if newest else None,
        writer=current_writer(settings),
        mlflow=settings.tracking_uri,
        index=settings.index_uri,
    )
