"""The life of a version: registered, challenger, champion; rejected or rolled back. The same steps for every kind.

The alias `champion` is the only truth of what serves: a person moves it in the MLflow UI, or a command does. Whatever
moves it takes three steps in this order, and each may be taken twice:

    tag the version that leaves ─▶ move the alias ─▶ tag the version that arrives

Killed after the first, a version that serves says that it was taken back; killed after the second, it does not say yet
that it served, and may be a challenger still: whoever looks next at the alias corrects both (`note_champion`).
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from tasks.audit.audit import open_audit
from tasks.errors import ConfigurationError
from tasks.releases.approval import Approver, approval_tag, approver
from tasks.releases.embedded_reader import read_versions
from tasks.releases.folder import release_folder
from tasks.releases.kind import ReleaseKind
from tasks.releases.model_registry import CHALLENGER, CHAMPION, ensure_model, mlflow_client, none_if_absent, now
from tasks.releases.tags import GATE_PASSED, Tag
from tasks.releases.tracking_store import is_embedded
from tasks.releases.version import AliasOutcome, ReleaseVersion, require_gate
from tasks.settings import Settings

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

MAX_TAG_CHARACTERS = 500


# Reading.


def versions(settings: Settings, kind: ReleaseKind) -> list[ReleaseVersion]:
    """Return all versions, oldest first; none where nothing was registered.

    Raises:
        DependencyError: MLflow does not answer.
    """
    if is_embedded(settings):
        entries_read = read_versions(settings.layout.tracking_database, kind)
        if entries_read is not None:
            return entries_read
    with mlflow_client(settings) as client:
        registered = none_if_absent(client.get_registered_model, kind.model)
        if registered is None:
            return []
        entries = client.search_model_versions(f"name='{kind.model}'", max_results=10000)
    ordered = sorted(entries, key=lambda entry: int(entry.version))
    named_by = sorted((alias, str(version)) for alias, version in registered.aliases.items())
    return [_version(kind, entry, tuple(a for a, v in named_by if v == str(entry.version))) for entry in ordered]


def champion(settings: Settings, kind: ReleaseKind) -> ReleaseVersion | None:
    """Return the version that the alias `champion` names; None: the kind's default serves, or nothing.

    Raises:
        DependencyError: MLflow does not answer.
    """
    if is_embedded(settings):
        return next((entry for entry in versions(settings, kind) if entry.is_champion), None)
    with mlflow_client(settings) as client:
        return named(client, kind, CHAMPION)


def named(client: "MlflowClient", kind: ReleaseKind, alias: str) -> ReleaseVersion | None:
    """Return the version that an alias names; None: there is no such alias."""
    entry = none_if_absent(client.get_model_version_by_alias, kind.model, alias)
    return None if entry is None else _version(kind, entry, (alias,), alias)


def required(registered: list[ReleaseVersion], kind: ReleaseKind, version: str) -> ReleaseVersion:
    """Return the version of this number.

    Raises:
        ConfigurationError: there is none.
    """
    for entry in registered:
        if entry.version == version:
            return entry
    numbers = ", ".join(entry.version for entry in registered) or "none"
    raise ConfigurationError(f"{kind.model} must have version {version}, found: {numbers}; see `almanac releases`")


def is_rolled_back(settings: Settings, kind: ReleaseKind, version: str) -> bool:
    """Say whether a version was taken back; one that is gone was not.

    Raises:
        DependencyError: MLflow does not answer.
    """
    with mlflow_client(settings) as client:
        return Tag.ROLLED_BACK in (_tags(client, kind, version) or {})


# Becoming a version.


def register(
    settings: Settings, kind: ReleaseKind, *, key: str, run_id: str, tags: Mapping[str, str], description: str
) -> ReleaseVersion:
    """Make what passed its gate a version, once for each key.

    Args:
        settings: where MLflow is.
        kind: of release.
        key: names what made it: the same key is registered once, also after a kill at any line.
        run_id: the run that holds its files under `kind.artifacts`.
        tags: more tags.
        description: Markdown, what a person reads before promoting.

    Raises:
        DependencyError: MLflow does not answer.
    """
    registered = version_with_key(settings, kind, key)
    if registered is not None:
        return registered
    with mlflow_client(settings) as client:
        ensure_model(client, kind.model, kind.description)
        entry = client.create_model_version(
            kind.model,
            source=f"runs:/{run_id}/{kind.artifacts}",
            run_id=run_id,
            tags={str(Tag.GATE): GATE_PASSED, str(kind.key_tag): key, str(Tag.CREATED_AT): now()}
            | {str(name): value for name, value in tags.items()},
            description=description,
        )
    return _version(kind, entry, ())


def version_with_key(settings: Settings, kind: ReleaseKind, key: str) -> ReleaseVersion | None:
    """Return the version that was registered with this key."""
    return next((entry for entry in versions(settings, kind) if entry.tags.get(kind.key_tag) == key), None)


def challenge(settings: Settings, version: ReleaseVersion) -> None:
    """Let a version be the challenger, if it never was: it passed its gate and waits for a person.

    Raises:
        CorruptionError: its files are not those of its manifest.
        DependencyError: MLflow does not answer.
    """
    _check_files(settings, version)
    if version.challenged:
        return
    with mlflow_client(settings) as client:
        client.set_registered_model_alias(version.kind.model, CHALLENGER, version.version)
        _set(client, version.kind, version.version, {Tag.CHALLENGED: now()})


# Moving the alias `champion`.


def promote(settings: Settings, kind: ReleaseKind, version: str, by: Approver | None = None) -> ReleaseVersion:
    """Move the alias `champion` to a version; it is a challenger no longer. `by` decides; None: who runs this process.

    Raises:
        ConfigurationError: there is no such version, it did not pass its gate, or no promoter decides.
        CorruptionError: its files are not those of its manifest.
        DependencyError: MLflow does not answer.
    """
    decides = approver(settings, by)
    target = required(versions(settings, kind), kind, version)
    require_gate(target)
    _check_files(settings, target)
    with mlflow_client(settings) as client:
        # Before the alias: a server that looks between the two must find it.
        _set(client, kind, target.version, approval_tag(settings, target, decides))
        _move(client, kind, target)
    open_audit(settings.layout).done("promoted", actor=decides.user, model=kind.model, version=target.version)
    return target


def roll_back(
    settings: Settings,
    kind: ReleaseKind,
    *,
    to: str | None = None,
    may_serve: Callable[[ReleaseVersion], bool] = lambda _: True,
    by: Approver | None = None,
) -> tuple[ReleaseVersion, ReleaseVersion | None]:
    """Move the alias `champion` back and say on the version that leaves that it was taken back.

    Args:
        settings: where MLflow is.
        kind: of release.
        to: the version; None: the newest one that served before, else the kind's default.
        may_serve: whether what a version needs is still kept.
        by: who decides; None: whoever runs this process.

    Returns:
        What was taken back, and what serves again: None for the kind's default.

    Raises:
        ConfigurationError: nothing but the default serves, there is no such version, or no promoter decides.
        CorruptionError: the target's files are not those of its manifest.
        DependencyError: MLflow does not answer.
    """
    decides = approver(settings, by)
    registered = versions(settings, kind)
    current = next((entry for entry in registered if entry.is_champion), None)
    if current is None:
        serving = f"the default {kind.name}" if kind.default else "none"
        raise ConfigurationError(
            f"a registered {kind.name} must serve before it can be rolled back, found {serving} serving; "
            "nothing needs to be done"
        )
    target = _rollback_target(registered, current, to, may_serve)
    if target is not None:
        _check_files(settings, target)
    with mlflow_client(settings) as client:
        if target is None:
            _set(client, kind, current.version, approval_tag(settings, current, decides, "leave"))
        else:
            _set(client, kind, target.version, approval_tag(settings, target, decides))
        _move(client, kind, target, leaves=current.version, why={Tag.ROLLED_BACK: now()})
    serves = target.version if target else str(kind.default)
    open_audit(settings.layout).done(
        "rolled back", actor=decides.user, model=kind.model, version=current.version, serves=serves
    )
    return current, target


def _rollback_target(
    registered: list[ReleaseVersion],
    current: ReleaseVersion,
    to: str | None,
    may_serve: Callable[[ReleaseVersion], bool],
) -> ReleaseVersion | None:
    """Return the version to go back to; None: the kind's default."""
    kind = current.kind
    if to is not None and to == kind.default:
        return None
    if to == current.version:
        raise ConfigurationError(f"rollback needs another version than the serving one, found {to}; name one")
    if to is not None:
        return required(registered, kind, to)
    before = [entry for entry in registered if int(entry.version) < int(current.version) and may_serve(entry)]
    served = [entry for entry in before if entry.served and not entry.rolled_back]
    if not served and kind.default is None:
        raise ConfigurationError(
            f"an {kind.name} must have served before version {current.version} and be kept, found none; name one"
        )
    return served[-1] if served else None


