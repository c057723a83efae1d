"""A file of JSON lines to which records are only ever added, each with the hash of the one before.

Several processes add at once, one at a time under a kernel lock. A line appears by one write: what a power cut left of
one is dropped by the next writer, who says so. Whoever changes, removes or inserts a record breaks the chain behind it;
whoever cuts records off the end is found by an exported copy, which knows what followed. Old records go by `prune`,
which leaves a record of its own: a chain may begin later than its first record only where that says so.
"""

import datetime as dt
import fcntl
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tasks.errors import CorruptionError, DependencyError
from tasks.files import whole_file
from tasks.home import make_private

BEGINNING = "0" * 64
PRUNED = "pruned"
_TAIL_BYTES = 1 << 16
_NAMES = ("number", "at", "what", "actor", "detail", "previous", "hash")


@dataclass(frozen=True, slots=True)
class Record:
    """One thing that happened.

    Attributes:
        number: counts up from 1.
        at: the moment, UTC.
        actor: who did it: a pseudonym of a user, or `os:name@host` of who ran a command.
        detail: what is known of it; never a text of a question, answer or document.
        previous: hash of the record before, `BEGINNING` of the first.
        hash: SHA-256 of all the others.
    """

    number: int
    at: str
    what: str
    actor: str
    detail: Mapping[str, Any]
    previous: str
    hash: str

    @property
    def line(self) -> bytes:
        """Return it as it stands in the file."""
        return _encoded({name: getattr(self, name) for name in _NAMES}) + b"\n"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a check of a chain found.

    Attributes:
        head: hash of the last record: whoever keeps it elsewhere can tell later that nothing before was changed.
        problems: what is wrong, in words; none: the chain holds.
    """

    num_records: int
    first_at: str | None
    last_at: str | None
    head: str
    problems: tuple[str, ...] = field(default=())


class Chain:
    """The log in a folder of its owner alone."""

    def __init__(self, folder: Path, clock: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.UTC)) -> None:
        """Name a log; nothing is touched."""
        self.folder, self._clock = folder, clock
        self.path = folder / "log.jsonl"

    def append(self, what: str, actor: str, detail: Mapping[str, Any], *, durable: bool = False) -> Record:
        """Add a record.

        Args:
            what: happened.
            actor: who did it.
            detail: what is known of it.
            durable: wait until the disk has it. A kill of the process loses nothing either way; a power cut may lose
                the last seconds of what was not waited for.

        Raises:
            DependencyError: the disk refused: nothing was added.
            CorruptionError: the file ends in something that is no record.
        """
        with self.locked(), self._open() as descriptor:
            last, torn = _last(descriptor, self.path)
            if torn:
                detail = {**detail, "bytes_of_a_write_that_was_cut": torn}
            record = self._next(last, what, actor, detail)
            _write(descriptor, record.line, self.path)
            if durable:
                os.fdatasync(descriptor)
        return record

    def records(self) -> Iterator[Record]:
        """Yield all records, oldest first; a line that a power cut left unfinished is passed over.

        Raises:
            CorruptionError: another line is no record.
        """
        if self.path.exists():
            yield from read_records(self.path)

    def prune(self, before: dt.datetime, actor: str) -> int:
        """Remove the records of before a moment, and say so in a record; return how many went.

        Raises:
            CorruptionError: the chain does not hold: nothing is removed from what somebody changed.
            DependencyError: the disk refused.
        """
        verdict = verify(self.records())
        if verdict.problems:
            raise CorruptionError(f"{self.path} must hold before it is shortened, found: {verdict.problems[0]}")
        with self.locked():
            records = list(self.records())
            gone = [record for record in records if dt.datetime.fromisoformat(record.at) < before]
            if not gone:
                return 0
            detail = {"num_records": len(gone), "through": gone[-1].number, "hash": gone[-1].hash}
            kept = [*records[len(gone) :], self._next(records[-1], PRUNED, actor, detail)]
            with whole_file(self.path) as beside:
                beside.touch(mode=0o600)
                beside.write_bytes(b"".join(record.line for record in kept))
        return len(gone)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the log: of all threads and processes of this machine, one writes."""
        try:
            make_private(self.folder)
            lock = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise _refused(self.path, error) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    @contextmanager
    def _open(self) -> Iterator[int]:
        try:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        except OSError as error:
            raise _refused(self.path, error) from error
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def _next(self, last: Record | None, what: str, actor: str, detail: Mapping[str, Any]) -> Record:
        number, previous = (last.number + 1, last.hash) if last else (1, BEGINNING)
        at = self._clock().isoformat(timespec="milliseconds")
        return Record(number, at, what, actor, detail, previous, _hash(number, at, what, actor, detail, previous))


