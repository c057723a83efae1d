"""What an answer is worth: formulas over texts and over rows of an evaluation. Standard library and NumPy alone.

Every metric is a ratio over questions, sum of values by sum of weights, so that one paired bootstrap serves all of
them, the conditional ones (precision) too. docs/evaluation.md says each in words.
"""

import re
import string
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from tasks.bootstrap import Interval

Mode = Literal["closed_book", "retrieval", "oracle", "removed"]
MODES: tuple[Mode, ...] = ("closed_book", "retrieval", "oracle", "removed")
"""Question alone; with what search finds; with the supporting passage and distractors; with the distractors alone."""

_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
_MARKER = re.compile(r"\[\s*\d{1,2}(?:\s*,\s*\d{1,2})*\s*\]")


Values = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class EvaluationRow:
    """One question as one answerer answered it in one mode.

    Attributes:
        answerable: whether the documents (in mode `removed`: the passages) hold the answer.
        draft: what the model wrote, unchecked; empty where it was not asked.
        answer: what a user would read.
        outcome: `answer`, `closest_passages` or `nothing_found`.
        holds_anchor: whether the golden anchor stands in what a user would read.
        num_claims: of the answer; of them `num_unverified_claims` stand in no cited passage.
        judged: what the judge says of an answer beside the reference, in [0, 1]; None: there is no judge.
        read: chunk ids of the passages, in the order of their markers.
        holding: numbers (from 1) of the passages that hold the anchor.
        cited: numbers of the passages that the answer cites.
        groundedness: share of the draft's sentences that a passage supports; None: no passage or no draft.
        machine_seconds: search and generation, in seconds of the whole machine kept busy.
        style: how much the answer reads as the house writes, in [0, 1]; None: an abstention, or nothing to score by.
        style_rules: share of the style guide's rules that it holds; None likewise.
    """

    question_id: str
    topic: str
    document: str | None
    mode: Mode
    question: str
    reference: str | None
    answerable: bool
    draft: str
    answer: str
    abstained: bool
    outcome: str
    reason: str | None
    holds_anchor: bool
    num_claims: int
    num_unverified_claims: int
    judged: float | None
    read: tuple[str, ...]
    holding: tuple[int, ...]
    cited: tuple[int, ...]
    f1: float
    exact_match: float
    contains: float
    token_recall: float
    draft_f1: float
    draft_contains: float
    groundedness: float | None
    num_prompt_tokens: int
    num_completion_tokens: int
    machine_seconds: float
    style: float | None = None
    style_rules: float | None = None

    @property
    def cites_support(self) -> bool:
        """Whether a cited passage holds the anchor."""
        return not set(self.cited).isdisjoint(self.holding)


def normalized(text: str) -> list[str]:
    """Return tokens as SQuAD compares them: lower case, no punctuation, no articles; citation markers are no words.

    Rajpurkar et al., "SQuAD: 100,000+ Questions for Machine Comprehension of Text", 2016, section 6.1.
    """
    plain = "".join(sign for sign in _MARKER.sub(" ", text).lower() if sign not in string.punctuation)
    return _ARTICLES.sub(" ", plain).split()


def token_f1(answer: str, reference: str) -> float:
    """Return harmonic mean of token precision and recall, in [0, 1]."""
    ours, theirs = normalized(answer), normalized(reference)
    common = sum((Counter(ours) & Counter(theirs)).values())
    if not common:
        return float(ours == theirs)
    precision, recall = common / len(ours), common / len(theirs)
    return 2 * precision * recall / (precision + recall)


def token_recall(answer: str, reference: str) -> float:
    """Share of the reference's tokens that the answer holds, in [0, 1]; does not punish length."""
    theirs = Counter(normalized(reference))
    return sum((Counter(normalized(answer)) & theirs).values()) / max(sum(theirs.values()), 1)


def exact_match(answer: str, reference: str) -> float:
    """1 where the normalised texts are equal."""
    return float(normalized(answer) == normalized(reference))


def contains(answer: str, reference: str) -> float:
    """1 where the reference's tokens occur in the answer, side by side; does not punish length."""
    ours, theirs = normalized(answer), normalized(reference)
    starts = range(len(ours) - len(theirs) + 1)
    return float(bool(theirs) and any(ours[start : start + len(theirs)] == theirs for start in starts))


