"""The one trainer: optimiser, schedule, clipping, evaluations, patience, checkpoints.

Runs in one process or under `accelerate launch`. Knows nothing of examples: an `Objective` says what the losses are.

Not TRL's: on the same examples its fastest arm does 127 tokens a CPU second to a held-out loss of 2.145; this one does
149 to 2.009, and 378 to 1.997 where questions share their passages (docs/experiments.md, 2026-11-27).
"""

import logging
import math
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.device import torch_device
from tasks.errors import ConfigurationError, CorruptionError
from tasks.model.training import checkpoint
from tasks.model.training.checkpoint import State
from tasks.model.training.objective import Loss, Objective, Share
from tasks.model.training.schedule import learning_rate
from tasks.model.training.sharding import check_sharding, gather, is_sharded, part_of, sharding_is_asked_for
from tasks.model.training.weights import trained_tensors
from tasks.params.fine_tuning import FineTuningParams
from tasks.settings import Settings

if TYPE_CHECKING:
    import torch
    from accelerate import Accelerator

logger = logging.getLogger(__name__)

MAX_GRADIENT_NORM = 1.0
ADAM_BETA1 = 0.9
MOMENTS = ("exp_avg", "exp_avg_sq")


@dataclass(frozen=True, slots=True)
class TrainingProgress:
    """Where a training stands; `validation_loss` only after a step that was followed by an evaluation."""

    step: int
    num_steps: int
    train_loss: float | None
    validation_loss: float | None
    learning_rate: float
    tokens_per_second: float
    eta_seconds: float


