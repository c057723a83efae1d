"""From which score on an excerpt is shown as the answer, and a small model is asked at all: measured, not typed.

The scores of answerable and unanswerable validation questions decide; they are taken again with each release, since
they hang on the documents and on the embedder.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tasks.answer.excerpt import excerpts
from tasks.index.access import AccessMap
from tasks.index.golden import GoldenQuestion, load_golden
from tasks.index.passage import Passage
from tasks.index.search import Index, Request
from tasks.params import IndexGateParams

MAX_UNANSWERABLE_ANSWERED = 0.1
"""Share of unanswerable validation questions whose best excerpt may be shown as an answer."""
MIN_QUESTIONS = 20
"""Of both kinds together; fewer calibrate nothing, and the fallback holds."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """Thresholds of one release.

    Attributes:
        min_excerpt_score: an excerpt from this score on is an answer; below it one of the closest passages.
        min_similarity: cosine of the nearest passage, from which a model in this process is asked.
        num_questions: what it was measured on; 0: the fallback.
    """

    min_excerpt_score: float
    min_similarity: float
    num_questions: int = 0

    def as_metrics(self) -> dict[str, float]:
        """Return the thresholds as metrics of a release; none where nothing was measured."""
        if not self.num_questions:
            return {}
        return {
            "min_excerpt_score": self.min_excerpt_score,
            "min_similarity": self.min_similarity,
            "calibration_questions": float(self.num_questions),
        }

    @classmethod
    def of_release(cls, metrics: Mapping[str, float]) -> "Calibration":
        """Return the thresholds that a release was given; the fallback for one that has none."""
        if "min_excerpt_score" not in metrics or "min_similarity" not in metrics:
            return FALLBACK
        num_questions = int(metrics.get("calibration_questions", 0))
        return cls(metrics["min_excerpt_score"], metrics["min_similarity"], num_questions)


FALLBACK = Calibration(min_excerpt_score=0.75, min_similarity=0.35)
"""Of the default corpus and embedder, for a release without golden questions."""


@dataclass(frozen=True, slots=True)
class Scored:
    """A validation question with what search and excerpt gave for it."""

    answerable: bool
    excerpt_score: float
    similarity: float


def calibrate(scored: Sequence[Scored], fallback: Calibration = FALLBACK) -> Calibration:
    """The lowest thresholds that keep the share of unanswerable questions shown as answered at its bound.

    The similarity is that which leaves out no more than one in fifty answerable questions.
    """
    answerable = sorted(each.similarity for each in scored if each.answerable)
    others = sorted((each.excerpt_score for each in scored if not each.answerable), reverse=True)
    if len(scored) < MIN_QUESTIONS or not answerable or not others:
        return fallback
    allowed = int(MAX_UNANSWERABLE_ANSWERED * len(others))
    return Calibration(
        min_excerpt_score=round(others[allowed] + 1e-4, 4),
        min_similarity=round(answerable[len(answerable) // 50], 4),
        num_questions=len(scored),
    )


def calibrate_index(index: Index, access: AccessMap, params: IndexGateParams) -> Calibration:
    """Return the thresholds of an index, by the golden questions that its gate asks; without any, the fallback."""
    if params.golden is None:
        return FALLBACK
    everyone = frozenset().union(*access.sets.values())
    return calibrate(
        [
            scored(question, index.search(Request(question.question, groups=everyone), access))
            for question in load_golden(Path(params.golden), params.split)
        ]
    )


def scored(question: GoldenQuestion, passages: Sequence[Passage]) -> Scored:
    """Return what search and excerpt gave for a question."""
    ranked = excerpts(question.question, passages)
    similarity = max((passage.similarity or 0.0 for passage in passages), default=0.0)
    return Scored(question.anchor is not None, ranked[0].score if ranked else 0.0, similarity)
