"""A challenger that a person does not want: rejected before it ever served."""

from tasks.audit.audit import open_audit
from tasks.errors import ConfigurationError
from tasks.releases.approval import Approver, approver
from tasks.releases.kind import ReleaseKind
from tasks.releases.lifecycle import mark, required, versions
from tasks.releases.model_registry import CHALLENGER, mlflow_client, now
from tasks.releases.tags import Tag
from tasks.releases.version import ReleaseVersion
from tasks.settings import Settings


def decline(
    settings: Settings, kind: ReleaseKind, version: str, why: str, by: Approver | None = None
) -> ReleaseVersion:
    """Say on a version why a person does not want it, and let it be the challenger no longer.

    Raises:
        ConfigurationError: there is no such version, or it serves: that is a rollback.
        DependencyError: MLflow does not answer.
    """
    target = required(versions(settings, kind), kind, version)
    if target.is_champion:
        raise ConfigurationError(f"a version that is rejected must not serve, {target} does; roll it back")
    decides = approver(settings, by)
    mark(settings, target, {Tag.REFUSED: f"by {decides.name}: {' '.join(why.split())}", Tag.REFUSED_AT: now()})
    if CHALLENGER in target.aliases:
        with mlflow_client(settings) as client:
            client.delete_registered_model_alias(kind.model, CHALLENGER)
    open_audit(settings.layout).done("rejected", actor=decides.user, model=kind.model, version=version)
    return target
