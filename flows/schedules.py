"""What the Prefect server says of our schedules, for `almanac status` and `almanac doctor`; reads only."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from tasks.errors import DependencyError
from tasks.params import Params
from tasks.problem import Problem, problem_of
from tasks.settings import Settings
from tasks.tenant import of_tenant

_LATE = timedelta(minutes=15)
_WAITING = {"state": {"type": {"any_": ["SCHEDULED"]}}}
CADENCES = {"refresh/weekly": "refresh_cron", "retrain/quarterly": "retrain_cron", "monitor/daily": "monitor_cron"}
"""Deployments that run by the clock, and the parameter of `schedule` that says when."""


@dataclass(frozen=True, slots=True)
class EndedRun:
    """A run of a cadence: when it started, and the state in which it ended."""

    started: str
    state: str


@dataclass(frozen=True, slots=True)
class Schedule:
    """When a cadence runs next, and how it ended last."""

    next: str | None
    last: EndedRun | None


def upcoming() -> dict[str, Schedule | None] | None:
    """Return the schedule of each cadence, None for one without; None where no Prefect server is set.

    Raises:
        DependencyError: the server does not answer.
    """
    if _address() is None:
        return None
    return {name: _entry(name) for name in CADENCES}


def problems(params: Params) -> Iterator[Problem]:
    """Yield what keeps the cadences from running; nothing where no Prefect server is set."""
    if _address() is None:
        return
    try:
        for name, cron in CADENCES.items():
            yield from _problems(name, getattr(params.schedule, cron), params.schedule.timezone)
    except DependencyError as error:
        yield problem_of(error, str(_address()))


def _problems(name: str, cron: str, timezone: str) -> Iterator[Problem]:
    deployment = _deployment(name)
    where = f"{_address()}, deployment {name}"
    if deployment is None:
        yield Problem(f"{name} is not scheduled", where, "almanac worker, or almanac up")
        return
    deployed = [(entry["schedule"].get("cron"), entry["schedule"].get("timezone")) for entry in deployment["schedules"]]
    if deployed != [(cron, timezone)]:
        what = f"{name} must run at {cron!r} in {timezone}, as params.yaml says, found {deployed}"
        yield Problem(what, where, "restart almanac worker, or almanac up")
    if deployment["paused"] or not all(entry["active"] for entry in deployment["schedules"]):
        yield Problem(f"the schedule of {name} is switched off", where, "switch it on in Prefect")
        return
    yield from _stale(name, where, _runs(deployment["id"], _WAITING, "EXPECTED_START_TIME_ASC"))


def _stale(name: str, where: str, waiting: list[dict[str, Any]]) -> Iterator[Problem]:
    if not waiting:
        what = f"the server makes no runs of {name}"
        yield Problem(what, where, "read the server's log; install the versions of constraints.txt")
    elif _moment(waiting[0]) < datetime.now(UTC) - _LATE:
        what = f"{name} was due {waiting[0]['expected_start_time']} and nobody took it"
        yield Problem(what, where, "almanac worker, or almanac up")


def _entry(name: str) -> Schedule | None:
    deployment = _deployment(name)
    if deployment is None:
        return None
    waiting = _runs(deployment["id"], _WAITING, "EXPECTED_START_TIME_ASC")
    started = _runs(deployment["id"], {"start_time": {"is_null_": False}}, "START_TIME_DESC")
    return Schedule(
        next=waiting[0]["expected_start_time"] if waiting else None,
        last=EndedRun(started[0]["start_time"], started[0]["state_name"]) if started else None,
    )


def _deployment(name: str) -> dict[str, Any] | None:
    flow, deployment = name.split("/")
    wanted = {"flows": {"name": {"any_": [flow]}}, "deployments": {"name": {"any_": [of_tenant(deployment)]}}}
    return next(iter(_ask("deployments", wanted)), None)


def _runs(deployment: str, which: dict[str, Any], order: str) -> list[dict[str, Any]]:
    of_deployment = {"deployments": {"id": {"any_": [deployment]}}, "flow_runs": which}
    return _ask("flow_runs", of_deployment | {"sort": order, "limit": 20})


def _ask(what: str, wanted: dict[str, Any]) -> list[dict[str, Any]]:
    address = str(_address())
    try:
        answer = httpx.post(f"{address}/{what}/filter", json=wanted, timeout=10, auth=_login()).raise_for_status()
        rows: list[dict[str, Any]] = answer.json()
    except (httpx.HTTPError, ValueError) as error:
        raise DependencyError(
            f"the Prefect server at {address} must answer, found: {error or type(error).__name__}; "
            "start it (almanac up) or correct PREFECT_API_URL"
        ) from error
    return rows


def _login() -> tuple[str, str] | None:
    secret = Settings().prefect_api_auth_string
    user, _, password = secret.get_secret_value().partition(":") if secret else ("", "", "")
    return (user, password) if user else None


def _address() -> str | None:
    return (Settings().prefect_api_url or "").rstrip("/") or None


def _moment(run: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(run["expected_start_time"])
