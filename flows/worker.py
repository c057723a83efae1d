"""The worker that runs what is scheduled: `almanac worker`."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NoReturn

import httpx
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential

from flows.pool import HEARTBEAT_SECONDS, WORK_POOL
from tasks.errors import ConfigurationError, DependencyError
from tasks.params import Params
from tasks.settings import Settings
from tasks.tenant import of_tenant


def start_worker(params: Params, settings: Settings, *, wait_seconds: float) -> NoReturn:
    """Put the schedules on the server, start the watch over runs, and become Prefect's process worker.

    Raises:
        ConfigurationError: `PREFECT_API_URL` is not set.
        DependencyError: the server does not answer within `wait_seconds`.
    """
    address = settings.prefect_api_url
    if not address:
        raise ConfigurationError(
            "PREFECT_API_URL must name the Prefect server, found nothing; `almanac up` starts one and its worker"
        )
    _wait_for(address, wait_seconds)
    _prepare(params, address)
    # What a run inherits: the same places, wherever it runs.
    os.environ["ALMANAC_HOME"] = str(settings.home.resolve())
    os.environ["ALMANAC_PARAMS"] = str(settings.params.resolve())
    os.environ["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"] = str(HEARTBEAT_SECONDS)
    command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", of_tenant(WORK_POOL), "--type", "process"]
    # A script that starts this in the background leaves SIGINT ignored, and Prefect stops by raising it on itself.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    subprocess.Popen([sys.executable, "-m", "flows.watch"])
    os.execv(sys.executable, command)  # noqa: S606 - signals then reach Prefect's worker itself


def _prepare(params: Params, address: str) -> None:
    """Deploy with patience: a Prefect server on SQLite answers 503 while others write."""
    from flows.deployments import deploy

    again = Retrying(
        stop=stop_after_attempt(5),
        retry=retry_if_exception_type(httpx.HTTPError),
        wait=wait_exponential(max=20),
        reraise=True,
    )
    try:
        again(deploy, params, Path.cwd())
    except httpx.HTTPError as error:
        reason = str(error).splitlines()[0]
        raise DependencyError(
            f"the Prefect server at {address} must take the schedules, found: {reason}; read its log, and start again"
        ) from error


def _wait_for(address: str, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not _answers(address):
        if time.monotonic() > deadline:
            raise DependencyError(
                f"the Prefect server at {address} must answer, found none within {seconds:.0f} seconds; "
                "start it or correct PREFECT_API_URL"
            )
        time.sleep(1)


def _answers(address: str) -> bool:
    try:
        return httpx.get(f"{address.rstrip('/')}/health", timeout=5).is_success
    except httpx.HTTPError:
        return False
