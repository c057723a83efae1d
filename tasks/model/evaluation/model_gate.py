"""The model gate: is a candidate better than the base and the champion, and worse in nothing that is guarded?

Better: the paired bootstrap interval of the headline metric's difference lies above zero. Worse: the difference itself
exceeds the tolerance; a wide interval is no excuse. Perplexities, general questions and what is known by heart are
compared with the base, so that small losses do not add up over the quarters; the rest with what serves.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tasks.bootstrap import Interval
from tasks.errors import ConfigurationError
from tasks.model.evaluation.evaluate import Evaluation
from tasks.model.evaluation.memory import CANARY_ID
from tasks.model.evaluation.metrics import METRICS, difference_of, modes_of, split_name
from tasks.model.evaluation.probes import PROBES
from tasks.params import ModelGateParams

ENOUGH_QUESTIONS = 200
"""Below it the report says that intervals are wide."""
MAX_RECALLED = 5
"""Canaries that a reason names."""
FEWEST_QUESTIONS = 20
"""Below it nothing can be said, and the gate refuses."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """One metric of the candidate beside another answerer's, on the questions that both were asked.

    Attributes:
        against: version of the other answerer.
        difference: candidate minus other; for perplexities relative growth. With its paired bootstrap interval.
        tolerance: the largest loss that is allowed; None: the headline metric.
    """

    metric: str
    against: str
    candidate: float
    reference: float
    difference: Interval
    tolerance: float | None
    num_questions: int
    passed: bool

    def __str__(self) -> str:
        change = self.difference
        return (
            f"{self.metric} {self.candidate:.3f} against {self.reference:.3f} of answerer {self.against}: "
            f"{change.mean:+.3f} [{change.low:+.3f}, {change.high:+.3f}] on {self.num_questions} questions"
        )


@dataclass(frozen=True, slots=True)
class GateDecision:
    """What the gate decides.

    Attributes:
        reasons: why the candidate is refused, each naming its metric; empty: it passed.
        notes: what a person should know in any case.
    """

    passed: bool
    reasons: tuple[str, ...]
    notes: tuple[str, ...]
    comparisons: tuple[Comparison, ...]


def decide(
    candidate: Evaluation, base: Evaluation, champion: Evaluation | None, params: ModelGateParams
) -> GateDecision:
    """Judge a candidate.

    Args:
        candidate: its evaluation.
        base: of the base model, on the same questions and index release.
        champion: of what serves; None: the base model serves.
        params: headline, confidence and guarded metrics.

    Raises:
        ConfigurationError: a metric does not exist, or the evaluations are of different questions or releases.
    """
    serves = champion or base
    _check(candidate, base, serves, params)
    others = [base] if serves.identity == base.identity else [base, serves]
    comparisons = [_compared(params.headline, candidate, other, None, params) for other in others]
    guarded = {name: most for name, most in params.guarded.items() if candidate.style.absence(name) is None}
    is_stopped = _is_stopped(candidate, serves, params)
    unasked = [name for name in guarded if is_stopped and not candidate.parts(name)]
    guarded = {name: most for name, most in guarded.items() if name not in unasked}
    for name, tolerance in guarded.items():
        comparisons.append(_compared(name, candidate, _reference(name, base, serves), tolerance, params))
    known = [entry for entry in comparisons if isinstance(entry, Comparison)]
    reasons = [*_too_few(candidate), *(entry for entry in comparisons if isinstance(entry, str))]
    reasons += [_reason(entry) for entry in known if not entry.passed]
    if "memorised" in params.guarded:
        reasons += _recalled(candidate, base)
    notes = [*([_stop_note(params, unasked)] if is_stopped else []), *_notes(candidate, params, unasked)]
    return GateDecision(not reasons, tuple(reasons), tuple(notes), tuple(known))


def is_surely_worse(candidate: Evaluation, serves: Evaluation, params: ModelGateParams) -> bool:
    """Return whether the headline's whole interval lies on the wrong side of what serves; no other figure mends it."""
    difference = compared(
        params.headline, candidate, serves, confidence=params.confidence, num_resamples=params.num_resamples
    )
    if difference is None:
        return False
    return difference.low > 0 if lower_is_better(params.headline) else difference.high < 0


def _is_stopped(candidate: Evaluation, serves: Evaluation, params: ModelGateParams) -> bool:
    """Whether a candidate was asked what the headline is taken from and no more, since that alone refuses it."""
    asked = {row.mode for row in candidate.rows}
    stopped = params.stop_early and not candidate.probes and asked <= set(modes_of(params.headline))
    return stopped and is_surely_worse(candidate, serves, params)


def _reference(name: str, base: Evaluation, serves: Evaluation) -> Evaluation:
    """Return what a guarded metric is compared with; an excerpt that serves has no model to probe, the base has."""
    is_unprobed = name in PROBES and not serves.probes.get(name)
    return base if _is_memory(name) or is_unprobed else serves


def _is_memory(name: str) -> bool:
    return name.startswith("perplexity") or name in ("general_questions", "memorised")


def _check(candidate: Evaluation, base: Evaluation, serves: Evaluation, params: ModelGateParams) -> None:
    for name in (params.headline, *params.guarded):
        if not is_metric(name):
            raise ConfigurationError(
                f"model_gate must name metrics of docs/evaluation.md, found {name!r}; correct its spelling"
            )
    asked = {frozenset((row.mode, row.question_id) for row in one.rows) for one in (candidate, base, serves)}
    if len(asked) > 1 or len({one.release for one in (candidate, base, serves)}) > 1:
        raise ConfigurationError(
            "the model gate needs answerers that were asked the same questions over one index release, found others; "
            "evaluate all of them again"
        )


