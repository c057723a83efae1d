"""What every text generator offers: whole answers, batches, streams and counts of tokens. Knows no engine."""

import collections.abc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

FinishReason = Literal["stop", "length"]


@dataclass(frozen=True, slots=True)
class Generation:
    """What the model wrote, and the tokens that it read and wrote.

    Attributes:
        finish_reason: `stop` where the model ended by itself or was ended since it repeated itself, `length` where
            `max_new_tokens` cut it off.
    """

    text: str
    num_prompt_tokens: int
    num_completion_tokens: int
    finish_reason: FinishReason = "stop"


TextStream = collections.abc.Generator[str, None, Generation]
"""Pieces of text as the model writes them; the whole is returned at the end: `generation = yield from stream`.

Joined, the pieces are the text of the `Generation`, but for blanks at both ends. `close()` ends the generation early.
"""


def collect(stream: TextStream) -> Generation:
    """Read a stream to its end and return what was written."""
    while True:
        try:
            next(stream)
        except StopIteration as end:
            generation: Generation = end.value
            return generation


@dataclass(frozen=True, slots=True)
class JsonFormat:
    """The form of an answer that is one JSON value.

    Attributes:
        name: of the schema, as the asker calls it.
        schema: JSON Schema of the value.
        requested: as OpenAI's API has it (`response_format`), for engines that speak it.
    """

    name: str
    schema: Mapping[str, Any]
    requested: Mapping[str, Any]


class Generator(Protocol):
    """Anything that continues a chat.

    Attributes:
        identity: names model, weights and precision; equal identity, equal answers on one kind of device.
        context_length: tokens of prompt and completion together.
    """

    @property
    def identity(self) -> str: ...  # noqa: D102

    @property
    def context_length(self) -> int: ...  # noqa: D102

    def generate(self, messages: Sequence[Mapping[str, str]], *, max_new_tokens: int) -> Generation:
        """Continue the chat with the likeliest tokens, up to the end of the sequence."""
        ...

    def generate_many(
        self, conversations: Sequence[Sequence[Mapping[str, str]]], *, max_new_tokens: int
    ) -> list[Generation]:
        """Continue several chats in one batch; each as `generate` would."""
        ...

    def stream(self, messages: Sequence[Mapping[str, str]], *, max_new_tokens: int) -> TextStream:
        """Continue the chat as `generate` would, yielding the text piece by piece; return the whole."""
        ...

    def count_tokens(self, text: str) -> int:
        """Count the tokens of a plain text, without special tokens."""
        ...

    def count_prompt_tokens(self, messages: Sequence[Mapping[str, str]]) -> int:
        """Count the tokens of the messages in the model's chat template."""
        ...


@runtime_checkable
class JsonGenerator(Protocol):
    """A generator that can be held to a form while it writes."""

    def generate_json(
        self, messages: Sequence[Mapping[str, str]], form: JsonFormat, *, max_new_tokens: int
    ) -> Generation:
        """Continue the chat with one JSON value of the form, or with the agreed refusal.

        Raises:
            ConfigurationError: the form has what the engine cannot hold a model to.
        """
        ...


class BatchesItself:
    """Marks a generator whose engine batches requests by itself: nobody need queue them before it."""
