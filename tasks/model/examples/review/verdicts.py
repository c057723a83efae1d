"""What people decided, applied to what a training set grows from: dropped never enters, corrected enters corrected."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from tasks.model.examples.raft import Seed
from tasks.model.examples.review.draft import Draft, DraftPassage, draft_id

REVIEWED_ORIGINS = ("synthetic", "teacher", "feedback")
"""Golden questions were written by a person already."""


@dataclass(frozen=True, slots=True)
class Verdicts:
    """What was decided.

    Attributes:
        by_id: decided drafts of examples.
        is_required: what nobody decided on stays out, too.
    """

    by_id: Mapping[str, Draft]
    is_required: bool

    def applied(self, seeds: Iterable[Seed], left_out: Counter[str]) -> Iterator[Seed]:
        """Yield the seeds that may teach, as corrected; count the others by reason."""
        for seed in seeds:
            decided = self.by_id.get(seed_id(seed)) if seed.origin in REVIEWED_ORIGINS else None
            if decided is not None and decided.status == "dropped":
                left_out[f"{seed.origin}: dropped in the review"] += 1
            elif decided is not None:
                yield _corrected(seed, decided)
            elif self.is_required and seed.origin in REVIEWED_ORIGINS:
                left_out[f"{seed.origin}: not reviewed, and examples.review requires it"] += 1
            else:
                yield seed


def seed_id(seed: Seed) -> str:
    """Return the id of a seed's draft."""
    return draft_id("example", seed.question, seed.answer)


def seed_draft(seed: Seed) -> Draft:
    """Return the draft of a seed."""
    shown = list(dict.fromkeys((*seed.support, *seed.near)))
    return Draft(
        id=seed_id(seed),
        kind="example",
        origin=seed.origin,
        how=seed.how,
        question=seed.question,
        answer=seed.answer,
        passages=tuple(DraftPassage(entry.document_id, entry.title, entry.text) for entry in shown),
        topic=seed.topic,
        question_now=seed.question,
        answer_now=seed.answer,
    )


def _corrected(seed: Seed, decided: Draft) -> Seed:
    if decided.status != "corrected":
        return seed
    if decided.answer_now is None:
        return replace(seed, question=decided.question_now, answer=None, support=())
    # The words that were cut out of the passage still say where the answer stands, whatever words a person gave it.
    spans = (decided.anchor, seed.anchor, seed.answer)
    anchor = next((span for span in spans if span and any(span in entry.text for entry in seed.support)), None)
    return replace(seed, question=decided.question_now, answer=decided.answer_now, anchor=anchor)
