"""Text generation at an OpenAI-compatible server: vLLM, llama.cpp, or a provider.

The server applies the chat template and greedy decoding (`temperature` 0, where the model takes it). A trained answerer
is a LoRA adapter that the server knows by `almanac-answerer-<version>`; see docs/serving.md. Its `refusal_bias` cannot
be applied there, since the API biases every token and not only the first.
"""

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from tasks.answer.generators.base import BatchesItself, Generation, JsonFormat, TextStream
from tasks.answer.generators.chat_client import ChatClient, Reply
from tasks.errors import ConfigurationError
from tasks.settings import Settings
from tasks.tenant import of_tenant

MAX_REQUESTS = 8
"""At a time, of one `generate_many`."""
DEFAULT_CONTEXT_LENGTH = 4096
"""Where the server says nothing of it: most say no more than a model's name."""
BYTES_PER_TOKEN = 3
"""Without the tokenizer: English has four to five bytes a token, so that a prompt is sooner too short than too long."""

logger = logging.getLogger(__name__)


class EndpointGenerator(BatchesItself):
    """A model behind an OpenAI-compatible endpoint. Safe for use by several threads."""

    def __init__(self, endpoint: str, name: str, settings: Settings) -> None:
        """Ask the endpoint whether it has the model.

        Args:
            endpoint: base URL, with or without `/v1`.
            name: the model's, as the endpoint calls it.
            settings: the endpoint's key and the time that an answer may take.

        Raises:
            ConfigurationError: it has no such model, or refuses the key.
            DependencyError: it does not answer.
        """
        self.name = name
        key = settings.endpoint_api_key
        self._client = ChatClient(
            with_version(endpoint),
            name,
            parameter="generation.endpoint",
            key=key.get_secret_value() if key else None,
            timeout_seconds=settings.request_timeout_seconds,
        )
        self._count = _token_counter(name)
        self._entry = self._find_model()

    @property
    def identity(self) -> str:
        """Endpoint and model: what stands behind them is the endpoint's word. The colon stands for the precision."""
        return f"{self._client.address}/{self.name}:endpoint"

    @property
    def context_length(self) -> int:
        """What the endpoint says of the model (as vLLM or llama.cpp do), else `DEFAULT_CONTEXT_LENGTH`."""
        meta = self._entry.get("meta") or {}
        return int(self._entry.get("max_model_len") or meta.get("n_ctx") or DEFAULT_CONTEXT_LENGTH)

    def generate(self, messages: Sequence[Mapping[str, str]], *, max_new_tokens: int) -> Generation:
        """Continue the chat with the likeliest tokens, up to the end of the sequence.

        Raises:
            ConfigurationError: the endpoint refuses the request.
            DependencyError: it does not answer.
        """
        return self._generation(messages, self._client.complete(messages, max_new_tokens=max_new_tokens))

    def reply_with_logprobs(self, messages: Sequence[Mapping[str, str]], *, max_new_tokens: int) -> Reply:
        """Continue the chat as `generate` would; return what the endpoint says of it, token by token where it does.

        Raises:
            ConfigurationError: the endpoint refuses the request.
            DependencyError: it does not answer.
        """
        return self._client.complete(messages, max_new_tokens=max_new_tokens, logprobs=True)

    def generate_json(
        self, messages: Sequence[Mapping[str, str]], form: JsonFormat, *, max_new_tokens: int
    ) -> Generation:
        """Continue the chat in the form that the endpoint is told; where it declines to, with the agreed refusal.

        Raises:
            ConfigurationError: the endpoint refuses the request, or the form.
            DependencyError: it does not answer.
        """
        reply = self._client.complete(messages, max_new_tokens=max_new_tokens, response_format=form.requested)
        return self._generation(messages, reply)

    def generate_many(
        self, conversations: Sequence[Sequence[Mapping[str, str]]], *, max_new_tokens: int
    ) -> list[Generation]:
        """Continue several chats at a time; the endpoint makes batches of them."""
        one = partial(self.generate, max_new_tokens=max_new_tokens)
        with ThreadPoolExecutor(MAX_REQUESTS) as threads:
            return list(threads.map(one, conversations))

    def stream(self, messages: Sequence[Mapping[str, str]], *, max_new_tokens: int) -> TextStream:
        """Continue the chat as `generate` would, yielding the text as the endpoint sends it; return the whole."""
        reply = yield from self._client.stream(messages, max_new_tokens=max_new_tokens)
        return self._generation(messages, reply)

    def count_tokens(self, text: str) -> int:
        """Count tokens by the model's tokenizer where it is on this machine, else estimate them from above."""
        return self._count(text)

    def count_prompt_tokens(self, messages: Sequence[Mapping[str, str]]) -> int:
        """Count the tokens of the messages, with room for a chat template."""
        return sum(self.count_tokens(message["content"]) + 8 for message in messages) + 8

    def _generation(self, messages: Sequence[Mapping[str, str]], reply: Reply) -> Generation:
        return reply.as_generation(partial(self.count_prompt_tokens, messages), self.count_tokens)

    def _find_model(self) -> Mapping[str, Any]:
        models = self._client.list_models()
        if self.name not in models:
            raise ConfigurationError(
                f"generation.endpoint {self._client.address} must serve {self.name!r}, found {sorted(models)[:5]}; "
                "load it there"
            )
        # vLLM says an adapter's context of its base model alone.
        base = models.get(str(models[self.name].get("parent")), {})
        own = {key: value for key, value in models[self.name].items() if value is not None}
        return {**base, **own}


def adapter_name(version: str) -> str:
    """Return what an endpoint calls the adapter of a registered answerer: its model in MLflow and its number."""
    own, _, number = version.rpartition("/")
    return f"{of_tenant('almanac-answerer')}{f'.{own}' if own else ''}-{number}"


def with_version(endpoint: str) -> str:
    """Return the address of the API behind an endpoint's base URL."""
    address = endpoint.rstrip("/")
    return address if address.endswith("/v1") else f"{address}/v1"


def _token_counter(model: str) -> Callable[[str], int]:
    """Return the tokenizer's count for a model in a folder; for any other name an estimate."""
    path = Path(model) / "tokenizer.json"
    if path.is_file():
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(path))
        return lambda text: len(tokenizer.encode(text, add_special_tokens=False).ids)
    logger.info("tokens of %s are estimated: %s is not on this machine", model, path)
    return lambda text: math.ceil(len(text.encode()) / BYTES_PER_TOKEN)
