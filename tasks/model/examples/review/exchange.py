"""The review queue as a file: JSON lines that a spreadsheet or a script reads and gives back with verdicts."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tasks.errors import AlmanacError, ConfigurationError
from tasks.files import write_text
from tasks.home import Home
from tasks.model.examples.review.draft import STATUSES, Decision, Draft, Status
from tasks.model.examples.review.queue import Write, decide, drafts

FIELDS = ("id", "kind", "status", "question", "answer", "anchor")
"""What is read back; everything else in a line is for the reader."""


@dataclass(frozen=True, slots=True)
class Imported:
    """What became of a file.

    Attributes:
        refused: lines that changed nothing, with the reason.
    """

    decided: int
    unchanged: int
    refused: tuple[str, ...]


def export_drafts(home: Home, path: Path, *, status: Status | None = None) -> int:
    """Write the drafts as JSON lines, their texts as they are now; return how many."""
    lines = [json.dumps(_fields(draft), ensure_ascii=False) + "\n" for draft in drafts(home, status=status)]
    write_text(path, "".join(lines))
    path.chmod(0o600)
    return len(lines)


def _fields(draft: Draft) -> dict[str, Any]:
    now = {"question": draft.question_now or draft.question, "answer": draft.answer_now}
    values = asdict(draft) | now
    named = {name: values[name] for name in FIELDS}
    return named | {name: values[name] for name in ("origin", "how", "topic", "split", "passages")}


def import_drafts(home: Home, path: Path, *, reviewer: str, write: Write) -> Imported:
    """Decide as the lines say; a line that cannot be followed is refused alone, with its reason.

    Raises:
        ConfigurationError: the file cannot be read.
    """
    by_id = {draft.id: draft for draft in drafts(home)}
    decided, unchanged, refused = 0, 0, []
    for number, line in _lines(path):
        try:
            draft, decision = _decision(line, by_id, reviewer)
            if (decision.status, decision.question, decision.answer) == _state(draft):
                unchanged += 1
            else:
                decide(home, draft.id, decision, write=write)
                decided += 1
        except AlmanacError as error:
            refused.append(f"line {number}: {error}")
    return Imported(decided, unchanged, tuple(refused))


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} must be a readable file in UTF-8, found: {error}") from error
    yield from ((number, line) for number, line in enumerate(text.splitlines(), start=1) if line.strip())


def _state(draft: Draft) -> tuple[Status, str, str]:
    return draft.status, draft.question_now or draft.question, draft.answer_now or ""


def _decision(line: str, by_id: dict[str, Draft], reviewer: str) -> tuple[Draft, Decision]:
    try:
        entry = json.loads(line)
    except json.JSONDecodeError as error:
        raise ConfigurationError(f"it must be one JSON object, found: {error}") from error
    if not isinstance(entry, dict) or entry.get("id") not in by_id:
        raise ConfigurationError("its `id` must be that of a draft, found none of that id; export the queue again")
    if entry.get("status") not in STATUSES:
        raise ConfigurationError(f"its `status` must be one of {', '.join(STATUSES)}, found {entry.get('status')!r}")
    texts = {name: entry.get(name) for name in ("question", "answer", "anchor")}
    if not all(value is None or isinstance(value, str) for value in texts.values()):
        raise ConfigurationError("its `question`, `answer` and `anchor` must be texts or null")
    decision = Decision(
        entry["status"], texts["question"], texts["answer"] or "", anchor=texts["anchor"], reviewer=reviewer
    )
    return by_id[entry["id"]], decision
