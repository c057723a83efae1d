"""The answerer that serves: found by MLflow's alias, loaded from its files; the base model where no alias is."""

import logging
from collections.abc import Collection

from tasks.answer.answerer import Answerer, default_answerer, load_answerer
from tasks.errors import DependencyError
from tasks.index.search.request import checked_names
from tasks.params import Params
from tasks.releases.folder import release_folder
from tasks.releases.kind import ANSWERER, ReleaseKind, answerer_of
from tasks.releases.last_served import last_served, remember_served
from tasks.releases.lifecycle import champion
from tasks.releases.version import ReleaseVersion
from tasks.settings import Settings

logger = logging.getLogger(__name__)


def load_champion(params: Params, settings: Settings) -> Answerer:
    """Load the answerer that the alias names, else the base model; where MLflow does not answer, what served last.

    Raises:
        ConfigurationError: the version does not fit this project's base model or prompt.
        CorruptionError: its files are not what they were.
        DependencyError: MLflow does not answer, and the files of what served last are not in the home.
    """
    version = _champion_or_last(settings, ANSWERER)
    if version is None:
        answerer = default_answerer(params.generation, settings)
    else:
        folder = release_folder(settings, version)
        answerer = load_answerer(folder, params.generation, settings, version=version.version)
    remember_served(settings, ANSWERER, version)
    return answerer


def load_own(knowledge_base: str, params: Params, settings: Settings) -> Answerer | None:
    """Load the answerer that a knowledge base has of its own; None: the general one answers for it.

    What served last is kept by servers alone: they try a version before it answers anybody.

    Raises:
        ConfigurationError: the version does not fit this project's base model or prompt.
        CorruptionError: its files are not what they were.
        DependencyError: MLflow does not answer, and the files of what served last are not in the home.
    """
    checked_names("knowledge_base", [knowledge_base])
    version = _champion_or_last(settings, answerer_of(knowledge_base))
    if version is None:
        return None
    folder = release_folder(settings, version)
    return load_answerer(folder, params.generation, settings, version=version.label, shares_base=True)


def alone(knowledge_bases: Collection[str]) -> str | None:
    """Return the knowledge base to which a request is limited; None: it asks several, or all."""
    return next(iter(knowledge_bases)) if len(knowledge_bases) == 1 else None


def _champion_or_last(settings: Settings, kind: ReleaseKind) -> ReleaseVersion | None:
    try:
        return champion(settings, kind)
    except DependencyError as error:
        version = last_served(settings, kind)
        logger.warning("%s; answering with answerer %s", error, version.label if version else kind.default)
        return version
