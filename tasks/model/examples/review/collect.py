"""Filling the review queue: what would train, and golden questions from documents and from unanswered questions.

Only what `examples.audience` may read is shown: a trace that showed anything else is left out as a whole.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from tasks.index.golden import GoldenQuestion
from tasks.index.passage import Passage
from tasks.model.examples.contamination import HeldOutQuestions, normalized_question
from tasks.model.examples.feedback import RatedAnswer, feedback_seeds, read_rated, read_unanswered
from tasks.model.examples.golden_seeds import load_questions, splits_of
from tasks.model.examples.raft import Seed
from tasks.model.examples.release_data import ReleaseData, open_release_data
from tasks.model.examples.review.draft import Draft, DraftPassage, draft_id
from tasks.model.examples.review.golden import anchor_of
from tasks.model.examples.review.queue import drafts, offer, remove
from tasks.model.examples.review.verdicts import seed_draft
from tasks.model.examples.splits import Splits, hashed_share
from tasks.model.examples.synthetic import CLOZE
from tasks.model.examples.synthetic_seeds import (
    PassageQuestion,
    read_sample,
    rule_seeds,
    sample_passages,
    teacher_seeds,
)
from tasks.model.examples.teacher import open_teacher
from tasks.params import Params
from tasks.settings import Settings

MAX_GOLDEN_OF_A_DOCUMENT = 4
VALIDATION_SHARE = 0.4
"""Of golden drafts on documents that no golden question names yet; the others test."""
_SHOWN_PASSAGES = 3


@dataclass(frozen=True, slots=True)
class Collected:
    """What was put into the queue.

    Attributes:
        examples: new drafts for training; `golden`: for evaluation.
        withdrawn: drafts that nobody decided on, whose documents are gone or not for the audience any more.
    """

    examples: int
    golden: int
    withdrawn: int


def fill_queue(params: Params, settings: Settings, *, num_golden: int) -> Collected:
    """Offer drafts; what is in the queue stays as it is.

    Args:
        params: `examples` says how many questions are made and by what.
        settings: of the home whose live index and traces are read.
        num_golden: golden questions that are made from documents, at most.

    Raises:
        ConfigurationError: nothing was released.
        DependencyError: MLflow, the index or the teacher does not answer.
    """
    release = open_release_data(params, settings)
    questions = load_questions(params)
    splits = splits_of(questions, release, params)
    home = settings.layout
    waiting = [draft for draft in drafts(home) if draft.status == "draft"]
    withdrawn = remove(home, {draft.id for draft in waiting if not draft.document_ids <= release.topics.keys()})
    passages, sampled = read_sample(
        sample_passages(release, splits, seed=params.examples.seed),
        max(params.examples.num_synthetic, num_golden),
    )
    examples = _example_drafts(params, settings, release, splits, questions, passages, sampled)
    served = open_release_data(params, settings, for_training=False)
    askable = [entry for entry in sampled if entry[0].document_id in served.topics]
    golden = [*_unanswered_drafts(settings, served, questions), *_golden_drafts(askable, questions, num_golden)]
    return Collected(offer(home, examples), offer(home, golden), withdrawn)


def _example_drafts(
    params: Params,
    settings: Settings,
    release: ReleaseData,
    splits: Splits,
    questions: Sequence[GoldenQuestion],
    passages: Sequence[Passage],
    sampled: Sequence[PassageQuestion],
) -> Iterator[Draft]:
    held_out = HeldOutQuestions(question for question in questions if question.split != "train")
    rated = feedback_seeds(read_rated(settings), release, splits)[0] if params.examples.feedback else []
    teacher = open_teacher(params, settings)
    made = [
        *(teacher_seeds(passages, teacher, splits) if teacher else ()),
        *rule_seeds(sampled, splits, seed=params.examples.seed),
    ]
    asked: set[str] = set()
    new = (seed for seed in made if not held_out.collision(seed.question) and _first(seed, asked))
    yield from map(seed_draft, rated)
    for _, seed in zip(range(params.examples.num_synthetic), new, strict=False):
        yield seed_draft(seed)


def _first(seed: Seed, asked: set[str]) -> bool:
    words = normalized_question(seed.question)
    is_new = words not in asked
    asked.add(words)
    return is_new


def _golden_drafts(
    sampled: Iterable[PassageQuestion], questions: Sequence[GoldenQuestion], count: int
) -> Iterator[Draft]:
    """Yield drafts whose answer stands in the passage, documents with few golden questions first."""
    splits = {question.document: question.split for question in questions if question.document is not None}
    taken = Counter(question.document for question in questions)
    own = sorted((entry for entry in sampled if entry[1].how != CLOZE), key=_golden_order)
    for rank in range(MAX_GOLDEN_OF_A_DOCUMENT):
        for passage, question in own:
            anchor = anchor_of(question.answer, passage.text)
            if count <= 0:
                return
            if anchor is None or taken[passage.document_id] != rank:
                continue
            taken[passage.document_id] += 1
            count -= 1
            yield Draft(
                id=draft_id("golden", question.question, question.answer),
                kind="golden",
                origin="synthetic",
                how=question.how,
                question=question.question,
                answer=question.answer,
                passages=(DraftPassage(passage.document_id, passage.title, passage.text),),
                topic=passage.knowledge_base,
                anchor=anchor,
                split=splits.get(passage.document_id) or _split(passage.document_id),
                question_now=question.question,
                answer_now=question.answer,
            )


def _golden_order(entry: PassageQuestion) -> float:
    return hashed_share("golden", entry[0].document_id, entry[1].question)


def _unanswered_drafts(
    settings: Settings, release: ReleaseData, questions: Sequence[GoldenQuestion]
) -> Iterator[Draft]:
    """Yield what people asked and got no answer to: a person says what the answer is, or that there is none."""
    known = HeldOutQuestions(questions)
    for asked in read_unanswered(settings):
        if known.collision(asked.question) or not _is_readable(asked, release):
            continue
        shown = release.search(asked.question, _SHOWN_PASSAGES)
        yield Draft(
            id=draft_id("golden", asked.question, None),
            kind="golden",
            origin="unanswered",
            how=f"trace {asked.trace_id}",
            question=asked.question,
            answer=None,
            passages=tuple(DraftPassage(entry.document_id, entry.title, entry.text) for entry in shown),
            topic=shown[0].knowledge_base if shown else "none",
            split=_split(normalized_question(asked.question)),
            question_now=asked.question,
        )


def _is_readable(asked: RatedAnswer, release: ReleaseData) -> bool:
    return all(document in release.topics for document in asked.document_ids)


def _split(name: str) -> str:
    return "validation" if hashed_share("golden split", name) < VALIDATION_SHARE else "test"
