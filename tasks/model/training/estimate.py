"""What a training will take, before it is started."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.answer.generators.transformers import load_base
from tasks.model.examples.example import read_examples
from tasks.model.training.loss import log_likelihood
from tasks.model.training.packing import rows_of
from tasks.model.training.schedule import TrainingSchedule
from tasks.model.training.supervised import make_plan, readable_texts
from tasks.model.training.weights import trainable
from tasks.params import Params
from tasks.settings import Settings


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a training will take; `seconds` without evaluations and replay."""

    num_sequences: int
    num_steps: int
    num_tokens: int
    tokens_per_second: float
    seconds: float


def estimate(examples: Path, params: Params, settings: Settings, *, documents: Path | None = None) -> Estimate:
    """Return the tokens of a training, and its duration at the rate of one forward and backward pass on this machine.

    Raises:
        ConfigurationError: nothing is to be learnt, or an example is too long.
    """
    base = load_base(params.generation, settings)
    grounded = [example for example in read_examples(examples) if example.is_learnt]
    texts = readable_texts(documents, params.examples.audience) if documents else None
    network = trainable(base, params.fine_tuning)
    plan, _ = make_plan(grounded, texts, base, params)
    rate = _tokens_per_second(network, plan)
    return Estimate(len(plan.sequences), plan.num_steps, plan.num_tokens, rate, plan.num_tokens / rate)


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
