"""The record of the server that runs over a home: where it listens, and the key that opens it to the operator.

The record lies in the home and is readable by its owner alone, who may read every document there anyway: the key opens
nothing more. A kernel lock says whether the server lives; it ends with the process, however that ends, so that the key
is never sent to another program that took the port.
"""

import errno
import fcntl
import json
import os
import secrets
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from tasks.home import make_private
from tasks.params import Params, digest
from tasks.settings import Settings

DISTRIBUTION = "almanac-rag"
LOOPBACK = ("127.0.0.1", "::1")
_EVERY_INTERFACE = ("0.0.0.0", "::", "")  # noqa: S104 - compared, not listened on
_TAKE_SECONDS = 2.0
"""A command that asks whether a server lives holds the lock for an instant."""


@dataclass(frozen=True, slots=True)
class ServerRecord:
    """A server as its home knows it.

    Attributes:
        home: its home, so that the record in a copied home is passed over.
        params: digest of its parameters: another params.yaml may give other answers.
        index: where its index lies.
        key: what the operator's commands send.
    """

    host: str
    port: int
    hostname: str
    pid: int
    started_at: str
    software: str
    home: str
    params: str
    index: str
    key: str


def record_of(params: Params, settings: Settings, host: str, port: int, started_at: str) -> ServerRecord | None:
    """Return the record of a server that listens here, with a new key; None where this machine's loopback is not it."""
    if host not in (*LOOPBACK, "localhost", *_EVERY_INTERFACE):
        return None
    return ServerRecord(
        host="127.0.0.1" if host in _EVERY_INTERFACE else host,
        port=port,
        hostname=socket.gethostname(),
        pid=os.getpid(),
        started_at=started_at,
        software=software(),
        home=str(settings.layout.root),
        params=digest(params),
        index=settings.index_uri,
        key=secrets.token_urlsafe(32),
    )


@cache
def software() -> str:
    """Return the version of this software."""
    try:
        return version(DISTRIBUTION)
    except PackageNotFoundError:
        return "unknown"


@contextmanager
def claimed(settings: Settings) -> Iterator[bool]:
    """Hold the lock of the home's server; False where another server has it, which then answers the commands."""
    make_private(settings.layout.root)
    settings.layout.locks.mkdir(parents=True, exist_ok=True)
    with _lock_file(settings.layout.locks).open("a") as lock:
        yield _taken(lock.fileno())
        # Closing the file gives the lock back.


def write_record(settings: Settings, record: ServerRecord) -> None:
    """Write the record for its owner alone, whole or not at all."""
    path = settings.layout.server
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    beside.unlink(missing_ok=True)
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        json.dump(asdict(record), stream, indent=2)
    beside.replace(path)


def remove_record(settings: Settings) -> None:
    """Remove the record; the server has ended."""
    settings.layout.server.unlink(missing_ok=True)


def read_record(params: Params, settings: Settings) -> ServerRecord | None:
    """Return the server that lives and answers as a command of this process would; None where there is none.

    None too where it has other software, parameters or stores, and where others may read or replace the record.
    """
    path = settings.layout.server
    try:
        status = path.stat()
        record = ServerRecord(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    is_private = status.st_uid == os.getuid() and status.st_mode & 0o077 == 0
    is_ours = (record.hostname, record.software, record.home, record.params, record.index) == (
        socket.gethostname(),
        software(),
        str(settings.layout.root),
        digest(params),
        settings.index_uri,
    )
    return record if is_private and is_ours and _lives(settings.layout.locks) else None


def _lives(locks: Path) -> bool:
    try:
        with _lock_file(locks).open("r") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _lock_file(locks: Path) -> Path:
    return locks / "server.lock"


def _taken(descriptor: int) -> bool:
    deadline = time.monotonic() + _TAKE_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EACCES) or time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        else:
            return True
