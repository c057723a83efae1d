"""What a training will take, before it is started."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.answer.generators.transformers import load_base
from tasks.model.training.loss import anchor, divergence, log_likelihood
from tasks.model.training.packing import PackedRow, rows_of
from tasks.model.training.schedule import TrainingSchedule
from tasks.model.training.supervised import anchor_rows, make_plan, readable_texts
from tasks.model.training.train import training_examples
from tasks.model.training.weights import trainable
from tasks.params import Params
from tasks.settings import Settings

FORWARD_SHARE = 1 / 3
"""Of a pass forward and backward: the backward pass computes twice what the forward pass does."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a training will take.

    Attributes:
        num_sequences: what is learnt.
        num_steps: optimiser steps.
        num_tokens: that the steps compute, anchors not counted.
        num_anchor_tokens: of chats and paragraphs beside them, which hold the model.
        seconds: of all steps, their anchors and the validation losses.
    """

    num_sequences: int
    num_steps: int
    num_tokens: int
    num_anchor_tokens: int
    seconds: float


def estimate(examples: Path, params: Params, settings: Settings, *, documents: Path | None = None) -> Estimate:
    """Return the tokens of a training, and its duration at the rates of one pass of each kind on this machine.

    Raises:
        ConfigurationError: nothing is to be learnt, or an example is too long.
    """
    base = load_base(params.generation, settings)
    read = training_examples(examples, params.fine_tuning)
    texts = readable_texts(documents, params.examples.audience) if documents else None
    network = trainable(base, params.fine_tuning)
    plan, held_out = make_plan([example for example in read if example.is_learnt], texts, base, params)
    rate = _tokens_per_second(network, plan)
    kinds = [rows for rows in anchor_rows(read, texts, base, params, num_steps=plan.num_steps) if rows]
    per_step = sum(sum(map(_num_tokens, rows)) / len(rows) for rows in kinds)
    at_each = sum(_anchor_seconds(network, rows) for rows in kinds)
    validated = sum(sequence.num_tokens for sequence in held_out)
    num_validations = 1 + math.ceil(plan.num_steps / params.fine_tuning.eval_steps)
    remembered = sum(_num_tokens(row) for rows in kinds for row in rows)
    forward = (num_validations * validated + remembered) * FORWARD_SHARE
    return Estimate(
        len(plan.sequences),
        plan.num_steps,
        plan.num_tokens,
        round(plan.num_steps * per_step),
        (plan.num_tokens + forward) / rate + plan.num_steps * at_each,
    )


def _tokens_per_second(network: Any, plan: TrainingSchedule) -> float:
    """Measure on one sequence of middling length, after a short one that loads what is loaded once."""
    ordered = sorted(plan.sequences, key=lambda sequence: sequence.num_tokens)
    rate = 0.0
    for sequence in (ordered[0], ordered[len(ordered) // 2]):
        started = time.monotonic()
        (row,) = rows_of([sequence], max_tokens=sequence.num_tokens)
        log_likelihood(network, row).sum().backward()  # type: ignore[no-untyped-call]
        rate = sequence.num_tokens / (time.monotonic() - started)
    return rate


def _anchor_seconds(network: Any, rows: Sequence[PackedRow]) -> float:
    """Measure an anchor of middling length: it predicts each of its tokens, which answers' passages do not."""
    row = sorted(rows, key=_num_tokens)[len(rows) // 2]
    kept = anchor(network, row)
    started = time.monotonic()
    divergence(network, kept).mean().backward()  # type: ignore[no-untyped-call]
    return time.monotonic() - started


def _num_tokens(row: PackedRow) -> int:
    return len(row.tokens)
