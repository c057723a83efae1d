"""`almanac doctor --stores`: whether each store answers, may be written, fits, and tells the time of this machine."""

import datetime as dt
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime
from importlib.metadata import version
from typing import TYPE_CHECKING

from tasks.errors import AlmanacError, DependencyError, without_passwords
from tasks.index.table import connect, table_names
from tasks.problem import Problem
from tasks.releases.kind import INDEX
from tasks.releases.model_registry import mlflow_client, require_artifact_store
from tasks.releases.tracking_store import is_embedded
from tasks.settings import Settings
from tasks.shared_store import open_shared_store
from tasks.stores import require_packages

if TYPE_CHECKING:
    import httpx

MAX_SKEW_SECONDS = 30.0
"""More than this, and moments in tags, releases and logs of two machines stand in the wrong order."""


@dataclass(frozen=True, slots=True)
class StoreCheck:
    """What came of asking one store.

    Attributes:
        seconds: that it took to answer; None: it was not reached.
        version: of its software, where it says so.
        skew_seconds: its clock less that of this machine, where it says so.
        problem: what is wrong; None: nothing.
        remedy: what to do about it.
    """

    store: str
    address: str
    seconds: float | None = None
    version: str | None = None
    skew_seconds: float | None = None
    problem: str | None = None
    remedy: str = ""


def check_stores(settings: Settings) -> list[StoreCheck]:
    """Write to, read from and ask the time of each store that the settings name."""
    checks: list[tuple[str, str | None, Callable[[Settings], StoreCheck]]] = [
        ("index", settings.index_uri, _index),
        ("shared state", settings.shared_state, _state),
        ("snapshots", settings.remote, _remote),
        ("MLflow", settings.tracking_uri, _mlflow),
        ("Prefect", settings.prefect_api_url, _prefect),
    ]
    checked = [_guarded(name, address, check, settings) for name, address, check in checks if address]
    return [
        replace(
            check, address=without_passwords(check.address), problem=check.problem and without_passwords(check.problem)
        )
        for check in checked
    ]


def problems_of_stores(checks: list[StoreCheck]) -> list[Problem]:
    """Return what is wrong with them."""
    return [
        Problem(f"{check.store}: {check.problem}", check.address, check.remedy) for check in checks if check.problem
    ]


def _guarded(name: str, address: str, check: Callable[[Settings], StoreCheck], settings: Settings) -> StoreCheck:
    started = time.monotonic()
    try:
        checked = check(settings)
    except AlmanacError as error:
        what, _, remedy = str(error).rpartition("; ")
        return StoreCheck(name, address, problem=what or str(error), remedy=remedy)
    # Whatever a driver raises that nobody foresaw is what this command is there to show.
    except Exception as error:  # noqa: BLE001
        text = " ".join(str(error).split())[:300] or type(error).__name__
        return StoreCheck(name, address, problem=f"found {text}", remedy="check its address, rights and server")
    skew = checked.skew_seconds
    if checked.problem is None and skew is not None and abs(skew) > MAX_SKEW_SECONDS:
        problem = f"its clock must be that of this machine, found it {skew:+.0f} seconds away"
        checked = replace(checked, problem=problem, remedy="let both follow the same time server (NTP)")
    return replace(checked, seconds=round(time.monotonic() - started, 3))


def _index(settings: Settings) -> StoreCheck:
    import pyarrow as pa

    db, name = connect(settings), _trial_name()
    db.create_table(name, data=pa.table({"number": [1]}))
    db.drop_table(name)
    table_names(db)
    return StoreCheck("index", settings.index_uri, version=f"lancedb {version('lancedb')}")


def _state(settings: Settings) -> StoreCheck:
    store, name = open_shared_store(settings.shared_state), f"doctor/{_trial_name()}"
    assert store is not None
    checked = StoreCheck("shared state", store.address)
    store.write(name, b"1")
    try:
        if store.read(name) != b"1":
            return replace(
                checked, problem="what was written must be read, found something else", remedy="another store"
            )
        if store.create(name, b"2"):
            problem = "a conditional write (If-None-Match) must be refused where the object is there, found it written"
            return replace(checked, problem=problem, remedy="use a server that honours it, as S3, MinIO or Ceph do now")
        return replace(checked, skew_seconds=store.skew_seconds(name))
    finally:
        store.delete(name)


def _remote(settings: Settings) -> StoreCheck:
    from fsspec.core import url_to_fs

    require_packages("ALMANAC_DVC_REMOTE", settings.remote)
    system, root = url_to_fs(settings.remote)
    path = f"{root}/{_trial_name()}"
    if "://" not in settings.remote:
        system.makedirs(root, exist_ok=True)
    system.pipe_file(path, b"1")
    system.rm_file(path)
    return StoreCheck("snapshots", settings.remote, version=f"dvc {version('dvc')}")


def _mlflow(settings: Settings) -> StoreCheck:
    here = version("mlflow")
    checked = StoreCheck("MLflow", settings.tracking_uri, version=here)
    with mlflow_client(settings) as client:
        client.search_registered_models(max_results=1)
    require_artifact_store(settings, INDEX.model)
    if settings.tracking_uri.startswith("http"):
        answer = _get(f"{settings.tracking_uri.rstrip('/')}/version")
        checked = replace(checked, version=answer.text.strip(), skew_seconds=_skew(answer.headers.get("date")))
        if answer.text.strip() != here:
            problem = f"its server must have the version of this machine, {here}, found {answer.text.strip()}"
            return replace(checked, problem=problem, remedy="install the version of constraints.txt on both")
    elif not is_embedded(settings) and settings.tracking_uri.startswith("postgres"):
        return replace(checked, skew_seconds=_skew_of_database(settings.tracking_uri))
    return checked


def _skew_of_database(address: str) -> float:
    from sqlalchemy import create_engine, text

    engine = create_engine(address, connect_args={"connect_timeout": 5})
    try:
        with engine.connect() as connection:
            moment: dt.datetime = connection.execute(text("SELECT now()")).scalar_one()
    finally:
        engine.dispose()
    return moment.timestamp() - time.time()


def _prefect(settings: Settings) -> StoreCheck:
    address = str(settings.prefect_api_url).rstrip("/")
    answer = _get(f"{address}/admin/version", auth=_login(settings))
    here, there = version("prefect"), str(answer.json())
    checked = StoreCheck("Prefect", address, version=there, skew_seconds=_skew(answer.headers.get("date")))
    if there == here:
        return checked
    problem = f"its server must have the version of this machine, {here}, found {there}"
    return replace(checked, problem=problem, remedy="install the version of constraints.txt on both")


def _login(settings: Settings) -> tuple[str, str] | None:
    secret = settings.prefect_api_auth_string
    user, _, password = (secret.get_secret_value() if secret else "").partition(":")
    return (user, password) if user else None


def _get(address: str, auth: tuple[str, str] | None = None) -> "httpx.Response":
    import httpx

    try:
        return httpx.get(address, timeout=10, auth=auth).raise_for_status()
    except httpx.HTTPError as error:
        raise DependencyError(
            f"the server must answer, found: {str(error) or type(error).__name__}; start it or correct its address"
        ) from error


def _skew(date: str | None) -> float | None:
    return parsedate_to_datetime(date).timestamp() - time.time() if date else None


def _trial_name() -> str:
    return f"almanac_doctor_{os.getpid()}_{os.urandom(4).hex()}"
