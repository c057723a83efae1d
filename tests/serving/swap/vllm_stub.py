"""A server with vLLM's API of adapters, statuses and bodies as vLLM 0.32.0 answers: for tests without vLLM.

It reads each adapter's folder for real. With a base it also answers, each adapter by its own weights.
"""

import copy
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.responses import JSONResponse, PlainTextResponse, Response

from tasks.answer.generators.transformers import TransformersGenerator

BASE = "base"


@dataclass
class VllmStub:
    """The server's state, which a test may change while it runs.

    Attributes:
        loads_adapters: whether it was started with VLLM_ALLOW_RUNTIME_LORA_UPDATING=True.
        adapters: the folder of each that is served, by name.
        calls: path and name of each call of the API of adapters.
        sees: the folder that it sees at a path, where it runs on another machine.
        in_trouble: answers 503 to whatever would change it.
    """

    base: TransformersGenerator | None = None
    loads_adapters: bool = True
    max_lora_rank: int = 16
    key: str | None = None
    in_trouble: bool = False
    num_listed: int = 0
    adapters: dict[str, str] = field(default_factory=dict)
    calls: list[tuple[str, str]] = field(default_factory=list)
    sees: dict[str, str] = field(default_factory=dict)
    _weights: dict[str, TransformersGenerator] = field(default_factory=dict)

    def app(self) -> FastAPI:
        app = FastAPI()

        @app.middleware("http")
        async def guard(request: Any, call_next: Any) -> Any:
            if self.key is not None and request.headers.get("authorization") != f"Bearer {self.key}":
                return JSONResponse({"error": "Unauthorized"}, 401)
            return await call_next(request)

        @app.get("/v1/models")
        def models() -> dict[str, Any]:
            self.num_listed += 1
            base = {"id": BASE, "root": "/models/base", "parent": None, "max_model_len": 4096}
            own = [
                {"id": name, "root": path, "parent": BASE, "max_model_len": None}
                for name, path in self.adapters.items()
            ]
            return {"object": "list", "data": [base, *own]}

        @app.post("/v1/load_lora_adapter")
        def load(body: dict[str, Any]) -> Response:
            return self._load(body["lora_name"], body["lora_path"])

        @app.post("/v1/unload_lora_adapter")
        def unload(body: dict[str, Any]) -> Response:
            return self._unload(body["lora_name"])

        @app.post("/v1/chat/completions")
        def complete(body: dict[str, Any]) -> Response:
            return self._complete(body)

        return app

    def restart(self) -> None:
        """Forget what was loaded while it ran, as a restart does."""
        self.adapters.clear()

    def _load(self, name: str, path: str) -> Response:
        if refusal := self._refusal("load", name):
            return refusal
        if name in self.adapters:
            reason = "If you want to load the adapter in place, set 'load_inplace' to True."
            return error(400, f"The lora adapter '{name}' has already been loaded. {reason}", "InvalidUserInput")
        folder = Path(next((path.replace(at, here, 1) for at, here in self.sees.items() if path.startswith(at)), path))
        if not (folder / "adapter_config.json").is_file():
            return error(404, f"Loading lora {name} failed: No adapter found for <path>", "NotFoundError")
        rank = json.loads((folder / "adapter_config.json").read_text())["r"]
        if rank > self.max_lora_rank:
            worker = f"Worker failed with error 'LoRA rank {rank} is greater than max_lora_rank {self.max_lora_rank}.'"
            return error(500, f"Call to add_lora method failed: {worker}", "InternalServerError")
        if self.base is not None:
            self._weights[name] = adapted(self.base, folder)
        self.adapters[name] = path
        return PlainTextResponse(f"Success: LoRA adapter '{name}' added successfully.")

    def _unload(self, name: str) -> Response:
        if refusal := self._refusal("unload", name):
            return refusal
        if self.adapters.pop(name, None) is None:
            return error(404, f"The lora adapter '{name}' cannot be found.", "NotFoundError")
        return PlainTextResponse(f"Success: LoRA adapter '{name}' removed successfully.")

    def _refusal(self, call: str, name: str) -> Response | None:
        self.calls.append((call, name))
        if not self.loads_adapters:
            return JSONResponse({"detail": "Not Found"}, 404)
        return error(503, "overloaded", "ServiceUnavailableError") if self.in_trouble else None

    def _complete(self, body: dict[str, Any]) -> Response:
        name = body["model"]
        if self.base is None or name not in {BASE, *self.adapters}:
            return error(404, f"The model `{name}` does not exist.", "NotFoundError")
        model = self._weights[name] if name in self.adapters else self.base
        prompt = model.prompt_tokens(body["messages"])
        written = model.first_tokens(prompt, body["max_tokens"])
        tokens = [token for token, _ in written]
        message = {"role": "assistant", "content": model.text_of(tokens)}
        content = [logprob(model, token, logits, body.get("top_logprobs", 0)) for token, logits in written]
        choice = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": {"content": content}}
        usage = {"prompt_tokens": len(prompt), "completion_tokens": len(tokens)}
        return JSONResponse({"id": "1", "created": 0, "model": name, "choices": [choice], "usage": usage})


def adapted(base: TransformersGenerator, folder: Path) -> TransformersGenerator:
    from peft import PeftModel

    model = PeftModel.from_pretrained(copy.deepcopy(base.model), folder, is_trainable=False)
    return replace(base, model=model.eval(), identity=str(folder))


def logprob(model: TransformersGenerator, token: int, logits: Any, num_alternatives: int) -> dict[str, Any]:
    import torch

    logprobs = torch.log_softmax(logits.float(), dim=-1)
    best = logprobs.topk(num_alternatives) if num_alternatives else None
    top = zip(best.indices.tolist(), best.values.tolist(), strict=True) if best else ()
    own = {"token": model.tokenizer.decode([token]), "logprob": float(logprobs[token])}
    return own | {"top_logprobs": [{"token": model.tokenizer.decode([rank]), "logprob": value} for rank, value in top]}


def error(status: int, message: str, kind: str) -> JSONResponse:
    body: Mapping[str, Any] = {"message": message, "type": kind, "param": None, "code": status}
    return JSONResponse({"error": body}, status)