def read_records(path: Path) -> Iterator[Record]:
    """Yield the records of a file.

    Raises:
        CorruptionError: a line is no record.
        DependencyError: the file cannot be read.
    """
    try:
        stream = path.open("rb")
    except OSError as error:
        raise DependencyError(f"{path} must be readable, found: {error.strerror}; correct its owner") from error
    with stream:
        for number, line in enumerate(stream, start=1):
            if line.endswith(b"\n"):
                yield _parsed(line, f"{path}:{number}")


def verify(records: Iterator[Record]) -> Verdict:
    """Check that each record is as it was written and follows the one before, and that a late beginning is explained.

    Raises:
        CorruptionError: a line is no record.
    """
    problems, count = list[str](), 0
    first = last = None
    explained = {BEGINNING}
    for record in records:
        count += 1
        first = first or record
        if record.hash != _hash(*(getattr(record, name) for name in _NAMES[:-1])):
            problems.append(f"record {record.number} is not as it was written")
        if last is not None and (record.previous, record.number) != (last.hash, last.number + 1):
            problems.append(f"record {record.number} does not follow record {last.number}")
        if record.what == PRUNED:
            explained.add(str(record.detail.get("hash")))
        last = record
    if first is not None and first.previous not in explained:
        problems.append(f"the records before {first.number} are gone, and no record says who removed them")
    head = last.hash if last else BEGINNING
    return Verdict(count, first.at if first else None, last.at if last else None, head, tuple(problems[:10]))


def _last(descriptor: int, path: Path) -> tuple[Record | None, int]:
    """Return the last record, and how many bytes of an unfinished one were dropped behind it."""
    size = os.fstat(descriptor).st_size
    if size == 0:
        return None, 0
    begin = max(0, size - _TAIL_BYTES)
    tail = os.pread(descriptor, size - begin, begin)
    end = tail.rfind(b"\n") + 1
    torn = len(tail) - end
    if torn:
        os.ftruncate(descriptor, size - torn)
    if end == 0:
        if begin:
            raise CorruptionError(f"{path} must end in a record, found {torn} bytes without an end; restore it")
        return None, torn
    return _parsed(tail[tail.rfind(b"\n", 0, end - 1) + 1 : end], str(path)), torn


def _write(descriptor: int, line: bytes, path: Path) -> None:
    size = os.fstat(descriptor).st_size
    try:
        written = os.write(descriptor, line)
    except OSError as error:
        raise _refused(path, error) from error
    if written < len(line):  # the disk is full: half a record is none
        os.ftruncate(descriptor, size)
        raise DependencyError(f"{path} must take {len(line)} bytes more, found room for {written}; free some space")


def _parsed(line: bytes, where: str) -> Record:
    try:
        raw = json.loads(line)
        return Record(*(raw[name] for name in _NAMES))
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptionError(
            f"{where} must be a record of the audit log, found {type(error).__name__}: {line[:40]!r}…; restore the "
            "file from a backup, or move it aside and keep it: a new log begins"
        ) from error


def _hash(number: int, at: str, what: str, actor: str, detail: Mapping[str, Any], previous: str) -> str:
    content = _encoded([number, at, what, actor, detail, previous])
    return hashlib.sha256(content).hexdigest()


def _encoded(content: Any) -> bytes:
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "replace")


def _refused(path: Path, error: OSError) -> DependencyError:
    return DependencyError(
        f"{path} must be writable: what is not in the audit log is not done; found: {error.strerror}; free some space "
        "or correct its owner"
    )
