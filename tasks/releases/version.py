"""A registered version of any kind of release, as MLflow knows it. Knows no other system."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tasks.errors import ConfigurationError
from tasks.releases.kind import ReleaseKind
from tasks.releases.model_registry import CHAMPION
from tasks.releases.tags import GATE_PASSED, LINEAGE, METRIC, Tag


@dataclass(frozen=True, slots=True)
class ReleaseVersion:
    """A version in MLflow.

    Attributes:
        version: MLflow's number of it.
        run_id: a number may be used again once its version was deleted; the run tells them apart. Empty: none.
        aliases: all that name it, sorted.
        alias: the one by which it was asked for.
    """

    kind: ReleaseKind
    version: str
    run_id: str
    tags: Mapping[str, str] = field(default_factory=dict)
    aliases: tuple[str, ...] = ()
    alias: str = CHAMPION

    @property
    def id(self) -> tuple[str, str, str]:
        """Return what tells this version from every other."""
        return (self.kind.model, self.version, self.run_id)

    @property
    def label(self) -> str:
        """Return its name among all answerers, as traces have it: `3`, or `handbook/3` of a knowledge base's own."""
        own = self.kind.knowledge_base
        return self.version if own is None else f"{own}/{self.version}"

    @property
    def is_champion(self) -> bool:
        """Say whether the alias `champion` names it."""
        return CHAMPION in self.aliases

    @property
    def number(self) -> int | None:
        """Return the number of the index release; None for a version that no refresh made."""
        number = self.tags.get(Tag.RELEASE, "")
        return int(number) if number.isdigit() else None

    @property
    def release(self) -> int:
        """Return the number of the index release.

        Raises:
            ConfigurationError: no refresh made this version.
        """
        if self.number is None:
            raise ConfigurationError(
                f"a version of {self.kind.model} must have the tag `{Tag.RELEASE}`, version {self.version} has none: "
                "no refresh made it; promote another"
            )
        return self.number

    @property
    def gate(self) -> str:
        """Return the verdict of its gate; `none` where no gate judged it."""
        return self.tags.get(Tag.GATE, "none")

    @property
    def passed_gate(self) -> bool:
        """Say whether its gate let it through."""
        return self.gate == GATE_PASSED

    @property
    def served(self) -> bool:
        """Say whether it ever was champion."""
        return Tag.SERVED in self.tags

    @property
    def rolled_back(self) -> bool:
        """Say whether it was taken back."""
        return Tag.ROLLED_BACK in self.tags

    @property
    def challenged(self) -> bool:
        """Say whether it ever was challenger."""
        return Tag.CHALLENGED in self.tags

    @property
    def refused(self) -> bool:
        """Say whether it was found unfit to serve."""
        return Tag.REFUSED in self.tags

    @property
    def lost_trial(self) -> bool:
        """Say whether users were shown to be answered worse by it than by the champion."""
        return self.tags.get(Tag.TRIAL, "").startswith("worse")

    @property
    def automatic(self) -> bool:
        """Say whether policy `auto` promotes it."""
        return self.tags.get(Tag.AUTOMATIC) == "true"

    def __str__(self) -> str:
        return f"{self.kind.model} {self.version}"


@dataclass(frozen=True, slots=True)
class ReleaseEntry:
    """A release as a person sees it.

    Attributes:
        version: the number to roll back to: of an index its release, else MLflow's version.
        mlflow_version: None where MLflow does not know it.
    """

    kind: str
    version: int | str
    mlflow_version: str | None = None
    aliases: tuple[str, ...] = ()
    gate: str | None = None
    rolled_back: bool = False
    created_at: str | None = None
    documents: int | None = None
    chunks: int | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    lineage: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AliasOutcome:
    """What became of the alias of a rejected version.

    Attributes:
        stays: it still names the version.
    """

    text: str
    stays: bool = False


@dataclass(frozen=True, slots=True)
class Rollback:
    """What serves again, and what was taken back; versions as in `ReleaseEntry`."""

    kind: str
    version: int | str
    abandoned: int | str


def require_gate(version: ReleaseVersion) -> None:
    """Refuse a version that did not pass its gate: whoever may move the alias may skip the gate by mistake.

    Raises:
        ConfigurationError: it did not.
    """
    if not version.passed_gate:
        raise ConfigurationError(
            f"a version must have passed its gate to serve, version {version.version} of {version.kind.model} has gate "
            f"{version.gate!r}; promote another"
        )


def entry_of(version: ReleaseVersion) -> ReleaseEntry:
    """Return the entry of a version from its tags alone."""
    tags = version.tags
    return ReleaseEntry(
        kind=version.kind.name,
        version=version.version,
        mlflow_version=version.version,
        aliases=version.aliases,
        gate=version.gate,
        rolled_back=version.rolled_back,
        created_at=tags.get(Tag.CREATED_AT),
        metrics={name.removeprefix(METRIC): float(tags[name]) for name in sorted(tags) if name.startswith(METRIC)},
        lineage={str(name): tags[name] for name in LINEAGE if name in tags} | {"run_id": version.run_id},
    )
