"""Runs that a kill or a power cut left behind: Prefect believes them to be running until somebody says otherwise.

The automation of `flows.deployments` sees only what died while the server was up; this finds the rest, at worker start.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowFilter, FlowFilterName, FlowRunFilter, FlowRunFilterState
from prefect.client.schemas.filters import FlowRunFilterStateType as StateTypes
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.events.filters import EventFilter, EventNameFilter, EventOrder, EventResourceFilter
from prefect.states import Crashed

from flows.pool import SILENT_SECONDS

FLOWS = ["refresh", "retrain", "promote"]
_PAGE = 200


def reap(*, silent_seconds: float = SILENT_SECONDS) -> list[str]:
    """Mark as Crashed the runs of our flows that showed no life for `silent_seconds`; return their names."""
    before = datetime.now(UTC) - timedelta(seconds=silent_seconds)
    with get_client(sync_client=True) as client:
        dead = [run for run in list(_unfinished(client)) if _last_sign(client, run) < before]
        for run in dead:
            crashed: State[Any] = Crashed(message=f"its process is gone: no heartbeat for {silent_seconds:.0f} seconds")
            client.set_flow_run_state(run.id, crashed, force=True)
    return [run.name for run in dead]


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
