"""How MLflow is reached: its client, experiments and registered models. Knows MLflow only."""

import datetime as dt
import re
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from tasks.errors import DependencyError
from tasks.releases.tracking_store import is_embedded, open_store
from tasks.settings import Settings
from tasks.stores import require_packages

if TYPE_CHECKING:
    from mlflow import MlflowClient

T = TypeVar("T")

CHAMPION = "champion"
CHALLENGER = "challenger"
PROBE_SECONDS = 2.0
_REFUSED_BY_THE_DISK = ("readonly database", "Read-only file system", "disk is full", "No space left")
"""As SQLite and the operating system say it."""
_ABSENT = {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}


@contextmanager
def mlflow_client(settings: Settings) -> Iterator["MlflowClient"]:
    """Yield a client of the tracking server or database.

    Raises:
        DependencyError: MLflow does not answer; time-outs are short (`tasks.settings.QUIET_ENVIRONMENT`).
    """
    from mlflow import MlflowClient

    require_packages("MLFLOW_TRACKING_URI", settings.mlflow_tracking_uri)
    try:
        open_store(settings)
        yield MlflowClient(tracking_uri=settings.tracking_uri, registry_uri=settings.tracking_uri)
    except _outages() as error:
        raise DependencyError(_outage(settings, _reason(error))) from error


def _outages() -> tuple[type[Exception], ...]:
    """Return what says that MLflow, or where its files lie, does not answer.

    Errors of S3 are passed on by MLflow as they are; who has not imported its packages by now has not met one.
    """
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    outages: tuple[type[Exception], ...] = (MlflowException, SQLAlchemyError, sqlite3.Error, OSError)
    if botocore := sys.modules.get("botocore.exceptions"):
        outages += (botocore.BotoCoreError, botocore.ClientError)
    if boto3 := sys.modules.get("boto3.exceptions"):
        outages += (boto3.Boto3Error,)
    return outages


def _outage(settings: Settings, reason: str) -> str:
    """Say what must hold: a server that is away is started, a disk is freed or made writable."""
    if any(sign in reason for sign in _REFUSED_BY_THE_DISK):
        return (
            f"MLflow at {settings.tracking_uri} must be able to write, found: {reason}; check the file system on which "
            "it lies, its rights and its space"
        )
    return f"MLflow at {settings.tracking_uri} must answer, found: {reason}; start it or set MLFLOW_TRACKING_URI"


def require_artifact_store(settings: Settings, experiment: str) -> None:
    """Say before the work that the files of an experiment lie where a package is missing.

    Raises:
        ConfigurationError: it names the extra.
        DependencyError: MLflow does not answer.
    """
    if is_embedded(settings):
        return
    with mlflow_client(settings) as client:
        place = (client.get_experiment_by_name(experiment) or client.get_experiment("0")).artifact_location
    require_packages(f"the artifact root of {settings.tracking_uri}", place)


def _reason(error: Exception) -> str:
    """Say why in one line; what urllib3 says of its tries is cut to how they ended."""
    text = (str(error).strip().splitlines() or [type(error).__name__])[0]
    if "Max retries exceeded" in text:
        cause = re.search(r"refused|timed out|resolve|unreachable|reset", text)
        return f"no connection ({cause[0]})" if cause else "no connection"
    return text[:300]


def ensure_model(client: "MlflowClient", model: str, description: str) -> None:
    """Make the registered model, unless it is there."""
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(model, description=description)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def none_if_absent(ask: Callable[..., T], *arguments: Any) -> T | None:
    """Ask MLflow for a model, version, alias or artifact; None: it has no such thing."""
    from mlflow.exceptions import MlflowException

    try:
        return ask(*arguments)
    except MlflowException as error:
        if error.error_code in _ABSENT:
            return None
        raise


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
        raise DependencyError(_outage(settings, str(error))) from error


def now() -> str:
    """Return the moment, to the second, in UTC: the value of tags that say when something happened."""
    return dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