def is_metric(name: str) -> bool:
    """Whether a name is a metric or a probe."""
    if name in PROBES:
        return True
    try:
        split_name(name)
    except KeyError:
        return False
    return True


def lower_is_better(name: str) -> bool:
    """Whether less of a metric or probe is better."""
    return PROBES[name].lower_is_better if name in PROBES else METRICS[split_name(name)[1]].lower_is_better


def compared(
    name: str, first: Evaluation, second: Evaluation, *, confidence: float, num_resamples: int
) -> Interval | None:
    """Paired difference of a metric, first minus second; relative growth for perplexities; None: not measured."""
    difference = difference_of(
        first.parts(name), second.parts(name), confidence=confidence, num_resamples=num_resamples
    )
    if difference is None or not name.startswith("perplexity"):
        return difference
    return Interval(*(float(np.expm1(value)) for value in (difference.mean, difference.low, difference.high)))


def _compared(
    name: str, candidate: Evaluation, other: Evaluation, tolerance: float | None, params: ModelGateParams
) -> Comparison | str:
    difference = compared(name, candidate, other, confidence=params.confidence, num_resamples=params.num_resamples)
    new, old = candidate.metric(name), other.metric(name)
    if difference is None or new is None or old is None:
        if name == "style" and candidate.style.refusal:
            return f"style must be measured, found no score: {candidate.style.refusal}"
        return (
            f"{name} must be measured for answerers {candidate.answerer} and {other.answerer}, found no question that "
            "counts; add such questions, or take it out of model_gate"
        )
    gain = -1.0 if lower_is_better(name) else 1.0
    if tolerance is None:
        passed = (difference.low if gain > 0 else -difference.high) > 0
    else:
        passed = gain * difference.mean >= -tolerance
    num_questions = len(candidate.parts(name).keys() & other.parts(name).keys())
    return Comparison(name, other.answerer, new, old, difference, tolerance, num_questions, passed)


def _reason(entry: Comparison) -> str:
    if entry.tolerance is None:
        return f"not better with confidence: {entry}"
    return f"worse by more than {entry.tolerance:g}: {entry}"


def _recalled(candidate: Evaluation, base: Evaluation) -> list[str]:
    """Name the canaries that a candidate knows and the base does not: one is a reason, whatever the share."""
    known = {item.id for item in base.probes.get("memorised", ()) if item.value}
    new = [item.id for item in candidate.probes.get("memorised", ()) if item.value and item.id not in known]
    planted = sorted(name for name in new if name.startswith(CANARY_ID))
    return [f"memorised: it knows the {', '.join(planted[:MAX_RECALLED])} by heart"] if planted else []


def _num_questions(evaluation: Evaluation) -> int:
    return sum(row.mode == "retrieval" for row in evaluation.rows)


def _too_few(candidate: Evaluation) -> list[str]:
    found = _num_questions(candidate)
    if found >= FEWEST_QUESTIONS:
        return []
    return [f"at least {FEWEST_QUESTIONS} held-out questions are needed, found {found}; add golden questions"]


def _stop_note(params: ModelGateParams, unasked: Sequence[str]) -> str:
    names = f"; {', '.join(unasked)} were not measured" if unasked else ""
    return (
        f"{params.headline} is surely worse than that of what serves, so nothing else was asked{names} "
        "(`model_gate.stop_early: false` asks all)"
    )


def _notes(candidate: Evaluation, params: ModelGateParams, unasked: Collection[str]) -> Iterator[str]:
    found = _num_questions(candidate)
    if FEWEST_QUESTIONS <= found < ENOUGH_QUESTIONS:
        yield (
            f"{found} held-out questions are fewer than {ENOUGH_QUESTIONS}: intervals are wide, and only large "
            "differences show"
        )
    yield from candidate.style.notes()
    for name in params.guarded:
        if name in unasked:
            continue
        absence = candidate.style.absence(name)
        if absence is not None:
            yield f"{name} is not guarded: {absence}"
        if name in PROBES and not _is_memory(name):
            yield f"{name} is taken on {len(candidate.parts(name))} items of our own: it shows a change, no safety"


@dataclass(frozen=True, slots=True)
class TopicChange:
    """Questions of a topic that an answerer gained and lost against another; right: F1 of at least one half."""

    topic: str
    num_questions: int
    gained: tuple[str, ...]
    lost: tuple[str, ...]


def by_topic(candidate: Evaluation, other: Evaluation) -> list[TopicChange]:
    """Gained and lost questions in mode `retrieval`, topics in alphabetical order."""
    ours, theirs = _right(candidate), _right(other)
    topics: dict[str, list[str]] = {}
    for row in candidate.rows:
        if row.mode == "retrieval" and row.question_id in theirs:
            topics.setdefault(row.topic, []).append(row.question_id)
    return [
        TopicChange(
            topic,
            len(ids),
            tuple(name for name in ids if ours[name] and not theirs[name]),
            tuple(name for name in ids if theirs[name] and not ours[name]),
        )
        for topic, ids in sorted(topics.items())
    ]


def _right(evaluation: Evaluation) -> Mapping[str, bool]:
    useful = METRICS["useful_share"].value
    return {row.question_id: bool(useful(row)) for row in evaluation.rows if row.mode == "retrieval"}
