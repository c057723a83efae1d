"""A small OpenAI-compatible server over a generator, as vLLM would be: for tests of the endpoint."""

from typing import Any

from fastapi import FastAPI, HTTPException, Request

from tasks.answer.generators.base import Generator


def endpoint(generator: Generator, *, name: str, failures: int = 0, key: str | None = None) -> FastAPI:
    """The app; its first `failures` completions answer 503, and with `key` no other key is taken."""
    app = FastAPI()
    left = [failures]
    asked: list[dict[str, Any]] = []
    app.state.asked = asked

    @app.get("/v1/models")
    def models() -> dict[str, Any]:
        return {"data": [{"id": name, "max_model_len": generator.context_length}]}

    @app.post("/v1/chat/completions")
    def complete(body: dict[str, Any], request: Request) -> dict[str, Any]:
        if key is not None and request.headers.get("authorization") != f"Bearer {key}":
            raise HTTPException(401)
        if left[0] > 0:
            left[0] -= 1
            raise HTTPException(503)
        asked.append(body)
        draft = generator.generate(body["messages"], max_new_tokens=body["max_tokens"])
        usage = {"prompt_tokens": draft.num_prompt_tokens, "completion_tokens": draft.num_completion_tokens}
        return {"choices": [{"message": {"role": "assistant", "content": draft.text}}], "usage": usage}

    return app
