"""What a pair must show before anybody is answered by it. Knows neither MLflow nor HTTP.

A reason never quotes a passage or a draft: it becomes a tag that everybody may read.
"""

import time
from collections.abc import Sequence
from typing import Any

from tasks.answer.answer import answer_question
from tasks.answer.answerer import Answerer
from tasks.answer.prompt import load_prompt, render
from tasks.errors import GateError
from tasks.index.access import AccessMap
from tasks.index.lance_errors import num_rows_of
from tasks.index.passage import Passage
from tasks.index.release import Release
from tasks.index.search import Index, Request

QUESTION = "What do these documents say?"
"""Almanac's own question, asked beside `serving.smoke_questions`."""
MAX_NEW_TOKENS = 8
"""Enough to see that a model writes; a candidate is smoked beside one that answers people."""


def smoke_index(release: Release, index: Index, access: AccessMap) -> list[str]:
    """Check a release; return what was checked.

    Raises:
        GateError: it would not answer.
        CorruptionError: it is not what was written.
    """
    num_chunks = num_rows_of(index.table, f"release {release.number}")
    if num_chunks != release.num_chunks:
        raise GateError(
            f"release {release.number} must hold the {release.num_chunks} chunks of its manifest, found {num_chunks}; "
            "promote another"
        )
    if num_chunks and not access.sets:
        raise GateError(f"release {release.number} must have its access sets, found none; run `almanac doctor`")
    num_found = len(_search(index, QUESTION, access))
    return [f"{num_chunks} chunks", f"a search found {num_found} passages"]


def smoke_answerer(
    answerer: Answerer, index: Index, access: AccessMap, questions: Sequence[str], *, timeout_seconds: float
) -> list[str]:
    """Check that an answerer writes, over the passages of an index; return what was checked.

    Args:
        answerer: that may serve.
        index: over which it would.
        access: who may read what.
        questions: of `serving.smoke_questions`, beside one of ours.
        timeout_seconds: a question of the server is given up after so long; infinite where nothing else serves.

    Raises:
        GateError: it does not write, or not what can be read, or so slowly that nobody would be answered.
        ConfigurationError: its prompt does not fit its model.
    """
    for question in (QUESTION, *questions):
        passages = _search(index, question, access)
        if answerer.kind != "excerpt":
            _check_draft(answerer, question)
        started = time.monotonic()
        answer_question(question, passages, answerer.generator, answerer.params, index.embedder)
        if (seconds := time.monotonic() - started) > timeout_seconds:
            raise GateError(
                f"the answerer must answer a smoke question within {timeout_seconds:g} seconds, as long as a "
                f"request may take (ALMANAC_REQUEST_TIMEOUT_SECONDS), found {seconds:.1f}; promote a smaller one"
            )
    return [f"{1 + len(questions)} questions answered"]


def _search(index: Index, question: str, access: AccessMap) -> list[Passage]:
    """Search as somebody who may read all: a release must answer for every group."""
    everybody = sorted({group for groups in access.sets.values() for group in groups})
    return index.search(Request(question, groups=everybody), access)


def _check_draft(answerer: Answerer, question: str) -> None:
    """Ask the model whatever the passages are: `answer_question` may abstain before it does."""
    generator, params = answerer.generator, answerer.params
    messages = render(load_prompt(params.prompt), question, [])
    num_tokens = generator.count_prompt_tokens(messages)
    if num_tokens + params.max_new_tokens > generator.context_length:
        raise GateError(
            f"a smoke question must leave room for {params.max_new_tokens} tokens in the model's context of "
            f"{generator.context_length}, found {num_tokens} in its prompt; shorten it or promote another answerer"
        )
    draft = generator.generate(messages, max_new_tokens=min(MAX_NEW_TOKENS, params.max_new_tokens))
    if not draft.text.strip():
        raise GateError("the answerer must write an answer to a smoke question, found nothing; promote another")


def check_logits(answerer: Answerer) -> None:
    """Check that the weights in this process give numbers.

    Raises:
        GateError: a logit is NaN or infinite.
    """
    network: Any = getattr(answerer.generator, "model", None)
    if network is None:  # behind an endpoint: the weights are not here
        return
    import torch

    prompt = answerer.generator.prompt_tokens(  # type: ignore[attr-defined]
        render(load_prompt(answerer.params.prompt), QUESTION, [])
    )
    with torch.inference_mode():
        logits = network(torch.tensor([prompt], device=network.device)).logits
    if not bool(torch.isfinite(logits).all()):
        raise GateError("the answerer's logits must be finite, found NaN or infinity; promote another")
