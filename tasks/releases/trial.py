"""The version that is on trial: the challenger, with the verdict on it as its tag `trial`. Knows MLflow only."""

from tasks.releases.kind import ANSWERER
from tasks.releases.lifecycle import versions
from tasks.releases.model_registry import CHALLENGER
from tasks.releases.version import ReleaseVersion
from tasks.settings import Settings


def current_challenger(settings: Settings) -> ReleaseVersion | None:
    """Return the version with the alias `challenger`; None: there is none.

    Raises:
        DependencyError: MLflow does not answer.
    """
    return next((entry for entry in versions(settings, ANSWERER) if CHALLENGER in entry.aliases), None)
