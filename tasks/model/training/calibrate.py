"""When an answerer refuses: one number, chosen on validation examples, that bounds its false refusals."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tasks.answer.generators.transformers import TransformersGenerator
from tasks.answer.prompt import NOT_FOUND
from tasks.model.examples.example import Example
from tasks.model.examples.tokens import messages_of

MAX_BIAS = 20.0


@dataclass(frozen=True, slots=True)
class Calibration:
    """The bias, and what it does on the examples that it was chosen on.

    Attributes:
        refusal_bias: see `TransformersGenerator`.
        false_refusals: share of answerable examples that are refused.
        true_refusals: share of unanswerable examples that are refused.
    """

    refusal_bias: float
    false_refusals: float
    true_refusals: float
    num_answerable: int
    num_unanswerable: int


def calibrate(
    generator: TransformersGenerator, examples: Iterable[Example], *, max_false_refusals: float
) -> Calibration:
    """Choose the bias with which it refuses as often as the bound on false refusals allows.

    Args:
        generator: with the trained weights; its own bias does not count.
        examples: of the validation split; replay is left out, and a chat that cites nothing.
        max_false_refusals: largest share of answerable examples that may be refused.
    """
    answerable: list[float] = []
    unanswerable: list[float] = []
    for example in examples:
        if example.passages and (example.answerable or example.answer == NOT_FOUND):
            (answerable if example.answerable else unanswerable).append(refusal_margin(generator, example))
    bias = refusal_bias(answerable, max_false_refusals)
    return Calibration(bias, _share(answerable, bias), _share(unanswerable, bias), len(answerable), len(unanswerable))


def refusal_bias(margins: Sequence[float], max_false_refusals: float) -> float:
    """Return the largest bias with which at most a share of these margins comes above 0; without margins, 0."""
    if not margins:
        return 0.0
    allowed = math.floor(max_false_refusals * len(margins) + 1e-9)
    ordered = sorted(margins, reverse=True)
    if allowed >= len(ordered):
        return MAX_BIAS
    above = ordered[allowed - 1] if allowed else ordered[0] + 1.0
    bias = -(above + ordered[allowed]) / 2
    return max(-MAX_BIAS, min(MAX_BIAS, bias if above > ordered[allowed] else -above - 1e-3))


def refusal_margin(generator: TransformersGenerator, example: Example) -> float:
    """Return the logit of a refusal less the largest other one, where the answer begins; above 0 it refuses."""
    import torch

    tokens = torch.tensor([generator.prompt_tokens(messages_of(example))], device=generator.model.device)
    with torch.no_grad():
        logits = generator.model(input_ids=tokens, logits_to_keep=1, use_cache=False).logits[0, -1].float()
    first = generator.tokenizer(NOT_FOUND, add_special_tokens=False)["input_ids"][0]
    refusal = float(logits[first])
    logits[first] = -torch.inf
    return refusal - float(logits.max())


def _share(margins: Sequence[float], bias: float) -> float:
    return sum(margin + bias > 0 for margin in margins) / len(margins) if margins else 0.0
