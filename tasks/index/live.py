"""The index that serves: found by MLflow's alias, opened at its tag."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, TypeVar

from tasks.errors import ConfigurationError, DependencyError, UnavailableError
from tasks.index.access import AccessMap
from tasks.index.access_tables import load_access
from tasks.index.embedding.embedder import Embedder, load_embedder
from tasks.index.embedding.files import VectorSpace, vector_space
from tasks.index.embedding.light import load_light_embedder
from tasks.index.passage import Passage
from tasks.index.release import (
    Release,
    embedding_params,
    lance_tag,
    load_release,
    release_numbers,
    tagged_version,
)
from tasks.index.search import Index, Request
from tasks.index.search.rerank import build_reranker
from tasks.index.table import connect, open_at
from tasks.params import EmbeddingParams, Params
from tasks.releases.kind import INDEX
from tasks.releases.last_served import last_served, remember_served
from tasks.releases.lifecycle import champion
from tasks.releases.version import ReleaseVersion
from tasks.settings import Settings

if TYPE_CHECKING:
    from lancedb.db import DBConnection

logger = logging.getLogger(__name__)

MAX_OPEN_RELEASES = 4

Load = Callable[[EmbeddingParams, Settings], Embedder]
Space = TypeVar("Space", Embedder, VectorSpace)


@dataclass(frozen=True, slots=True)
class Serving:
    """A release that serves; `version` is what MLflow's alias names, or what served last where MLflow is down."""

    release: Release
    version: ReleaseVersion


def open_index(
    db: "DBConnection", release: Release, params: Params, settings: Settings, load: Load = load_embedder
) -> Index:
    """Open a release for search, with the embedder that made its vectors.

    Raises:
        CorruptionError: its tag is unreadable.
        UnavailableError: its embedder is not on this machine, or has other weights here.
    """
    embedder = _embedder_of(release, settings, load)
    table = open_at(db, release.lance_tag)
    reranker = build_reranker(params.search, embedder, settings)
    return Index(
        table,
        embedder,
        params.search,
        params.index,
        release=str(release.number),
        reranker=reranker,
        metrics=release.metrics,
    )


def require_readable(db: "DBConnection", release: Release, settings: Settings) -> None:
    """Refuse a release that `open_index` would refuse, without loading its embedder's network.

    Raises:
        CorruptionError: its tag is unreadable.
        UnavailableError: its embedder is not on this machine, or has other weights here.
    """
    _embedder_of(release, settings, vector_space)
    open_at(db, release.lance_tag)


def _embedder_of(release: Release, settings: Settings, load: Callable[[EmbeddingParams, Settings], Space]) -> Space:
    try:
        embedder = load(embedding_params(release), settings)
    except ConfigurationError as error:
        raise UnavailableError(
            f"release {release.number} must be asked with embedder {release.fingerprint.embedder}, which cannot be had "
            f"here: {error}"
        ) from error
    if embedder.identity != release.fingerprint.embedder:
        raise UnavailableError(
            f"release {release.number} must be asked with embedder {release.fingerprint.embedder}, found "
            f"{embedder.identity}; restore the model, or run `almanac refresh --rebuild`"
        )
    return embedder


def serving(settings: Settings) -> Serving:
    """Return the release that the alias `champion` names; where MLflow does not answer, the one that served last.

    Raises:
        ConfigurationError: nothing was released yet.
        DependencyError: MLflow does not answer, and nothing served here before.
    """
    try:
        version = champion(settings, INDEX)
    except DependencyError as error:
        version = last_served(settings, INDEX)
        if version is None:
            raise
        logger.warning("%s; answering from release %d, which served last", error, version.release)
    if version is None:
        raise ConfigurationError("an index must be released before it can be asked, found none; run `almanac refresh`")
    return Serving(load_release(settings, version.release), version)


class PastReleases:
    """Releases that can still be searched beside the one that serves, opened when they are asked for."""

    def __init__(self, db: "DBConnection", params: Params, settings: Settings) -> None:
        """Open nothing yet."""
        self._db, self._params, self._settings = db, params, settings
        self._opened = lru_cache(maxsize=MAX_OPEN_RELEASES)(self._open)

    def open(self, number: int) -> Index:
        """Return a release, as its tag names it now.

        Raises:
            ConfigurationError: it is not kept.
        """
        kept = release_numbers(self._settings)
        if number not in kept:
            raise ConfigurationError(
                f"as_of must be the number of a release that is kept, found {number}; kept are "
                f"{', '.join(map(str, kept)) or 'none'}"
            )
        return self._opened(number, tagged_version(self._db, lance_tag(number)))

    def _open(self, number: int, version: int) -> Index:  # noqa: ARG002 - another version is another entry
        return open_index(self._db, load_release(self._settings, number), self._params, self._settings)


class LiveIndex:
    """The release that served when it was opened: for a command or a test; the server follows (`serving.promotion`)."""

    def __init__(self, params: Params, settings: Settings) -> None:
        """Open what serves now."""
        self._db = connect(settings)
        self.serving = serving(settings)
        self._index = open_index(self._db, self.serving.release, params, settings, load_light_embedder)
        self._past = PastReleases(self._db, params, settings)
        remember_served(settings, INDEX, self.serving.version)

    @property
    def embedder(self) -> Embedder:
        """What made the vectors of the release."""
        return self._index.embedder

    def access(self) -> AccessMap:
        """Return who may read what, as of now."""
        return load_access(self._db)

    def search(self, request: Request) -> list[Passage]:
        """Search what serves, or the release of `request.as_of`, by the access of now."""
        index = self._index if request.as_of is None else self._past.open(request.as_of)
        return index.search(request, self.access())
