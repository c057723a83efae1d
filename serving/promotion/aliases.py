"""What the aliases in MLflow name now."""

from dataclasses import dataclass

from tasks.releases.kind import ANSWERER, INDEX
from tasks.releases.lifecycle import named
from tasks.releases.model_registry import CHALLENGER, CHAMPION, mlflow_client
from tasks.releases.version import ReleaseVersion
from tasks.settings import Settings


@dataclass(frozen=True, slots=True)
class Aliases:
    """The versions that the aliases name; None where there is no such alias."""

    index: ReleaseVersion | None
    answerer: ReleaseVersion | None
    challenger: ReleaseVersion | None

    def named(self) -> list[ReleaseVersion]:
        """Return all versions that an alias names."""
        return [*([self.index] if self.index else []), *self.answerers()]

    def answerers(self) -> list[ReleaseVersion]:
        """Return the answerers that an alias names."""
        return [version for version in (self.answerer, self.challenger) if version is not None]


def read_aliases(settings: Settings) -> Aliases:
    """Ask MLflow.

    Raises:
        DependencyError: it does not answer.
    """
    with mlflow_client(settings) as client:
        return Aliases(
            index=named(client, INDEX, CHAMPION),
            answerer=named(client, ANSWERER, CHAMPION),
            challenger=named(client, ANSWERER, CHALLENGER),
        )
