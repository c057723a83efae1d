"""What the trainer's model says in the fixed conversations: the tokens that it reads, the first ones that it writes.

Written beside the weights as `parity.json`, before an adapter is merged or a weight is rounded. Knows no server.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tasks.answer.generators.transformers import TransformersGenerator
from tasks.answer.parity.conversations import conversations
from tasks.answer.prompt import Messages, Prompt
from tasks.errors import CorruptionError
from tasks.files import write_json

PARITY = "parity.json"
NUM_TOKENS = 12
"""Of each answer: enough to see a difference, few enough to be asked at each promotion."""


@dataclass(frozen=True, slots=True)
class Step:
    """One token that the trainer's model wrote, the likeliest one.

    Attributes:
        text: all that was written up to here, as the server would give it back.
        logprob: natural logarithm of its probability.
        margin: how much likelier it was than the second, in the same unit.
    """

    token: int
    text: str
    logprob: float
    margin: float


@dataclass(frozen=True, slots=True)
class RecordedConversation:
    """One conversation with what was read and written.

    Attributes:
        prompt_tokens: the conversation in the chat template, up to where the model begins to write.
    """

    name: str
    messages: Messages
    prompt_tokens: tuple[int, ...]
    steps: tuple[Step, ...]


def record_parity(generator: TransformersGenerator, prompt: Prompt) -> tuple[RecordedConversation, ...]:
    """Ask the model as it was trained, its refusals not calibrated; what its context cannot hold is left out.

    Args:
        generator: the trainer's network with the tokenizer that it was trained with.
        prompt: that it was trained for.
    """
    asked = ((name, messages, generator.prompt_tokens(messages)) for name, messages in conversations(prompt).items())
    return tuple(
        RecordedConversation(name, messages, tuple(tokens), _steps(generator, tokens))
        for name, messages, tokens in asked
        if len(tokens) + NUM_TOKENS <= generator.context_length
    )


def write_parity(folder: Path, recorded: tuple[RecordedConversation, ...]) -> None:
    """Write `parity.json`."""
    write_json(folder / PARITY, {"conversations": [asdict(entry) for entry in recorded]})


def read_parity(folder: Path) -> tuple[RecordedConversation, ...]:
    """Return what was recorded; nothing for an answerer that was trained before anything was.

    Raises:
        CorruptionError: the file is not what `write_parity` writes.
    """
    path = folder / PARITY
    if not path.is_file():
        return ()
    try:
        return tuple(_conversation(raw) for raw in json.loads(path.read_text(encoding="utf-8"))["conversations"])
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptionError(
            f"an answerer's {PARITY} must hold the trainer's answers, found: {' '.join(str(error).split())[:200]}; "
            "register it again"
        ) from error


def _conversation(raw: dict[str, Any]) -> RecordedConversation:
    steps = tuple(Step(**step) for step in raw["steps"])
    return RecordedConversation(raw["name"], raw["messages"], tuple(raw["prompt_tokens"]), steps)


def _steps(generator: TransformersGenerator, prompt_tokens: list[int]) -> tuple[Step, ...]:
    import torch

    written = generator.first_tokens(prompt_tokens, NUM_TOKENS)
    steps = []
    for place, (token, logits) in enumerate(written):
        logprobs = torch.log_softmax(logits.float(), dim=-1)
        best, second = logprobs.topk(2).values.tolist()
        text = generator.text_of([entry for entry, _ in written[: place + 1]])
        steps.append(Step(token, text, float(logprobs[token]), best - second))
    return tuple(steps)