Listener = Callable[[TrainingProgress], None]
"""Called after each optimiser step, in the first process."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """A finished training; the network holds the weights of `state.best_step`."""

    state: State
    num_steps: int
    stopped_early: bool
    resumed_from: int | None


class Trainer:
    """One training, from the checkpoint that its folder holds."""

    def __init__(
        self,
        objective: Objective,
        network: Any,
        params: FineTuningParams,
        *,
        folder: Path,
        key: str,
        accelerator: "Accelerator",
    ) -> None:
        """Take a network whose parameters ask for gradients; a checkpoint in `folder` with this key is resumed."""
        import torch

        self._objective, self._params, self._folder, self._accelerator = objective, params, folder, accelerator
        self._share = Share(accelerator.process_index, accelerator.num_processes)
        self._is_sharded = is_sharded(network)
        self._network = network if self._is_sharded else accelerator.prepare_model(network)
        self._trained = trained_tensors(network)
        betas = (ADAM_BETA1, objective.adam_beta2)
        self._optimizer = torch.optim.AdamW(
            self._trained.values(), lr=params.learning_rate, betas=betas, weight_decay=0.0
        )
        with accelerator.main_process_first():
            self._state = checkpoint.load(folder, key)
        self._resumed_from = self._state.step if self._state.files else None
        if self._resumed_from is not None:
            self._restore()
        self._started, self._cpu_started = time.monotonic(), time.process_time()

    def run(self, listener: Listener | None = None) -> Outcome:
        """Train to the end, or until the validation loss has not fallen for the patience."""
        if self._resumed_from is None:
            self._evaluate()
        while self._state.step < self._objective.num_steps and not self._out_of_patience():
            self._report(listener, self._step())
        if "best" in self._state.files:
            self._set_weights(checkpoint.load_tensors(self._folder / self._state.files["best"]))
        self._accelerator.wait_for_everyone()
        num_steps = self._objective.num_steps
        return Outcome(self._state, num_steps, self._state.step < num_steps, self._resumed_from)

    def _step(self) -> float:
        """Do an optimiser step and what is due after it; return its loss."""
        step = self._state.step
        loss = self._backward(step)
        num_tokens, num_learnt = self._objective.size(step)
        self._state = replace(
            self._state,
            step=step + 1,
            num_tokens=self._state.num_tokens + num_tokens,
            num_learnt=self._state.num_learnt + num_learnt,
            train_loss=(*self._state.train_loss, (step + 1, loss)),
        )
        last = step + 1 == self._objective.num_steps
        if last or (step + 1) % self._params.eval_steps == 0:
            self._evaluate()
        if last or self._out_of_patience() or (step + 1) % self._params.save_steps == 0:
            self._checkpoint()
        return loss

    def _backward(self, step: int) -> float:
        import torch

        # Dropout depends on the step alone, so that a resumed training is the same training.
        torch.manual_seed(self._params.seed * 1_000_003 + step)
        self._network.train()
        losses = self._filled(self._objective.losses(self._network, step, self._share))
        total = torch.zeros((), device=self._accelerator.device)
        for number, loss in enumerate(losses, start=1):
            # Gradients travel between processes once a step; whole ones of a network that is shared out have no room.
            at_once = self._is_sharded or number == len(losses)
            with nullcontext() if at_once else self._accelerator.no_sync(self._network):
                value = loss()
                value.backward()  # type: ignore[no-untyped-call]
            total += value.detach()
        torch.nn.utils.clip_grad_norm_(list(self._trained.values()), MAX_GRADIENT_NORM)
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate(step, self._objective.num_steps, self._params)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        mean = float(self._accelerator.reduce(total, reduction="mean"))
        if math.isnan(mean):
            raise CorruptionError(
                f"the loss must be a number, found NaN at step {step + 1}; lower fine_tuning.learning_rate, run again"
            )
        return mean

    def _evaluate(self) -> None:
        """Measure the validation loss; keep the weights if they are the best so far."""
        import torch

        self._network.eval()
        measured = torch.zeros(2, dtype=torch.float64)
        with torch.no_grad():
            parts = self._objective.validation(self._network, self._share)
            num_missing = self._num_missing(len(parts))
            for part in parts:
                measured += torch.tensor(part(), dtype=torch.float64)
            for _ in range(num_missing):
                self._objective.losses(self._network, 0, self._share)[0]()
        total, count = self._accelerator.reduce(measured.to(self._accelerator.device), reduction="sum").tolist()
        if count == 0:
            return
        step, loss = self._state.step, total / count
        better = self._state.best_loss is None or loss < self._state.best_loss
        self._state = replace(
            self._state,
            validation_loss=(*self._state.validation_loss, (step, loss)),
            best_step=step if better else self._state.best_step,
            best_loss=loss if better else self._state.best_loss,
            patience_used=0 if better else self._state.patience_used + 1,
        )
        if better:
            self._keep_best()

    def _num_missing(self, num_passes: int) -> int:
        """Return how often this process must pass a network that is shared out beyond its own work.

        For instance, of five rows one process has three and another two: the other passes its network once more, since
        nobody else has the layers' parts that it keeps.
        """
        import torch

        if not self._is_sharded:
            return 0
        counts = self._accelerator.gather(torch.tensor([num_passes], device=self._accelerator.device))
        return int(counts.max()) - num_passes

    def _filled(self, losses: Sequence[Loss]) -> list[Loss]:
        return [*losses, *[lambda: losses[0]() * 0.0] * self._num_missing(len(losses))]

    def _keep_best(self) -> None:
        weights = gather(self._trained, keep=self._accelerator.is_main_process)
        if self._accelerator.is_main_process:
            self._state = checkpoint.save_best(self._folder, self._state, weights)
        self._accelerator.wait_for_everyone()
        self._state = replace(self._state, files=dict(self._state.files) | {"best": checkpoint.best_name(self._state)})

    def _out_of_patience(self) -> bool:
        return self._state.patience_used >= self._params.early_stopping_patience

    def _checkpoint(self) -> None:
        self._state = replace(self._state, seconds=self._seconds(), cpu_seconds=self._cpu_seconds())
        self._started, self._cpu_started = time.monotonic(), time.process_time()
        # A parameter that no loss reaches (a pooler that is not used) has no moments.
        moments = {
            f"{moment}.{name}": self._optimizer.state[parameter][moment]
            for name, parameter in self._trained.items()
            if parameter in self._optimizer.state
            for moment in MOMENTS
        }
        weights = {f"weights.{name}": parameter for name, parameter in self._trained.items()}
        tensors = gather(weights | moments, keep=self._accelerator.is_main_process)
        if self._accelerator.is_main_process:
            self._state = checkpoint.save(self._folder, self._state, tensors)
        self._accelerator.wait_for_everyone()

    def _restore(self) -> None:
        import torch

        tensors = checkpoint.load_tensors(self._folder / self._state.files["step"])
        self._set_weights({name: tensors[f"weights.{name}"] for name in self._trained})
        for name, parameter in self._trained.items():
            if f"{MOMENTS[0]}.{name}" in tensors:
                self._optimizer.state[parameter] = {
                    "step": torch.tensor(float(self._state.step)),
                    **{moment: part_of(tensors[f"{moment}.{name}"], parameter) for moment in MOMENTS},
                }
        logger.info("training goes on from step %d of %d", self._state.step, self._objective.num_steps)

    def _set_weights(self, tensors: dict[str, "torch.Tensor"]) -> None:
        import torch

        with torch.no_grad():
            for name, parameter in self._trained.items():
                parameter.copy_(part_of(tensors[name], parameter))

    def _seconds(self) -> float:
        return self._state.seconds + time.monotonic() - self._started

    def _cpu_seconds(self) -> float:
        return self._state.cpu_seconds + time.process_time() - self._cpu_started

    def _report(self, listener: Listener | None, loss: float) -> None:
        if listener is None or not self._accelerator.is_main_process:
            return
        state, num_steps = self._state, self._objective.num_steps
        tokens_per_second = state.num_tokens / max(1e-9, self._seconds())
        evaluated = bool(state.validation_loss) and state.validation_loss[-1][0] == state.step
        listener(
            TrainingProgress(
                step=state.step,
                num_steps=num_steps,
                train_loss=loss,
                validation_loss=state.validation_loss[-1][1] if evaluated else None,
                learning_rate=learning_rate(state.step - 1, num_steps, self._params),
                tokens_per_second=tokens_per_second,
                eta_seconds=self._seconds() / state.step * (num_steps - state.step),
            )
        )


def make_accelerator(params: FineTuningParams, settings: Settings) -> "Accelerator":
    """Return the processes that train together, each with its share of the machine's threads.

    Raises:
        ConfigurationError: `per_device_train_batch_size` is no multiple of the number of processes, or a setting of
            FSDP is none that the training follows.
    """
    import torch
    from accelerate import Accelerator

    if sharding_is_asked_for():
        check_sharding()
    # Not left to accelerate: on a machine without a GPU each of several processes would take itself for the only one.
    accelerator = Accelerator(cpu=torch_device(settings.device) == "cpu")
    num_processes = accelerator.num_processes
    if params.per_device_train_batch_size % num_processes:
        raise ConfigurationError(
            f"fine_tuning.per_device_train_batch_size must be a multiple of the {num_processes} processes, found "
            f"{params.per_device_train_batch_size}; change it or `accelerate launch --num_processes`"
        )
    torch.set_num_threads(max(1, settings.num_threads // num_processes))
    if accelerator.device.type == "cuda":
        torch.set_float32_matmul_precision("high")
    return accelerator
