import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pytest

from tasks.answer.answer import Answer, answer_question, stream_answer
from tasks.answer.generators.base import Generation
from tasks.errors import DependencyError
from tests.answer.test_answer import PARAMS, QUESTION, Writer
from tests.answer.test_words import passage

VERIFIED = PARAMS.model_copy(update={"verify": True})
FIRST, SECOND = "Zephyr is a task queue [1].", "It needs Python 2.7 [1]."


@dataclass(frozen=True)
class Judge(Writer):
    """Writes the draft, then the reply to the question about its claims."""

    reply: str | None = None

    def generate(self, messages: Sequence[Mapping[str, str]], *, max_new_tokens: int) -> Generation:
        if "Statements:" not in messages[-1]["content"]:
            return super().generate(messages, max_new_tokens=max_new_tokens)
        if self.reply is None:
            raise DependencyError("the model must answer, found silence; start it")
        return Generation(self.reply, 10, 10)


def verdicts(*names: str) -> str:
    return json.dumps([{"claim": number, "verdict": name} for number, name in enumerate(names, start=1)])


def verified(draft: str, reply: str | None) -> Answer:
    return answer_question(QUESTION, [passage()], Judge(draft, reply=reply), VERIFIED)


def test_contradicted_sentence_goes_and_the_others_keep_their_places():
    answer = verified(f"{SECOND} {FIRST}", verdicts("contradicted", "supported"))
    assert (answer.text, answer.outcome) == (FIRST, "answer")
    (claim,) = answer.claims
    assert (answer.text[claim.start : claim.end], claim.verdict) == (FIRST, "supported")
    assert len(answer.citations) == 1


def test_last_sentence_goes_with_the_blank_before_it():
    code = "\n\n```py\nx = 1\n```"
    assert verified(f"{FIRST} {SECOND}{code}", verdicts("supported", "contradicted")).text == f"{FIRST}{code}"


def test_contradicted_item_goes_whole():
    draft = f"It is so:\n\n- {FIRST}\n- {SECOND}\n- It moves jobs [1].\n\n```sh\n- x\n```"
    answer = verified(draft, verdicts("supported", "contradicted", "supported"))
    assert answer.text == f"It is so:\n\n- {FIRST}\n- It moves jobs [1].\n\n```sh\n- x\n```"


@pytest.mark.parametrize(
    "draft",
    [
        f"**It needs Python 2.7. {FIRST}**",
        f"| a | b |\n|---|---|\n| Python | 2.7 [1] |\n\n{FIRST}",
        f"- {SECOND}\n\n      pip install zephyr\n- {FIRST}",
        f"- {SECOND}\n  - {FIRST}",
    ],
)
def test_what_cannot_go_without_harm_stays_unverified(draft: str):
    answer = verified(draft, verdicts("contradicted", "supported"))
    assert answer.text == draft
    assert [claim.verdict for claim in answer.claims] == ["unverified", "supported"]


def test_not_there_makes_a_doubt_and_supported_clears_none():
    draft = f"{FIRST} It calls `frobnicate` [1]."
    answer = verified(draft, verdicts("not_there", "supported"))
    assert [claim.verdict for claim in answer.claims] == ["unverified", "unverified"]
    assert answer.text == draft


def test_where_all_is_contradicted_the_closest_passages_are_shown():
    answer = verified(f"{SECOND}\n\nIt sleeps [1].", verdicts("contradicted", "contradicted"))
    assert answer.outcome == "closest_passages"
    assert "2.7" not in answer.text


@pytest.mark.parametrize(
    "reply",
    [
        "supported",
        '["contradicted", "contradicted"]',
        verdicts("contradicted"),
        verdicts("contradicted", "wrong"),
        f"Here it is: {verdicts('contradicted', 'contradicted')}",
        None,
    ],
)
def test_reply_that_does_not_parse_or_come_changes_nothing(reply: str | None, caplog: pytest.LogCaptureFixture):
    draft = f"{FIRST} {SECOND}"
    with caplog.at_level(logging.WARNING, "tasks.answer.check.verify"):
        answer = verified(draft, reply)
    assert answer == answer_question(QUESTION, [passage()], Writer(draft), PARAMS)
    assert len(caplog.records) == 1


def test_stream_ends_with_the_verified_answer():
    judge = Judge(f"{FIRST} {SECOND}", reply=f"<think>Hm.</think>{verdicts('supported', 'contradicted')}")
    *deltas, last = stream_answer(QUESTION, [passage()], judge, VERIFIED)
    assert "".join(map(str, deltas)) == f"{FIRST} {SECOND}"
    assert isinstance(last, Answer)
    assert last.text == FIRST


def test_without_the_parameter_nobody_is_asked():
    judge = Judge(f"{FIRST} {SECOND}", reply=verdicts("contradicted", "contradicted"))
    assert answer_question(QUESTION, [passage()], judge, PARAMS).text == f"{FIRST} {SECOND}"
