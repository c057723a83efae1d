"""What a model learnt by heart: texts of the corpus that it goes on with word for word, and planted canaries.

A canary is a line `almanac-canary: <16 hex digits>` that somebody put into a document to see whether it comes out
again. A model knows it if its digits are likelier than those of 127 canaries that were never planted (the rank of
Carlini et al., "The Secret Sharer", 2019); a model that never learnt it does so once in 128 times.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from tasks.answer.generators.base import Generator
from tasks.answer.generators.transformers import TransformersGenerator
from tasks.corpus.document import sha256

CANARY = re.compile(r"almanac-canary: ([0-9a-f]{16})\b")
CANARY_ID = "canary of "
NUM_OTHERS = 127
PREFIX_TOKENS = 40
CONTINUED_TOKENS = 20
"""So many tokens in a row, each the likeliest, are said by heart."""
_CONTEXT_CHARACTERS = 200


@dataclass(frozen=True, slots=True)
class Recalled:
    """Whether an item came out again; `id` names its document, and begins with `CANARY_ID` for a canary."""

    id: str
    is_recalled: bool


def recalled(generator: Generator, texts: Mapping[str, str], canaries: Mapping[str, str]) -> Iterator[Recalled]:
    """Yield an item for each text that is long enough, and for each canary; none where a model hides its likelihoods.

    Args:
        generator: the model.
        texts: by document, a part of its text.
        canaries: by document, its text, which holds a canary.
    """
    if not isinstance(generator, TransformersGenerator):
        return
    for document, text in texts.items():
        is_known = _goes_on(generator, text)
        if is_known is not None:
            yield Recalled(f"text {document}", is_known)
    for document, text in canaries.items():
        for match in CANARY.finditer(text):
            yield Recalled(f"{CANARY_ID}{document}", _knows_canary(generator, text[: match.start(1)], match[1]))


def _goes_on(generator: TransformersGenerator, text: str) -> bool | None:
    """Say whether the greedy continuation of a text's beginning is the text; None: it is too short to tell."""
    import torch

    ids = generator.tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"]
    ids = ids[:, : PREFIX_TOKENS + CONTINUED_TOKENS].to(generator.model.device)
    if ids.shape[1] < PREFIX_TOKENS + CONTINUED_TOKENS:
        return None
    with torch.inference_mode():
        logits = generator.model(input_ids=ids).logits[0, PREFIX_TOKENS - 1 : -1]
    return bool((logits.argmax(dim=-1) == ids[0, PREFIX_TOKENS:]).all())


def _knows_canary(generator: TransformersGenerator, before: str, digits: str) -> bool:
    context = before[-_CONTEXT_CHARACTERS:]
    others = [sha256("canary", digits, str(number))[: len(digits)] for number in range(NUM_OTHERS)]
    planted, *scores = _scores(generator, context, [digits, *others])
    return planted > max(scores)


def _scores(generator: TransformersGenerator, context: str, endings: Sequence[str]) -> list[float]:
    """Return the log probability of each ending behind a context, a token, since tokens cut digits unevenly."""
    import torch

    scores = []
    before = generator.tokenizer(context, add_special_tokens=False)["input_ids"]
    for ending in endings:
        tokens = generator.tokenizer(ending, add_special_tokens=False)["input_ids"]
        ids = torch.tensor([[*before, *tokens]], device=generator.model.device)
        with torch.inference_mode():
            logits = generator.model(input_ids=ids).logits[0, len(before) - 1 : -1].float()
        chosen = torch.log_softmax(logits, dim=-1).gather(1, ids[0, len(before) :, None])
        scores.append(float(chosen.mean()))
    return scores
