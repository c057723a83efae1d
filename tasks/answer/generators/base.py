"""What every text generator offers: whole answers, batches and counts of tokens. Knows no engine."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Generation:
    """What the model wrote, and the tokens that it read and wrote."""

    text: str
    num_prompt_tokens: int
    num_completion_tokens: int


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

    def count_tokens(self, text: str) -> int:
        """Count the tokens of a plain text, without special tokens."""
        ...

    def count_prompt_tokens(self, messages: Sequence[Mapping[str, str]]) -> int:
        """Count the tokens of the messages in the model's chat template."""
        ...
