"""Text generation in process with llama.cpp: quantized GGUF models of 0.5 to 3 billion parameters on a CPU.

`xllamacpp` runs llama.cpp's own server on threads of this process: it batches requests as they come (a new one joins
those that are being written), keeps the prompts that it has read, so that an equal beginning is not read again, applies
the chat template of the file and the adapter, if any. We speak to it as to any endpoint, by a socket file that nobody
else can open: closing a stream then ends its generation.
"""

import atexit
import os
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from tasks.answer.generators.base import BatchesItself, Generation, JsonFormat, TextStream, collect
from tasks.answer.generators.chat_client import ChatClient, Reply
from tasks.errors import ConfigurationError
from tasks.files import sha256_of_file
from tasks.model_location import gguf_path
from tasks.params import GenerationParams
from tasks.settings import QUIET_ENVIRONMENT, Settings

MAX_CONTEXT_LENGTH = 8192
"""Tokens of one request, where the file allows as many: the 32,768 of a model of 1.5 billion parameters would take a
gigabyte of memory."""
TIMEOUT_SECONDS = 3600.0
NUM_SLOTS = 2
"""Requests that are written at a time, each with a context of its own; others wait."""
_CONTROL = re.compile(r"<\|[^<>|\s]{1,40}\|>|</?[a-z_]{1,40}>|\[/?[A-Z_]{2,40}\]")
"""What a chat template writes for a token of its own may look so; the tokenizer tells which of them is one."""


class LlamaCppGenerator(BatchesItself):
    """A GGUF model with the chat template of its file. Safe for use by several threads."""

    def __init__(self, path: Path, identity: str, settings: Settings, *, adapter: Path | None = None) -> None:
        """Load the file.

        Args:
            path: a GGUF file.
            identity: names the file's content.
            settings: threads, and the time that an answer may take.
            adapter: a LoRA adapter in GGUF form, for this model.

        Raises:
            ConfigurationError: llama.cpp cannot load it, or it has no chat template.
        """
        import httpx2

        self.identity = identity
        self._folder = Path(tempfile.mkdtemp(prefix="almanac-llama-"))
        atexit.register(shutil.rmtree, self._folder, ignore_errors=True)
        socket = self._folder / "server.sock"
        self._server = _start(path, adapter, socket, settings)
        transport = httpx2.HTTPTransport(uds=str(socket))
        self._http = httpx2.Client(transport=transport, base_url="http://llama.cpp", timeout=TIMEOUT_SECONDS)
        self._client = ChatClient(
            "http://llama.cpp/v1",
            path.name,
            parameter="generation.gguf_file",
            key=None,
            # It cannot be away, only slow: who waits for an answer has a time limit of their own.
            timeout_seconds=TIMEOUT_SECONDS,
            transport=transport,
        )
        properties = self._http.get("/props").json()
        self.context_length = int(properties["default_generation_settings"]["n_ctx"])
        template = properties.get("chat_template") or ""
        if not template:
            raise ConfigurationError(
                f"generation.gguf_file must be a chat model, {path.name} has no chat template; take another"
            )
        self._control_tokens = tuple(
            sign for sign in sorted(set(_CONTROL.findall(template))) if len(self._tokens(sign, special=True)) == 1
        )

    def generate(self, messages: Sequence[Mapping[str, str]], *, max_new_tokens: int) -> Generation:
        """Continue the chat with the likeliest tokens, up to the end of the sequence or to where it repeats itself.

        Raises:
            ConfigurationError: the chat is longer than the context.
        """
        # Only a stream can be ended early.
        return collect(self.stream(messages, max_new_tokens=max_new_tokens))

    def generate_json(
        self, messages: Sequence[Mapping[str, str]], form: JsonFormat, *, max_new_tokens: int
    ) -> Generation:
        """Continue the chat with one JSON value of the form, by llama.cpp's own grammar.

        Raises:
            ConfigurationError: the chat is longer than the context, or llama.cpp does not take the schema.
        """
        plain = self._plain(messages)
        reply = self._client.complete(plain, max_new_tokens=max_new_tokens, response_format=form.requested)
        return self._generation(messages, reply)

    def generate_many(
        self, conversations: Sequence[Sequence[Mapping[str, str]]], *, max_new_tokens: int
    ) -> list[Generation]:
        """Continue several chats at a time; llama.cpp makes batches of them."""
        with ThreadPoolExecutor(NUM_SLOTS) as threads:
            return list(threads.map(partial(self.generate, max_new_tokens=max_new_tokens), conversations))

    def stream(self, messages: Sequence[Mapping[str, str]], *, max_new_tokens: int) -> TextStream:
        """Continue the chat as `generate` would, yielding the text token by token; return the whole."""
        reply = yield from self._client.stream(self._plain(messages), max_new_tokens=max_new_tokens)
        return self._generation(messages, reply)

    def count_tokens(self, text: str) -> int:
        """Count the tokens of a plain text, without special tokens."""
        return len(self._tokens(text, special=False))

    def count_prompt_tokens(self, messages: Sequence[Mapping[str, str]]) -> int:
        """Count the tokens of the messages in the model's chat template."""
        body = {"messages": self._plain(messages)}
        prompt = self._http.post("/apply-template", json=body).raise_for_status().json()["prompt"]
        return len(self._tokens(prompt, special=True))

    def _generation(self, messages: Sequence[Mapping[str, str]], reply: Reply) -> Generation:
        return reply.as_generation(partial(self.count_prompt_tokens, messages), self.count_tokens)

    def _tokens(self, text: str, *, special: bool) -> list[int]:
        body = {"content": text, "parse_special": special, "add_special": False}
        tokens: list[int] = self._http.post("/tokenize", json=body).raise_for_status().json()["tokens"]
        return tokens

    def _plain(self, messages: Sequence[Mapping[str, str]]) -> list[dict[str, str]]:
        """Break the model's own control tokens, so that no text can end its turn and begin another's."""
        return [{"role": message["role"], "content": self._broken(message["content"])} for message in messages]

    def _broken(self, text: str) -> str:
        for token in self._control_tokens:
            text = text.replace(token, f"{token[0]} {token[1:]}")
        return text


