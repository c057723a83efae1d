"""Whether a served answerer says what the trainer's model said, within what precision and batching change.

Reasons name a conversation and a place in it and quote nothing: they become a tag that everybody may read.
"""

from dataclasses import dataclass

from tasks.answer.generators.loop import is_stuck
from tasks.answer.parity.record import RecordedConversation

SURE_MARGIN = 1.0
"""A token that the trainer's model preferred by less may be another one where the weights are rounded."""
MAX_LOGPROB_DIFFERENCE = 0.25
"""Mean absolute difference over the tokens of a conversation: docs/promotion.md says how it was measured."""


@dataclass(frozen=True, slots=True)
class ServedConversation:
    """One recorded conversation as the server answered it.

    Attributes:
        prompt_tokens: what the model read; None where the server does not say.
        num_prompt_tokens: how many these were, as the server counts them; None where it does not count.
        text: what was written.
        logprobs: of the recorded tokens, from the first one on, as far as the server tells them.
    """

    prompt_tokens: tuple[int, ...] | None
    num_prompt_tokens: int | None
    text: str
    logprobs: tuple[float, ...]


def difference(recorded: RecordedConversation, served: ServedConversation) -> str | None:
    """Return how a server answers differently, in words; None where it answers the same."""
    if served.prompt_tokens is not None and served.prompt_tokens != recorded.prompt_tokens:
        return _prompt_difference(recorded.prompt_tokens, served.prompt_tokens)
    parts = [part for part in (_text_difference(recorded, served.text), _drift(recorded, served.logprobs)) if part]
    if not parts:
        return None
    num_trained, num_served = len(recorded.prompt_tokens), served.num_prompt_tokens
    if num_served is not None and num_served != num_trained:
        parts.append(f"it read {num_served} tokens where the trainer's model read {num_trained}: another chat template")
    return "; ".join(parts)


def num_compared(recorded: RecordedConversation, served: ServedConversation) -> int:
    """Return how many tokens of a conversation could be compared."""
    return max(_num_sure(recorded), len(served.logprobs))


def _prompt_difference(trained: tuple[int, ...], served: tuple[int, ...]) -> str:
    pairs = zip(trained, served, strict=False)
    place = next((at for at, (one, other) in enumerate(pairs) if one != other), min(len(trained), len(served)))
    return (
        f"it reads {len(served)} tokens that are not the {len(trained)} of the trainer, from token {place + 1} on: "
        "another chat template or tokenizer"
    )


def _num_sure(recorded: RecordedConversation) -> int:
    steps = recorded.steps
    return next((place for place, step in enumerate(steps) if step.margin < SURE_MARGIN), len(steps))


def _text_difference(recorded: RecordedConversation, text: str) -> str | None:
    """Compare the text up to the first token that the trainer's model was not sure of."""
    for place, step in enumerate(recorded.steps[: _num_sure(recorded)]):
        # A small model is stopped where its first paragraph ends; a character may have several tokens.
        written = step.text.partition("\n\n")[0].rstrip("\ufffd").rstrip()
        if is_stuck(text) and written.startswith(text):
            return None  # the trainer's model repeats itself too, which ends the writing here
        if not text.startswith(written):
            return f"it writes another token {place + 1}, of which the trainer's model was sure by {step.margin:.1f}"
    return None


def _drift(recorded: RecordedConversation, logprobs: tuple[float, ...]) -> str | None:
    pairs = list(zip(recorded.steps, logprobs, strict=False))
    if not pairs:
        return None
    drift = sum(abs(step.logprob - logprob) for step, logprob in pairs) / len(pairs)
    if drift <= MAX_LOGPROB_DIFFERENCE:
        return None
    return (
        f"the log-probabilities of its first {len(pairs)} tokens are off by {drift:.2f}, where at most "
        f"{MAX_LOGPROB_DIFFERENCE} is borne"
    )
