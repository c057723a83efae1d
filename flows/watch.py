"""The watch beside a worker, over runs and folders: `python -m flows.watch`. It ends with the process that began it."""

import logging
import os
import threading
import time

import httpx
from prefect.client.orchestration import get_client

from flows.alerts import tell_people
from flows.folders import start_refresh, watch_folders, watched
from flows.pool import SILENT_SECONDS
from flows.recovery import Incident, look_after
from tasks.params import load_params
from tasks.settings import Settings, log_to_stderr, quiet_environment

WATCH_SECONDS = 10
_POLL_SECONDS = 1.0

logger = logging.getLogger(__name__)


def watch(settings: Settings) -> None:
    """Look after runs and schedules until the parent is gone.

    Heartbeats do not arrive while the server is down: behind each time that it did not answer, as at the start, nothing
    is held for dead before every living run had the time to show a sign of life.
    """
    parent, answers_since = os.getppid(), None
    while os.getppid() == parent:
        began = time.monotonic()
        answers_since = answers_since or began if answers() else None
        if answers_since is not None and began - answers_since >= SILENT_SECONDS and not look(settings):
            answers_since = None
        while time.monotonic() < began + WATCH_SECONDS and os.getppid() == parent:
            time.sleep(_POLL_SECONDS)


def look(settings: Settings) -> bool:
    """Take one look and tell people; return whether the server answered."""
    try:
        with get_client(sync_client=True) as client:
            look_after(client, lambda incident: _tell(settings, incident))
    except httpx.HTTPError as error:
        logger.warning("the runs could not be looked after: %s", (str(error) or type(error).__name__).splitlines()[0])
        return False
    return True


def answers() -> bool:
    """Return whether the Prefect server does."""
    try:
        return httpx.get(f"{os.environ['PREFECT_API_URL'].rstrip('/')}/health", timeout=5).is_success
    except httpx.HTTPError:
        return False


def _tell(settings: Settings, incident: Incident) -> None:
    tell_people(settings, f"Almanac: {incident.flow} {incident.run}", f"{incident.what}\n{incident.done}")


def _start_folders(settings: Settings) -> None:
    """Watch the folders of `watch: true` beside the runs; the thread ends with the process."""
    sources = watched(load_params(settings.params, settings.profile))
    options = {"stop": threading.Event(), "start": start_refresh}
    threading.Thread(target=watch_folders, args=(sources, settings), kwargs=options, daemon=True).start()


def main() -> None:
    """Watch, as a process of its own."""
    quiet_environment()
    settings = Settings()
    log_to_stderr(settings, logging.WARNING)
    _start_folders(settings)
    watch(settings)


if __name__ == "__main__":
    main()
