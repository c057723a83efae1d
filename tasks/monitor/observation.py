"""One live answer as the monitor needs it, read from its trace in MLflow."""

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tasks.answer.trace_search import answer_traces
from tasks.settings import Settings

if TYPE_CHECKING:
    from mlflow.entities import Trace

_RATING = "user_rating"


@dataclass(frozen=True, slots=True)
class Observation:
    """What happened to one question.

    Attributes:
        day: since the epoch, UTC.
        user: a pseudonym; empty: the command line.
        similarity: cosine of the question and the best passage; None: nothing was found, or by words alone.
        unanswered: the outcome was neither `answer` nor a question which document is meant.
        num_claims, num_unverified: claims of a model's answer, and those that no passage holds.
        rating: True up, False down, None not rated.
        prompt_tokens, completion_tokens: what the answer cost.
    """

    day: int
    user: str
    question: str
    similarity: float | None
    unanswered: bool
    answerer: str
    index: str
    num_claims: int = 0
    num_unverified: int = 0
    rating: bool | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0


def read_observations(settings: Settings, *, since: dt.datetime) -> list[Observation]:
    """Return the answers since a moment, oldest first.

    Raises:
        DependencyError: MLflow does not answer.
    """
    traces = answer_traces(settings, f"timestamp_ms >= {int(since.timestamp() * 1000)}")
    observed = [(trace.info.request_time, _observation(trace)) for trace in traces]
    return [observation for _, observation in sorted(observed, key=lambda entry: entry[0])]


def day_of(moment: dt.datetime) -> int:
    """Return the day since the epoch, UTC."""
    return int(moment.timestamp()) // 86_400


def _observation(trace: "Trace") -> Observation:
    info, spans = trace.info, trace.data.spans
    root = next((span for span in spans if span.parent_id is None), None)
    outputs: dict[str, Any] = (root.outputs if root else None) or {}
    retrieved = [entry for span in spans if span.name == "retrieve" for entry in span.outputs or []]
    similarities = [entry["metadata"].get("similarity") for entry in retrieved if isinstance(entry, dict)]
    claims = outputs.get("claims") or []
    usage = info.token_usage or {}
    assessments: list[Any] = info.assessments or []
    votes = [bool(entry.value) for entry in assessments if entry.name == _RATING and entry.valid is not False]
    return Observation(
        day=info.request_time // 86_400_000,
        user=info.trace_metadata.get("mlflow.trace.user", ""),
        question=str(((root.inputs if root else None) or {}).get("question", "")),
        similarity=max((value for value in similarities if value is not None), default=None),
        unanswered=outputs.get("outcome") not in ("answer", "clarification", None),
        answerer=info.tags.get("almanac.answerer_version", ""),
        index=info.tags.get("almanac.index_version", ""),
        num_claims=len(claims),
        num_unverified=sum(claim.get("verdict") == "unverified" for claim in claims),
        rating=votes[-1] if votes else None,
        prompt_tokens=int(usage.get("input_tokens", 0)),
        completion_tokens=int(usage.get("output_tokens", 0)),
    )