_MARKDOWN_SIGNS = re.compile(r"[`*_\\]")


def holds(text: str, words: str) -> bool:
    """Return whether words stand in a text as a reader sees both: without Markdown's signs, line breaks and case.

    For instance `**Call** `stop()`` holds `call stop()`.
    """
    return bool(words.strip()) and _as_read(words) in _as_read(text)


def _as_read(text: str) -> str:
    return " ".join(_MARKDOWN_SIGNS.sub("", text).casefold().split())


@dataclass(frozen=True, slots=True)
class Metric:
    """A ratio over rows.

    Attributes:
        value: what a row adds to the numerator.
        weight: what it adds to the denominator; 0: the row does not count.
        modes: the rows it is taken over where its name has no mode before it.
    """

    value: Callable[[EvaluationRow], float]
    weight: Callable[[EvaluationRow], float]
    modes: tuple[Mode, ...] = ("retrieval",)
    lower_is_better: bool = False


def _every(_row: EvaluationRow) -> float:
    return 1.0


def _answerable(row: EvaluationRow) -> float:
    return float(row.answerable)


def _unanswerable(row: EvaluationRow) -> float:
    return float(not row.answerable)


def _answered(row: EvaluationRow) -> float:
    return float(not row.abstained)


def _citing(row: EvaluationRow) -> float:
    return float(not row.abstained and bool(row.read))


def _answered_with_support(row: EvaluationRow) -> float:
    return float(not row.abstained and bool(row.holding))


def _useful(row: EvaluationRow) -> float:
    """Whether the reader has what was asked for; where there is no answer, whether none was pretended."""
    if not row.answerable:
        return float(row.abstained)
    return float(row.holds_anchor or (not row.abstained and bool(row.contains)))


METRICS: Mapping[str, Metric] = {
    "useful_share": Metric(_useful, _every),
    "holds_anchor": Metric(lambda row: float(row.answerable and row.holds_anchor), _answerable),
    "claim_support": Metric(
        lambda row: float(row.num_claims - row.num_unverified_claims), lambda row: float(row.num_claims)
    ),
    "judged_right": Metric(lambda row: row.judged or 0.0, lambda row: float(row.judged is not None)),
    "style": Metric(lambda row: row.style or 0.0, lambda row: float(row.style is not None)),
    "style_rules": Metric(lambda row: row.style_rules or 0.0, lambda row: float(row.style_rules is not None)),
    "words_to_read": Metric(lambda row: float(len(row.answer.split())), _every, lower_is_better=True),
    "answer_f1": Metric(lambda row: row.f1 if row.answerable else float(row.abstained), _every),
    "f1": Metric(lambda row: row.f1 * row.answerable, _answerable),
    "exact_match": Metric(lambda row: row.exact_match * row.answerable, _answerable),
    "contains": Metric(lambda row: row.contains * row.answerable, _answerable),
    "token_recall": Metric(lambda row: row.token_recall * row.answerable, _answerable),
    "draft_f1": Metric(lambda row: row.draft_f1 * row.answerable, _answerable),
    "draft_contains": Metric(lambda row: row.draft_contains * row.answerable, _answerable),
    "citation_precision": Metric(
        lambda row: _citing(row) * len(set(row.cited) & set(row.holding)) / max(len(set(row.cited)), 1), _citing
    ),
    "citation_recall": Metric(lambda row: float(row.answerable and row.cites_support), _answerable),
    "traceability": Metric(lambda row: _answered(row) * row.cites_support, _answered),
    "citation_accuracy": Metric(
        lambda row: _answered_with_support(row) * row.cites_support, _answered_with_support, ("oracle",)
    ),
    "always_first_accuracy": Metric(
        lambda row: _answered_with_support(row) * (1 in row.holding), _answered_with_support, ("oracle",)
    ),
    "groundedness": Metric(lambda row: row.groundedness or 0.0, lambda row: float(row.groundedness is not None)),
    "support_found": Metric(lambda row: float(row.answerable and bool(row.holding)), _answerable),
    "abstention_precision": Metric(
        lambda row: float(row.abstained and not row.answerable), lambda row: float(row.abstained)
    ),
    "abstention_recall": Metric(
        lambda row: float(row.abstained and not row.answerable), _unanswerable, ("retrieval", "removed")
    ),
    "answered_share": Metric(lambda row: float(row.answerable and not row.abstained), _answerable),
    "false_refusals": Metric(lambda row: float(row.answerable and row.abstained), _answerable, lower_is_better=True),
    "prompt_tokens": Metric(lambda row: row.num_prompt_tokens, _every, lower_is_better=True),
    "completion_tokens": Metric(lambda row: row.num_completion_tokens, _every, lower_is_better=True),
    "machine_seconds": Metric(lambda row: row.machine_seconds, _every, lower_is_better=True),
}


