"""One writer at a time: a lease on the home folder, with a fencing number; with a shared store, over all machines.

Knows nothing of what its holder writes.
"""

import errno
import fcntl
import functools
import json
import logging
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from tasks.errors import BusyError, ConfigurationError, CorruptionError, DependencyError
from tasks.files import write_json
from tasks.home import make_private
from tasks.settings import Settings
from tasks.shared_lease import SharedLease, hold_shared, holder_of
from tasks.shared_store import SharedStore, open_shared_store
from tasks.tenant_claim import check_home, claim_home, claim_store

logger = logging.getLogger(__name__)

_POLL_SECONDS = 0.1
_held: set[int] = set()


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to write, as long as no newer lease exists.

    Attributes:
        folder: the folder of the lock, the holder's name and the fence.
        fence: number of this lease on the home; each new lease has a higher one.
        shared: the lease over all machines; None where the home is this machine's alone.
    """

    folder: Path
    fence: int
    shared: SharedLease | None = None

    def check(self) -> None:
        """Call before each step that others would see.

        Raises:
            BusyError: another process has taken the lease since (this one slept, or the lock was deleted by hand).
        """
        newest = _read_fence(self.folder)
        if newest != self.fence:
            raise BusyError(
                f"this process must hold the newest lease of {self.folder}, found fence {newest} after its own "
                f"{self.fence}: another writer has taken over; nothing more is written here, run the command again"
            )
        if self.shared is not None:
            self.shared.check()


@contextmanager
def hold_stores(settings: Settings, *, purpose: str, wait_seconds: float = 0) -> Iterator[Lease]:
    """Hold the lease of the home and of what it shares with other machines: see `hold` and `hold_shared`.

    Raises:
        BusyError: another process, here or elsewhere, holds it.
        ConfigurationError: the home folder cannot be written, the store is no store, or one is another tenant's.
        DependencyError: the disk is full, or the store does not answer.
    """
    check_home(settings)
    store = open_shared_store(settings.shared_state)
    with hold(settings.layout.root, purpose=purpose, wait_seconds=wait_seconds) as lease:
        claim_home(settings)
        if store is not None:
            claim_store(settings, store)
        with _over_machines(lease, store, purpose=purpose, wait_seconds=wait_seconds) as held:
            yield held


@contextmanager
def hold_training(settings: Settings, *, wait_seconds: float = 0) -> Iterator[Lease]:
    """Hold the lease of retrains, here and over all machines with one store; refreshes have their own and go on.

    Raises:
        BusyError: another retrain runs, here or elsewhere.
        ConfigurationError: the home folder cannot be written, the store is no store, or one is another tenant's.
        DependencyError: the disk is full, or the store does not answer.
    """
    check_home(settings)
    address = settings.shared_state
    store = open_shared_store(f"{address}/retrain" if address else None)
    with (
        hold(settings.layout.retrain, purpose="retrain", wait_seconds=wait_seconds) as lease,
        _over_machines(lease, store, purpose="retrain", wait_seconds=wait_seconds) as held,
    ):
        yield held


@contextmanager
def _over_machines(lease: Lease, store: SharedStore | None, *, purpose: str, wait_seconds: float) -> Iterator[Lease]:
    """Hold a lease of this machine over all that share a store too; without one it is this machine's alone."""
    if store is None:
        yield lease
        return
    with hold_shared(store, purpose=purpose, wait_seconds=wait_seconds) as shared:
        yield replace(lease, shared=shared)


@dataclass(frozen=True, slots=True)
class LeaseHolder:
    """The process that holds a lease, as the others read it."""

    pid: int
    host: str
    purpose: str
    since: str
    fence: int

    def __str__(self) -> str:
        return f"{self.purpose} of process {self.pid} on {self.host}, since {self.since}"


