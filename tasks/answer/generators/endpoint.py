"""Text generation at an OpenAI-compatible server: vLLM, llama.cpp, or a provider.

The server applies the chat template and greedy decoding (`temperature` 0). A trained answerer is a LoRA adapter that
the server knows by `almanac-answerer-<version>`; see docs/serving.md. Its `refusal_bias` cannot be applied there, since
the API biases every token and not only the first.
"""

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import httpx
from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_exponential

from tasks.answer.generators.base import Generation
from tasks.errors import ConfigurationError, DependencyError
from tasks.settings import Settings

CONNECT_SECONDS = 5.0
MAX_ATTEMPTS = 3
MAX_REQUESTS = 8
"""At a time, of one `generate_many`."""
DEFAULT_CONTEXT_LENGTH = 4096
"""Where the server does not say `max_model_len`, as vLLM does."""
BYTES_PER_TOKEN = 3
"""Without the tokenizer: English has four to five bytes a token, so that a prompt is sooner too short than too long."""
_HEALS = frozenset({429, 500, 502, 503, 504})

logger = logging.getLogger(__name__)


class EndpointGenerator:
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
        self._address = _with_version(endpoint)
        self._client = httpx.Client(
            headers=_headers(settings), timeout=httpx.Timeout(settings.request_timeout_seconds, connect=CONNECT_SECONDS)
        )
        self._count = _token_counter(name)
        self._entry = self._find_model()

    @property
    def identity(self) -> str:
        """Endpoint and model: what stands behind them is the endpoint's word. The colon stands for the precision."""
        return f"{self._address}/{self.name}:endpoint"

    @property
    def context_length(self) -> int:
        """What the endpoint says of the model, else `DEFAULT_CONTEXT_LENGTH`."""
        return int(self._entry.get("max_model_len") or DEFAULT_CONTEXT_LENGTH)

    def generate(self, messages: Sequence[Mapping[str, str]], *, max_new_tokens: int) -> Generation:
        """Continue the chat with the likeliest tokens, up to the end of the sequence or of the paragraph.

        Raises:
            ConfigurationError: the endpoint refuses the request.
            DependencyError: it does not answer.
        """
        body = {"model": self.name, "messages": list(messages), "max_tokens": max_new_tokens, "temperature": 0}
        answer = self._ask("POST", "chat/completions", body)
        try:
            text = str(answer["choices"][0]["message"]["content"] or "")
        except (KeyError, IndexError, TypeError) as error:
            raise DependencyError(
                f"generation.endpoint must answer as OpenAI's API does, found no message: {error!r}; check its address"
            ) from error
        usage = answer.get("usage") or {}
        return Generation(
            _first_paragraph(text),
            int(usage.get("prompt_tokens") or self.count_prompt_tokens(messages)),
            int(usage.get("completion_tokens") or self.count_tokens(text)),
        )

    def generate_many(
        self, conversations: Sequence[Sequence[Mapping[str, str]]], *, max_new_tokens: int
    ) -> list[Generation]:
        """Continue several chats at a time; the endpoint makes batches of them."""
        one = partial(self.generate, max_new_tokens=max_new_tokens)
        with ThreadPoolExecutor(MAX_REQUESTS) as threads:
            return list(threads.map(one, conversations))

    def count_tokens(self, text: str) -> int:
        """Tokens by the model's tokenizer where it is on this machine, else an upper estimate."""
        return self._count(text)

    def count_prompt_tokens(self, messages: Sequence[Mapping[str, str]]) -> int:
        """Tokens of the messages, with room for a chat template."""
        return sum(self.count_tokens(message["content"]) + 8 for message in messages) + 8

    def _find_model(self) -> Mapping[str, Any]:
        entries = self._ask("GET", "models", None).get("data") or []
        found = {str(entry.get("id")): entry for entry in entries}
        if self.name not in found:
            raise ConfigurationError(
                f"generation.endpoint {self._address} must serve {self.name!r}, found {sorted(found)[:5]}; "
                "load it there"
            )
        entry: Mapping[str, Any] = found[self.name]
        return entry

    def _ask(self, method: str, path: str, body: Mapping[str, Any] | None) -> dict[str, Any]:
        attempts = Retrying(
            retry=retry_if_exception(_may_heal),
            stop=stop_after_attempt(MAX_ATTEMPTS),
            wait=wait_exponential(multiplier=0.2, max=2),
            reraise=True,
        )
        try:
            response: httpx.Response = attempts(self._once, method, path, body)
            answer: dict[str, Any] = response.json()
        except httpx.HTTPStatusError as error:
            status = error.response.status_code
            if status in _HEALS:
                raise self._down(f"status {status}") from error
            raise ConfigurationError(
                f"generation.endpoint {self._address} must take {path}, found status {status}; check its address, "
                "ALMANAC_ENDPOINT_API_KEY and generation.model"
            ) from error
        except (httpx.HTTPError, ValueError) as error:
            raise self._down(f"{type(error).__name__} {error}".strip()) from error
        return answer

    def _once(self, method: str, path: str, body: Mapping[str, Any] | None) -> httpx.Response:
        return self._client.request(method, f"{self._address}/{path}", json=body).raise_for_status()

    def _down(self, reason: str) -> DependencyError:
        return DependencyError(
            f"generation.endpoint {self._address} must answer, found: {reason}; start it, or set generation.endpoint"
        )


def adapter_name(version: str) -> str:
    """How an endpoint calls the adapter of a registered answerer."""
    return f"almanac-answerer-{version}"


def _may_heal(error: BaseException) -> bool:
    """Refused connections and overload; a time-out is not tried again: it took all the time there was."""
    if isinstance(error, httpx.HTTPStatusError):
        return error.response.status_code in _HEALS
    return isinstance(error, httpx.TransportError) and not isinstance(error, httpx.ReadTimeout)


def _with_version(endpoint: str) -> str:
    address = endpoint.rstrip("/")
    return address if address.endswith("/v1") else f"{address}/v1"


def _headers(settings: Settings) -> dict[str, str]:
    key = settings.endpoint_api_key
    return {} if key is None else {"Authorization": f"Bearer {key.get_secret_value()}"}


def _first_paragraph(text: str) -> str:
    """As in process: an answer is one paragraph, unless a list follows its colon."""
    kept: list[str] = []
    for paragraph in text.strip().split("\n\n"):
        kept.append(paragraph)
        if not paragraph.rstrip().endswith(":"):
            break
    return "\n\n".join(kept).strip()


def _token_counter(model: str) -> Callable[[str], int]:
    """The tokenizer of a model in a folder; for any other name an estimate."""
    path = Path(model) / "tokenizer.json"
    if path.is_file():
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(path))
        return lambda text: len(tokenizer.encode(text, add_special_tokens=False).ids)
    logger.info("tokens of %s are estimated: %s is not on this machine", model, path)
    return lambda text: math.ceil(len(text.encode()) / BYTES_PER_TOKEN)
