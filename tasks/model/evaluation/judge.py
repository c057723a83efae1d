"""A judge: a model behind an OpenAI-compatible endpoint that says whether an answer agrees with the golden answer.

A judge is itself a model that errs, so its verdicts never stand alone: it also judges pairs whose verdict is known
(each golden answer beside itself, and beside that of another question), and the share that it gets right is reported
beside its verdicts as `agreement`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from tasks.answer.generators.base import Generator
from tasks.model.evaluation.metrics import EvaluationRow

INSTRUCTION = (
    "Question: {question}\n\nReference answer: {reference}\n\nAnswer to judge:\n<answer>\n{answer}\n</answer>\n\n"
    "Does the answer to judge tell the asker what the reference answer tells? More detail is no fault; a contradiction "
    "or a missing main point is. Write one word: yes or no."
)
MAX_VERDICT_TOKENS = 4


@dataclass(frozen=True, slots=True)
class JudgedPair:
    """An answer to be judged beside the reference answer of its question."""

    question: str
    reference: str
    answer: str


def judged_rows(rows: Sequence[EvaluationRow], generator: Generator) -> list[EvaluationRow]:
    """Return the rows with a verdict on each answer to a question that has one; what abstained is not judged."""
    waiting = [
        (place, JudgedPair(row.question, row.reference, row.answer))
        for place, row in enumerate(rows)
        if row.answerable and row.reference and not row.abstained
    ]
    verdicts = judge([pair for _, pair in waiting], generator)
    by_place = {place: verdict for (place, _), verdict in zip(waiting, verdicts, strict=True)}
    return [replace(row, judged=by_place.get(place)) for place, row in enumerate(rows)]


def judge(pairs: Sequence[JudgedPair], generator: Generator) -> list[float | None]:
    """Return 1 where the judge says yes, 0 where it says no, None where it says neither; in the order of `pairs`."""
    conversations = [
        [
            {
                "role": "user",
                "content": INSTRUCTION.format(question=pair.question, reference=pair.reference, answer=pair.answer),
            }
        ]
        for pair in pairs
    ]
    drafts = generator.generate_many(conversations, max_new_tokens=MAX_VERDICT_TOKENS)
    return [_verdict(draft.text) for draft in drafts]


def _verdict(text: str) -> float | None:
    word = text.strip().strip(".*\"'").casefold()
    return {"yes": 1.0, "no": 0.0}.get(word.split()[0].strip(".,") if word else "")


def agreement(references: Sequence[tuple[str, str]], generator: Generator) -> float | None:
    """Return the share of known verdicts that the judge gets right; None: fewer than two questions.

    Args:
        references: questions with their golden answers; each answer is judged for its own question (right) and for the
            next one (wrong).
        generator: the judge.
    """
    if len(references) < 2:
        return None
    shifted = [*references[1:], references[0]]
    right = [JudgedPair(question, answer, answer) for question, answer in references]
    wrong = [
        JudgedPair(question, answer, other) for (question, answer), (_, other) in zip(references, shifted, strict=True)
    ]
    verdicts = judge([*right, *wrong], generator)
    expected = [1.0] * len(right) + [0.0] * len(wrong)
    return sum(said == true for said, true in zip(verdicts, expected, strict=True)) / len(expected)
