"""Rated answers as seeds: MLflow's traces with what people said of them.

Contract with the server: the assessment `user_rating` (true or false, source HUMAN) is a vote, its comment the
rationale; the expectation `expected_response` is the answer that somebody wants instead. A trace that showed any
passage which the audience may not read now is left out as a whole: question and answer may repeat it.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tasks.answer.answer import is_refusal
from tasks.answer.draft import cited_numbers, without_markers
from tasks.answer.excerpt import without_places
from tasks.answer.sentences import sentences
from tasks.answer.shown.links import bounded
from tasks.answer.support import support
from tasks.answer.trace_search import answer_traces
from tasks.answer.words import terms, vocabulary
from tasks.index.passage import Passage
from tasks.model.examples.raft import MIN_SUPPORT, Seed
from tasks.model.examples.release_data import ReleaseData
from tasks.model.examples.splits import Splits
from tasks.model.examples.synthetic import holds_span
from tasks.settings import Settings

if TYPE_CHECKING:
    from mlflow.entities import Assessment, Trace

RATING = "user_rating"
CORRECTION = "expected_response"
_MAX_SUPPORTING = 2


@dataclass(frozen=True, slots=True)
class RatedAnswer:
    """One answer with what people said of it.

    Attributes:
        chunk_ids: passages that it could cite, in the order of their markers.
        document_ids: of every passage that was retrieved.
        votes: one a user; the user's latest.
        correction: the latest answer that somebody wants instead.
        outcome: as the trace has it; empty: an older trace that does not say.
        supported: a verdict for each claim of the answer; none where no model wrote.
        shown: the texts of the passages.
    """

    trace_id: str
    question: str
    answer: str
    abstained: bool
    chunk_ids: tuple[str, ...]
    document_ids: tuple[str, ...]
    votes: Mapping[str, bool]
    correction: str | None
    outcome: str = ""
    supported: tuple[bool, ...] = ()
    shown: tuple[str, ...] = ()

    @property
    def approved(self) -> bool:
        """More votes for it than against it."""
        return sum(1 if vote else -1 for vote in self.votes.values()) > 0

    @property
    def refused(self) -> bool:
        """More votes against it than for it."""
        return sum(1 if vote else -1 for vote in self.votes.values()) < 0


def read_rated(settings: Settings) -> list[RatedAnswer]:
    """Return all answers that people rated or corrected, oldest first.

    Raises:
        DependencyError: MLflow does not answer.
    """
    rated: dict[str, RatedAnswer] = {}
    for condition in (
        f"feedback.{RATING} = 'true'",
        f"feedback.{RATING} = 'false'",
        f"expectation.{CORRECTION} LIKE '%'",
    ):
        for trace in answer_traces(settings, condition):
            answer = _rated(trace)
            if answer is not None:
                rated[answer.trace_id] = answer
    return sorted(rated.values(), key=lambda answer: answer.trace_id)


def read_unanswered(settings: Settings, *, max_traces: int = 2000) -> list[RatedAnswer]:
    """Return the newest of the last `max_traces` questions that got no answer, each question once.

    Raises:
        DependencyError: MLflow does not answer.
    """
    rated = map(_rated, answer_traces(settings, limit=max_traces))
    asked = [answer for answer in rated if answer is not None and answer.abstained]
    return list({" ".join(answer.question.split()).casefold(): answer for answer in asked}.values())


def _rated(trace: "Trace") -> RatedAnswer | None:
    spans = trace.data.spans
    root = next((span for span in spans if span.parent_id is None), None)
    retriever = next((span for span in spans if span.span_type == "RETRIEVER"), None)
    question, outputs = (root.inputs or {}).get("question") if root else None, (root.outputs or {}) if root else {}
    if not isinstance(question, str) or not isinstance(outputs.get("answer"), str) or retriever is None:
        return None
    documents = [entry for entry in retriever.outputs or [] if isinstance(entry, dict)]
    assessments = [entry for entry in trace.info.assessments or [] if entry.valid is not False]
    tagged = json.loads(trace.info.tags.get("almanac.document_ids", "[]"))
    return RatedAnswer(
        trace_id=trace.info.trace_id,
        question=question,
        answer=outputs["answer"],
        abstained=bool(outputs.get("abstained")),
        chunk_ids=tuple(str(entry.get("id")) for entry in documents),
        document_ids=tuple(dict.fromkeys([*tagged, *(str(_document_id(entry)) for entry in documents)])),
        votes=votes_of(assessments),
        correction=_correction(assessments),
        outcome=str(outputs.get("outcome") or ""),
        supported=tuple(claim.get("verdict") == "supported" for claim in outputs.get("claims") or []),
        shown=tuple(str(entry.get("page_content") or "") for entry in documents),
    )


def _document_id(entry: Mapping[str, Any]) -> object:
    return (entry.get("metadata") or {}).get("document_id")


def votes_of(assessments: Sequence["Assessment"]) -> dict[str, bool]:
    """Return the latest vote of each person: whether the answer was rated up."""
    ratings = [entry for entry in assessments if entry.name == RATING and entry.feedback and _of_a_person(entry)]
    ordered = sorted(ratings, key=_when)
    return {
        str(entry.source.source_id): entry.feedback.value
        for entry in ordered
        if entry.feedback and isinstance(entry.feedback.value, bool)
    }


def _correction(assessments: Sequence["Assessment"]) -> str | None:
    corrections = [
        entry for entry in assessments if entry.name == CORRECTION and entry.expectation and _of_a_person(entry)
    ]
    values = [entry.expectation.value for entry in sorted(corrections, key=_when) if entry.expectation]
    values = [value for value in values if isinstance(value, str)]
    return values[-1].strip() or None if values else None


def _of_a_person(entry: "Assessment") -> bool:
    return str(entry.source.source_type) == "HUMAN"


def _when(entry: "Assessment") -> int:
    return int(entry.last_update_time_ms or entry.create_time_ms or 0)


# --- from a rated answer to a seed ---


def feedback_seeds(
    rated: Sequence[RatedAnswer], release: ReleaseData, splits: Splits
) -> tuple[list[Seed], Counter[str]]:
    """Return the seeds of the answers that teach something, and why the others do not.

    Rated up: the answer as it was given. Corrected: the correction, and if the answer was rated down it becomes the
    rejected one. Rated down without a correction: nothing to learn from.
    """
    seeds: list[Seed] = []
    left_out: Counter[str] = Counter()
    for answer in rated:
        seed = _seed(answer, release, splits)
        if isinstance(seed, Seed):
            seeds.append(seed)
        else:
            left_out[seed] += 1
    return seeds, left_out


def _seed(rated: RatedAnswer, release: ReleaseData, splits: Splits) -> Seed | str:
    if rated.correction is None and not rated.approved:
        return "rated down or undecided, without a correction"
    if not release.holds_all(rated.document_ids):
        return "showed a document that the audience may not read now"
    near = _in_order(release.chunks_by_id(rated.chunk_ids), rated.chunk_ids)
    answer = _answer_to_learn(rated)
    if answer is None:
        return _unanswerable(rated, near, splits)
    supporting = _supporting(rated, answer, near, release)
    if not supporting:
        return "no passage of now supports the answer"
    document = supporting[0].document_id
    split = splits.of(document)
    if split is None or not all(splits.may_show(passage.document_id, split) for passage in supporting):
        return "its document is held out for the test"
    return Seed(
        question=rated.question,
        answer=answer,
        support=supporting,
        anchor=None,
        origin="feedback",
        how=f"trace {rated.trace_id}",
        topic=supporting[0].knowledge_base,
        cluster=splits.clusters[document],
        split=split,
        near=tuple(near),
        rejected=_rejected(rated, near),
    )


def _unanswerable(rated: RatedAnswer, near: Sequence[Passage], splits: Splits) -> Seed:
    cluster = f"question:{rated.question}"
    return Seed(
        question=rated.question,
        answer=None,
        support=(),
        anchor=None,
        origin="feedback",
        how=f"trace {rated.trace_id}",
        topic=near[0].knowledge_base if near else "none",
        cluster=cluster,
        split=splits.of_name(cluster),
        near=tuple(near),
        rejected=_rejected(rated, near),
    )


def _answer_to_learn(rated: RatedAnswer) -> str | None:
    """Return the answer to learn, without markers; None: that there is none."""
    if rated.correction is not None:
        return None if is_refusal(rated.correction) else bounded(without_markers(rated.correction), rated.shown).strip()
    if rated.abstained:
        return None
    words = without_places(rated.answer)
    return without_markers(rated.answer) if words == rated.answer else _best_sentence(words, rated.question)


def _best_sentence(excerpt: str, question: str) -> str:
    """Return the sentence of an excerpt nearest to the question: a whole excerpt is no answer to learn."""
    asked = terms(question).words | terms(question).exact
    written = [excerpt[span.start : span.end] for span in sentences(excerpt)]
    return max(written, key=lambda sentence: len(asked & vocabulary(sentence)), default=excerpt).strip()


def _rejected(rated: RatedAnswer, near: Sequence[Passage]) -> str | None:
    """Return the answer that was rated down; its markers only where every passage that it counted is still there."""
    if not rated.refused or rated.correction is None or rated.abstained:
        return None
    whole = len(near) == len(rated.chunk_ids)
    return rated.answer if whole else without_markers(rated.answer)


def _supporting(rated: RatedAnswer, answer: str, near: Sequence[Passage], release: ReleaseData) -> tuple[Passage, ...]:
    """Return the passages that the approved answer cited, else those that hold the correction, best first."""
    cited = {rated.chunk_ids[marker - 1] for marker in cited_numbers(rated.answer) if marker <= len(rated.chunk_ids)}
    content, question = terms(answer), terms(rated.question)
    scored = [
        (1.0 if holds_span(passage.text, answer) else support(content, passage, question).score, passage)
        for passage in _with_neighbours(
            [entry for entry in near if rated.correction is not None or entry.chunk_id in cited], release
        )
    ]
    holding = [(score, passage) for score, passage in scored if score >= MIN_SUPPORT]
    best_first = sorted(holding, key=lambda entry: -entry[0])
    return tuple(passage for _, passage in best_first[:_MAX_SUPPORTING])


def _with_neighbours(passages: Sequence[Passage], release: ReleaseData) -> Iterator[Passage]:
    """Give each passage, and the chunks before and behind it: search shows neighbours of a hit joined to it."""
    given: set[str] = set()
    for passage in passages:
        chunks = sorted(release.chunks([passage.document_id]), key=lambda chunk: chunk.start)
        place = next((number for number, chunk in enumerate(chunks) if chunk.chunk_id == passage.chunk_id), None)
        beside = [] if place is None else chunks[max(place - 1, 0) : place + 2]
        for chunk in (passage, *beside):
            if chunk.chunk_id not in given:
                given.add(chunk.chunk_id)
                yield chunk


def _in_order(passages: Sequence[Passage], chunk_ids: Sequence[str]) -> list[Passage]:
    by_id = {passage.chunk_id: passage for passage in passages}
    return [by_id[chunk_id] for chunk_id in chunk_ids if chunk_id in by_id]
