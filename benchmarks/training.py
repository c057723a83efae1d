"""Almanac's training loop beside TRL's `SFTTrainer` at its best and this machine's limit, in one run.

    OMP_NUM_THREADS=1 python -m benchmarks.training --examples data/examples.jsonl --steps 6

The same base model in bfloat16 where the machine multiplies it, examples, LoRA, optimiser, schedule and number of
examples a step. Ours: passages shared between questions, and one example a sequence. TRL's: prompt and completion, loss
on the completion only, padded to the longest of a batch; one example a
forward pass, so that nothing is padded; without padding in one row; and packed. Held-out loss is measured by the same
code before and after each arm. The limit is the rate of matrix products of the model's own shapes, over 4 FLOP for
each weight of the layers and token (forward 2, gradient of the activations 2; LoRA needs no gradient of the frozen
weights). CPU seconds are what counts on a machine that does other things too; tokens count once for each example,
without padding and as if nothing were shared.
"""

import argparse
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tasks.answer.generators.transformers import TransformersGenerator, load_base
from tasks.model.examples.example import Example, read_examples
from tasks.model.examples.tokens import answer_tokens, messages_of
from tasks.model.training.loss import log_likelihood
from tasks.model.training.objective import ADAM_BETA2
from tasks.model.training.packing import rows_of
from tasks.model.training.schedule import LEARNING_RATE_FLOOR, TrainingSchedule
from tasks.model.training.sequences import TokenSequence, example_sequences
from tasks.model.training.supervised import Supervised
from tasks.model.training.trainer import Trainer
from tasks.model.training.weights import trainable
from tasks.params import load_params
from tasks.params.fine_tuning import FineTuningParams
from tasks.settings import Settings, quiet_environment

EXAMPLES_PER_STEP = 4
NUM_HELD_OUT = 8
FLOP_PER_WEIGHT_AND_TOKEN = 4
TRL_ARMS: dict[str, dict[str, Any]] = {
    "padded batch": {"per_device_train_batch_size": EXAMPLES_PER_STEP},
    "one example a pass": {"per_device_train_batch_size": 1, "gradient_accumulation_steps": EXAMPLES_PER_STEP},
    "padding-free": {"per_device_train_batch_size": EXAMPLES_PER_STEP, "padding_free": True, "max_length": None},
    "packed": {"packing": True, "per_device_train_batch_size": 1, "gradient_accumulation_steps": 2},
}
"""Each row that is packed holds two examples of these sizes."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One arm: `seconds` on the wall and of all threads' CPU time."""

    name: str
    num_examples: int
    num_tokens: int
    seconds: float
    cpu_seconds: float
    held_out_loss: float

    def row(self) -> str:
        """A row of Markdown."""
        return (
            f"| {self.name} | {self.num_examples} | {self.num_tokens / self.cpu_seconds:.0f} | "
            f"{self.num_examples / self.cpu_seconds:.2f} | {self.cpu_seconds:.1f} | {self.seconds:.1f} | "
            f"{self.held_out_loss:.3f} |"
        )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--arms", nargs="*", default=[""], help="parts of the names of the arms to measure")
    arguments = parser.parse_args()
    quiet_environment()
    settings = Settings()
    params = load_params(settings.params)
    base = load_base(params.generation, settings)
    longest = params.fine_tuning.max_length
    examples = grounded(arguments.examples, "train", arguments.steps * EXAMPLES_PER_STEP)
    held_out = example_sequences(grounded(arguments.examples, "validation", NUM_HELD_OUT), base, max_tokens=longest)
    arms = Arms(base, params.fine_tuning, examples, held_out)
    print("| arm | examples | tokens / CPU second | examples / CPU second | CPU seconds | seconds | held-out loss |")
    print("|---|---|---|---|---|---|---|")
    print(f"| before | | | | | | {arms.held_out_loss(trainable(base, params.fine_tuning)):.3f} |")
    for name, measure in arms.all():
        if any(part in name for part in arguments.arms):
            print(measure(name).row(), flush=True)
    rate, weights = matmul_flops(base), body_weights(base)
    limit = rate / (FLOP_PER_WEIGHT_AND_TOKEN * weights)
    print(
        f"limit: {rate / 1e9:.0f} GFLOP per CPU second, {weights / 1e6:.0f} M weights: {limit:.0f} tokens / CPU second"
    )


def grounded(path: Path, split: str, count: int) -> list[Example]:
    """The first examples with passages; those over the same passages stand together in a training set."""
    examples = (example for example in read_examples(path) if example.passages and example.split == split)
    return list(islice(examples, count))


