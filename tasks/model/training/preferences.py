"""The method `dpo`: the answerer learns to prefer an answer to the one that people rated down.

Rafailov et al., "Direct Preference Optimization: Your Language Model is Secretly a Reward Model", 2023, equation 7.
Both answers are branches behind one prompt, which is computed once. The tests compare the loss with TRL's.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from tasks.answer.generators.transformers import TransformersGenerator
from tasks.errors import ConfigurationError, GateError
from tasks.model.examples.example import Example
from tasks.model.examples.tokens import answer_tokens, messages_of
from tasks.model.training.loss import log_likelihood
from tasks.model.training.objective import ADAM_BETA2, Loss, Measurement, Share
from tasks.model.training.packing import lay_out
from tasks.model.training.schedule import TrainingSchedule, make_schedule
from tasks.model.training.sequences import Branch, TokenSequence
from tasks.params import Params

if TYPE_CHECKING:
    import torch

BETA = 0.1
"""How much a departure from the base model costs."""
MIN_PREFERENCES = 8


@dataclass(frozen=True, slots=True)
class Preferences:
    """See `tasks.model.training.objective.Objective`.

    Attributes:
        plan: which preferences a step learns; the first branch of a sequence is preferred to the second.
        held_out: what the validation loss is measured on.
        base: by sequence, log-likelihood of its first branch less that of its second, as the base model says.
    """

    plan: TrainingSchedule
    held_out: Sequence[TokenSequence]
    base: Mapping[TokenSequence, float]
    adam_beta2: float = ADAM_BETA2

    @property
    def num_steps(self) -> int:
        """Optimiser steps."""
        return self.plan.num_steps

    def size(self, step: int) -> tuple[int, int]:
        """Return the tokens that the step computes and those that it learns."""
        return self.plan.size(step)

    def losses(self, network: Any, step: int, share: Share) -> list[Loss]:
        """Return one part a preference; together their mean."""
        sequences = self.plan.step(step)
        scale = share.num_processes / len(sequences)
        return [partial(self._loss, network, mine, scale) for mine in sequences[share.rank :: share.num_processes]]

    def validation(self, network: Any, share: Share) -> list[Measurement]:
        """Return the losses of held-out preferences, a part each."""
        return [
            partial(self._held_out_loss, network, sequence)
            for sequence in self.held_out[share.rank :: share.num_processes]
        ]

    def _held_out_loss(self, network: Any, sequence: TokenSequence) -> tuple[float, float]:
        return float(self._loss(network, sequence, 1.0)), 1.0

    def _loss(self, network: Any, sequence: TokenSequence, scale: float) -> "torch.Tensor":
        from torch.nn.functional import logsigmoid

        return -scale * logsigmoid(BETA * (preference(network, sequence) - self.base[sequence]))


def preference_examples(examples: Iterable[Example]) -> list[Example]:
    """Return the examples that say which of two answers is the better one.

    Raises:
        GateError: too few of the train split.
    """
    preferences = [example for example in examples if is_preference(example)]
    num_train = sum(example.split == "train" for example in preferences)
    if num_train < MIN_PREFERENCES:
        raise GateError(
            f"dpo needs {MIN_PREFERENCES} train examples with an answer that people rated down, found {num_train}; "
            "wait for more feedback, or train by another method"
        )
    return preferences


def is_preference(example: Example) -> bool:
    """Return whether an example says which of two different answers is the better one."""
    return (
        bool(example.passages) and example.rejected is not None and example.rejected.strip() != example.answer.strip()
    )


def make_preferences(
    examples: Iterable[Example], base: TransformersGenerator, network: Any, params: Params
) -> Preferences:
    """Return the objective, with what the network says before it learns.

    Raises:
        ConfigurationError: a preference is longer than `max_length`.
    """
    by_split: dict[str, list[TokenSequence]] = {"train": [], "validation": []}
    for example in examples:
        by_split[example.split].append(_sequence(example, base, params.fine_tuning.max_length))
    learnt, held_out = by_split["train"], by_split["validation"]
    return Preferences(
        make_schedule(learnt, params.fine_tuning), held_out, dict(_without_gradient(network, [*learnt, *held_out]))
    )


def preference(network: Any, sequence: TokenSequence) -> "torch.Tensor":
    """Return the log-likelihood of the first branch less that of the second."""
    row = lay_out([sequence])
    likelihood = log_likelihood(network, row)
    length = len(sequence.branches[0].learnt)
    return likelihood[:length].sum() - likelihood[length:].sum()


def _without_gradient(network: Any, sequences: Iterable[TokenSequence]) -> Iterator[tuple[TokenSequence, float]]:
    import torch

    for sequence in sequences:
        with torch.no_grad():
            yield sequence, float(preference(network, sequence))


def _sequence(example: Example, base: TransformersGenerator, max_tokens: int) -> TokenSequence:
    """Return the prompt but for its last token, which each branch reads."""
    prompt = tuple(base.prompt_tokens(messages_of(example)))
    answers = [answer_tokens(base, answer) for answer in (example.answer, str(example.rejected))]
    sequence = TokenSequence(prompt[:-1], tuple(Branch(prompt[-1:], answer) for answer in answers))
    if sequence.num_tokens > max_tokens:
        raise ConfigurationError(
            f"a preference must fit fine_tuning.max_length ({max_tokens}), {example.example_id} has "
            f"{sequence.num_tokens} tokens; raise it, or lower generation.max_passage_tokens"
        )
    return sequence
