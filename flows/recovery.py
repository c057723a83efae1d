"""Runs that a kill or a power cut left behind, and schedules that nobody was there for: found, told and made up for.

Prefect believes a run to be running until somebody says otherwise, and starts no run again by itself. Its automations
cannot say it: the heartbeat of a run shorter than a second reaches the server behind the run's end and is taken for the
last sign of a run that died. So each worker's watch (`flows.watch`) looks at the runs themselves, every few seconds.

Each step may be taken twice, by two machines at once: a run is marked only while it is not over, and what is started
in its place has a key of its own.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from croniter import croniter
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterId,
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
    FlowRunFilterState,
)
from prefect.client.schemas.filters import FlowRunFilterStateType as StateTypes
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.sorting import FlowRunSort
from prefect.events.filters import EventFilter, EventNameFilter, EventOrder, EventResourceFilter
from prefect.exceptions import ObjectNotFound
from prefect.states import Cancelled, Crashed, Scheduled

from flows.pool import PENDING_SECONDS, SILENT_SECONDS, SINCE
from flows.schedules import CADENCES
from tasks.tenant import of_tenant

FLOWS = ["refresh", "retrain", "monitor", "promote"]
MAX_TRIES = 3
"""A run that was killed so often in a row is left to a person."""
LATE = timedelta(minutes=3)
"""What is due for so long was missed: a worker takes what is due within seconds."""
TOLD = "almanac:told"
_TRY = "almanac:try-"
_FORGOTTEN = timedelta(days=7)
_STARTED = tuple(state for state in StateType if state != StateType.SCHEDULED)
_PAGE = 200


@dataclass(frozen=True, slots=True)
class Incident:
    """Something that a person should know of.

    Attributes:
        run: its name in Prefect.
        done: what was done about it.
    """

    flow: str
    run: str
    what: str
    done: str


def look_after(client: SyncPrefectClient, tell: Callable[[Incident], None], *, now: datetime | None = None) -> None:
    """Take one look: mark what died, start it again, catch up what was missed.

    Args:
        client: of the Prefect server.
        tell: is given what a person should know, once for each run; twice where it is killed meanwhile.
        now: the moment of the look.

    Raises:
        httpx.HTTPError: the Prefect server does not answer.
    """
    now = now or datetime.now(UTC)
    mark_dead(client, now=now)
    for name in CADENCES:
        deployment = deployment_named(client, name)
        if deployment is not None:
            _take_up(client, deployment, tell, now)
            if not is_paused(deployment):
                catch_up(client, deployment, now)


def mark_dead(
    client: SyncPrefectClient,
    *,
    now: datetime,
    silent_seconds: float = SILENT_SECONDS,
    pending_seconds: float = PENDING_SECONDS,
) -> list[str]:
    """Mark as Crashed the runs of our flows that showed no life for so long; return their names."""
    silent = {StateType.PENDING: pending_seconds}
    dead = []
    for run in list(_unfinished(client)):
        seconds = silent.get(run.state_type, silent_seconds) if run.state_type else silent_seconds
        if _last_sign(client, run) < now - timedelta(seconds=seconds):
            crashed: State[Any] = Crashed(message=f"its process is gone: no sign of life for {seconds:.0f} seconds")
            # Not forced: a run that ended in this moment stays as it ended.
            client.set_flow_run_state(run.id, crashed)
            dead.append(run.name)
    return dead


def catch_up(client: SyncPrefectClient, deployment: DeploymentResponse, now: datetime) -> FlowRun | None:
    """Make up once for what was due while no worker, or no server, was there."""
    late = [run for run in _runs(client, deployment, StateType.SCHEDULED) if _due(run) < now - LATE]
    for run in late[:-1]:
        client.set_flow_run_state(run.id, Cancelled(message="a later one is due, too: it does the same work"))
    slot = _last_slot(deployment, now - LATE)
    since = _since(deployment)
    if late or slot is None or since is None or slot < since:
        return None
    newest = _runs(client, deployment, *_STARTED, newest_first=True)
    if newest and _due(newest[0]) >= slot:
        return None
    message = f"nobody was there at {slot.isoformat(timespec='minutes')}"
    return client.create_flow_run_from_deployment(
        deployment.id,
        state=Scheduled(message=message),
        idempotency_key=f"missed {deployment.id} {slot.isoformat()}",
    )


def _take_up(
    client: SyncPrefectClient, deployment: DeploymentResponse, tell: Callable[[Incident], None], now: datetime
) -> None:
    """Start again what crashed, and tell of what ended badly and nobody was told of yet."""
    started = [run for run in _runs(client, deployment, *_STARTED, newest_first=True) if run.start_time]
    for run in _runs(client, deployment, StateType.CRASHED, StateType.FAILED, newest_first=True):
        if TOLD in run.tags or (run.end_time or now) < now - _FORGOTTEN:
            continue
        done = "a person must look"
        if run.state_type == StateType.CRASHED and started and started[0].id == run.id:
            done = _start_again(client, deployment, run, now)
        message = run.state.message if run.state else None
        tell(Incident(deployment.name, run.name, f"{run.state_name}: {message or 'no message'}", done))
        client.update_flow_run(run.id, tags=[*run.tags, TOLD])


def _start_again(client: SyncPrefectClient, deployment: DeploymentResponse, run: FlowRun, now: datetime) -> str:
    tries = _tries(run.tags)
    if tries >= MAX_TRIES:
        return f"killed {tries} times in a row: a person must look"
    if is_paused(deployment):
        return "its schedule is switched off: it is not started again"
    again = client.create_flow_run_from_deployment(
        deployment.id,
        parameters=run.parameters,
        state=Scheduled(scheduled_time=now + timedelta(minutes=tries - 1)),
        tags=[f"{_TRY}{tries + 1}"],
        idempotency_key=f"again {run.id}",
    )
    return f"started again as {again.name}"


def _tries(tags: Sequence[str]) -> int:
    return max((int(tag.removeprefix(_TRY)) for tag in tags if tag.startswith(_TRY)), default=1)


def deployment_named(client: SyncPrefectClient, name: str) -> DeploymentResponse | None:
    """Return this tenant's deployment by its flow and name; None where there is none."""
    flow, _, deployment = name.partition("/")
    try:
        return client.read_deployment_by_name(f"{flow}/{of_tenant(deployment)}")
    except ObjectNotFound:
        return None


