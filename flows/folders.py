"""Folders that are watched: a refresh soon after their files change.

It is a run of the weekly deployment: a person who paused that, or its schedule, has paused this too. One that is under
way may have listed the folder already: the next one waits for its end, and no change is lost.
"""

import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun
from prefect.states import Scheduled
from watchfiles import Change, watch

from flows.recovery import deployment_named, is_paused, is_under_way
from tasks.corpus.sources.files import local_folder
from tasks.corpus.sources.globs import path_filter
from tasks.params import Params
from tasks.params.sources import FilesSource
from tasks.settings import Settings

MAX_WAIT_SECONDS = 600.0
"""A folder that never falls silent is refreshed all the same."""
RETRY_SECONDS = 10.0
_LOOK_MS = 1000
_REFRESH = "refresh/weekly"

Filter = Callable[[Change, str], bool]

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Burst:
    """Changes that one refresh takes in: it is due once nothing changed for a while.

    Attributes:
        first: when the burst began, in seconds of a clock; None: nothing changed since the last refresh.
        last: when something changed last.
        not_before: when a refresh may be tried.
    """

    quiet_seconds: float
    max_wait_seconds: float = MAX_WAIT_SECONDS
    first: float | None = None
    last: float = 0.0
    not_before: float = 0.0

    def note(self, now: float) -> None:
        """Something changed."""
        self.first = now if self.first is None else self.first
        self.last = now

    def is_due(self, now: float) -> bool:
        """Say whether a refresh is due."""
        if self.first is None or now < self.not_before:
            return False
        return now - self.last >= self.quiet_seconds or now - self.first >= self.max_wait_seconds

    def put_off(self, now: float) -> None:
        """Try again in a while."""
        self.not_before = now + RETRY_SECONDS

    def clear(self) -> None:
        """A refresh was asked for."""
        self.first = None


def watched(params: Params) -> tuple[FilesSource, ...]:
    """Return the sources whose folders are watched."""
    return tuple(source for source in params.sources if isinstance(source, FilesSource) and source.watch)


def watch_folders(
    sources: Sequence[FilesSource],
    settings: Settings,
    *,
    stop: threading.Event,
    start: Callable[[], bool],
) -> None:
    """Watch until `stop` is set; a folder that is missing, or goes, is looked for again.

    Args:
        sources: whose folders.
        settings: how long nothing must have changed; changes within the home are nobody's: a refresh writes there.
        stop: ends the watch.
        start: asks for a refresh; False: not now, try again.
    """
    burst = Burst(settings.watch_quiet_seconds)
    folders = [local_folder(source) for source in sources]
    takes = _filter(sources, settings.home.resolve())
    before = _there(folders)
    while folders and not stop.is_set():
        there = _there(folders)
        if there != before:
            burst.note(time.monotonic())
        before = there
        if missing := [os.fspath(folder) for folder in folders if folder not in there]:
            logger.warning("a watched folder must be there, found none at %s; looking again", ", ".join(missing))
        if not there:
            stop.wait(RETRY_SECONDS)
            continue
        for changed in _changes(there, takes, stop):
            _take(changed, burst, start)
            if _there(folders) != there:
                break


def _there(folders: Sequence[Path]) -> dict[Path, tuple[int, int]]:
    """Return the folders that are there, with what tells one from another that took its place, as a mount does."""
    there = {}
    for folder in folders:
        with suppress(OSError):
            status = folder.stat()
            there[folder] = (status.st_dev, status.st_ino)
    return there


def _changes(folders: Iterable[Path], takes: Filter, stop: threading.Event) -> Iterator[set[tuple[Change, str]]]:
    """Yield what changed, or an empty set where nothing did for a second, until `stop` is set."""
    return watch(
        *folders,
        watch_filter=takes,
        rust_timeout=_LOOK_MS,
        yield_on_timeout=True,
        stop_event=stop,
        raise_interrupt=False,
        ignore_permission_denied=True,
    )


def _take(changed: set[tuple[Change, str]], burst: Burst, start: Callable[[], bool]) -> None:
    now = time.monotonic()
    if changed:
        burst.note(now)
    if not burst.is_due(now):
        return
    if start():
        burst.clear()
    else:
        burst.put_off(now)


def _filter(sources: Sequence[FilesSource], home: Path) -> Filter:
    """Changes of files that a source takes, or of what has gone: of a folder that went, nothing else is said."""
    takes = [(local_folder(source), path_filter(source.include, source.exclude)) for source in sources]

    def counts(change: Change, name: str) -> bool:
        path = Path(name)
        if path.is_relative_to(home):
            return False
        return any(
            change is Change.deleted or path.is_dir() or test(path.relative_to(folder).as_posix())
            for folder, test in takes
            if path.is_relative_to(folder)
        )

    return counts


def start_refresh() -> bool:
    """Ask Prefect for a refresh; False where one is under way, or the server does not answer: try again."""
    try:
        with get_client(sync_client=True) as client:
            return ask_for_refresh(client, now=datetime.now(UTC)) is not False
    except httpx.HTTPError as error:
        logger.warning("a refresh could not be asked for: %s", (str(error) or type(error).__name__).splitlines()[0])
        return False


def ask_for_refresh(client: SyncPrefectClient, *, now: datetime) -> FlowRun | bool:
    """Create a run; True where a person paused the schedule, False where a run is under way.

    Raises:
        httpx.HTTPError: the Prefect server does not answer.
    """
    deployment = deployment_named(client, _REFRESH)
    if deployment is None or is_paused(deployment):
        logger.warning("watched files changed; the schedule of the refresh is paused: its next run takes them in")
        return True
    if is_under_way(client, deployment, now):
        return False
    return client.create_flow_run_from_deployment(
        deployment.id, state=Scheduled(scheduled_time=now, message="watched files changed")
    )
