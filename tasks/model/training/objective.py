"""What a training method is: the losses of a step, and what is measured on held-out data. The trainer does the rest."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import torch

ADAM_BETA2 = 0.98
"""An answerer's training has hundreds of steps: the second moment must forget sooner than by torch's .999."""

Loss = Callable[[], "torch.Tensor"]
"""Computes one part of a step's loss, by passing the network once; gradients of all parts add up."""

Measurement = Callable[[], tuple[float, float]]
"""Computes sum and count of one part of the validation loss, by passing the network once."""


@dataclass(frozen=True, slots=True)
class Share:
    """The part of the work that this process does."""

    rank: int = 0
    num_processes: int = 1


class Objective(Protocol):
    """What is learnt.

    Attributes:
        num_steps: optimiser steps.
        adam_beta2: decay of AdamW's second moment.
    """

    @property
    def num_steps(self) -> int: ...  # noqa: D102

    @property
    def adam_beta2(self) -> float: ...  # noqa: D102

    def size(self, step: int) -> tuple[int, int]:
        """Return the tokens that the step computes and those that it learns, of all processes."""
        ...

    def losses(self, network: Any, step: int, share: Share) -> Sequence[Loss]:
        """Return the parts of this process's loss, at least one; their sum, as a mean over processes, is the step's."""
        ...

    def validation(self, network: Any, share: Share) -> Sequence[Measurement]:
        """Return the parts of this process's validation loss; a count of 0 everywhere: nothing is held out."""
        ...
