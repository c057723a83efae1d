"""A server's prefix cache in small: what was read of a prompt is kept, and an equal beginning is not read again."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tasks.answer.generators.base import Generation
from tasks.answer.generators.transformers import TransformersGenerator


@dataclass(slots=True)
class PrefixCache:
    """Keys and values of prompts by their tokens.

    Attributes:
        by_weights: whether only the weights that read a prompt find it again, as it must be: else another adapter's
            keys and values are gone on from.
    """

    by_weights: bool
    _read: list[tuple[str, tuple[int, ...], Any]] = field(default_factory=list)

    def longest(self, weights: str, prompt: Sequence[int]) -> tuple[int, Any]:
        """Return how many tokens of a prompt were read before, and their keys and values."""
        import copy

        usable = [(ids, kept) for name, ids, kept in self._read if name == weights or not self.by_weights]
        length, kept = max(((_common(ids, prompt), kept) for ids, kept in usable), default=(0, None), key=_first)
        # The last token is read in any case: it gives the first logits.
        length = min(length, len(prompt) - 1)
        if not length:
            return 0, None
        kept = copy.deepcopy(kept)
        kept.crop(length - kept.get_seq_length())
        return length, kept

    def keep(self, weights: str, prompt: Sequence[int], kept: Any) -> None:
        """Keep what a prompt gave."""
        self._read.append((weights, tuple(prompt), kept))


@dataclass(frozen=True, slots=True)
class CachingGenerator:
    """A model that writes by way of a prefix cache, as vLLM and llama.cpp do."""

    model: TransformersGenerator
    cache: PrefixCache

    def write(self, messages: Sequence[Mapping[str, str]], num_tokens: int) -> tuple[Generation, list[float]]:
        """Return the likeliest continuation and the log-probability of each of its tokens."""
        import copy

        import torch

        prompt = self.model.prompt_tokens(messages)
        length, kept = self.cache.longest(self.model.identity, prompt)
        tokens: list[int] = []
        logprobs: list[float] = []
        fresh = prompt[length:]
        with torch.inference_mode():
            while len(tokens) < num_tokens and self.model.tokenizer.eos_token_id not in tokens:
                output = self.model.model(torch.tensor([fresh]), past_key_values=kept, use_cache=True)
                kept = output.past_key_values
                if not tokens:
                    self.cache.keep(self.model.identity, prompt, copy.deepcopy(kept))
                last = torch.log_softmax(output.logits[0, -1].float(), dim=-1)
                fresh = [int(last.argmax())]
                tokens += fresh
                logprobs.append(float(last[fresh[0]]))
        return Generation(self.model.text_of(tokens), len(prompt), len(tokens)), logprobs


def _common(one: Sequence[int], other: Sequence[int]) -> int:
    pairs = zip(one, other, strict=False)
    return next((at for at, (left, right) in enumerate(pairs) if left != right), min(len(one), len(other)))


def _first(entry: tuple[int, Any]) -> int:
    return entry[0]
