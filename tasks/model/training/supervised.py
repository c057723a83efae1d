"""The objective of the methods `lora`, `full` and `continual_pretraining`.

Likelihood of what is learnt, while replay anchors the model to what the base model says.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from tasks.model.training.loop import Loss, Share
from tasks.model.training.loss import Anchor, anchor, divergence, log_likelihood
from tasks.model.training.packing import PackedRow, rows_of
from tasks.model.training.schedule import TrainingSchedule
from tasks.model.training.sequences import TokenSequence

if TYPE_CHECKING:
    import torch

REPLAY_WEIGHT = 1.0
"""Of one nat of divergence from the base model beside one nat of the answers' loss; set once, not searched."""
TOKENS_PER_ROW = 512
"""On a CPU longer rows gain nothing, and attention between sequences that do not see each other is waste."""
ACCELERATOR_TOKENS_PER_ROW = 16384


@dataclass(frozen=True, slots=True)
class Supervised:
    """See `tasks.model.training.loop.Objective`.

    Attributes:
        plan: what each step learns.
        held_out: what the validation loss is measured on.
        anchors: one of them goes with each process's share of a step, in turn.
    """

    plan: TrainingSchedule
    held_out: Sequence[TokenSequence] = ()
    anchors: Sequence[Anchor] = ()
    tokens_per_row: int = TOKENS_PER_ROW
    replay_weight: float = field(default=REPLAY_WEIGHT)

    @property
    def num_steps(self) -> int:
        """Optimiser steps."""
        return self.plan.num_steps

    def size(self, step: int) -> tuple[int, int]:
        """Tokens that the step computes and tokens that it learns, without anchors."""
        sequences = self.plan.step(step)
        return sum(s.num_tokens for s in sequences), sum(s.num_learnt for s in sequences)

    def losses(self, network: Any, step: int, share: Share) -> list[Loss]:
        """Mean over the step's learnt tokens, and the mean divergence of one anchor."""
        sequences = self.plan.step(step)
        num_learnt = sum(sequence.num_learnt for sequence in sequences)
        mine = rows_of(sequences[share.rank :: share.num_processes], max_tokens=self.tokens_per_row)
        scale = share.num_processes / num_learnt
        losses: list[Loss] = [partial(_answer_loss, network, row, scale) for row in mine]
        if self.anchors:
            turn = (step * share.num_processes + share.rank) % len(self.anchors)
            losses.append(partial(_anchor_loss, network, self.anchors[turn], self.replay_weight))
        return losses

    def validation(self, network: Any, share: Share) -> tuple[float, float]:
        """Sum and count of the negative log-likelihoods of held-out tokens."""
        total, count = 0.0, 0
        for row in rows_of(self.held_out[share.rank :: share.num_processes], max_tokens=self.tokens_per_row):
            total -= float(log_likelihood(network, row).sum())
            count += len(row.targets)
        return total, float(count)


def make_anchors(network: Any, sequences: Sequence[TokenSequence], *, tokens_per_row: int) -> list[Anchor]:
    """What an untrained network says of the replay examples, row by row."""
    return [anchor(network, row) for row in rows_of(sequences, max_tokens=tokens_per_row)]


def _answer_loss(network: Any, row: PackedRow, scale: float) -> "torch.Tensor":
    return -log_likelihood(network, row).sum() * scale


def _anchor_loss(network: Any, kept: Anchor, weight: float) -> "torch.Tensor":
    return divergence(network, kept).mean() * weight