@dataclass(frozen=True, slots=True)
class Arms:
    """What all arms have in common."""

    base: TransformersGenerator
    params: FineTuningParams
    examples: Sequence[Example]
    held_out: Sequence[TokenSequence]

    def all(self) -> Iterator[tuple[str, Callable[[str], Measured]]]:
        """Yield each arm's name and what measures it."""
        yield "ours, passages shared", partial(self.ours, shared=True)
        yield "ours, one example a sequence", partial(self.ours, shared=False)
        for attention in ("eager", "sdpa"):
            for name, changes in TRL_ARMS.items():
                yield f"TRL, {name}, {attention}", partial(self.trl, attention=attention, changes=changes)

    def ours(self, name: str, *, shared: bool) -> Measured:
        """Measure the loop, with or without sharing passages between questions."""
        from accelerate import Accelerator

        longest = self.params.max_length
        parts = [self.examples] if shared else [[example] for example in self.examples]
        sequences = [s for part in parts for s in example_sequences(part, self.base, max_tokens=longest)]
        per_step = max(1, round(EXAMPLES_PER_STEP * len(sequences) / len(self.examples)))
        num_steps = -(-len(sequences) // per_step)
        changes = {"per_device_train_batch_size": per_step, "eval_steps": 10**6, "save_steps": 10**6}
        objective = Supervised(TrainingSchedule(tuple(sequences), num_steps, per_step, self.params.seed))
        network = trainable(self.base, self.params)
        with TemporaryDirectory() as folder:
            trainer = Trainer(
                objective,
                network,
                self.params.model_copy(update=changes),
                folder=Path(folder),
                key="benchmark",
                accelerator=Accelerator(cpu=self.base.model.device.type == "cpu"),
            )
            timed = _timed(trainer.run)
        return self._measured(name, timed, network)

    def trl(self, name: str, attention: str, changes: Mapping[str, Any]) -> Measured:
        """Measure `SFTTrainer`."""
        import copy

        from datasets import Dataset
        from peft import LoraConfig
        from trl.trainer.sft_config import SFTConfig
        from trl.trainer.sft_trainer import SFTTrainer

        params = self.params
        network = copy.deepcopy(self.base.model)
        network.set_attn_implementation(attention)
        with TemporaryDirectory() as folder:
            config = SFTConfig(
                output_dir=folder,
                num_train_epochs=1,
                learning_rate=params.learning_rate,
                lr_scheduler_type="cosine_with_min_lr",
                lr_scheduler_kwargs={"min_lr_rate": LEARNING_RATE_FLOOR},
                warmup_steps=0,
                adam_beta2=ADAM_BETA2,
                completion_only_loss=True,
                gradient_checkpointing=False,
                bf16=network.dtype.itemsize == 2,
                use_cpu=network.device.type == "cpu",
                save_strategy="no",
                report_to="none",
                disable_tqdm=True,
                **({"max_length": params.max_length} | changes),
            )
            lora = LoraConfig(
                r=params.lora_r,
                lora_alpha=params.lora_alpha,  # type: ignore[arg-type]
                target_modules="all-linear",
                task_type="CAUSAL_LM",
            )
            trainer = SFTTrainer(
                model=network,
                args=config,
                train_dataset=Dataset.from_list([self._prompt_and_completion(example) for example in self.examples]),
                processing_class=self.base.tokenizer,
                peft_config=lora,
            )
            timed = _timed(trainer.train)
        # Its fused head gives no logits without labels; our loss reads the network below it.
        return self._measured(name, timed, trainer.model)

    def held_out_loss(self, network: Any) -> float:
        """Mean loss of the held-out answers' tokens."""
        import torch

        network.eval()
        with torch.no_grad():
            rows = [log_likelihood(network, row) for row in rows_of(self.held_out, max_tokens=512)]
        return -float(torch.cat(rows).mean())

    def _measured(self, name: str, timed: tuple[float, float], network: Any) -> Measured:
        apart = [s for e in self.examples for s in example_sequences([e], self.base, max_tokens=10**6)]
        num_tokens = sum(sequence.num_tokens for sequence in apart)
        return Measured(name, len(self.examples), num_tokens, *timed, self.held_out_loss(network))

    def _prompt_and_completion(self, example: Example) -> dict[str, str]:
        return {
            "prompt": self.base.tokenizer.decode(self.base.prompt_tokens(messages_of(example))),
            "completion": self.base.tokenizer.decode(answer_tokens(self.base, example.answer)[:-1]),
        }


def body_weights(base: TransformersGenerator) -> int:
    """Weights of the layers, without embedding and head."""
    return sum(parameter.numel() for parameter in base.model.base_model.layers.parameters())


def matmul_flops(base: TransformersGenerator) -> float:
    """Floating point operations per CPU second, over products of 512 tokens with the first layer's matrices."""
    import torch

    matrices = [p for p in base.model.base_model.layers[0].parameters() if p.dim() == 2]
    inputs = [torch.randn(512, matrix.shape[1], dtype=matrix.dtype, device=matrix.device) for matrix in matrices]

    def multiply() -> None:
        with torch.inference_mode():
            for _ in range(20):
                for matrix, rows in zip(matrices, inputs, strict=True):
                    rows @ matrix.T

    multiply()
    _, cpu_seconds = _timed(multiply)
    return float(20 * sum(2 * 512 * matrix.numel() for matrix in matrices) / cpu_seconds)


def _timed(work: Callable[[], Any]) -> tuple[float, float]:
    started, cpu_started = time.monotonic(), time.process_time()
    work()
    return time.monotonic() - started, time.process_time() - cpu_started


if __name__ == "__main__":
    main()
