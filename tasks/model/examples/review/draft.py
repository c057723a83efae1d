"""One draft of the review queue: a question with its answer and passages, and what a person decided."""

from dataclasses import dataclass
from typing import Literal

from tasks.corpus.document import sha256

Kind = Literal["example", "golden"]
Status = Literal["draft", "accepted", "corrected", "dropped"]
STATUSES: tuple[Status, ...] = ("draft", "accepted", "corrected", "dropped")


@dataclass(frozen=True, slots=True)
class DraftPassage:
    """A passage as a person judges the draft by it."""

    document_id: str
    title: str
    text: str


@dataclass(frozen=True, slots=True)
class Draft:
    """A draft.

    Attributes:
        id: of kind, question and answer as they were written: the same question made again is the same draft.
        kind: `example`: for training; `golden`: for evaluation.
        origin: `synthetic`, `teacher`, `feedback`, or `unanswered` (a question of a trace).
        how: what made it, for a reader: a rule's name, a teacher's model, a trace's id.
        answer: without markers; None: the documents hold none.
        passages: the first one holds the answer, where there is one.
        topic: knowledge base.
        question_now: after a correction; else as it was written. `answer_now` likewise.
        anchor: of a golden question: words of the first passage that locate the answer.
        split: of a golden question.
        reviewer: a pseudonym, or `command line`; empty: nobody yet.
        decided_at: ISO 8601, UTC; empty: not yet.
    """

    id: str
    kind: Kind
    origin: str
    how: str
    question: str
    answer: str | None
    passages: tuple[DraftPassage, ...]
    topic: str
    anchor: str | None = None
    split: str = ""
    status: Status = "draft"
    question_now: str = ""
    answer_now: str | None = None
    reviewer: str = ""
    decided_at: str = ""

    @property
    def document_ids(self) -> frozenset[str]:
        """Documents whose text a reader of the draft sees."""
        return frozenset(passage.document_id for passage in self.passages)


def draft_id(kind: Kind, question: str, answer: str | None) -> str:
    """Return twelve hex characters."""
    return sha256("review", kind, question, "" if answer is None else answer, str(answer is None))[:12]


@dataclass(frozen=True, slots=True)
class Decision:
    """What a person decides of a draft.

    Attributes:
        question: in place of the draft's; None: as it stands.
        answer: in place of the draft's; empty: the documents hold none; None: as it stands.
        anchor: words of a passage that hold the answer of a golden question; None: as it stands, or looked for.
    """

    status: Status
    question: str | None = None
    answer: str | None = None
    anchor: str | None = None
    reviewer: str = "command line"
