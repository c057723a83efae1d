"""Tokens a second of Almanac's training loop beside TRL's `SFTTrainer` and this machine's limit, in one run.

    OMP_WAIT_POLICY=PASSIVE python -m benchmarks.training --examples data/examples.jsonl --steps 3

The same base model, examples, LoRA and number of examples a step. Three arms: our loop with shared passages, our loop
with one example a sequence, and TRL with prompt and completion, loss on the completion only. The limit is the rate of
float32 matrix products of the model's own shapes, over 4 FLOP for each weight of the layers and token (forward 2,
gradient of the activations 2; LoRA needs no gradient of the frozen weights). CPU seconds are what counts on a machine
that does other things too; tokens count without padding.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tasks.answer.generators.transformers import TransformersGenerator, load_base
from tasks.model.examples.example import Example, read_examples
from tasks.model.training.loop import Loop
from tasks.model.training.schedule import TrainingSchedule
from tasks.model.training.sequences import TokenSequence, answer_tokens, example_sequences, messages_of
from tasks.model.training.supervised import Supervised
from tasks.model.training.weights import trainable
from tasks.params import FineTuningParams, load_params
from tasks.settings import Settings, quiet_environment

EXAMPLES_PER_STEP = 4
FLOP_PER_WEIGHT_AND_TOKEN = 4


@dataclass(frozen=True, slots=True)
class Measured:
    """One arm: `seconds` on the wall and of all threads' CPU time."""

    name: str
    num_examples: int
    num_tokens: int
    seconds: float
    cpu_seconds: float

    def row(self) -> str:
        """A row of Markdown."""
        return (
            f"| {self.name} | {self.num_tokens} | {self.num_tokens / self.cpu_seconds:.0f} | "
            f"{self.num_tokens / self.seconds:.0f} | {self.num_examples / self.cpu_seconds:.2f} | "
            f"{self.cpu_seconds:.0f} | {self.seconds:.0f} |"
        )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=3)
    arguments = parser.parse_args()
    quiet_environment()
    settings = Settings()
    params = load_params(settings.params)
    base = load_base(params.generation, settings)
    examples = _with_shared_passages(arguments.examples, arguments.steps * EXAMPLES_PER_STEP)
    longest = params.fine_tuning.max_length
    shared = example_sequences(examples, base, max_tokens=longest)
    apart = [s for e in examples for s in example_sequences([e], base, max_tokens=longest)]
    print("| arm | tokens | tokens / CPU second | tokens / second | examples / CPU second | CPU seconds | seconds |")
    print("|---|---|---|---|---|---|---|")
    for name, sequences, size in (("ours, shared", shared, 1), ("ours, apart", apart, EXAMPLES_PER_STEP)):
        print(_ours(name, len(examples), sequences, size, base, params.fine_tuning).row(), flush=True)
    print(_trl(examples, apart, base, params.fine_tuning).row(), flush=True)
    rate, weights = matmul_flops(base), body_weights(base)
    limit = rate / (FLOP_PER_WEIGHT_AND_TOKEN * weights)
    print(
        f"limit: {rate / 1e9:.0f} GFLOP per CPU second, {weights / 1e6:.0f} M weights: {limit:.0f} tokens / CPU second"
    )


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


def _with_shared_passages(path: Path, count: int) -> list[Example]:
    """The first examples with passages; those over the same passages stand together in a training set."""
    grounded = (example for example in read_examples(path) if example.passages and example.split == "train")
    return [example for _, example in zip(range(count), grounded, strict=False)]


def _ours(
    name: str,
    num_examples: int,
    sequences: Sequence[TokenSequence],
    per_step: int,
    base: TransformersGenerator,
    params: FineTuningParams,
) -> Measured:
    from accelerate import Accelerator

    num_steps = -(-len(sequences) // per_step)
    changes = {"per_device_train_batch_size": per_step, "eval_steps": 10**6, "save_steps": 10**6}
    objective = Supervised(TrainingSchedule(tuple(sequences), num_steps, per_step, params.seed))
    accelerator = Accelerator(cpu=base.model.device.type == "cpu")
    with TemporaryDirectory() as folder:
        loop = Loop(
            objective,
            trainable(base, params),
            params.model_copy(update=changes),
            folder=Path(folder),
            key="benchmark",
            accelerator=accelerator,
        )
        seconds, cpu_seconds = _timed(loop.run)
    return Measured(name, num_examples, sum(s.num_tokens for s in sequences), seconds, cpu_seconds)


def _trl(
    examples: Sequence[Example],
    sequences: Sequence[TokenSequence],
    base: TransformersGenerator,
    params: FineTuningParams,
) -> Measured:
    import copy

    from datasets import Dataset
    from peft import LoraConfig
    from trl.trainer.sft_config import SFTConfig
    from trl.trainer.sft_trainer import SFTTrainer

    rows = [
        {
            "prompt": base.tokenizer.decode(base.prompt_tokens(messages_of(example))),
            "completion": base.tokenizer.decode(answer_tokens(base, example.answer)[:-1]),
        }
        for example in examples
    ]
    lora = LoraConfig(
        r=params.lora_r,
        lora_alpha=params.lora_alpha,  # type: ignore[arg-type]
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
    with TemporaryDirectory() as folder:
        config = SFTConfig(
            output_dir=folder,
            per_device_train_batch_size=EXAMPLES_PER_STEP,
            max_steps=-(-len(examples) // EXAMPLES_PER_STEP),
            learning_rate=params.learning_rate,
            completion_only_loss=True,
            max_length=params.max_length,
            gradient_checkpointing=False,
            bf16=False,
            use_cpu=base.model.device.type == "cpu",
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
        )
        trainer = SFTTrainer(
            model=copy.deepcopy(base.model),
            args=config,
            train_dataset=Dataset.from_list(rows),
            processing_class=base.tokenizer,
            peft_config=lora,
        )
        seconds, cpu_seconds = _timed(trainer.train)
    return Measured("TRL SFTTrainer", len(examples), sum(s.num_tokens for s in sequences), seconds, cpu_seconds)


def _timed(work: Callable[[], Any]) -> tuple[float, float]:
    started, cpu_started = time.monotonic(), time.process_time()
    work()
    return time.monotonic() - started, time.process_time() - cpu_started


if __name__ == "__main__":
    main()
