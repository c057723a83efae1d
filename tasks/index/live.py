"""The index that serves: found by MLflow's alias, opened at its tag."""

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tasks.errors import ConfigurationError, CorruptionError, DependencyError
from tasks.index import registration
from tasks.index.access import AccessMap
from tasks.index.access_tables import load_access
from tasks.index.embedding.embedder import load_embedder
from tasks.index.passage import Passage
from tasks.index.release import Release, last_served, load_release, remember_served
from tasks.index.search import Index, Request
from tasks.index.table import connect, open_at
from tasks.params import EmbeddingParams, Params
from tasks.settings import Settings

if TYPE_CHECKING:
    from lancedb.db import DBConnection

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Serving:
    """A release that serves; `version` is MLflow's, None where MLflow could not be asked."""

    release: Release
    version: str | None


def open_index(db: "DBConnection", release: Release, params: Params, settings: Settings) -> Index:
    """Open a release for search, with the embedder that made its vectors.

    Raises:
        CorruptionError: its tag is unreadable, or its embedder's weights are no longer what they were.
    """
    embedder = load_embedder(EmbeddingParams(**release.embedding), settings)
    if embedder.identity != release.fingerprint.embedder:
        raise CorruptionError(
            f"release {release.number} must be asked with embedder {release.fingerprint.embedder}, found "
            f"{embedder.identity}; restore the model, or run `almanac refresh --rebuild`"
        )
    table = open_at(db, release.lance_tag)
    return Index(table, embedder, params.search, params.index, release=str(release.number))


def serving(settings: Settings) -> Serving:
    """The release that the alias `champion` names; where MLflow does not answer, the one that served last.

    Raises:
        ConfigurationError: nothing was released yet.
    """
    try:
        champion = registration.champion(settings)
    except DependencyError as error:
        number = last_served(settings)
        if number is None:
            raise
        logger.warning("%s; answering from release %d, which served last", error, number)
        return Serving(load_release(settings, number), None)
    if champion is None:
        raise ConfigurationError("an index must be released before it can be asked, found none; run `almanac refresh`")
    return Serving(load_release(settings, champion.release), champion.version)


class LiveIndex:
    """The release that served when it was opened: for a command or a test; the server follows (`serving.promotion`)."""

    def __init__(self, params: Params, settings: Settings) -> None:
        """Open what serves now."""
        self._db = connect(settings)
        self.serving = serving(settings)
        self._index = open_index(self._db, self.serving.release, params, settings)
        remember_served(settings, self.serving.release.number)

    def access(self) -> AccessMap:
        """Who may read what, as of now."""
        return load_access(self._db)

    def search(self, request: Request) -> list[Passage]:
        """Search, by the access of now."""
        return self._index.search(request, self.access())
