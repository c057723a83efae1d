"""Chats with one model behind an OpenAI-compatible API: whole or streamed, by the `openai` package.

Knows no tokenizer and no settings: the endpoint's generator, llama.cpp's own server and the teacher build on it.
What a model refuses (`max_tokens`, `temperature`, `stream_options`, `logprobs`) is left out from then on. What it
writes as `reasoning_content` is no part of the answer. Our retries stand in place of the package's, which would try a
time-out again: that took all the time there was.
"""

import logging
import threading
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, TypeVar

import httpx2
import openai
from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_attempt, wait_exponential

from tasks.answer.generators.base import Generation
from tasks.answer.generators.loop import is_stuck
from tasks.errors import ConfigurationError, DependencyError

CONNECT_SECONDS = 5.0
MAX_ATTEMPTS = 3
MAX_RETRY_AFTER_SECONDS = 10.0
MAX_ERROR_CHARACTERS = 300
_HEALS = frozenset({429, 500, 502, 503, 504})
NUM_ALTERNATIVES = 5
"""How many likeliest tokens are asked for beside one that was written: what OpenAI's own models tell at the least."""
_NUM_DIALECTS = 6
"""One request, and one more for each thing that a model may refuse."""

Messages = Sequence[Mapping[str, str]]
Result = TypeVar("Result")

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """One token that was written, with the natural logarithm of its probability.

    Attributes:
        alternatives: text and logarithm of the likeliest tokens at its place, itself among them, where they are told.
    """

    text: str
    logprob: float
    alternatives: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Reply:
    """What the endpoint sent: the text as written, its end, and its own counts of tokens where it counts.

    Attributes:
        is_cut: the limit of tokens ended it.
        tokens: what was written, token by token, where that was asked and the endpoint tells it.
    """

    text: str
    is_cut: bool
    num_prompt_tokens: int | None
    num_completion_tokens: int | None
    num_tokens: int | None
    tokens: tuple[TokenLogprob, ...] = ()

    def as_generation(self, count_prompt: Callable[[], int], count: Callable[[str], int]) -> Generation:
        """Return it as any generator's; what the endpoint did not count is counted by these."""
        return Generation(
            self.text.strip(),
            self.num_prompt_tokens or count_prompt(),
            self.num_completion_tokens or count(self.text),
            "length" if self.is_cut else "stop",
        )


@dataclass(frozen=True, slots=True)
class Dialect:
    """What a model takes of a request; begins with what most take."""

    limit: str = "max_tokens"
    takes_temperature: bool = True
    takes_stream_options: bool = True
    takes_logprobs: bool = True
    takes_top_logprobs: bool = True

    def body(self, max_new_tokens: int, *, stream: bool, logprobs: bool = False) -> dict[str, Any]:
        """Return the parameters of a request for the likeliest tokens."""
        body: dict[str, Any] = {self.limit: max_new_tokens}
        if logprobs and self.takes_logprobs:
            body["logprobs"] = True
            if self.takes_top_logprobs:
                body["top_logprobs"] = NUM_ALTERNATIVES
        if self.takes_temperature:
            body["temperature"] = 0
        if stream:
            body["stream"] = True
        if stream and self.takes_stream_options:
            body["stream_options"] = {"include_usage": True}
        return body

    def without_refused(self, reason: str) -> "Dialect":
        """Return the dialect without what the error names; the same one where it names nothing that can be left out."""
        if "max_completion_tokens" in reason and self.limit == "max_tokens":
            return replace(self, limit="max_completion_tokens")
        if "stream_options" in reason and self.takes_stream_options:
            return replace(self, takes_stream_options=False)
        if "temperature" in reason and self.takes_temperature:
            return replace(self, takes_temperature=False)
        if "top_logprobs" in reason and self.takes_top_logprobs:
            return replace(self, takes_top_logprobs=False)
        if "logprobs" in reason and self.takes_logprobs:
            return replace(self, takes_logprobs=False)
        return self