def reject(
    settings: Settings, version: ReleaseVersion, why: str, *, serves: str | None, default_serves: bool
) -> AliasOutcome:
    """Say on a version why it does not serve; put its alias back, if it still names it.

    Args:
        settings: where MLflow is.
        version: the unfit one, with the alias that named it.
        why: one line.
        serves: the version that serves on.
        default_serves: no version serves on, but the kind's default: the alias is deleted.

    Raises:
        DependencyError: MLflow does not answer.
    """
    kind = version.kind
    with mlflow_client(settings) as client:
        if _tags(client, kind, version.version) is None:
            return AliasOutcome("the version is gone")
        reasons = {Tag.REFUSED: why, Tag.REFUSED_AT: now()}
        # What was refused is no base of the next refresh and no way back: as if a person had taken it back.
        reasons |= {Tag.ROLLED_BACK: now()} if version.alias == CHAMPION else {}
        _set(client, kind, version.version, reasons)
        current = named(client, kind, version.alias)
        if current is None or current.id != version.id:
            return AliasOutcome("the alias names another version by now")
        if version.alias != CHAMPION:
            return AliasOutcome("the alias stays; nobody is given this version", stays=True)
        return _put_back(client, kind, serves, default_serves=default_serves)


def _put_back(client: "MlflowClient", kind: ReleaseKind, serves: str | None, *, default_serves: bool) -> AliasOutcome:
    """Two servers that each refuse what the other serves must not move the alias for ever: `refused` stops it."""
    if default_serves:
        client.delete_registered_model_alias(kind.model, CHAMPION)
        return AliasOutcome(f"the alias was deleted: the default {kind.name} serves")
    tags = _tags(client, kind, serves) if serves else None
    if serves is None or tags is None:
        return AliasOutcome("the alias stays: no version that MLflow knows serves in its place", stays=True)
    if Tag.REFUSED in tags:
        return AliasOutcome(f"the alias stays: version {serves}, which serves here, was refused elsewhere", stays=True)
    client.set_registered_model_alias(kind.model, CHAMPION, serves)
    return AliasOutcome(f"the alias was put back to version {serves}")