def is_paused(deployment: DeploymentResponse) -> bool:
    """Say whether a person paused the deployment, or switched its schedule off."""
    return bool(deployment.paused) or not all(schedule.active for schedule in deployment.schedules)


def is_under_way(client: SyncPrefectClient, deployment: DeploymentResponse, now: datetime) -> bool:
    """Say whether a run of a deployment runs, or is due and waits for a worker."""
    states = (StateType.SCHEDULED, StateType.PENDING, StateType.RUNNING, StateType.CANCELLING)
    runs = _runs(client, deployment, *states)
    return any(run.state_type != StateType.SCHEDULED or _due(run) <= now for run in runs)


def _last_slot(deployment: DeploymentResponse, before: datetime) -> datetime | None:
    """Return when the schedule was last due."""
    slots = []
    for entry in deployment.schedules:
        cron = getattr(entry.schedule, "cron", None)
        if cron:
            zone = ZoneInfo(getattr(entry.schedule, "timezone", None) or "UTC")
            slots.append(croniter(cron, before.astimezone(zone)).get_prev(datetime).astimezone(UTC))
    return max(slots, default=None)


def _since(deployment: DeploymentResponse) -> datetime | None:
    """Return since when the schedule holds; None: somebody else made it."""
    description = deployment.description or ""
    return datetime.fromisoformat(description.removeprefix(SINCE)) if description.startswith(SINCE) else None


def _due(run: FlowRun) -> datetime:
    return run.expected_start_time or datetime.min.replace(tzinfo=UTC)


def _runs(
    client: SyncPrefectClient, deployment: DeploymentResponse, *states: StateType, newest_first: bool = False
) -> list[FlowRun]:
    """Return runs of a deployment that are in one of these states, by when they were due."""
    return client.read_flow_runs(
        deployment_filter=DeploymentFilter(id=DeploymentFilterId(any_=[deployment.id])),
        flow_run_filter=FlowRunFilter(state=FlowRunFilterState(type=StateTypes(any_=list(states)))),
        sort=FlowRunSort.EXPECTED_START_TIME_DESC if newest_first else FlowRunSort.EXPECTED_START_TIME_ASC,
        limit=_PAGE,
    )


def _unfinished(client: SyncPrefectClient) -> Iterator[FlowRun]:
    under_way = StateTypes(any_=[StateType.PENDING, StateType.RUNNING, StateType.CANCELLING])
    offset = 0
    while runs := client.read_flow_runs(
        flow_filter=FlowFilter(name=FlowFilterName(any_=FLOWS)),
        flow_run_filter=FlowRunFilter(state=FlowRunFilterState(type=under_way)),
        sort=FlowRunSort.ID_DESC,
        limit=_PAGE,
        offset=offset,
    ):
        yield from runs
        offset += len(runs)


def _last_sign(client: SyncPrefectClient, run: FlowRun) -> datetime:
    """The run's last change of state or heartbeat."""
    heartbeats = EventFilter(
        event=EventNameFilter(name=["prefect.flow-run.heartbeat"]),
        resource=EventResourceFilter(id=[f"prefect.flow-run.{run.id}"]),
        order=EventOrder.DESC,
    )
    newest = [event.occurred for event in client.read_events(heartbeats, limit=1).events]
    changed = [run.state.timestamp] if run.state else []
    return max([*newest, *changed], default=datetime.min.replace(tzinfo=UTC))
