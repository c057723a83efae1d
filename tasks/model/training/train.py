"""Training of the answerer: examples in, the folder of an answerer out, whole or not at all.

Killed at any line, the same call goes on from the last checkpoint, which lies beside the output. Under
`accelerate launch` each process does its share, and the first one writes.
"""

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.answer.answerer import Manifest, weights_identity
from tasks.answer.generators.transformers import TransformersGenerator, load_base
from tasks.answer.prompt import NOT_FOUND, load_prompt
from tasks.errors import ConfigurationError, CorruptionError
from tasks.files import sha256_of_file, whole_folder, write_json
from tasks.model.examples.example import Example, read_examples
from tasks.model.training.calibrate import Calibration, calibrate
from tasks.model.training.loop import Listener, Loop, Objective, Outcome
from tasks.model.training.loss import log_likelihood
from tasks.model.training.packing import rows_of
from tasks.model.training.schedule import TrainingSchedule, make_schedule
from tasks.model.training.sequences import (
    TRAINED_PROMPT,
    TokenSequence,
    anchor_sequences,
    example_sequences,
    text_sequences,
)
from tasks.model.training.supervised import ACCELERATOR_TOKENS_PER_ROW, TOKENS_PER_ROW, Supervised, make_anchors
from tasks.model.training.weights import check_base, keep_share, trainable, write_weights
from tasks.params import FineTuningParams, Params
from tasks.settings import Settings

if TYPE_CHECKING:
    from accelerate import Accelerator

TRAINING = "training.json"
FORMAT = 1
"""Changes with anything here that changes what the same parameters train."""
ANCHOR_TOKENS = 256
"""Longest sequence of replay: one goes with every step, so that short steps hold the model as often as long ones."""

