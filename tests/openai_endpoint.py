"""A small OpenAI-compatible server over a generator, as vLLM would be: for tests of the endpoint."""

import json
from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from tasks.answer.generators.base import Generation, Generator


def endpoint(
    generator: Generator, *, name: str, failures: int = 0, key: str | None = None, refuses: tuple[str, ...] = ()
) -> FastAPI:
    """The app; its first `failures` completions answer 503, and with `key` no other key is taken.

    `refuses` names parameters that the model does not take, as OpenAI's reasoning models do.
    """
    app = FastAPI()
    left = [failures]
    asked: list[dict[str, Any]] = []
    app.state.asked = asked

    @app.get("/v1/models")
    def models() -> dict[str, Any]:
        return {"data": [{"id": name, "max_model_len": generator.context_length}]}

    @app.post("/v1/chat/completions")
    def complete(body: dict[str, Any], request: Request) -> Response:
        if key is not None and request.headers.get("authorization") != f"Bearer {key}":
            raise HTTPException(401)
        if left[0] > 0:
            left[0] -= 1
            raise HTTPException(503)
        asked.append(body)
        refused = next((parameter for parameter in refuses if parameter in body), None)
        if refused is not None:
            return JSONResponse({"error": _refusal(refused)}, 400)
        limit = body.get("max_completion_tokens") or body["max_tokens"]
        draft = generator.generate(body["messages"], max_new_tokens=limit)
        if body.get("stream"):
            return StreamingResponse(_events(draft, body), media_type="text/event-stream")
        message = {"role": "assistant", "content": draft.text, "reasoning_content": "Let me think."}
        choice = {"message": message, "finish_reason": draft.finish_reason}
        return JSONResponse({"choices": [choice], "usage": _usage(draft)})

    return app


def _refusal(parameter: str) -> dict[str, Any]:
    hint = " Use 'max_completion_tokens' instead." if parameter == "max_tokens" else ""
    text = f"Unsupported parameter: '{parameter}' is not supported with this model.{hint}"
    return {"message": text, "type": "invalid_request_error", "param": parameter, "code": "unsupported_parameter"}


def _usage(draft: Generation) -> dict[str, int]:
    return {"prompt_tokens": draft.num_prompt_tokens, "completion_tokens": draft.num_completion_tokens}


def _events(draft: Generation, body: dict[str, Any]) -> Iterator[str]:
    yield _event({"reasoning_content": "Let me think."}, None)
    for start in range(0, len(draft.text), 5):
        yield _event({"content": draft.text[start : start + 5]}, None)
    yield _event({}, draft.finish_reason)
    if body.get("stream_options"):
        yield f"data: {json.dumps({'choices': [], 'usage': _usage(draft)})}\n\n"
    yield "data: [DONE]\n\n"


def _event(delta: dict[str, str], finish_reason: str | None) -> str:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    return f"data: {json.dumps({'choices': [choice]})}\n\n"