class ChatClient:
    """One model at one address. Safe for use by several threads."""

    def __init__(
        self,
        address: str,
        model: str,
        *,
        parameter: str,
        key: str | None,
        timeout_seconds: float,
        transport: httpx2.BaseTransport | None = None,
    ) -> None:
        """Prepare the client; nothing is asked yet.

        Args:
            address: base URL, with `/v1` where the server has it.
            model: its name there.
            parameter: of params.yaml, which errors name.
            key: API key; None: none is sent, whatever the environment holds for OpenAI's own service.
            timeout_seconds: for a whole answer, or between two pieces of a stream.
            transport: another way to the server than by network.
        """
        self.address, self.model, self._parameter = address, model, parameter
        unset: dict[str, Any] = {"OpenAI-Organization": openai.Omit(), "OpenAI-Project": openai.Omit()}
        self._client = openai.OpenAI(
            base_url=address,
            api_key=key or "none",
            max_retries=0,
            timeout=openai.Timeout(timeout_seconds, connect=CONNECT_SECONDS),
            http_client=openai.DefaultHttpxClient(transport=transport) if transport else None,
            default_headers=unset,
        )
        # The package looks for this one with each request.
        self._headers: dict[str, Any] = {} if key else {"Authorization": openai.Omit()}
        self._dialect = Dialect()
        self._learning = threading.Lock()

    def list_models(self) -> dict[str, Mapping[str, Any]]:
        """Return what the endpoint says of each of its models, by name.

        Raises:
            ConfigurationError: it refuses the request.
            DependencyError: it does not answer.
        """
        with self._errors():
            page = self._retried(lambda: self._client.models.list(extra_headers=self._headers))
            return {str(entry.id): entry.model_dump() for entry in page.data or []}

    def complete(
        self,
        messages: Messages,
        *,
        max_new_tokens: int,
        logprobs: bool = False,
        response_format: Mapping[str, Any] | None = None,
    ) -> Reply:
        """Return the model's whole reply with the likeliest tokens.

        Args:
            messages: the chat.
            max_new_tokens: at most so many.
            logprobs: whether the tokens' probabilities are asked for.
            response_format: the form that the endpoint is to hold the model to, as OpenAI's API has it.

        Raises:
            ConfigurationError: the endpoint refuses the request.
            DependencyError: it does not answer, or not as OpenAI's API does.
        """
        extra = {"response_format": dict(response_format)} if response_format else {}
        with self._errors():
            answer = self._adapted(messages, max_new_tokens, stream=False, logprobs=logprobs, extra=extra)
            choice = answer.choices[0]
            reply = self._reply(choice.message.content or "", choice.finish_reason, answer.usage)
            return replace(reply, tokens=_tokens(choice)) if logprobs else reply

    def stream(self, messages: Messages, *, max_new_tokens: int) -> Generator[str, None, Reply]:
        """Yield the reply piece by piece as it comes; return the whole.

        A reply that repeats itself is broken off: the endpoint then ends its writing, and counts no tokens for us.

        Raises:
            ConfigurationError: the endpoint refuses the request.
            DependencyError: it does not answer, or breaks off.
        """
        text = ""
        finish_reason, usage = None, None
        with self._errors(), self._adapted(messages, max_new_tokens, stream=True) as parts:
            for part in parts:
                usage = part.usage or usage
                # The part that holds the usage has no choice.
                for choice in part.choices[:1]:
                    finish_reason = choice.finish_reason or finish_reason
                    if choice.delta.content:
                        text += choice.delta.content
                        yield choice.delta.content
                if is_stuck(text):
                    break
            return self._reply(text, finish_reason, usage)

    def _reply(self, text: str, finish_reason: str | None, usage: Any) -> Reply:
        is_cut = finish_reason == "length"
        if is_cut and not text.strip():
            logger.warning(
                "%s spent all tokens of its answer before it wrote a word; models that reason need a higher "
                "generation.max_new_tokens",
                self.model,
            )
        prompt, written, total = (getattr(usage, f"{name}_tokens", None) for name in ("prompt", "completion", "total"))
        return Reply(text, is_cut, prompt, written, total)

    def _adapted(
        self,
        messages: Messages,
        max_new_tokens: int,
        *,
        stream: bool,
        logprobs: bool = False,
        extra: Mapping[str, Any] = MappingProxyType({}),
    ) -> Any:
        """Ask, leaving out what the model refuses; what is left out stays out."""
        chat: list[Any] = [dict(message) for message in messages]
        for _ in range(_NUM_DIALECTS):
            dialect = self._dialect
            try:
                return self._retried(
                    lambda body: self._client.chat.completions.create(
                        model=self.model, messages=chat, extra_headers=self._headers, **body
                    ),
                    dialect.body(max_new_tokens, stream=stream, logprobs=logprobs) | dict(extra),
                )
            except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
                adapted = dialect.without_refused(f"{error.param or ''} {_error_line(error)}")
                if adapted == dialect:
                    raise
                logger.info("%s takes less than others: %s", self.model, adapted)
                with self._learning:
                    self._dialect = adapted
        raise AssertionError("a dialect has fewer parts than there are tries")

    def _retried(self, ask: Callable[..., Result], *arguments: Any) -> Result:
        attempts = Retrying(
            retry=retry_if_exception(_may_heal), stop=stop_after_attempt(MAX_ATTEMPTS), wait=_wait, reraise=True
        )
        return attempts(ask, *arguments)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Say which endpoint failed and what to do, in one line."""
        try:
            yield
        except openai.APIStatusError as error:
            problem = f"status {error.status_code}: {_error_line(error)}"
            if error.status_code in _HEALS:
                raise self._down(problem) from error
            raise ConfigurationError(
                f"{self._parameter} {self.address} must take the request for {self.model!r}, found {problem}; check "
                "its address, its API key (ALMANAC_ENDPOINT_API_KEY for generation.endpoint) and the model's name"
            ) from error
        except (openai.OpenAIError, httpx2.HTTPError) as error:
            raise self._down(f"{type(error).__name__}: {_one_line(error.__cause__ or error)}") from error
        except (AttributeError, IndexError, TypeError, ValueError) as error:
            # The package builds its objects without checking: what is no completion fails where it is read.
            raise DependencyError(
                f"{self._parameter} {self.address} must answer as OpenAI's API does, found {_one_line(error)}; check "
                "its address"
            ) from error

    def _down(self, reason: str) -> DependencyError:
        return DependencyError(
            f"{self._parameter} {self.address} must answer, found {reason}; start it, or set {self._parameter} to null"
        )


def _tokens(choice: Any) -> tuple[TokenLogprob, ...]:
    """Return the tokens of a choice; none where the endpoint does not tell them, or not as OpenAI's API does."""
    content = getattr(getattr(choice, "logprobs", None), "content", None) or ()
    return tuple(TokenLogprob(str(entry.token), float(entry.logprob), _alternatives(entry)) for entry in content)