MakeObjective = Callable[[TransformersGenerator, Any], Objective]
"""Builds what is learnt from the base and the network to be trained, which still says what the base says."""


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """What a training did.

    Attributes:
        num_steps: steps that were planned; `steps`: that were done.
        num_tokens: tokens computed in them, replay left out; `num_learnt`: those that bore the loss.
        seconds: of all processes' common time; `cpu_seconds` of the first process alone.
        train_loss: (step, loss); `validation_loss` likewise, from step 0.
        best_step: whose weights the answerer has.
        resumed_from: step of the checkpoint that this call went on from.
        calibration: on the validation examples; None where the method gives no refusals to calibrate.
    """

    method: str
    num_steps: int
    steps: int
    num_tokens: int
    num_learnt: int
    seconds: float
    cpu_seconds: float
    train_loss: tuple[tuple[int, float], ...]
    validation_loss: tuple[tuple[int, float], ...]
    best_step: int
    stopped_early: bool
    resumed_from: int | None
    calibration: Calibration | None

    @property
    def refusal_bias(self) -> float:
        """See `TransformersGenerator`."""
        return self.calibration.refusal_bias if self.calibration else 0.0


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a training will take; `seconds` without evaluations and replay."""

    num_sequences: int
    num_steps: int
    num_tokens: int
    tokens_per_second: float
    seconds: float


def train(
    examples: Path,
    output: Path,
    params: Params,
    settings: Settings,
    *,
    lineage: Mapping[str, Any],
    documents: Path | None = None,
    listener: Listener | None = None,
) -> TrainingResult:
    """Train by `lora`, `full` or `continual_pretraining` and write weights and `training.json` to `output`.

    Args:
        examples: training set with its validation split, as `tasks.model.examples.example` writes it.
        output: becomes the folder; the model card and `write_manifest` make an answerer of it.
        params: `fine_tuning`, `generation` and `examples` count.
        settings: device, threads.
        lineage: kept in `training.json`.
        documents: Parquet of `DOCUMENT_SCHEMA`, for `continual_pretraining`.
        listener: hears of every step.

    Raises:
        ConfigurationError: the method is not one of these, nothing is to be learnt, or an example is too long.
        CorruptionError: the training set is damaged, or the loss is no number.
    """
    method = params.fine_tuning.method
    if method not in ("lora", "full", "continual_pretraining"):
        raise ConfigurationError(
            f"fine_tuning.method must be lora, full or continual_pretraining here, found {method}; it trains elsewhere"
        )
    if (documents is not None) != (method == "continual_pretraining"):
        raise ConfigurationError(
            f"continual_pretraining, and no other method, learns from documents; found method {method} "
            f"{'without' if documents is None else 'with'} documents"
        )
    found = training_examples(examples, params.fine_tuning)
    texts = _texts(documents, params.examples.audience) if documents else None
    return run_training(
        lambda base, network: supervised(found, texts, base, network, params),
        found,
        output,
        params,
        settings,
        inputs=[examples, *([documents] if documents else [])],
        lineage=lineage,
        listener=listener,
    )


def training_examples(path: Path, params: FineTuningParams) -> list[Example]:
    """A training set with as many of its validation examples as `max_validation_examples` allows."""
    found = list(read_examples(path))
    held_out = sorted(example.example_id for example in found if example.split == "validation" and example.passages)
    left_out = set(held_out[params.max_validation_examples :]) if params.max_validation_examples else set()
    return [example for example in found if example.split == "train" or example.example_id not in left_out]


def run_training(
    make_objective: MakeObjective,
    examples: Sequence[Example],
    output: Path,
    params: Params,
    settings: Settings,
    *,
    inputs: Iterable[Path],
    lineage: Mapping[str, Any],
    listener: Listener | None = None,
) -> TrainingResult:
    """Train any objective: from the checkpoint beside `output` to its files. Repeated, it returns what was done.

    Raises:
        ConfigurationError: `per_device_train_batch_size` is no multiple of the number of processes.
    """
    base = load_base(params.generation, settings)
    check_base(base, NOT_FOUND)
    key = training_key(base, params, inputs)
    done = read_result(output, key)
    if done is not None:
        return done
    accelerator = _accelerator(params.fine_tuning, settings)
    network = trainable(base, params.fine_tuning).to(accelerator.device)
    beside = output.with_name(f".{output.name}.training")
    loop = Loop(
        make_objective(base, network), network, params.fine_tuning, folder=beside, key=key, accelerator=accelerator
    )
    outcome = loop.run(listener)
    if accelerator.is_main_process:
        keep_share(network, base, params.fine_tuning.trained_share)
        result = _finish(outcome, network, base, examples, params)
        _write(output, network, base, {"key": key, "result": asdict(result), "lineage": dict(lineage)})
        shutil.rmtree(beside)
    accelerator.wait_for_everyone()
    whole = read_result(output, key)
    if whole is None:
        raise CorruptionError(f"{output / TRAINING} must stand after a training, found none; train again")
    return whole


def supervised(
    examples: Sequence[Example],
    texts: Sequence[str] | None,
    base: TransformersGenerator,
    network: Any,
    params: Params,
) -> Supervised:
    """What `lora` and `full` (answers) or `continual_pretraining` (texts) learn, with replay and a held-out part."""
    longest = params.fine_tuning.max_length
    replay = [example for example in examples if not example.passages and example.split == "train"]
    rows = TOKENS_PER_ROW if network.device.type == "cpu" else ACCELERATOR_TOKENS_PER_ROW
    anchors = anchor_sequences(replay, base, max_tokens=min(longest, ANCHOR_TOKENS)) if replay else []
    if texts is None:
        learnt, held_out = _answer_sequences(examples, base, longest)
    else:
        learnt, held_out = _text_sequences(texts, base, longest, params.examples.validation_fraction)
    if not learnt:
        raise ConfigurationError("training needs at least one train example with passages, found none; add examples")
    return Supervised(
        make_schedule(learnt, params.fine_tuning),
        held_out,
        make_anchors(network, anchors, tokens_per_row=ANCHOR_TOKENS),
        rows,
    )


def estimate(examples: Path, params: Params, settings: Settings, *, documents: Path | None = None) -> Estimate:
    """Tokens of a training, and its duration at the rate of one forward and backward pass on this machine.

    Raises:
        ConfigurationError: as `train`.
    """
    base = load_base(params.generation, settings)
    found = [example for example in read_examples(examples) if example.passages]
    texts = _texts(documents, params.examples.audience) if documents else None
    network = trainable(base, params.fine_tuning)
    objective = supervised(found, texts, base, network, params)
    rate = _tokens_per_second(network, objective.plan)
    num_tokens = objective.plan.num_tokens
    return Estimate(len(objective.plan.sequences), objective.num_steps, num_tokens, rate, num_tokens / rate)


def answerer_manifest(
    result: TrainingResult, params: Params, settings: Settings, *, lineage: Mapping[str, Any]
) -> Manifest:
    """What `write_manifest` takes for a trained folder; `files` are empty until then."""
    generation = params.generation
    return Manifest(
        base=weights_identity(load_base(generation, settings)),
        model=generation.model,
        gguf_file=generation.gguf_file,
        method=result.method,
        prompt=TRAINED_PROMPT,
        prompt_digest=load_prompt(TRAINED_PROMPT).digest,
        refusal_bias=result.refusal_bias,
        generation={
            "num_passages": params.examples.num_passages,
            "max_passage_tokens": generation.max_passage_tokens,
            "max_new_tokens": generation.max_new_tokens,
        },
        lineage=dict(lineage) | {"training_seconds": round(result.seconds, 1)},
        files={},
    )


def training_key(base: TransformersGenerator, params: Params, inputs: Iterable[Path]) -> str:
    """Digest of everything that a training is made from."""
    content = {
        "format": FORMAT,
        "base": base.identity,
        "prompt": load_prompt(TRAINED_PROMPT).digest,
        "fine_tuning": params.fine_tuning.model_dump(mode="json", exclude={"save_steps"}),
        "audience": params.examples.audience,
        "inputs": [sha256_of_file(path) for path in inputs],
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def read_result(output: Path, key: str | None = None) -> TrainingResult | None:
    """The result that a folder holds; None where there is none, or one of another key."""
    path = output / TRAINING
    if not path.is_file():
        return None
    raw = json.loads(path.read_text(encoding="utf-8"))
    if key is not None and raw["key"] != key:
        return None
    result = raw["result"]
    curves = {name: tuple((int(s), float(x)) for s, x in result[name]) for name in ("train_loss", "validation_loss")}
    calibration = Calibration(**result["calibration"]) if result["calibration"] else None
    return TrainingResult(**result | curves | {"calibration": calibration})


def _accelerator(params: FineTuningParams, settings: Settings) -> "Accelerator":
    import torch
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=settings.device == "cpu")
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


def _answer_sequences(
    examples: Sequence[Example], base: TransformersGenerator, longest: int
) -> tuple[list[TokenSequence], list[TokenSequence]]:
    grounded = [example for example in examples if example.passages]
    learnt, held_out = (
        example_sequences((e for e in grounded if e.split == split), base, max_tokens=longest)
        for split in ("train", "validation")
    )
    return learnt, held_out


def _text_sequences(
    texts: Sequence[str], base: TransformersGenerator, longest: int, validation_fraction: float
) -> tuple[list[TokenSequence], list[TokenSequence]]:
    """Documents are held out whole, by a digest of their text, so that growth of the corpus moves none."""
    held_out = [text for text in texts if _fraction(text) < validation_fraction]
    learnt = [text for text in texts if _fraction(text) >= validation_fraction]
    return (
        text_sequences(learnt, base, max_tokens=longest),
        text_sequences(held_out, base, max_tokens=longest),
    )


def _fraction(text: str) -> float:
    return int(hashlib.sha256(text.encode()).hexdigest()[:8], 16) / 2**32


def _texts(documents: Path, audience: str) -> list[str]:
    import pyarrow.parquet as pq

    table = pq.read_table(documents, columns=["document_id", "text", "access"])
    rows = sorted(table.to_pylist(), key=lambda row: str(row["document_id"]))
    return [str(row["text"]) for row in rows if audience in row["access"]]


def _tokens_per_second(network: Any, plan: TrainingSchedule) -> float:
    """Measured on one sequence of middling length, after a short one that loads what is loaded once."""
    ordered = sorted(plan.sequences, key=lambda sequence: sequence.num_tokens)
    rate = 0.0
    for sequence in (ordered[0], ordered[len(ordered) // 2]):
        started = time.monotonic()
        (row,) = rows_of([sequence], max_tokens=sequence.num_tokens)
        log_likelihood(network, row).sum().backward()  # type: ignore[no-untyped-call]
        rate = sequence.num_tokens / (time.monotonic() - started)
    return rate


def _finish(
    outcome: Outcome,
    network: Any,
    base: TransformersGenerator,
    examples: Sequence[Example],
    params: Params,
) -> TrainingResult:
    state = outcome.state
    trained = replace(base, model=network.eval())
    validation = [example for example in examples if example.split == "validation" and example.passages]
    calibrated = params.fine_tuning.method != "continual_pretraining" and bool(validation)
    bound = params.fine_tuning.max_false_refusals
    return TrainingResult(
        method=params.fine_tuning.method,
        num_steps=outcome.num_steps,
        steps=state.step,
        num_tokens=state.num_tokens,
        num_learnt=state.num_learnt,
        seconds=state.seconds,
        cpu_seconds=state.cpu_seconds,
        train_loss=state.train_loss,
        validation_loss=state.validation_loss,
        best_step=state.best_step if state.validation_loss else state.step,
        stopped_early=outcome.stopped_early,
        resumed_from=outcome.resumed_from,
        calibration=calibrate(trained, validation, max_false_refusals=bound) if calibrated else None,
    )


def _write(output: Path, network: Any, base: TransformersGenerator, training: Mapping[str, Any]) -> None:
    with whole_folder(output) as beside:
        write_weights(network, base, beside)
        write_json(beside / TRAINING, training)
