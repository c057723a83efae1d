"""How things stand, for `almanac status`: what serves since when, who writes, what runs next."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from flows.schedules import Schedule, upcoming
from tasks.index.embedding.champion import pinned
from tasks.index.history import IndexStatus, index_status
from tasks.index.release import embedding_params, load_release
from tasks.params import Params
from tasks.releases.answerers import own_answerers
from tasks.releases.kind import ANSWERER, INDEX, answerer_of
from tasks.releases.lifecycle import champion, versions
from tasks.releases.model_registry import CHALLENGER
from tasks.releases.tags import Tag
from tasks.releases.version import ReleaseEntry, ReleaseVersion, entry_of
from tasks.settings import Settings


@dataclass(frozen=True, slots=True)
class Status:
    """How things stand.

    Attributes:
        schedules: by cadence; None: no Prefect server is set.
        since: when the index release began to serve.
        next_embedder: what the next refresh makes the index with; None: what it is made with.
        trial: the verdict on the challenger, by its answers to a share of the users; None: none is on trial.
        own_answerers: that serve those who ask a knowledge base alone.
        own_trials: the verdicts on the challengers of knowledge bases, by name.
        server: address of the server that runs over the home; None: there is none.
    """

    index: IndexStatus
    answerer: ReleaseEntry
    schedules: Mapping[str, Schedule | None] | None
    since: str | None
    server: str | None = None
    trial: str | None = None
    next_embedder: str | None = None
    own_answerers: tuple[ReleaseEntry, ...] = ()
    own_trials: Mapping[str, str] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Return the fields of `almanac status --json`."""
        fields = asdict(self)
        index: dict[str, Any] = fields["index"]
        return index | {
            "answerer": fields["answerer"],
            "schedules": fields["schedules"],
            "server": self.server,
            "trial": self.trial,
            "next_embedder": self.next_embedder,
            "own_answerers": list(fields["own_answerers"]),
            "own_trials": fields["own_trials"],
        }


def system_status(params: Params, settings: Settings) -> Status:
    """Return how things stand.

    Raises:
        DependencyError: MLflow or Prefect does not answer.
    """
    version = champion(settings, INDEX)
    general = versions(settings, ANSWERER)
    own = {name: versions(settings, answerer_of(name)) for name in own_answerers(settings)}
    return Status(
        index_status(settings, version),
        _answerer(general, params),
        upcoming(),
        version.tags.get(Tag.SERVED) if version else None,
        trial=_trial(general),
        next_embedder=_next_embedder(version, params, settings),
        own_answerers=tuple(entry_of(entry) for entries in own.values() for entry in entries if entry.is_champion),
        own_trials={name: trial for name, entries in own.items() if (trial := _trial(entries))},
    )


def _next_embedder(version: ReleaseVersion | None, params: Params, settings: Settings) -> str | None:
    if version is None or version.number is None:
        return None
    model = pinned(params.embedding, settings).model
    return None if model == embedding_params(load_release(settings, version.number)).model else model


def _trial(answerers: Sequence[ReleaseVersion]) -> str | None:
    """Return the verdict on the challenger among the versions of one model; None: none is on trial."""
    challenger = next((entry for entry in answerers if CHALLENGER in entry.aliases), None)
    verdict = challenger.tags.get(Tag.TRIAL) if challenger else None
    return f"version {challenger.version}: {verdict}" if challenger and verdict else None


def _answerer(general: Sequence[ReleaseVersion], params: Params) -> ReleaseEntry:
    version = next((entry for entry in general if entry.is_champion), None)
    if version is not None:
        return entry_of(version)
    return ReleaseEntry(ANSWERER.name, "excerpt" if params.generation.is_excerpt else str(ANSWERER.default))
