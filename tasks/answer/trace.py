"""Each answer as one MLflow trace: question, retrieve, generate, with what they read, wrote and cost.

A trace holds the question and the passages, restricted ones included: whoever may open the experiment may read them.
So each trace names the asker's groups (`almanac.groups`) and the documents (`almanac.document_ids`), by which
redaction and erasure find it. Traces are best effort, no audit log: without MLflow the answer is given all the same.
"""

import json
import logging
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from typing import Any

from tasks.answer.answer import Answer
from tasks.index.passage import Passage
from tasks.releases.tracking_store import experiment_id, open_store
from tasks.settings import Settings
from tasks.telemetry import correlation_id
from tasks.tenant import of_tenant

EXPERIMENT = "almanac-answers"
RETRY_AFTER_SECONDS = 60.0
"""An MLflow that did not answer is left alone for so long: a server must not wait for it at every question."""
PROBE_SECONDS = 2.0

_silent_until: dict[str, float] = {}
_destination: dict[str, tuple[str, str]] = {}
"""Tracking URI and experiment that traces of this process go to, under `now`."""
_destination_lock = threading.Lock()

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TraceContext:
    """Who asked, under which filters, and which releases answered.

    Attributes:
        user: a pseudonym of the asker, by which a rating finds its own trace; None on the command line.
        session: a pseudonym of the conversation.
        prompt: name or path of the prompt that a model is asked by.
    """

    index_version: str
    answerer_version: str
    groups: tuple[str, ...]
    filters: Mapping[str, Any] = field(default_factory=dict)
    user: str | None = None
    session: str | None = None
    prompt: str = ""


def traced(
    question: str,
    retrieve: Callable[[], Sequence[Passage]],
    answer: Callable[[Sequence[Passage]], Answer],
    *,
    context: TraceContext,
    settings: Settings,
) -> tuple[Answer, str | None]:
    """Retrieve and answer within a trace.

    Returns:
        the answer and the trace's id; None where MLflow cannot be reached (one warning is logged).
    """
    experiment = _experiment_id(settings)
    if experiment is None:
        return answer(retrieve()), None
    import mlflow

    _export_to(settings.tracking_uri, experiment)
    with mlflow.start_span("question", span_type="CHAIN") as root:
        root.set_inputs({"question": question, "filters": dict(context.filters)})
        passages = _retrieve(question, retrieve)
        result = _generate(passages, answer)
        root.set_outputs(
            {
                "answer": result.text,
                "abstained": result.abstained,
                "outcome": result.outcome,
                "reason": result.reason,
                "citations": [asdict(citation) for citation in result.citations],
                "claims": [asdict(claim) for claim in result.claims],
            }
        )
        mlflow.update_current_trace(tags=_tags(context, passages), metadata=_asker(context))
    return result, root.trace_id


def _export_to(tracking_uri: str, experiment: str) -> None:
    """Send traces to an experiment.

    Set once: MLflow waits at each setting until the traces before are written, 160 ms a question beside the answer.
    """
    import mlflow
    from mlflow.entities.trace_location import MlflowExperimentLocation

    with _destination_lock:
        # Another tracking URI, whoever set it, makes MLflow forget the destination.
        is_kept = mlflow.get_tracking_uri() == tracking_uri
        mlflow.set_tracking_uri(tracking_uri)
        if not is_kept or _destination.get("now") != (tracking_uri, experiment):
            mlflow.tracing.set_destination(MlflowExperimentLocation(experiment))
            _destination["now"] = (tracking_uri, experiment)


def current_trace_id() -> str | None:
    """Return the id of the trace that this thread is in; None: nothing is traced now."""
    mlflow = sys.modules.get("mlflow")
    span = mlflow.get_current_active_span() if mlflow else None
    return None if span is None else str(span.trace_id)


def flush_traces() -> None:
    """Wait until the traces of this process are written; call it before a short process ends."""
    import mlflow

    mlflow.flush_trace_async_logging()


def _retrieve(question: str, retrieve: Callable[[], Sequence[Passage]]) -> Sequence[Passage]:
    import mlflow
    from mlflow.entities import Document

    with mlflow.start_span("retrieve", span_type="RETRIEVER") as span:
        span.set_inputs({"question": question})
        passages = retrieve()
        span.set_outputs(
            [
                Document(page_content=passage.text, metadata=_metadata(passage), id=passage.chunk_id)
                for passage in passages
            ]
        )
    return passages


def _metadata(passage: Passage) -> dict[str, Any]:
    kept = ("document_id", "knowledge_base", "title", "start", "end", "score", "similarity")
    return {"doc_uri": passage.uri} | {name: getattr(passage, name) for name in kept}


def _generate(passages: Sequence[Passage], answer: Callable[[Sequence[Passage]], Answer]) -> Answer:
    import mlflow

    with mlflow.start_span("generate", span_type="CHAT_MODEL") as span:
        result = answer(passages)
        span.set_inputs({"prompt": result.prompt})
        span.set_outputs({"text": result.text})
        tokens = {
            "input_tokens": result.num_prompt_tokens,
            "output_tokens": result.num_completion_tokens,
            "total_tokens": result.num_prompt_tokens + result.num_completion_tokens,
        }
        span.set_attribute("mlflow.chat.tokenUsage", tokens)
    return result


def _asker(context: TraceContext) -> dict[str, str]:
    asker = {"mlflow.trace.user": context.user, "mlflow.trace.session": context.session}
    given = {name: value for name, value in asker.items() if value is not None}
    return {"almanac.groups": json.dumps(context.groups)} | given


def _tags(context: TraceContext, passages: Sequence[Passage]) -> dict[str, str]:
    documents = sorted({passage.document_id for passage in passages})
    return {
        "almanac.index_version": context.index_version,
        "almanac.answerer_version": context.answerer_version,
        "almanac.prompt": context.prompt,
        "almanac.document_ids": json.dumps(documents),
    } | ({} if (request := correlation_id()) is None else {"almanac.request_id": request})


def _experiment_id(settings: Settings) -> str | None:
    """Return the experiment's id, or None while MLflow does not answer."""
    import httpx
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    tracking_uri = settings.tracking_uri
    if time.monotonic() < _silent_until.get(tracking_uri, 0.0):
        return None
    try:
        if tracking_uri.startswith("http"):
            # Any HTTP status will do. MLflow's own client would wait for its timeout twice.
            httpx.head(tracking_uri, timeout=PROBE_SECONDS)
        return _existing_experiment_id(settings)
    except (httpx.TransportError, MlflowException, SQLAlchemyError, sqlite3.Error, OSError) as error:
        _silent_until[tracking_uri] = time.monotonic() + RETRY_AFTER_SECONDS
        reason = " ".join(str(error).split())[:200]
        log.warning("MLflow at %s must answer for a trace, this answer is not traced: %s", tracking_uri, reason)
        return None


@lru_cache(maxsize=8)
def _existing_experiment_id(settings: Settings) -> str:
    from mlflow import MlflowClient

    open_store(settings)
    return experiment_id(MlflowClient(tracking_uri=settings.tracking_uri), settings, of_tenant(EXPERIMENT))
