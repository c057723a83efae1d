"""The answerer that serves: found by MLflow's alias, loaded from its files; the base model where no alias is."""

import logging

from tasks.answer.answerer import BASE, Answerer, default_answerer, load_answerer
from tasks.errors import DependencyError
from tasks.params import Params
from tasks.releases.folder import release_folder
from tasks.releases.kind import ANSWERER
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
    version = _champion_or_last(settings)
    if version is None:
        answerer = default_answerer(params.generation, settings)
    else:
        folder = release_folder(settings, version)
        answerer = load_answerer(folder, params.generation, settings, version=version.version)
    remember_served(settings, ANSWERER, version)
    return answerer


def _champion_or_last(settings: Settings) -> ReleaseVersion | None:
    try:
        return champion(settings, ANSWERER)
    except DependencyError as error:
        version = last_served(settings, ANSWERER)
        logger.warning("%s; answering with answerer %s", error, version.version if version else BASE)
        return version
