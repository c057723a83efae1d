"""What the answers of each version were like, from their traces in MLflow. Knows MLflow only."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tasks.answer.registry import alone
from tasks.answer.trace_search import answer_traces
from tasks.model.examples.feedback import votes_of
from tasks.model.trial.sequential import Observation, Tally
from tasks.settings import Settings

if TYPE_CHECKING:
    from mlflow.entities import Span, Trace

MAX_ANSWERS = 3000
"""The newest answers of a trial that are read, of both versions: later ones push the first out of sight."""
_MIN_SECONDS = 0.001


@dataclass(slots=True)
class Outcomes:
    """What was observed of one version, by metric of `tasks.model.trial.verdict`."""

    answers: int = 0
    tallies: dict[str, Tally] = field(default_factory=dict)

    def add(self, name: str, observation: Observation) -> None:
        """Note one value."""
        self.tallies.setdefault(name, Tally()).add(observation)


def read_outcomes(settings: Settings, challenger: str, knowledge_base: str | None = None) -> dict[str, Outcomes]:
    """Return what was observed of each answerer version since the challenger first answered.

    Only of users that can be told apart: who asks without a key is always answered by the champion.

    Args:
        settings: where MLflow is.
        challenger: its version, as traces name it.
        knowledge_base: of which alone was asked; None: of whichever.

    Raises:
        DependencyError: MLflow does not answer.
    """
    traces = list(answer_traces(settings, limit=MAX_ANSWERS))
    started = min((trace.info.request_time for trace in traces if _version(trace) == challenger), default=None)
    outcomes: dict[str, Outcomes] = {}
    for trace in traces:
        version, user = _version(trace), trace.info.trace_metadata.get("mlflow.trace.user")
        root = _outputs(trace)
        if started is None or trace.info.request_time < started or version is None or user is None or not root:
            continue
        if knowledge_base is not None and knowledge_base != _asked_alone(trace):
            continue
        of_version = outcomes.setdefault(version, Outcomes())
        of_version.answers += 1
        for name, observation in observed(user, root, trace.info.execution_duration, votes_of(_valid(trace))):
            of_version.add(name, observation)
    return outcomes


def _version(trace: "Trace") -> str | None:
    return trace.info.tags.get("almanac.answerer_version")


def observed(
    user: str, outputs: Mapping[str, Any], milliseconds: int | None, votes: Mapping[str, bool]
) -> Iterator[tuple[str, Observation]]:
    """Yield what one answer says of its version: a metric's name and its value."""
    yield "abstentions", Observation(user, float(bool(outputs.get("abstained"))))
    claims = outputs.get("claims") or []
    if claims:
        unverified = sum(claim.get("verdict") != "supported" for claim in claims)
        yield "unverified", Observation(user, unverified / len(claims), len(claims))
    if milliseconds is not None:
        yield "log_seconds", Observation(user, math.log(max(milliseconds / 1000, _MIN_SECONDS)))
    for vote in votes.values():
        yield "disapproval", Observation(user, float(not vote))


def _outputs(trace: "Trace") -> Mapping[str, Any]:
    root = _root(trace)
    outputs = root.outputs if root else None
    return outputs if isinstance(outputs, dict) else {}


def _asked_alone(trace: "Trace") -> str | None:
    """Return the knowledge base that alone was asked; None: several, or all."""
    root = _root(trace)
    inputs = root.inputs if root else None
    filters = inputs.get("filters") if isinstance(inputs, dict) else None
    return alone((filters or {}).get("knowledge_bases") or ())


def _root(trace: "Trace") -> "Span | None":
    return next((span for span in trace.data.spans if span.parent_id is None), None)


def _valid(trace: "Trace") -> Sequence[Any]:
    return [entry for entry in trace.info.assessments or [] if entry.valid is not False]