# Noting what a person did in the UI.


def note_champion(settings: Settings, version: ReleaseVersion, note: str | None = None) -> None:
    """Say on a version that its alias brought it to serve, and drop what was said before; it challenges no longer.

    Args:
        settings: where MLflow is.
        version: with the alias that named it; nothing is written where that names another by now.
        note: how it came to serve, one line.

    Raises:
        DependencyError: MLflow does not answer.
    """
    with mlflow_client(settings) as client:
        current = named(client, version.kind, version.alias)
        if current is None or current.id != version.id:
            return
        if version.alias == CHAMPION:
            _arrive(client, current)
            _end_challenge(client, current)
        else:
            _delete(client, current, (Tag.REFUSED, Tag.REFUSED_AT))
        if note is not None:
            _set(client, version.kind, version.version, {Tag.PROMOTION: note})


def note_rolled_back(settings: Settings, kind: ReleaseKind, version: str) -> None:
    """Say on a version that it was taken back; one that is gone needs no tag.

    Raises:
        DependencyError: MLflow does not answer.
    """
    with mlflow_client(settings) as client:
        tags = _tags(client, kind, version)
        if tags is not None and Tag.ROLLED_BACK not in tags:
            _set(client, kind, version, {Tag.ROLLED_BACK: now()})


def mark(settings: Settings, version: ReleaseVersion, tags: Mapping[Tag, str]) -> None:
    """Say something of a version in MLflow that moves no alias.

    Raises:
        DependencyError: MLflow does not answer.
    """
    with mlflow_client(settings) as client:
        _set(client, version.kind, version.version, tags)


# The steps.


def _move(
    client: "MlflowClient",
    kind: ReleaseKind,
    target: ReleaseVersion | None,
    *,
    leaves: str | None = None,
    why: Mapping[Tag, str] | None = None,
) -> None:
    """Tag what leaves, move the alias, tag what arrives; None: the kind's default arrives."""
    if leaves is not None:
        _set(client, kind, leaves, why or {})
    if target is None:
        client.delete_registered_model_alias(kind.model, CHAMPION)
        return
    client.set_registered_model_alias(kind.model, CHAMPION, target.version)
    _arrive(client, target)
    _end_challenge(client, target)


def _end_challenge(client: "MlflowClient", target: ReleaseVersion) -> None:
    if (challenger := named(client, target.kind, CHALLENGER)) and challenger.id == target.id:
        client.delete_registered_model_alias(target.kind.model, CHALLENGER)


def _arrive(client: "MlflowClient", target: ReleaseVersion) -> None:
    if not target.served or target.rolled_back:
        _set(client, target.kind, target.version, {Tag.SERVED: now()})
    _delete(client, target, (Tag.ROLLED_BACK, Tag.REFUSED, Tag.REFUSED_AT))


def _check_files(settings: Settings, version: ReleaseVersion) -> None:
    if version.kind.manifest is not None:
        release_folder(settings, version)


def _set(client: "MlflowClient", kind: ReleaseKind, version: str, tags: Mapping[Tag, str]) -> None:
    for tag, value in tags.items():
        client.set_model_version_tag(kind.model, version, str(tag), value[:MAX_TAG_CHARACTERS])


def _delete(client: "MlflowClient", version: ReleaseVersion, tags: tuple[Tag, ...]) -> None:
    for tag in tags:
        if tag in version.tags:
            client.delete_model_version_tag(version.kind.model, version.version, str(tag))


def _tags(client: "MlflowClient", kind: ReleaseKind, version: str) -> dict[str, str] | None:
    entry = none_if_absent(client.get_model_version, kind.model, version)
    return None if entry is None else dict(entry.tags)


def _version(
    kind: ReleaseKind, entry: "ModelVersion", aliases: tuple[str, ...], alias: str = CHAMPION
) -> ReleaseVersion:
    return ReleaseVersion(kind, str(entry.version), str(entry.run_id or ""), dict(entry.tags), aliases, alias)