def split_name(name: str) -> tuple[tuple[Mode, ...], str]:
    """Return modes and metric of a name: `oracle_f1` is `f1` over the rows of mode `oracle`.

    Raises:
        KeyError: there is no such metric.
    """
    for mode in MODES:
        if name.startswith(f"{mode}_") and name.removeprefix(f"{mode}_") in METRICS:
            return (mode,), name.removeprefix(f"{mode}_")
    return METRICS[name].modes, name


def modes_of(name: str) -> tuple[Mode, ...]:
    """Return the modes in which a metric is asked; none of what is no metric, as a probe."""
    try:
        return split_name(name)[0]
    except KeyError:
        return ()


@dataclass(frozen=True, slots=True)
class Ratio:
    """One question's share of a metric: what it adds to numerator and denominator."""

    value: float
    weight: float


def ratio(parts: Iterable[Ratio]) -> float | None:
    """Sum of values by sum of weights; None where nothing counts."""
    ids = list(parts)
    weight = sum(part.weight for part in ids)
    return sum(part.value for part in ids) / weight if weight else None


def metric_parts(rows: Iterable[EvaluationRow], name: str) -> dict[str, Ratio]:
    """Return a metric question by question; keys are `mode:question_id`.

    Raises:
        KeyError: there is no such metric.
    """
    modes, plain = split_name(name)
    metric = METRICS[plain]
    return {
        f"{row.mode}:{row.question_id}": Ratio(metric.value(row), metric.weight(row))
        for row in rows
        if row.mode in modes
    }


def interval_of(parts: Sequence[Ratio], *, confidence: float, num_resamples: int, seed: int = 0) -> Interval | None:
    """Return a ratio with its bootstrap interval over questions; None where nothing counts."""
    point = ratio(parts)
    if point is None:
        return None
    values, weights = _arrays(parts)
    return _interval(point, _resampled(values, weights, num_resamples, seed), confidence)


def difference_of(
    candidate: Mapping[str, Ratio],
    reference: Mapping[str, Ratio],
    *,
    confidence: float,
    num_resamples: int,
    seed: int = 0,
) -> Interval | None:
    """Return difference of two ratios on the questions that both have, with its paired bootstrap interval.

    Both systems are resampled with the same questions, so what is hard for both cancels out. None where nothing
    counts for one of them.

    Args:
        candidate: question's parts of one system, by key.
        reference: of the other.
        confidence: coverage in (0, 1).
        num_resamples: bootstrap samples.
        seed: of the resampling.
    """
    keys = sorted(candidate.keys() & reference.keys())
    new, old = [candidate[key] for key in keys], [reference[key] for key in keys]
    first, second = ratio(new), ratio(old)
    if first is None or second is None:
        return None
    draws = [_resampled(*_arrays(parts), num_resamples, seed) for parts in (new, old)]
    return _interval(first - second, draws[0] - draws[1], confidence)


def _arrays(parts: Sequence[Ratio]) -> tuple[Values, Values]:
    return np.array([part.value for part in parts], float), np.array([part.weight for part in parts], float)


def _resampled(values: Values, weights: Values, num_resamples: int, seed: int) -> Values:
    """Ratios of bootstrap samples, shape (num_resamples,); NaN where a sample holds nothing that counts."""
    draws = np.random.default_rng(seed).integers(0, values.size, size=(num_resamples, values.size))
    total = weights[draws].sum(axis=1)
    ratios = np.full(num_resamples, np.nan)
    np.divide(values[draws].sum(axis=1), total, out=ratios, where=total > 0)
    return ratios


def _interval(point: float, draws: Values, confidence: float) -> Interval:
    low, high = np.nanquantile(draws, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(point, float(low), float(high))
