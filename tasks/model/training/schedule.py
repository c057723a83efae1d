"""Which sequences a step learns from, and how fast.

Pure functions of the step's number, so that a training that was killed goes on exactly where it was.
"""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

from tasks.model.training.sequences import TokenSequence
from tasks.params.fine_tuning import FineTuningParams

LEARNING_RATE_FLOOR = 0.05
"""Share of the learning rate that is left at the end."""


@dataclass(frozen=True, slots=True)
class TrainingSchedule:
    """All steps of a training.

    Attributes:
        sequences: what is learnt; each epoch takes them in an order of its own.
        num_steps: optimiser steps.
    """

    sequences: tuple[TokenSequence, ...]
    num_steps: int
    per_device_train_batch_size: int
    seed: int

    def step(self, step: int) -> list[TokenSequence]:
        """Return the sequences of a step, longest first; epochs follow each other without a seam."""
        first = step * self.per_device_train_batch_size
        chosen = [self._at(place) for place in range(first, first + self.per_device_train_batch_size)]
        return sorted(chosen, key=lambda sequence: -sequence.num_tokens)

    def _at(self, place: int) -> TokenSequence:
        epoch, index = divmod(place, len(self.sequences))
        order = random.Random(f"{self.seed}:{epoch}").sample(range(len(self.sequences)), len(self.sequences))  # noqa: S311
        return self.sequences[order[index]]

    def size(self, step: int) -> tuple[int, int]:
        """Return the tokens that a step computes and those that it learns."""
        sequences = self.step(step)
        return sum(s.num_tokens for s in sequences), sum(s.num_learnt for s in sequences)

    @property
    def num_tokens(self) -> int:
        """Tokens that all steps compute."""
        return sum(self.size(step)[0] for step in range(self.num_steps))


def make_schedule(sequences: Sequence[TokenSequence], params: FineTuningParams) -> TrainingSchedule:
    """Return as many steps as `num_train_epochs` need, at most `max_steps`."""
    needed = max(1, math.ceil(params.num_train_epochs * len(sequences) / params.per_device_train_batch_size))
    num_steps = needed if params.max_steps is None else min(needed, params.max_steps)
    return TrainingSchedule(tuple(sequences), num_steps, params.per_device_train_batch_size, params.seed)


def learning_rate(step: int, num_steps: int, params: FineTuningParams) -> float:
    """Return the rate of a step: linear warm-up, then a cosine down to `LEARNING_RATE_FLOOR`."""
    warmup = math.ceil(params.warmup_ratio * num_steps)
    if step < warmup:
        return params.learning_rate * (step + 1) / warmup
    progress = (step - warmup) / max(1, num_steps - warmup)
    cosine = (1 + math.cos(math.pi * progress)) / 2
    return params.learning_rate * (LEARNING_RATE_FLOOR + (1 - LEARNING_RATE_FLOOR) * cosine)
