"""The generator of an answerer that shows excerpts: no model writes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tasks.answer.generators.base import Generation, TextStream


@dataclass(frozen=True, slots=True)
class SilentGenerator:
    """Stands where no model writes: it continues every chat with nothing."""

    identity: str
    context_length: int = 1_000_000

    def generate(self, messages: Sequence[Mapping[str, str]], *, max_new_tokens: int) -> Generation:  # noqa: ARG002
        """Nothing."""
        return Generation("", 0, 0)

    def generate_many(
        self, conversations: Sequence[Sequence[Mapping[str, str]]], *, max_new_tokens: int
    ) -> list[Generation]:
        """Nothing, for each."""
        return [self.generate(messages, max_new_tokens=max_new_tokens) for messages in conversations]

    def stream(self, messages: Sequence[Mapping[str, str]], *, max_new_tokens: int) -> TextStream:
        """Nothing."""
        yield from ()
        return self.generate(messages, max_new_tokens=max_new_tokens)

    def count_tokens(self, text: str) -> int:
        """Words: nobody counts what is not read."""
        return len(text.split())

    def count_prompt_tokens(self, messages: Sequence[Mapping[str, str]]) -> int:
        """Return words of the messages."""
        return sum(self.count_tokens(message["content"]) for message in messages)
