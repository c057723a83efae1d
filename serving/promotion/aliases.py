"""What the aliases in MLflow name now."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from tasks.releases.answerers import own_answerers
from tasks.releases.kind import ANSWERER, INDEX, answerer_of
from tasks.releases.lifecycle import named
from tasks.releases.model_registry import CHALLENGER, CHAMPION, mlflow_client
from tasks.releases.version import ReleaseVersion
from tasks.settings import Settings


@dataclass(frozen=True, slots=True)
class Aliases:
    """The versions that the aliases name; None where there is no such alias.

    Attributes:
        own: the champion of each knowledge base that has an answerer of its own.
    """

    index: ReleaseVersion | None
    answerer: ReleaseVersion | None
    challenger: ReleaseVersion | None
    own: Mapping[str, ReleaseVersion] = field(default_factory=dict)

    def named(self) -> list[ReleaseVersion]:
        """Return all versions that an alias names."""
        return [*([self.index] if self.index else []), *self.answerers()]

    def answerers(self) -> list[ReleaseVersion]:
        """Return the answerers that an alias names."""
        return [version for version in (self.answerer, self.challenger, *self.own.values()) if version is not None]


def read_aliases(settings: Settings) -> Aliases:
    """Ask MLflow.

    Raises:
        DependencyError: it does not answer.
    """
    names = own_answerers(settings)
    with mlflow_client(settings) as client:
        champions = {name: named(client, answerer_of(name), CHAMPION) for name in names}
        return Aliases(
            index=named(client, INDEX, CHAMPION),
            answerer=named(client, ANSWERER, CHAMPION),
            challenger=named(client, ANSWERER, CHALLENGER),
            own={name: version for name, version in champions.items() if version is not None},
        )
