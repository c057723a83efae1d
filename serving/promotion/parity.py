"""The fixed conversations, asked of a candidate as it will serve: merged, in its precision, batched, at its endpoint.

What it says must be what the trainer's model said. At an endpoint the answerer that serves there is asked first: its
prompts then lie in the endpoint's prefix cache, and a cache that outlives an adapter shows in the candidate's answers.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

from tasks.answer.answerer import Answerer
from tasks.answer.generators.base import Generator
from tasks.answer.generators.transformers import TransformersGenerator
from tasks.answer.parity.compare import ServedConversation, difference, num_compared
from tasks.answer.parity.record import NUM_TOKENS, RecordedConversation, Step, read_parity
from tasks.errors import AlmanacError, GateError

if TYPE_CHECKING:  # the OpenAI client costs a second, and most servers have no endpoint
    from tasks.answer.generators.chat_client import TokenLogprob
    from tasks.answer.generators.endpoint import EndpointGenerator

logger = logging.getLogger(__name__)


def check_parity(
    folder: Path, answerer: Answerer, wrap: Callable[[Generator], Generator], serving: Answerer | None
) -> str:
    """Ask a loaded answerer what its trainer's model was asked; return what was checked.

    Args:
        folder: the answerer's files.
        answerer: as it was loaded.
        wrap: what the server puts around generators.
        serving: what answers until now.

    Raises:
        GateError: it answers differently; the reason names the conversation and what differs.
        DependencyError: its endpoint does not answer.
    """
    recorded = read_parity(folder)
    if not recorded:
        return "no conversations of the trainer to compare"
    if answerer.kind == "endpoint":
        _fill_prefix_cache(serving, recorded)
        served = [_at_endpoint(cast("EndpointGenerator", answerer.generator), entry) for entry in recorded]
    else:
        served = _in_process(cast("TransformersGenerator", answerer.generator), wrap, recorded)
    _require_same(recorded, served)
    num_tokens = sum(map(num_compared, recorded, served))
    return f"{num_tokens} tokens in {len(recorded)} conversations as the trainer's model said them"


def _require_same(recorded: Sequence[RecordedConversation], served: Sequence[ServedConversation]) -> None:
    pairs = zip(recorded, served, strict=True)
    reasons = [f"in {entry.name!r} {what}" for entry, answer in pairs if (what := difference(entry, answer))]
    if reasons:
        raise GateError(
            f"the answerer must say what its trainer's model said, found other answers in {len(reasons)} of "
            f"{len(recorded)} conversations: {'; '.join(reasons)}. Load it anew, with the template that it was trained "
            "with and an empty prefix cache, or promote another"
        )


def _fill_prefix_cache(serving: Answerer | None, recorded: Sequence[RecordedConversation]) -> None:
    if serving is None or serving.kind != "endpoint":
        return
    for entry in recorded:
        try:
            serving.generator.generate(entry.messages, max_new_tokens=1)
        except AlmanacError as error:
            # The endpoint may have let go of it: then nothing of it can lie in a cache by our doing.
            logger.info("what serves was not asked before the candidate: %s", error)
            return


def _at_endpoint(generator: "EndpointGenerator", entry: RecordedConversation) -> ServedConversation:
    reply = generator.reply_with_logprobs(entry.messages, max_new_tokens=NUM_TOKENS)
    logprobs, before = [], ""
    for step, token in zip(entry.steps, reply.tokens, strict=False):
        if (before + token.text).strip() != step.text:
            logprobs += _unwritten(step, token, before)
            break
        logprobs.append(token.logprob)
        before += token.text
    return ServedConversation(None, reply.num_prompt_tokens, reply.text.strip(), tuple(logprobs))


def _unwritten(step: Step, token: "TokenLogprob", before: str) -> list[float]:
    """Return the log-probability of the recorded token where another one was written: of its own, if that is told.

    Where the trainer's model was not sure, other weights go another way at the first token, and nothing would be
    compared at all. For instance it wrote "Ninety" at -0.9 and the endpoint "Seven": the endpoint gives "Ninety" -1.1,
    or does not list it among its likeliest, the last of which has -6, and then gives it at most that.
    """
    # What ends a text shows in no text, and a part of a character is spelt differently everywhere.
    if not token.alternatives or step.text == before.strip() or "\ufffd" in step.text + token.text:
        return []
    same = [logprob for text, logprob in token.alternatives if (before + text).strip() == step.text]
    return same[:1] or [min(step.logprob, *(logprob for _, logprob in token.alternatives))]


def _in_process(
    generator: TransformersGenerator, wrap: Callable[[Generator], Generator], recorded: Sequence[RecordedConversation]
) -> list[ServedConversation]:
    """All in one batch, as requests that come together; the calibration of refusals is no part of what was learnt."""
    unbiased = wrap(replace(generator, refusal_bias=0.0))
    written = unbiased.generate_many([entry.messages for entry in recorded], max_new_tokens=NUM_TOKENS)
    return [
        ServedConversation(
            tuple(tokens := generator.prompt_tokens(entry.messages)),
            len(tokens),
            generation.text,
            tuple(generator.log_probabilities(tokens, [step.token for step in entry.steps])),
        )
        for entry, generation in zip(recorded, written, strict=True)
    ]
