"""From which score on an excerpt is an answer, a small model is asked, and passages are shown at all: measured.

The scores of answerable and unanswerable validation questions decide, and those of questions about other worlds; they
hang on the documents and on the embedder, so a release takes over those of its base only where little changed.
"""

import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tasks.answer.excerpt import excerpts, relevance
from tasks.answer.other_subjects import OTHER_SUBJECTS
from tasks.index.access import AccessMap
from tasks.index.golden import GoldenQuestion, load_golden
from tasks.index.lance_errors import num_rows_of
from tasks.index.passage import Passage
from tasks.index.release import Calibrated, Release
from tasks.index.search import Index, Request
from tasks.index.search import __path__ as search_path
from tasks.params import IndexGateParams, Params, digest

logger = logging.getLogger(__name__)

MAX_UNANSWERABLE_ANSWERED = 0.1
"""Share of unanswerable validation questions whose best excerpt may be shown as an answer."""
MAX_OTHERS_SHOWN = 0.1
"""Share of the questions about other subjects for which closest passages may be shown."""
MAX_ANSWERABLE_LOST = 0.02
"""Share of answerable validation questions that may lose their closest passages, or a small model's answer, by it."""
MIN_QUESTIONS = 20
"""Of both kinds together; fewer calibrate nothing, and the fallback holds."""
MIN_CHUNKS = 200
"""Of an index, to be asked about other subjects: 48 searches are a third of the refresh of a smaller one, in which
the nearest passage is farther away anyhow."""

