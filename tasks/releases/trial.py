"""The version that is on trial: a challenger, with the verdict on it as its tag `trial`. Knows MLflow only."""

from tasks.releases.kind import ANSWERER, ReleaseKind
from tasks.releases.lifecycle import versions
from tasks.releases.model_registry import CHALLENGER
from tasks.releases.version import ReleaseVersion
from tasks.settings import Settings


def current_challenger(settings: Settings, kind: ReleaseKind = ANSWERER) -> ReleaseVersion | None:
    """Return the version with the alias `challenger`; None: there is none.

    Args:
        settings: where MLflow is.
        kind: the general answerer, or a knowledge base's own.

    Raises:
        DependencyError: MLflow does not answer.
    """
    return next((entry for entry in versions(settings, kind) if CHALLENGER in entry.aliases), None)
