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
        own_challengers: the challenger of each that has one.
    """

    index: ReleaseVersion | None
    answerer: ReleaseVersion | None
    challenger: ReleaseVersion | None
    own: Mapping[str, ReleaseVersion] = field(default_factory=dict)
    own_challengers: Mapping[str, ReleaseVersion] = field(default_factory=dict)

    def named(self) -> list[ReleaseVersion]:
        """Return all versions that an alias names."""
        return [*([self.index] if self.index else []), *self.answerers()]

    def answerers(self) -> list[ReleaseVersion]:
        """Return the answerers that an alias names."""
        general = [version for version in (self.answerer, self.challenger) if version is not None]
        return [*general, *self.own.values(), *self.own_challengers.values()]


def read_aliases(settings: Settings) -> Aliases:
    """Ask MLflow.

    Raises:
        DependencyError: it does not answer.
    """
    names = own_answerers(settings)
    with mlflow_client(settings) as client:

        def of_each(alias: str) -> dict[str, ReleaseVersion]:
            asked = ((name, named(client, answerer_of(name), alias)) for name in names)
            return {name: version for name, version in asked if version is not None}

        return Aliases(
            index=named(client, INDEX, CHAMPION),
            answerer=named(client, ANSWERER, CHAMPION),
            challenger=named(client, ANSWERER, CHALLENGER),
            own=of_each(CHAMPION),
            own_challengers=of_each(CHALLENGER),
        )
