"""When the cadences run: deployments on a Prefect server, from `params.schedule`."""

from pathlib import Path
from typing import cast
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy
from prefect.deployments.runner import RunnerDeployment
from prefect.schedules import Cron

from tasks.params import Params

WORK_POOL = "almanac"


def deploy_refresh(params: Params, project: Path) -> UUID:
    """Put the weekly refresh on the server of `PREFECT_API_URL`, for a process worker; idempotent.

    Args:
        params: its `schedule` says when.
        project: the folder that a worker runs it in.
    """
    with get_client(sync_client=True) as client:
        client.create_work_pool(WorkPoolCreate(name=WORK_POOL, type="process"), overwrite=True)
    deployment = RunnerDeployment.from_entrypoint(
        f"{project / 'flows' / 'refresh.py'}:refresh",
        name="weekly",
        schedule=Cron(params.schedule.refresh_cron, timezone=params.schedule.timezone),
        work_pool_name=WORK_POOL,
        # The server cancels a second scheduled run; the lease on the home refuses every other one.
        concurrency_limit=ConcurrencyLimitConfig(limit=1, collision_strategy=ConcurrencyLimitStrategy.CANCEL_NEW),
    )
    return cast(UUID, deployment.apply())