MAX_CHANGED_SHARE = 0.05
"""Of the chunks, since the thresholds were measured; with more they are measured anew (docs/answers.md: what they move
by with so many, and with more)."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """Thresholds of one release.

    Attributes:
        min_excerpt_score: an excerpt from this score on is an answer; below it one of the closest passages.
        min_similarity: cosine of the nearest passage, from which a model in this process is asked.
        min_relevance: of the passages; below it they are about something else, and none is shown.
        num_questions: what the first two were measured on; 0: the fallback.
    """

    min_excerpt_score: float
    min_similarity: float
    min_relevance: float
    num_questions: int = 0

    def as_metrics(self) -> dict[str, float]:
        """Return the thresholds as metrics of a release; the first two only where they were measured."""
        relevant = {"min_relevance": self.min_relevance}
        if not self.num_questions:
            return relevant
        return relevant | {
            "min_excerpt_score": self.min_excerpt_score,
            "min_similarity": self.min_similarity,
            "calibration_questions": float(self.num_questions),
        }

    @classmethod
    def of_release(cls, metrics: Mapping[str, float]) -> "Calibration":
        """Return the thresholds that a release was given; the fallback for one that has none."""
        return cls(
            metrics.get("min_excerpt_score", FALLBACK.min_excerpt_score),
            metrics.get("min_similarity", FALLBACK.min_similarity),
            metrics.get("min_relevance", FALLBACK.min_relevance),
            int(metrics.get("calibration_questions", 0)),
        )


FALLBACK = Calibration(min_excerpt_score=0.75, min_similarity=0.35, min_relevance=0.4)
"""Of the default corpus and embedder, for a release without golden questions."""


@dataclass(frozen=True, slots=True)
class Scored:
    """A validation question with what search and excerpt gave for it."""

    answerable: bool
    excerpt_score: float
    similarity: float
    relevance: float


def calibrate(scored: Sequence[Scored], others: Sequence[float] = (), fallback: Calibration = FALLBACK) -> Calibration:
    """Return the thresholds that the questions give; the fallback for those for which there are too few.

    The excerpt's is the lowest that keeps the share of unanswerable questions shown as answered at its bound, the
    similarity that which leaves out no more answerable questions than may be lost.

    Args:
        scored: validation questions.
        others: relevance of questions about other subjects.
        fallback: what holds where nothing can be measured.
    """
    answerable = [each for each in scored if each.answerable]
    unanswerable = [each.excerpt_score for each in scored if not each.answerable]
    if len(scored) < MIN_QUESTIONS or not answerable or not unanswerable:
        # Documents about many worlds answer what is asked about them: nothing tells how much the bound would cost.
        return replace(fallback, min_relevance=_min_relevance(others, fallback.min_relevance))
    return Calibration(
        min_excerpt_score=_exceeded_by(unanswerable, MAX_UNANSWERABLE_ANSWERED),
        min_similarity=_reached_by_nearly_all([each.similarity for each in answerable]),
        min_relevance=_min_relevance(others, _reached_by_nearly_all([each.relevance for each in answerable])),
        num_questions=len(scored),
    )


def _min_relevance(others: Sequence[float], most: float) -> float:
    """What keeps the share of other subjects that get passages at its bound, at most `most`."""
    return min(_exceeded_by(others, MAX_OTHERS_SHOWN), most) if others else most


def _exceeded_by(scores: Sequence[float], share: float) -> float:
    """The lowest threshold that no more than this share of the scores reaches."""
    return round(sorted(scores, reverse=True)[int(share * len(scores))] + 1e-4, 4)


def _reached_by_nearly_all(scores: Sequence[float]) -> float:
    """The highest threshold that no more than the share which may be lost misses."""
    return round(sorted(scores)[int(MAX_ANSWERABLE_LOST * len(scores))] - 1e-4, 4)


def calibrate_candidate(
    open_index: Callable[[], Index],
    access: AccessMap,
    params: Params,
    base: Release | None,
    *,
    num_chunks: int,
    num_changed: int,
) -> tuple[Calibration, Calibrated]:
    """Return the thresholds of a candidate: those of its base, or measured anew where too much changed since.

    Args:
        open_index: opens the candidate for search.
        access: who may read what.
        params: of this refresh.
        base: the release that the candidate was made from.
        num_chunks: of the candidate.
        num_changed: chunks of the candidate that came, went or took the place of others.
    """
    inputs = _inputs(params)
    before = base.calibrated if base else None
    if base is None or before is None or before.inputs != inputs:
        return calibrate_index(open_index(), access, params.index_gate), Calibrated(None, inputs, 0)
    num_changed += before.num_changed
    if num_changed > MAX_CHANGED_SHARE * num_chunks:
        return calibrate_index(open_index(), access, params.index_gate), Calibrated(None, inputs, 0)
    number = before.release or base.number
    logger.info("thresholds of release %d kept: %d of %d chunks changed since", number, num_changed, num_chunks)
    return Calibration.of_release(base.metrics), Calibrated(number, inputs, num_changed)


def _inputs(params: Params) -> str:
    """Sixteen hex characters that change with what decides thresholds beside the chunks: questions, search, code."""
    gate = params.index_gate
    golden = b"" if gate.golden is None else Path(gate.golden).read_bytes()
    code = [path for folder in (Path(__file__).parent, *map(Path, search_path)) for path in sorted(folder.glob("*.py"))]
    parts = (f"{digest(params.search)} {digest(params.index)} {gate.split}".encode(), golden)
    return hashlib.sha256(b"".join([*parts, *(path.read_bytes() for path in code)])).hexdigest()[:16]


def calibrate_index(index: Index, access: AccessMap, params: IndexGateParams) -> Calibration:
    """Return the thresholds of an index, by the golden questions that its gate asks and by other subjects."""
    everyone = frozenset().union(*access.sets.values())

    def passages(question: str) -> list[Passage]:
        return index.search(Request(question, groups=everyone), access)

    is_large = num_rows_of(index.table) >= MIN_CHUNKS
    golden = [] if params.golden is None else load_golden(Path(params.golden), params.split)
    return calibrate(
        [scored(each, passages(each.question)) for each in golden],
        [relevance(question, passages(question)) for question in OTHER_SUBJECTS] if is_large else [],
    )


def scored(question: GoldenQuestion, passages: Sequence[Passage]) -> Scored:
    """Return what search and excerpt gave for a question."""
    ranked = excerpts(question.question, passages)
    similarity = max((passage.similarity or 0.0 for passage in passages), default=0.0)
    return Scored(
        answerable=question.anchor is not None,
        excerpt_score=ranked[0].score if ranked else 0.0,
        similarity=similarity,
        relevance=relevance(question.question, passages),
    )