def load_llama_cpp(params: GenerationParams, settings: Settings) -> LlamaCppGenerator:
    """Load the GGUF file of `params`, once a process.

    Raises:
        ConfigurationError: there is no such file, llama.cpp cannot load it, or it has no chat template.
    """
    if params.gguf_file is None:
        raise ConfigurationError(
            "generation.engine llama.cpp must have a GGUF file, found generation.gguf_file null; name the file, or set "
            "generation.engine to transformers"
        )
    path = gguf_path(params.model, params.gguf_file, settings.home.resolve())
    return _load(path, f"{params.model}/{params.gguf_file}@{sha256_of_file(path)[:16]}:llama.cpp", settings)


@lru_cache(maxsize=1)
def _load(path: Path, identity: str, settings: Settings) -> LlamaCppGenerator:
    return LlamaCppGenerator(path, identity, settings)


def _start(path: Path, adapter: Path | None, socket: Path, settings: Settings) -> Any:
    # Threads that wait for each other spin otherwise: beside other work they take the time that they wait for.
    os.environ.setdefault("OMP_WAIT_POLICY", QUIET_ENVIRONMENT["OMP_WAIT_POLICY"])
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(path)
    params.hostnames = [str(socket)]
    params.ui, params.verbosity = False, -1
    params.n_ctx, params.n_parallel = NUM_SLOTS * MAX_CONTEXT_LENGTH, NUM_SLOTS
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = settings.num_threads
    params.n_gpu_layers = 0 if settings.device == "cpu" else -1
    if adapter is not None:
        params.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(str(adapter), 1.0)]
    try:
        return xllamacpp.Server(params)
    except (RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ConfigurationError(
            f"generation.gguf_file must be a model that llama.cpp can load, found {path}: {reason}; take another, or "
            "set generation.engine to transformers"
        ) from error
