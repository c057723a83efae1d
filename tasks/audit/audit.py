"""What is told to the audit log, and how it is read: one log for each home.

Traces help to improve answers: they hold texts, are best effort, and retention deletes them. This log answers who saw
and who changed what: it holds no text, and what cannot be written into it is not done.
"""

import datetime as dt
import socket
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from tasks.audit.chain import Chain, Record, Verdict, read_records, verify
from tasks.audit.names import DocumentNames
from tasks.errors import CorruptionError
from tasks.files import whole_file
from tasks.home import Home
from tasks.settings import user_name

SHOWN = "shown"


@dataclass(frozen=True, slots=True)
class Entry:
    """A record as a person reads it.

    Attributes:
        documents: names, or `#` and the hash where a document was forgotten.
    """

    number: int
    at: str
    what: str
    actor: str
    documents: tuple[str, ...]
    detail: dict[str, Any]


class Audit:
    """The log of one home. Safe for use by several threads, and by several processes at once."""

    def __init__(self, home: Home) -> None:
        """Name a log; nothing is touched."""
        self._chain = Chain(home.audit)
        self._names = DocumentNames(home.audit)

    @property
    def path(self) -> Path:
        """Return the file of the log."""
        return self._chain.path

    def shown(self, actor: str, document_ids: Iterable[str], **detail: str | int | None) -> None:
        """Note who was given which documents; call before any of it leaves.

        Raises:
            DependencyError: the disk refused: nothing may be shown.
        """
        names = tuple(dict.fromkeys(document_ids))
        self._append(SHOWN, actor, names, {name: value for name, value in detail.items() if value is not None})

    def done(self, what: str, *, actor: str | None = None, documents: Sequence[str] = (), **detail: Any) -> None:
        """Note what somebody changed, and wait until the disk has it.

        Args:
            what: happened, in the past tense: `promoted`.
            actor: a pseudonym; None: whoever runs this process.
            documents: ids.
            detail: what else is known; no text of a document.

        Raises:
            DependencyError: the disk refused.
        """
        self._append(what, actor or process_owner(), documents, detail, durable=True)

    def entries(
        self, *, since: dt.datetime | None = None, actor: str | None = None, document: str | None = None
    ) -> Iterator[Entry]:
        """Yield what is in the log, oldest first.

        Args:
            since: only later records.
            actor: only what this one did or was shown.
            document: only records of this id; it may be one that was forgotten.
        """
        names = self._names.by_digest()
        wanted = None if document is None else self._names.digests([document])[0]
        for record in self._chain.records():
            digests = record.detail.get("documents", [])
            if since is not None and dt.datetime.fromisoformat(record.at) < since:
                continue
            if (actor is not None and record.actor != actor) or (wanted is not None and wanted not in digests):
                continue
            yield _entry(record, tuple(names.get(digest, f"#{digest}") for digest in digests))

    def export(self, path: Path, since: dt.datetime | None = None) -> int:
        """Write the records as they stand, with their hashes, into a file for its owner alone; return how many."""
        records = [
            record for record in self._chain.records() if since is None or dt.datetime.fromisoformat(record.at) >= since
        ]
        with whole_file(path) as beside:
            beside.touch(mode=0o600)
            beside.write_bytes(b"".join(record.line for record in records))
        return len(records)

    def verify(self, copy: Path | None = None) -> Verdict:
        """Check the chain; with an exported copy, also that every record of it still stands in the log.

        Raises:
            CorruptionError: the log or the copy is no log.
        """
        verdict = verify(self._chain.records())
        if copy is None:
            return verdict
        hashes = {record.number: record.hash for record in self._chain.records()}
        begins = min(hashes, default=0)
        lost = [
            f"record {record.number} of {copy} is not in the log as it was exported"
            for record in read_records(copy)
            if record.number >= begins and hashes.get(record.number) != record.hash
        ]
        return Verdict(
            verdict.num_records,
            verdict.first_at,
            verdict.last_at,
            verdict.head,
            (*verdict.problems, *lost[:10]),
        )

    def forget(self, document_ids: Sequence[str]) -> int:
        """Take names of documents out of the table beside the log; the log keeps their hashes."""
        with self._chain.locked():
            return self._names.forget(document_ids)

    def prune(self, before: dt.datetime) -> int:
        """Remove records of before a moment, and say so in the log; return how many.

        Raises:
            CorruptionError: the chain does not hold.
        """
        return self._chain.prune(before, process_owner())

    def _append(
        self, what: str, actor: str, documents: Sequence[str], detail: dict[str, Any], *, durable: bool = False
    ) -> None:
        if documents:
            if not self._names.hold(documents):
                with self._chain.locked():
                    self._names.note(documents)
            detail = {**detail, "documents": self._names.digests(documents)}
        self._chain.append(what, actor, detail, durable=durable)


@lru_cache(maxsize=8)
def open_audit(home: Home) -> Audit:
    """Return the log of a home, the same one for all of this process."""
    return Audit(home)


def process_owner() -> str:
    """Return who runs this process, as the machine knows it."""
    return f"os:{user_name()}@{socket.gethostname()}"


def problems_of(home: Home) -> tuple[str, ...]:
    """Return what is wrong with the log of a home; it may be damaged beyond reading."""
    try:
        return open_audit(home).verify().problems
    except CorruptionError as error:
        return (str(error),)


def as_json(entry: Entry) -> dict[str, Any]:
    """Return the fields of `almanac audit --json`."""
    return asdict(entry)


def _entry(record: Record, documents: tuple[str, ...]) -> Entry:
    detail = {name: value for name, value in record.detail.items() if name != "documents"}
    return Entry(record.number, record.at, record.what, record.actor, documents, detail)
