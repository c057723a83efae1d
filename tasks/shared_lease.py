"""One writer at a time over all machines: a lease in the shared store, with a fencing number.

    lease/00000017.json    who holds lease 17; created once, by one of all who try
    lease/00000017.beat    written again and again while its holder lives
    lease/00000017.end     its holder gave it back

Lease 18 is free for whoever creates it first, once 17 was given back or has not beaten for a minute. A holder that
slept through that minute finds 18 at its next check, and writes nothing more.
"""

import json
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from tasks.errors import BusyError, CorruptionError, DependencyError
from tasks.shared_store import SharedStore

logger = logging.getLogger(__name__)

BEAT_SECONDS = 15.0
EXPIRES_SECONDS = 60.0
_POLL_SECONDS = 1.0
_FOLDER = "lease/"
_KEPT = 20


class SharedLease:
    """The right to write the shared stores, as long as no newer lease exists and this one is kept alive."""

    def __init__(self, store: SharedStore, fence: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Hold what was created a moment ago."""
        self._store, self._clock, self.fence = store, clock, fence
        self._beaten_at = clock()

    def beat(self) -> None:
        """Show a sign of life.

        Raises:
            DependencyError: the store does not answer.
        """
        began = self._clock()
        self._store.write(_name(self.fence, "beat"), datetime.now(UTC).isoformat().encode())
        self._beaten_at = began

    def check(self) -> None:
        """Call before each step that others would see.

        Raises:
            BusyError: another machine has taken over, or may have.
            DependencyError: the store does not answer.
        """
        silent = self._clock() - self._beaten_at
        newest = newest_fence(self._store)
        if newest != self.fence or silent > EXPIRES_SECONDS:
            holder = f"lease {newest}" if newest != self.fence else f"no sign of life of it for {silent:.0f} seconds"
            raise BusyError(
                f"this process must hold the newest lease of {self._store.address}, found {holder} after its own "
                f"{self.fence}: another machine may have taken over; nothing more is written here, run the command "
                "again"
            )


@contextmanager
def hold_shared(store: SharedStore, *, purpose: str, wait_seconds: float = 0) -> Iterator[SharedLease]:
    """Hold the lease of a shared store.

    Args:
        store: what all machines see.
        purpose: what another machine reads about the holder, as `refresh`.
        wait_seconds: how long to wait for another holder; 0: not at all.

    Raises:
        BusyError: another machine holds it.
        DependencyError: the store does not answer.
    """
    lease = _acquire(store, purpose, wait_seconds)
    stopped = threading.Event()
    beating = threading.Thread(target=_keep_alive, args=(lease, stopped), name="almanac-lease", daemon=True)
    beating.start()
    try:
        yield lease
    finally:
        stopped.set()
        beating.join(BEAT_SECONDS)
        _give_back(store, lease)


def newest_fence(store: SharedStore) -> int:
    """Return the number of the newest lease; 0: there was none."""
    return max((_number(name) for name in store.names(_FOLDER) if name.endswith(".json")), default=0)


@dataclass(frozen=True, slots=True)
class SharedHolder:
    """Who holds the lease, as other machines read it.

    Attributes:
        silent_seconds: since its last sign of life, by the store's clock.
    """

    pid: int
    host: str
    purpose: str
    since: str
    fence: int
    silent_seconds: float

    @property
    def is_silent(self) -> bool:
        """Whether the lease is free for who creates the next one."""
        return self.silent_seconds > EXPIRES_SECONDS

    def __str__(self) -> str:
        return f"{self.purpose} of process {self.pid} on {self.host}, since {self.since}"


def holder_of(store: SharedStore) -> SharedHolder | None:
    """Return who holds the lease, also one that shows no life; None: nobody does.

    Raises:
        CorruptionError: an object of the lease is not what was written.
        DependencyError: the store does not answer.
    """
    return _holder_at(store, newest_fence(store))


def _holder_at(store: SharedStore, fence: int) -> SharedHolder | None:
    if fence == 0 or store.read(_name(fence, "end")) is not None:
        return None
    name = _name(fence, "json")
    try:
        raw = json.loads(store.read(name) or b"")
        silent = _silent_seconds(store, fence)
        return SharedHolder(raw["pid"], raw["host"], raw["purpose"], raw["since"], raw["fence"], silent)
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptionError(
            f"{store.address}/{name} must name a writer, found: {error!r}; delete it if nothing writes"
        ) from error


def _acquire(store: SharedStore, purpose: str, wait_seconds: float) -> SharedLease:
    deadline = time.monotonic() + wait_seconds
    is_told = False
    while True:
        # The next number after the lease that was looked at, not after one that began since: that one is alive.
        newest = newest_fence(store)
        holder = _holder_at(store, newest)
        if holder is None or holder.is_silent:
            fence = newest + 1
            if store.create(_name(fence, "json"), _holder(purpose, fence)):
                if holder is not None:
                    logger.warning("the lease is taken over from %s, which shows no life", holder)
                return SharedLease(store, fence)
            continue
        if time.monotonic() >= deadline:
            raise BusyError(
                f"one machine at a time may write to {store.address}, found {holder}; wait until it ends; "
                f"if it was killed, its lease is free {EXPIRES_SECONDS:.0f} seconds behind its last sign of life"
            )
        if not is_told:
            logger.warning("waiting up to %.0f s for %s", wait_seconds, holder)
            is_told = True
        time.sleep(_POLL_SECONDS)


def _keep_alive(lease: SharedLease, stopped: threading.Event) -> None:
    while not stopped.wait(BEAT_SECONDS):
        try:
            lease.beat()
        except DependencyError as error:
            logger.warning("the lease could not be kept alive, and is tried again: %s", error)


def _give_back(store: SharedStore, lease: SharedLease) -> None:
    """A lease that cannot be given back expires."""
    try:
        store.write(_name(lease.fence, "end"), b"")
        for name in store.names(_FOLDER):
            if _number(name) <= lease.fence - _KEPT:
                store.delete(name)
    except DependencyError as error:
        logger.warning("the lease was not given back and ends in %.0f seconds: %s", EXPIRES_SECONDS, error)


def _silent_seconds(store: SharedStore, fence: int) -> float:
    beat = store.age_seconds(_name(fence, "beat"))
    if beat is not None:
        return beat
    return store.age_seconds(_name(fence, "json")) or 0.0


def _holder(purpose: str, fence: int) -> bytes:
    holder = {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "purpose": purpose,
        "since": datetime.now(UTC).isoformat(timespec="seconds"),
        "fence": fence,
        "token": os.urandom(8).hex(),
    }
    return json.dumps(holder).encode()


def _name(fence: int, kind: str) -> str:
    return f"{_FOLDER}{fence:08d}.{kind}"


def _number(name: str) -> int:
    return int(name.removeprefix(_FOLDER).partition(".")[0])
