"""Training of the answerer: examples in, the folder of an answerer out, whole or not at all.

A method is an objective and its parameters: answers or texts (`supervised`), or preferences (`preferences`). Killed at
any line, the same call goes on from the last checkpoint, which lies beside the output. Under `accelerate launch` each
process does its share, with the whole network or with its part of it (`sharding`), and the first one writes.
"""

import hashlib
import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tasks.answer.answerer import Manifest, weights_identity
from tasks.answer.generators.transformers import TransformersGenerator, load_base
from tasks.answer.parity.record import record_parity, write_parity
from tasks.answer.prompt import NOT_FOUND, load_prompt
from tasks.errors import ConfigurationError, CorruptionError
from tasks.files import sha256_of_file, whole_folder
from tasks.model.examples.example import Example, read_examples
from tasks.model.examples.tokens import TRAINED_PROMPT
from tasks.model.training.calibrate import calibrate
from tasks.model.training.objective import Objective
from tasks.model.training.preferences import make_preferences, preference_examples
from tasks.model.training.result import TRAINING, TrainingResult, read_result, write_result
from tasks.model.training.sharding import is_sharded, place, sharding_is_asked_for
from tasks.model.training.supervised import make_supervised, readable_texts
from tasks.model.training.trainer import Listener, Outcome, Trainer, make_accelerator
from tasks.model.training.weights import (
    check_base,
    keep_share,
    over_whole_weights,
    trainable,
    whole_weights,
    write_weights,
)
from tasks.params import Params
from tasks.params.fine_tuning import FineTuningParams
from tasks.settings import Settings

FORMAT = 2
"""Changes with anything here that changes what the same parameters train."""
METHODS = ("lora", "full", "continual_pretraining", "dpo")


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
    """Train by `fine_tuning.method`, write weights and `training.json`; repeated, return what was done.

    Args:
        examples: training set with its validation split, as `tasks.model.examples.example` writes it.
        output: becomes the folder; the model card and `write_manifest` make an answerer of it.
        params: `fine_tuning`, `generation` and `examples` count.
        settings: device, threads.
        lineage: kept in `training.json`.
        documents: Parquet of `DOCUMENT_SCHEMA`, for `continual_pretraining`.
        listener: called after every step.

    Raises:
        ConfigurationError: the method is not of an answerer, nothing is to be learnt, an example is too long, or
            `per_device_train_batch_size` is no multiple of the number of processes.
        CorruptionError: the training set is damaged, or the loss is no number.
        GateError: too few preferences for `dpo`.
    """
    _check_method(params.fine_tuning.method, documents)
    usable = training_examples(examples, params.fine_tuning)
    base = load_base(params.generation, settings, in_host_memory=sharding_is_asked_for())
    check_base(base, NOT_FOUND)
    key = training_key(base, params, [examples, *([documents] if documents else [])])
    done = read_result(output, key)
    if done is not None:
        return done
    accelerator = make_accelerator(params.fine_tuning, settings)
    network = place(trainable(base, params.fine_tuning), accelerator)
    checkpoints = output.with_name(f".{output.name}.training")
    objective = _objective(usable, documents, base, network, params)
    trainer = Trainer(objective, network, params.fine_tuning, folder=checkpoints, key=key, accelerator=accelerator)
    outcome = trainer.run(listener)
    # What is shared out answers only to all processes together.
    if accelerator.is_main_process or is_sharded(network):
        network = over_whole_weights(network, base, params.fine_tuning, accelerator)
        keep_share(network, base, params.fine_tuning.trained_share)
        result = _result(outcome, network, base, usable, params)
        parity = record_parity(replace(base, model=network.eval()), load_prompt(TRAINED_PROMPT))
        weights = whole_weights(network, keep=accelerator.is_main_process)
        if accelerator.is_main_process:
            with whole_folder(output) as beside:
                write_weights(network, weights, base, beside)
                write_parity(beside, parity)
                write_result(beside, result, key=key, lineage=lineage)
            shutil.rmtree(checkpoints)
    accelerator.wait_for_everyone()
    whole = read_result(output, key)
    if whole is None:
        raise CorruptionError(f"{output / TRAINING} must stand after a training, found none; train again")
    return whole


def training_examples(path: Path, params: FineTuningParams) -> list[Example]:
    """Return what the method learns from, with as many held-out examples as `max_validation_examples` allows.

    Raises:
        GateError: too few preferences for `dpo`.
    """
    if params.method == "dpo":
        return preference_examples(read_examples(path))
    examples = list(read_examples(path))
    held_out = sorted(example.example_id for example in examples if example.split == "validation" and example.is_learnt)
    left_out = set(held_out[params.max_validation_examples :]) if params.max_validation_examples else set()
    return [example for example in examples if example.split == "train" or example.example_id not in left_out]


def _check_method(method: str, documents: Path | None) -> None:
    if method not in METHODS:
        raise ConfigurationError(
            f"fine_tuning.method must be one of {', '.join(METHODS)} here, found {method}; it trains elsewhere"
        )
    if (documents is not None) != (method == "continual_pretraining"):
        raise ConfigurationError(
            f"continual_pretraining, and no other method, learns from documents; found method {method} "
            f"{'without' if documents is None else 'with'} documents"
        )


def _objective(
    examples: Sequence[Example], documents: Path | None, base: TransformersGenerator, network: Any, params: Params
) -> Objective:
    """Return what is learnt; the network still says what the base says."""
    if params.fine_tuning.method == "dpo":
        return make_preferences(examples, base, network, params)
    texts = readable_texts(documents, params.examples.audience) if documents else None
    return make_supervised(examples, texts, base, network, params)


def answerer_manifest(
    result: TrainingResult, params: Params, settings: Settings, *, lineage: Mapping[str, Any]
) -> Manifest:
    """Return what `write_manifest` takes for a trained folder; `files` are empty until then."""
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
    """Return the digest of everything that a training is made from."""
    content = {
        "format": FORMAT,
        "base": base.identity,
        "prompt": load_prompt(TRAINED_PROMPT).digest,
        "fine_tuning": params.fine_tuning.model_dump(mode="json", exclude={"save_steps"}),
        "audience": params.examples.audience,
        "inputs": [sha256_of_file(path) for path in inputs],
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def _result(
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
