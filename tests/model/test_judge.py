"""The judge on a generator whose verdicts are known: formulas and prompts, no model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pytest

from tasks.answer.generators.base import Generation
from tasks.model.evaluation.judge import JudgedPair, agreement, judge, judged_rows
from tests.model.test_metrics import row


@dataclass
class Verdicts:
    """Says yes where the answer to judge holds the reference."""

    said: str | None = None
    prompts: list[str] = field(default_factory=list)

    def generate_many(
        self, conversations: Sequence[Sequence[Mapping[str, str]]], *, max_new_tokens: int
    ) -> list[Generation]:
        self.prompts.extend(chat[-1]["content"] for chat in conversations)
        return [
            Generation(self._verdict(chat[-1]["content"]) if self.said is None else self.said, 1, 1)
            for chat in conversations
        ]

    @staticmethod
    def _verdict(prompt: str) -> str:
        reference = prompt.split("Reference answer: ")[1].split("\n\n", maxsplit=1)[0]
        answer = prompt.split("<answer>\n")[1].split("\n</answer>", maxsplit=1)[0]
        return "Yes." if reference in answer else "no"


def test_verdicts_come_in_the_order_of_the_pairs() -> None:
    pairs = [JudgedPair("What colour?", "red", "It is red [1]."), JudgedPair("What colour?", "red", "It is blue [1].")]
    assert judge(pairs, Verdicts()) == [1.0, 0.0]


def test_what_is_neither_yes_nor_no_is_no_verdict() -> None:
    assert judge([JudgedPair("q", "a", "b")], Verdicts(said="perhaps")) == [None]
    assert judge([JudgedPair("q", "a", "b")], Verdicts(said="")) == [None]


def test_only_answers_to_answerable_questions_are_judged() -> None:
    answered = row(answer="It is red.", reference="red", answerable=True, abstained=False)
    refused = row(answer="", reference="red", answerable=True, abstained=True)
    unanswerable = row(answer="It is red.", reference=None, answerable=False, abstained=False)
    judged = judged_rows([answered, refused, unanswerable], Verdicts())
    assert [entry.judged for entry in judged] == [1.0, None, None]


def test_agreement_is_the_share_of_known_verdicts_that_the_judge_gets_right() -> None:
    references = [("What colour is it?", "red"), ("What size is it?", "large"), ("What shape is it?", "round")]
    assert agreement(references, Verdicts()) == 1.0
    assert agreement(references, Verdicts(said="yes")) == pytest.approx(0.5)


def test_agreement_needs_two_questions() -> None:
    assert agreement([("What colour is it?", "red")], Verdicts()) is None
