"""The answers that read a document: from their traces in MLflow."""

import datetime as dt
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tasks.answer.trace_search import answer_traces
from tasks.errors import DependencyError
from tasks.settings import Settings

if TYPE_CHECKING:
    from mlflow.entities import Trace

MAX_ANSWERS = 100


@dataclass(frozen=True, slots=True)
class CitingAnswer:
    """An answer whose passages held the document.

    Attributes:
        cited: its text refers to the document.
        user: the asker's pseudonym; None for who asked on the command line.
    """

    trace_id: str
    asked_at: str
    question: str
    cited: bool
    user: str | None = None


def citing_answers(document_id: str, settings: Settings) -> tuple[CitingAnswer, ...]:
    """Return the newest answers that read the document, `MAX_ANSWERS` at most; none where MLflow does not answer."""
    try:
        part = json.dumps(document_id)[1:-1].replace("'", "_")  # `_` stands for any sign
        traces = list(answer_traces(settings, f"tags.`almanac.document_ids` LIKE '%{part}%'", limit=MAX_ANSWERS))
    except DependencyError:
        return ()
    return tuple(_answer(trace, document_id) for trace in traces if document_id in _documents(trace))


def _documents(trace: "Trace") -> list[str]:
    documents: list[str] = json.loads(trace.info.tags.get("almanac.document_ids", "[]"))
    return documents


def _answer(trace: "Trace", document_id: str) -> CitingAnswer:
    root = next((span for span in trace.data.spans if span.parent_id is None), None)
    outputs = (root.outputs or {}) if root else {}
    cited = {str(entry.get("document_id")) for entry in outputs.get("citations") or []}
    question = str((root.inputs or {}).get("question", "")) if root else ""
    asked_at = trace.info.request_time // 1000
    return CitingAnswer(
        trace_id=trace.info.trace_id,
        asked_at=dt.datetime.fromtimestamp(asked_at, dt.UTC).isoformat(),
        question=question,
        cited=document_id in cited,
        user=trace.info.trace_metadata.get("mlflow.trace.user"),
    )
