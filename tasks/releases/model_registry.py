"""MLflow's model registry, as index, answerer and embedder releases use it: versions, aliases, tags of what happened.

The alias `champion` is the only truth of what serves: a person moves it in the MLflow UI. Knows MLflow only.
"""

import datetime as dt
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.errors import DependencyError
from tasks.settings import Settings

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

CHAMPION = "champion"
CHALLENGER = "challenger"


@contextmanager
def mlflow_client(settings: Settings) -> Iterator["MlflowClient"]:
    """A client of the tracking server or database.

    Raises:
        DependencyError: MLflow does not answer; time-outs are short (`tasks.settings.QUIET_ENVIRONMENT`).
    """
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        if settings.tracking_uri.startswith("sqlite:///"):
            Path(settings.tracking_uri.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
        yield MlflowClient(tracking_uri=settings.tracking_uri, registry_uri=settings.tracking_uri)
    except (MlflowException, SQLAlchemyError, OSError) as error:
        reason = _reason(error)
        raise DependencyError(
            f"MLflow at {settings.tracking_uri} must answer, found: {reason}; start it or set MLFLOW_TRACKING_URI"
        ) from error


def _reason(error: Exception) -> str:
    """In one line; what urllib3 tells of its tries is cut to how they ended."""
    text = (str(error).strip().splitlines() or [type(error).__name__])[0]
    if "Max retries exceeded" in text:
        found = re.search(r"refused|timed out|resolve|unreachable|reset", text)
        return f"no connection ({found[0]})" if found else "no connection"
    return text[:300]


def ensure_model(client: "MlflowClient", model: str, description: str) -> None:
    """Make the registered model, unless it is there."""
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(model, description=description)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def model_versions(client: "MlflowClient", model: str) -> list[tuple["ModelVersion", tuple[str, ...]]]:
    """All versions of a registered model with their aliases, oldest first; none where there is no such model."""
    from mlflow.exceptions import MlflowException

    try:
        registered = client.get_registered_model(model)
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return []
        raise
    aliases: dict[str, list[str]] = {}
    for alias, version in registered.aliases.items():
        aliases.setdefault(str(version), []).append(alias)
    found = client.search_model_versions(f"name='{model}'", max_results=10000)
    ordered = sorted(found, key=lambda entry: int(entry.version))
    return [(entry, tuple(sorted(aliases.get(str(entry.version), [])))) for entry in ordered]


def mark_served(settings: Settings, model: str, version: str) -> None:
    """Note that a version was seen as champion: a person may have set the alias in the UI."""
    with mlflow_client(settings) as client:
        client.set_model_version_tag(model, version, "served", now())
        client.delete_model_version_tag(model, version, "rolled_back")


def mark_rolled_back(settings: Settings, model: str, version: str) -> None:
    """Note that a version was taken back: a person may have moved the alias away in the UI."""
    with mlflow_client(settings) as client:
        client.set_model_version_tag(model, version, "rolled_back", now())


def now() -> str:
    """The value of the tags that say when something happened."""
    return dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
