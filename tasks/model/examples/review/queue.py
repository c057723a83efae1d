"""The store of the review queue: one SQLite file in `<home>/review`, readable by its owner alone.

It holds texts of documents. Like the quarantine it belongs to one home; what people rated lies in MLflow, which may be
shared. Each function is one transaction; deleted bytes are overwritten.
"""

import json
import sqlite3
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tasks.audit.audit import open_audit
from tasks.corpus.document import sha256
from tasks.corpus.private_database import opened
from tasks.errors import ConfigurationError
from tasks.home import Home
from tasks.model.examples.review.draft import STATUSES, Decision, Draft, DraftPassage, Kind, Status

FILE = "queue.sqlite"
_COLUMNS = tuple(field.name for field in fields(Draft))
_TABLE = f"""
CREATE TABLE IF NOT EXISTS drafts (
    id TEXT PRIMARY KEY, {", ".join(f"{name} TEXT" for name in _COLUMNS[1:])}, place INTEGER NOT NULL
)
"""

Write = Callable[[Draft, Draft], None]
"""Called within a decision's transaction with the draft before and after it; what it raises undoes the decision."""


def offer(home: Home, drafts: Iterable[Draft]) -> int:
    """Put drafts behind those that wait; one that is there, decided or not, stays as it is. Return how many are new."""
    marks = ", ".join("?" * len(_COLUMNS))
    insert = (
        f"INSERT OR IGNORE INTO drafts ({', '.join(_COLUMNS)}, place)"  # noqa: S608 - names of ours
        f" VALUES ({marks}, (SELECT COALESCE(MAX(place), 0) + 1 FROM drafts))"
    )
    with _opened(home) as queue:
        before = queue.total_changes
        for draft in drafts:
            queue.execute(insert, _row(draft))
        return queue.total_changes - before


def drafts(home: Home, *, status: Status | None = None, kind: Kind | None = None) -> list[Draft]:
    """Return drafts, the oldest first."""
    if not _path(home).exists():
        return []
    wanted = {"status": status, "kind": kind}
    names = [name for name, value in wanted.items() if value is not None]
    where = " AND ".join(f"{name} = ?" for name in names) or "1"
    query = f"SELECT {', '.join(_COLUMNS)} FROM drafts WHERE {where} ORDER BY place"  # noqa: S608 - names of ours
    with _opened(home) as queue:
        return [_draft(row) for row in queue.execute(query, [wanted[name] for name in names])]


def get(home: Home, draft_id: str) -> Draft:
    """Return a draft by its id, or by a beginning of it that no other has.

    Raises:
        ConfigurationError: there is none, or several begin so.
    """
    same = [draft for draft in drafts(home) if draft.id.startswith(draft_id)]
    if len(same) != 1:
        raise ConfigurationError(
            f"an id must name one draft of the review queue, found {len(same)} for {draft_id!r}; `almanac review list`"
            " shows the ids"
        )
    return same[0]


def counts(home: Home) -> dict[str, int]:
    """Return how many drafts have each status."""
    statuses = [draft.status for draft in drafts(home)]
    return {status: statuses.count(status) for status in STATUSES}


def decide(
    home: Home, draft_id: str, decision: Decision, *, write: Write | None = None, actor: str | None = None
) -> Draft:
    """Keep what a person decided; a later decision takes the place of an earlier one.

    Args:
        home: whose queue.
        draft_id: of the draft, or its beginning.
        decision: the verdict; `corrected` is what an acceptance with another text becomes.
        write: what the decision changes elsewhere.
        actor: the pseudonym of who decides, for the audit log; None: whoever runs this process.

    Raises:
        ConfigurationError: there is no such draft, or the correction leaves no question.
        DependencyError: the decision cannot be noted: it is not made.
    """
    before = get(home, draft_id)
    after = _decided(before, decision)
    with _opened(home) as queue:
        names = [name for name in _COLUMNS if name != "id"]
        row = dict(zip(_COLUMNS, _row(after), strict=True))
        changes = ", ".join(f"{name} = ?" for name in names)
        queue.execute(
            f"UPDATE drafts SET {changes} WHERE id = ?",  # noqa: S608 - names of ours
            [*(row[name] for name in names), after.id],
        )
        if write is not None:
            write(before, after)
        documents = sorted(after.document_ids)
        open_audit(home).done("reviewed", actor=actor, documents=documents, draft=after.id, verdict=after.status)
    return after


def _decided(draft: Draft, decision: Decision) -> Draft:
    question = draft.question if decision.question is None else decision.question.strip()
    answer = draft.answer if decision.answer is None else decision.answer.strip() or None
    if not question:
        raise ConfigurationError("a draft must keep a question, found none; drop it, or write one")
    is_kept = decision.status in ("accepted", "corrected")
    is_changed = (question, answer) != (draft.question, draft.answer)
    status: Status = ("corrected" if is_changed else "accepted") if is_kept else decision.status
    return replace(
        draft,
        status=status,
        question_now=question if is_kept else draft.question,
        answer_now=answer if is_kept else draft.answer,
        anchor=draft.anchor if decision.anchor is None else decision.anchor.strip() or None,
        reviewer="" if status == "draft" else decision.reviewer,
        decided_at="" if status == "draft" else datetime.now(UTC).isoformat(timespec="seconds"),
    )


def remove(home: Home, draft_ids: Collection[str]) -> int:
    """Take drafts out of the queue, with what was decided; return how many."""
    if not draft_ids or not _path(home).exists():
        return 0
    with _opened(home) as queue:
        return sum(
            queue.execute("DELETE FROM drafts WHERE id = ?", (draft_id,)).rowcount for draft_id in sorted(draft_ids)
        )


def purge(home: Home, document_ids: Collection[str], quotes: Callable[[str], bool]) -> int:
    """Erase every draft that shows one of the documents or quotes one; return how many.

    Args:
        home: whose queue.
        document_ids: of the documents.
        quotes: whether a text holds words of them.
    """
    gone = {
        draft.id
        for draft in drafts(home)
        if draft.document_ids & set(document_ids) or quotes("\n".join(map(str, _row(draft))))
    }
    return remove(home, gone)


def verdicts(home: Home) -> Mapping[str, Draft]:
    """Return what was decided of the drafts of examples, by id."""
    return {draft.id: draft for draft in drafts(home, kind="example") if draft.status != "draft"}


def verdicts_digest(home: Home) -> str:
    """Return a digest that changes with any decision on an example."""
    return sha256(*sorted(f"{one.id} {one.status} {one.decided_at}" for one in verdicts(home).values()))


def _row(draft: Draft) -> tuple[str | None, ...]:
    values = asdict(draft) | {"passages": json.dumps([asdict(entry) for entry in draft.passages], ensure_ascii=False)}
    return tuple(values[name] for name in _COLUMNS)


def _draft(row: tuple[Any, ...]) -> Draft:
    values = dict(zip(_COLUMNS, row, strict=True))
    return Draft(**values | {"passages": tuple(DraftPassage(**entry) for entry in json.loads(values["passages"]))})


def _path(home: Home) -> Path:
    return home.review / FILE


def _opened(home: Home) -> AbstractContextManager[sqlite3.Connection]:
    """The file in one transaction."""
    return opened(_path(home), _TABLE)
