"""What the aliases in MLflow name, and what the server writes there: tags on versions, an alias put back.

All writes are idempotent and look first: several servers may follow the same aliases.
"""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tasks.answer.registry import MODEL as ANSWERER
from tasks.errors import DependencyError
from tasks.index.registration import MODEL as INDEX
from tasks.releases.model_registry import CHALLENGER, CHAMPION, mlflow_client
from tasks.settings import Settings

if TYPE_CHECKING:
    from mlflow import MlflowClient

MAX_TAG_CHARACTERS = 500
PROBE_SECONDS = 2.0
_ABSENT = {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}


@dataclass(frozen=True, slots=True)
class Target:
    """A version that an alias names.

    Attributes:
        model: `almanac-index` or `almanac-answerer`.
        run_id: a version number may be used again once its version was deleted; the run tells them apart.
        alias: that named it.
    """

    model: str
    version: str
    run_id: str
    tags: Mapping[str, str]
    alias: str = CHAMPION

    @property
    def key(self) -> tuple[str, str, str]:
        """What tells this version from every other."""
        return (self.model, self.version, self.run_id)

    @property
    def slot(self) -> tuple[str, str]:
        """The alias that named it."""
        return (self.model, self.alias)

    def __str__(self) -> str:
        return f"{self.model} {self.version}"


@dataclass(frozen=True, slots=True)
class Aliases:
    """What the aliases name now; None where there is no such alias."""

    index: Target | None
    answerer: Target | None
    challenger: Target | None

    def named(self) -> list[Target]:
        """All versions that an alias names."""
        return [target for target in (self.index, self.answerer, self.challenger) if target is not None]


@dataclass(frozen=True, slots=True)
class AliasOutcome:
    """What became of the alias of a refused version.

    Attributes:
        stays: it still names the version.
    """

    text: str
    stays: bool = False


def read_aliases(settings: Settings) -> Aliases:
    """Ask MLflow.

    Raises:
        DependencyError: it does not answer.
    """
    with mlflow_client(settings) as client:
        return Aliases(
            index=_named(client, INDEX, CHAMPION),
            answerer=_named(client, ANSWERER, CHAMPION),
            challenger=_named(client, ANSWERER, CHALLENGER),
        )


def probe(settings: Settings) -> None:
    """Ask a server that did not answer whether it does now: MLflow's client would wait, and warn, at every poll.

    Raises:
        DependencyError: it still does not.
    """
    import httpx

    if not settings.tracking_uri.startswith("http"):
        return
    try:
        httpx.head(settings.tracking_uri, timeout=PROBE_SECONDS)
    except httpx.TransportError as error:
        raise DependencyError(
            f"MLflow at {settings.tracking_uri} must answer, found: {error}; start it or set MLFLOW_TRACKING_URI"
        ) from error


def has_files(settings: Settings, target: Target, folder: str) -> bool:
    """Whether the run of a version holds a folder of files.

    Raises:
        DependencyError: MLflow does not answer.
    """
    from mlflow.exceptions import MlflowException

    with mlflow_client(settings) as client:
        try:
            return bool(client.list_artifacts(target.run_id, folder))
        except MlflowException as error:
            if error.error_code in _ABSENT:
                return False
            raise


def was_taken_back(settings: Settings, model: str, version: str) -> bool:
    """Whether a version says that it was rolled back; not so where it is gone.

    Raises:
        DependencyError: MLflow does not answer.
    """
    with mlflow_client(settings) as client:
        return "rolled_back" in (_tags(client, model, version) or {})


def note_passed(settings: Settings, target: Target, note: str) -> bool:
    """Say on a version how it came to answer, and drop what was said before; whether its alias still names it.

    Raises:
        DependencyError: MLflow does not answer.
    """
    with mlflow_client(settings) as client:
        now = _named(client, target.model, target.alias)
        if now is None or now.key != target.key:
            return False
        gone = ["refused", "refused_at"]
        if target.alias == CHAMPION:
            gone.append("rolled_back")
            _set(client, target, {} if _has_served(now) else {"served": moment()})
        for name in gone:
            if name in now.tags:
                client.delete_model_version_tag(target.model, target.version, name)
        _set(client, target, {"promotion": note})
        return True


def note_taken_back(settings: Settings, model: str, version: str) -> None:
    """Say on a version that it was taken back; one that is gone needs no tag.

    Raises:
        DependencyError: MLflow does not answer.
    """
    with mlflow_client(settings) as client:
        tags = _tags(client, model, version)
        if tags is not None and "rolled_back" not in tags:
            client.set_model_version_tag(model, version, "rolled_back", moment())


def note_refused(
    settings: Settings, target: Target, why: str, *, serves: str | None, base_serves: bool
) -> AliasOutcome:
    """Say on a version why it does not serve; put its alias back, if it still names it.

    The tag comes first: after a kill in between, the next poll finds the alias and refuses again.

    Args:
        settings: where MLflow is.
        target: the refused version.
        why: one line.
        serves: the version that serves on.
        base_serves: no version serves on, but the base model: the alias is deleted.

    Raises:
        DependencyError: MLflow does not answer.
    """
    with mlflow_client(settings) as client:
        if _tags(client, target.model, target.version) is None:
            return AliasOutcome("the version is gone")
        tags = {"refused": why, "refused_at": moment()}
        # What was refused is no base of the next refresh and no way back: as if a person had taken it back.
        _set(client, target, tags | ({"rolled_back": moment()} if target.alias == CHAMPION else {}))
        now = _named(client, target.model, target.alias)
        if now is None or now.key != target.key:
            return AliasOutcome("the alias names another version by now")
        if target.alias != CHAMPION:
            return AliasOutcome("the alias stays; nobody is given this version", stays=True)
        return _put_back(client, target, serves, base_serves=base_serves)


def _put_back(client: "MlflowClient", target: Target, serves: str | None, *, base_serves: bool) -> AliasOutcome:
    """Two servers that each refuse what the other serves must not move the alias for ever: `refused` stops it."""
    if base_serves:
        client.delete_registered_model_alias(target.model, CHAMPION)
        return AliasOutcome("the alias was deleted: the base model serves")
    tags = _tags(client, target.model, serves) if serves else None
    if serves is None or tags is None:
        return AliasOutcome("the alias stays: no version that MLflow knows serves in its place", stays=True)
    if "refused" in tags:
        return AliasOutcome(f"the alias stays: version {serves}, which serves here, was refused elsewhere", stays=True)
    client.set_registered_model_alias(target.model, CHAMPION, serves)
    return AliasOutcome(f"the alias was put back to version {serves}")


def _has_served(target: Target) -> bool:
    return "served" in target.tags and "rolled_back" not in target.tags


def _set(client: "MlflowClient", target: Target, tags: Mapping[str, str]) -> None:
    for name, value in tags.items():
        client.set_model_version_tag(target.model, target.version, name, value[:MAX_TAG_CHARACTERS])


def _named(client: "MlflowClient", model: str, alias: str) -> Target | None:
    from mlflow.exceptions import MlflowException

    try:
        entry = client.get_model_version_by_alias(model, alias)
    except MlflowException as error:
        if error.error_code in _ABSENT:
            return None
        raise
    return Target(model, str(entry.version), str(entry.run_id or ""), dict(entry.tags), alias)


def _tags(client: "MlflowClient", model: str, version: str) -> dict[str, str] | None:
    from mlflow.exceptions import MlflowException

    try:
        return dict(client.get_model_version(model, version).tags)
    except MlflowException as error:
        if error.error_code in _ABSENT:
            return None
        raise


def moment() -> str:
    """Now, to the second, in UTC."""
    return dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
