"""From which score on an excerpt is shown as the answer, and a small model is asked at all: measured, not typed.

The scores of answerable and unanswerable validation questions decide; they are taken again with each release, since
they hang on the documents and on the embedder.
"""

from collections.abc import Sequence
from dataclasses import dataclass

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