def _alternatives(entry: Any) -> tuple[tuple[str, float], ...]:
    return tuple((str(other.token), float(other.logprob)) for other in getattr(entry, "top_logprobs", None) or ())


def _may_heal(error: BaseException) -> bool:
    """Tell refused connections and overload from what would fail again; a time-out took all the time there was."""
    if isinstance(error, openai.APIStatusError):
        return error.status_code in _HEALS
    return isinstance(error, openai.APIConnectionError) and not isinstance(error.__cause__, httpx2.ReadTimeout)


def _wait(state: RetryCallState) -> float:
    """Return the seconds to wait: what a server that is overloaded asks for, within bounds; else ever longer."""
    error = state.outcome.exception() if state.outcome else None
    asked = error.response.headers.get("retry-after", "") if isinstance(error, openai.APIStatusError) else ""
    if asked.isdigit():
        return min(float(asked), MAX_RETRY_AFTER_SECONDS)
    return float(wait_exponential(multiplier=0.2, max=2)(state))


def _error_line(error: openai.APIStatusError) -> str:
    """Return what the server says of the error: the message of a body in OpenAI's form, else the whole body."""
    body = error.body
    message = body.get("message") if isinstance(body, Mapping) else None
    return _one_line(message or body or error.message)


def _one_line(text: object) -> str:
    return " ".join(str(text).split())[:MAX_ERROR_CHARACTERS]