def lease_holder(home: Path) -> LeaseHolder | None:
    """Return who holds the writer's lease of a home folder; None: nobody.

    Raises:
        CorruptionError: the file of its name is damaged.
    """
    path = home / "locks" / "writer.json"
    try:
        return LeaseHolder(**json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (json.JSONDecodeError, TypeError) as error:
        raise CorruptionError(f"{path} must name the writer, found: {error}; delete it if nothing writes") from error


def current_writer(settings: Settings) -> LeaseHolder | None:
    """Return who writes now, here or on another machine; a killed one does not.

    Raises:
        CorruptionError: the file of its name is damaged.
        DependencyError: the shared store does not answer.
    """
    if is_held(settings.layout.root):
        return lease_holder(settings.layout.root)
    store = open_shared_store(settings.shared_state)
    shared = holder_of(store) if store else None
    if shared is None or shared.is_silent:
        return None
    return LeaseHolder(shared.pid, shared.host, shared.purpose, shared.since, shared.fence)


def is_held(home: Path) -> bool:
    """Return whether a process of this machine holds the lease of a home folder: a killed one leaves its name only."""
    try:
        descriptor = os.open(home / "locks" / "writer.lock", os.O_RDWR)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


@contextmanager
def hold(home: Path, *, purpose: str, wait_seconds: float = 0) -> Iterator[Lease]:
    """Hold the writer's lease of a home folder.

    The lock is the kernel's (`flock`): it ends with its holder, however that ends, and child processes do not keep
    it. On a network filesystem it is not a promise: NFS before v4 and some FUSE mounts keep it within one host only,
    and a client that was cut off can lose it unseen. `Lease.check` notices a successor, but only at the moments when
    it is called; let one host at a time write such a home.

    Args:
        home: `ALMANAC_HOME`.
        purpose: what a second process reads about the holder, as `refresh`.
        wait_seconds: how long to wait for another holder; 0: not at all.

    Raises:
        BusyError: another process holds the lease.
        ConfigurationError: the home folder cannot be written.
        DependencyError: the disk is full, or the filesystem has no locks.
        CorruptionError: the file of the fencing number holds no number.
    """
    folder = home / "locks"
    descriptor = _open(folder)
    try:
        _acquire(descriptor, folder, wait_seconds)
        lease = _take(folder, purpose)
        try:
            yield lease
        finally:
            if descriptor in _held:
                (folder / "writer.json").unlink(missing_ok=True)
    finally:
        _close(descriptor)


def _open(folder: Path) -> int:
    _close_in_forked_children()
    try:
        make_private(folder.parent)
        folder.mkdir(exist_ok=True)
        # Python opens with O_CLOEXEC: programs that are started do not inherit the lock.
        descriptor = os.open(folder / "writer.lock", os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise _unwritable(folder, error) from error
    _held.add(descriptor)
    return descriptor


@functools.cache
def _close_in_forked_children() -> None:
    # A forked worker shares the parent's lock and would keep it after the parent's death.
    os.register_at_fork(after_in_child=_forget_held)


def _forget_held() -> None:
    while _held:
        os.close(_held.pop())


def _acquire(descriptor: int, folder: Path, wait_seconds: float) -> None:
    # Whoever asks whether the lock is held (`is_held`) has it for a moment.
    deadline = time.monotonic() + max(wait_seconds, 2 * _POLL_SECONDS)
    reported = False
    while not _try_lock(descriptor, folder):
        if time.monotonic() >= deadline:
            raise BusyError(
                f"one process at a time may write to {folder.parent}, found {_holder(folder)}; "
                "wait until it ends, or end that process"
            )
        if not reported:
            logger.warning("waiting up to %.0f s for %s", wait_seconds, _holder(folder))
            reported = True
        time.sleep(_POLL_SECONDS)


def _try_lock(descriptor: int, folder: Path) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise DependencyError(
            f"the filesystem of {folder} must support locks, found: {error.strerror}; set ALMANAC_HOME to a local disk"
        ) from error
    return True


def _take(folder: Path, purpose: str) -> Lease:
    lease = Lease(folder, _read_fence(folder) + 1)
    # The holder first: who finds the lock taken should not read a predecessor's name for longer than needed.
    since = datetime.now(UTC).isoformat(timespec="seconds")
    holder = LeaseHolder(os.getpid(), socket.gethostname(), purpose, since, lease.fence)
    write_json(folder / "writer.json", asdict(holder))
    write_json(folder / "fence", lease.fence)
    return lease


def _close(descriptor: int) -> None:
    if descriptor in _held:  # else a forked child unwinds its parent's stack
        _held.discard(descriptor)
        os.close(descriptor)


def _holder(folder: Path) -> str:
    try:
        holder = lease_holder(folder.parent)
    except CorruptionError:
        holder = None
    return "a holder that has not yet given its name" if holder is None else str(holder)


def _read_fence(folder: Path) -> int:
    try:
        return int((folder / "fence").read_text(encoding="ascii"))
    except FileNotFoundError:
        return 0
    except ValueError as error:
        raise CorruptionError(
            f"{folder / 'fence'} must hold the number of the newest lease, found {error}; write a number above all "
            "`fence` values of the releases into it"
        ) from error


def _unwritable(folder: Path, error: OSError) -> ConfigurationError | DependencyError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
        return DependencyError(f"the disk of {folder} must take writes, found: {error.strerror}; free some space")
    return ConfigurationError(
        f"{folder} must be a folder that this process may write, found: {error.strerror}; "
        "set ALMANAC_HOME to another folder or change its owner"
    )
