"""When the cadences run: deployments on a Prefect server, from `params.schedule`; `params.yaml` is the only truth.

`deploy` is what `almanac worker` calls; `infra/prefect.yaml` declares the same for `prefect deploy`, and reads the same
schedule through `schedule_values`.
"""

from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import cast
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy
from prefect.client.schemas.responses import DeploymentResponse
from prefect.deployments.runner import RunnerDeployment
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound
from prefect.schedules import Cron, Schedule
from prefect.workers.process import ProcessWorker

from flows.pool import HEARTBEAT_SECONDS, SINCE, WORK_POOL
from tasks.params import Params, load_params
from tasks.settings import Settings
from tasks.tenant import of_tenant

WAIT_SECONDS = 600
"""A scheduled run waits for one that a person started, and for the minutes in which the other cadence writes."""

_EARLIER_AUTOMATION = "almanac: runs without a heartbeat"


@dataclass(frozen=True, slots=True)
class Cadence:
    """A flow that runs by the calendar.

    Attributes:
        flow: its name, as Prefect shows it.
        name: of its deployment.
        on_overlap: what happens to a run that starts while another is under way.
        waits: whether its runs wait for another writer, `WAIT_SECONDS` long.
    """

    flow: str
    name: str
    cron: str
    on_overlap: ConcurrencyLimitStrategy
    waits: bool = True

    @property
    def entrypoint(self) -> str:
        """The flow's function, where an import finds it: no folder matters."""
        return f"flows.{self.flow}.{self.flow}"


def cadences(params: Params) -> tuple[Cadence, ...]:
    """Return the weekly refresh, the quarterly retrain and the daily monitor.

    A late refresh, or look at the answers, is worth nothing beside the one that runs; a retrain that was asked for is
    worth waiting for. The monitor writes to no store of ours and waits for nobody.
    """
    schedule = params.schedule
    late = ConcurrencyLimitStrategy.CANCEL_NEW
    return (
        Cadence("refresh", "weekly", schedule.refresh_cron, late),
        Cadence("retrain", "quarterly", schedule.retrain_cron, ConcurrencyLimitStrategy.ENQUEUE),
        Cadence("monitor", "daily", schedule.monitor_cron, late, waits=False),
    )


def schedule_values() -> dict[str, str]:
    """Return what `infra/prefect.yaml` fills in: the schedule of `params.yaml`, and the folder that runs work in."""
    return load_params(Settings().params).schedule.model_dump() | {"project": str(Path.cwd())}


def deploy(params: Params, project: Path) -> dict[str, UUID]:
    """Put the cadences on the server of `PREFECT_API_URL`, for a process worker; idempotent.

    A schedule that a person switched off, or a deployment that one paused, stays so. Addresses and secrets are not
    stored: a run has its worker's environment.

    Args:
        params: its `schedule` says when.
        project: the folder that a worker runs flows in; relative paths of `params.yaml` start there.

    Returns:
        The deployment of each flow.
    """
    with get_client(sync_client=True) as client:
        _ensure_work_pool(client)
        _drop_automation(client)
        there = {cadence: _deployed(client, cadence) for cadence in cadences(params)}
    return {
        cadence.flow: apply(
            cadence,
            Cron(
                cadence.cron,
                timezone=params.schedule.timezone,
                slug=cadence.name,
                active=before is None or all(schedule.active for schedule in before.schedules),
            ),
            project,
            paused=before is not None and bool(before.paused),
            since=_since(before, cadence.cron, params.schedule.timezone),
        )
        for cadence, before in there.items()
    }


def apply(
    cadence: Cadence, schedule: Schedule, project: Path, *, paused: bool = False, since: str | None = None
) -> UUID:
    """Put one cadence on the server, by any schedule.

    Args:
        cadence: what runs.
        schedule: when.
        project: the folder that a worker runs it in.
        paused: as a person left it.
        since: the moment from which on the schedule holds: what was due before was never missed.
    """
    deployment = RunnerDeployment.from_entrypoint(
        cadence.entrypoint,
        name=of_tenant(cadence.name),
        schedule=schedule,
        paused=paused,
        description=since and f"{SINCE}{since}",
        work_pool_name=of_tenant(WORK_POOL),
        parameters={"wait_seconds": WAIT_SECONDS} if cadence.waits else {},
        job_variables={
            "working_dir": str(project),
            "env": {"PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(HEARTBEAT_SECONDS)},
        },
        # The lease on the home refuses a refresh that was started by hand; this keeps scheduled ones from failing.
        concurrency_limit=ConcurrencyLimitConfig(limit=1, collision_strategy=cadence.on_overlap),
    )
    return cast(UUID, deployment.apply())


def _ensure_work_pool(client: SyncPrefectClient) -> None:
    template = ProcessWorker.get_default_base_job_template()
    with suppress(ObjectAlreadyExists):
        client.create_work_pool(WorkPoolCreate(name=of_tenant(WORK_POOL), type="process", base_job_template=template))


def _drop_automation(client: SyncPrefectClient) -> None:
    """Remove what earlier versions made: it marked runs as Crashed five minutes behind their good end."""
    for automation in client.read_automations_by_name(_EARLIER_AUTOMATION):
        client.delete_automation(automation.id)


def _deployed(client: SyncPrefectClient, cadence: Cadence) -> DeploymentResponse | None:
    try:
        return client.read_deployment_by_name(f"{cadence.flow}/{of_tenant(cadence.name)}")
    except ObjectNotFound:
        return None


def _since(before: DeploymentResponse | None, cron: str, timezone: str) -> str:
    """Return since when this schedule holds: it stays where the schedule does."""
    entries = [entry.schedule for entry in before.schedules] if before else []
    is_same = [(getattr(entry, "cron", None), getattr(entry, "timezone", None)) for entry in entries]
    if before and before.description and before.description.startswith(SINCE) and is_same == [(cron, timezone)]:
        return before.description.removeprefix(SINCE)
    return datetime.now(UTC).isoformat(timespec="seconds")
