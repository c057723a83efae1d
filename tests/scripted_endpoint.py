"""An OpenAI-compatible server that writes what a test wants, word by word and as slowly as it wants."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable
from typing import Any

from fastapi import FastAPI
from fastapi.responses import JSONResponse, Response, StreamingResponse

NAME = "scripted"
USAGE = {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}


def scripted_endpoint(write: Callable[[str], str], *, pause_seconds: float = 0.0) -> FastAPI:
    """The app.

    Args:
        write: the draft for the last message of a request.
        pause_seconds: between two words of a stream.
    """
    app = FastAPI()
    app.state.asked = list[dict[str, Any]]()
    app.state.num_ended = 0
    app.state.num_broken_off = 0
    app.state.num_words = 0

    @app.get("/v1/models")
    def models() -> dict[str, Any]:
        return {"object": "list", "data": [{"id": NAME, "object": "model", "max_model_len": 100_000}]}

    @app.post("/v1/chat/completions", response_model=None)
    async def complete(body: dict[str, Any]) -> Response:
        app.state.asked.append(body)
        text = write(body["messages"][-1]["content"])
        shared = {"id": "1", "created": 0, "model": NAME}
        if body.get("stream"):
            return StreamingResponse(stream(text, shared), media_type="text/event-stream")
        message = {"role": "assistant", "content": text}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        return JSONResponse(shared | {"object": "chat.completion", "choices": [choice], "usage": USAGE})

    async def stream(text: str, shared: dict[str, Any]) -> AsyncIterator[str]:
        whole = False
        try:
            for word in re.findall(r"\s*\S+|\s+\Z", text):
                yield event(shared, [{"index": 0, "delta": {"content": word}, "finish_reason": None}])
                app.state.num_words += 1
                await asyncio.sleep(pause_seconds)
            yield event(shared, [{"index": 0, "delta": {}, "finish_reason": "stop"}])
            yield event(shared | {"usage": USAGE}, [])
            yield "data: [DONE]\n\n"
            whole = True
        finally:
            app.state.num_ended += whole
            app.state.num_broken_off += not whole

    return app


def event(shared: dict[str, Any], choices: list[dict[str, Any]]) -> str:
    return f"data: {json.dumps(shared | {'object': 'chat.completion.chunk', 'choices': choices})}\n\n"
