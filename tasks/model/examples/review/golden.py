"""Golden questions of the user's own: accepted drafts in a file that evaluation reads beside `evaluation.golden`."""

import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict
from pathlib import Path

from tasks.errors import ConfigurationError
from tasks.files import write_text
from tasks.index.golden import GoldenQuestion, load_golden
from tasks.model.examples.review.draft import Draft
from tasks.model.examples.review.queue import Write
from tasks.model.examples.synthetic import folded, holds_span
from tasks.params import Params

MAX_ANCHOR_WORDS = 6


def golden_writer(params: Params) -> Write:
    """Return what a decision changes in the file: an accepted golden draft enters, any other leaves."""

    def write(_: Draft, after: Draft) -> None:
        if after.kind == "golden":
            path = _path(params)
            kept = [question for question in own_questions(path) if question.id != _id(after)]
            added = [golden_question(after)] if after.status in ("accepted", "corrected") else []
            if added or len(kept) < len(own_questions(path)):
                _write(path, [*kept, *added])

    return write


def golden_question(draft: Draft) -> GoldenQuestion:
    """Return the golden question of an accepted draft.

    Raises:
        ConfigurationError: it has an answer, and no passage of the draft is known to hold it.
    """
    answer, document, anchor = draft.answer_now, None, None
    if answer is not None:
        document, anchor = _place(draft, answer)
    return GoldenQuestion(_id(draft), draft.question_now, answer, document, anchor, draft.topic, draft.split)


def _place(draft: Draft, answer: str) -> tuple[str, str]:
    span = draft.anchor or _beginning(answer)
    for passage in draft.passages:
        if span in passage.text:
            return passage.document_id, span
    for passage in draft.passages:
        line = next((line for line in passage.text.splitlines() if holds_span(line, answer)), None)
        if line is not None and draft.anchor is None:
            return passage.document_id, " ".join(folded(line).split()[:MAX_ANCHOR_WORDS])
    raise ConfigurationError(
        "a golden question must name words of its document that hold the answer, found none in the draft's passages; "
        f"give up to {MAX_ANCHOR_WORDS} words that stand there, or leave the answer empty: there is none"
    )


def anchor_of(answer: str, text: str) -> str | None:
    """Return up to six words of an answer that stand in a text as they are; None: they do not."""
    span = _beginning(answer)
    return span if span in text else None


def _beginning(answer: str) -> str:
    return " ".join(answer.split()[:MAX_ANCHOR_WORDS])


def own_questions(path: Path) -> list[GoldenQuestion]:
    """Return the questions of the file; none where it is absent."""
    return load_golden(path) if path.exists() else []


def forget_golden(params: Params, document_ids: Collection[str], quotes: Callable[[str], bool]) -> int:
    """Take questions on the documents, or that quote one, out of the file; return how many."""
    if params.evaluation.reviewed_golden is None:
        return 0
    path = Path(params.evaluation.reviewed_golden)
    questions = own_questions(path)
    kept = [one for one in questions if one.document not in document_ids and not quotes(_line(one))]
    if len(kept) < len(questions):
        _write(path, kept)
    return len(questions) - len(kept)


def _path(params: Params) -> Path:
    if params.evaluation.reviewed_golden is None:
        raise ConfigurationError(
            "an accepted golden question needs a file, found none; set evaluation.reviewed_golden to a path"
        )
    return Path(params.evaluation.reviewed_golden)


def _write(path: Path, questions: Sequence[GoldenQuestion]) -> None:
    write_text(path, "".join(map(_line, questions)))


def _line(question: GoldenQuestion) -> str:
    return json.dumps(asdict(question), ensure_ascii=False) + "\n"


def _id(draft: Draft) -> str:
    return f"own-{draft.id}"
