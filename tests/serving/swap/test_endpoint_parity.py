"""Parity at an endpoint where the trainer's model was unsure of its first token: other weights show all the same."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.responses import JSONResponse, Response

from serving.promotion.live import as_it_is
from serving.promotion.parity import check_parity
from tasks.answer.answerer import Answerer
from tasks.answer.generators.endpoint import EndpointGenerator
from tasks.answer.parity.record import RecordedConversation, Step, write_parity
from tasks.errors import GateError
from tasks.params import GenerationParams
from tasks.settings import Settings
from tests.conftest import BASE_PARAMS
from tests.server import served

MESSAGES = ({"role": "user", "content": "How long is it kept?"},)
NINETY = Step(token=1, text="Ninety", logprob=-0.9, margin=0.2)
DAYS = Step(token=2, text="Ninety days", logprob=-0.1, margin=5.0)
END = Step(token=3, text="Ninety days", logprob=-0.1, margin=5.0)

Token = tuple[str, float, dict[str, float]]


def endpoint(tokens: list[Token], refused: str | None) -> FastAPI:
    app = FastAPI()

    @app.get("/v1/models")
    def models() -> dict[str, Any]:
        return {"data": [{"id": "almanac-answerer-1", "parent": "base", "max_model_len": None}, BASE]}

    @app.post("/v1/chat/completions")
    def complete(body: dict[str, Any]) -> Response:
        if refused in body:
            return JSONResponse({"error": {"message": f"{refused} is not supported", "param": refused}}, 400)
        content = [entry(*token, told="top_logprobs" in body) for token in tokens]
        message = {"role": "assistant", "content": "".join(text for text, _, _ in tokens)}
        choice = {"message": message, "finish_reason": "stop", "logprobs": {"content": content}}
        return JSONResponse({"choices": [choice]})

    return app


BASE = {"id": "base", "max_model_len": 1234}


def entry(text: str, logprob: float, others: dict[str, float], *, told: bool) -> dict[str, Any]:
    top = [{"token": other, "logprob": value} for other, value in {text: logprob, **others}.items()]
    return {"token": text, "logprob": logprob, "top_logprobs": top if told else []}


@pytest.fixture
def ask(tmp_path: Path) -> Callable[..., str]:
    def check(*tokens: Token, steps: tuple[Step, ...] = (NINETY, DAYS, END), refused: str | None = None) -> str:
        write_parity(tmp_path, (RecordedConversation("kept", MESSAGES, (1, 2, 3), steps),))
        with served(endpoint(list(tokens), refused)) as address:
            params = GenerationParams.model_validate(BASE_PARAMS["generation"] | {"endpoint": address})
            generator = EndpointGenerator(address, "almanac-answerer-1", Settings(home=tmp_path))
            assert generator.context_length == 1234
            return check_parity(tmp_path, Answerer("1", generator, params), as_it_is, None)

    return check


def test_the_same_tokens_pass(ask: Callable[..., str]) -> None:
    said = ask(("Ninety", -0.95, {" Seven": -1.0}), (" days", -0.1, {}), ("<|im_end|>", -0.1, {}))
    assert said.startswith("2 tokens in 1 conversations")


def test_another_first_token_passes_where_the_recorded_one_is_as_likely_as_it_was(ask: Callable[..., str]) -> None:
    assert ask(("Seven", -0.85, {"Ninety": -0.95})).startswith("1 tokens")


def test_another_first_token_is_refused_where_the_recorded_one_is_much_less_likely(ask: Callable[..., str]) -> None:
    with pytest.raises(GateError, match=r"'kept' the log-probabilities of its first 1 tokens are off by 2\.10"):
        ask(("Seven", -0.1, {"Ninety": -3.0}))


def test_another_first_token_is_refused_where_the_recorded_one_is_unlikely_by_far(ask: Callable[..., str]) -> None:
    with pytest.raises(GateError, match=r"off by 5\.10"):
        ask(("Seven", -0.1, {"Eight": -6.0}))


def test_an_end_that_comes_later_is_no_other_token(ask: Callable[..., str]) -> None:
    said = ask(("Ninety", -0.9, {}), (" days", -0.1, {}), (" of", -0.2, {" or": -1.0}))
    assert said.startswith("2 tokens")


def test_part_of_a_character_is_not_compared(ask: Callable[..., str]) -> None:
    unsure = Step(token=1, text="\ufffd", logprob=-0.9, margin=0.2)
    assert ask(("<0xE2>", -0.9, {"a": -9.0}), steps=(unsure,)).startswith("0 tokens")


def test_endpoint_that_tells_no_alternatives_is_held_to_what_it_tells(ask: Callable[..., str]) -> None:
    refuses = {"refused": "top_logprobs"}
    assert ask(("Ninety", -0.9, {}), (" days", -0.1, {}), **refuses).startswith("2 tokens")
    assert ask(("Seven", -0.1, {"Ninety": -3.0}), **refuses).startswith("0 tokens")
    with pytest.raises(GateError, match=r"off by 1\.00"):
        ask(("Ninety", -1.9, {}), **refuses)
