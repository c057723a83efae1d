"""Contrastive tuning of the embedding model on questions and their chunks, with resume and early stopping.

Oord, Li, Vinyals, "Representation Learning with Contrastive Predictive Coding", 2018 (the loss over a batch). What is
written is a folder that `embedding.model` loads: pooling, tokenizer and limits are those of the model that was tuned.
Knows nothing of the index or MLflow.
"""

import hashlib
import logging
import math
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tasks.bootstrap import Interval, paired_difference
from tasks.errors import ConfigurationError
from tasks.files import sha256_of_file
from tasks.index.embedding.embedder import (
    Run,
    TorchEmbedder,
    batches,
    compute_dtype,
    embedder_identity,
    load_embedder,
    load_network,
)
from tasks.index.embedding.files import ModelFiles, find_model
from tasks.index.embedding.registered import EmbedderManifest, read_embedder
from tasks.model.embedder.batches import Batch, epoch_batches, num_batches
from tasks.model.embedder.card import CARD, card
from tasks.model.embedder.pairs import Pair, read_pairs
from tasks.model.embedder.questions import Questions, held_out
from tasks.model.embedder.result import HEADLINE, EmbedderResult
from tasks.model.training.checkpoint import State, load, load_tensors, save, save_best
from tasks.model.training.schedule import learning_rate
from tasks.params import FineTuningParams, Params, digest
from tasks.releases.folder import write_manifest
from tasks.releases.kind import EMBEDDER
from tasks.settings import Settings

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)

SCALE = 20.0
"""Cosines are multiplied by this before the softmax."""

Listener = Callable[[int, int, Mapping[str, float]], None]
"""Told after each optimiser step: its number from 1, the number of steps, and what was measured."""


@dataclass(slots=True)
class _Tuning:
    """What the steps of one training share."""

    params: FineTuningParams
    files: ModelFiles
    network: "torch.nn.Module"
    run: Run
    embedder: TorchEmbedder
    optimiser: "torch.optim.Optimizer"
    selection: Questions
    folder: Path
    state: State
    num_steps: int
    tokens_per_batch: int


def train_embedder(
    pairs: Path,
    output: Path,
    params: Params,
    settings: Settings,
    *,
    lineage: Mapping[str, Any],
    listener: Listener | None = None,
) -> EmbedderResult:
    """Tune `params.embedding` by `params.fine_tuning`; a killed training goes on from its checkpoint.

    Half of the validation documents choose the step whose weights are kept, the other half measure before and after.

    Args:
        pairs: of `tasks.model.embedder.pairs`.
        output: a folder that appears whole; one that was made from the same inputs is returned as it is.
        params: `embedding` is the model to start from.
        settings: device and threads.
        lineage: kept in the manifest.
        listener: told of each step.

    Raises:
        ConfigurationError: `output` stands and was made from other inputs; the model cannot be loaded.
        CorruptionError: the pairs or an existing output are not what was written.
        GateError: too few pairs.
    """
    key = _key(pairs, params, settings)
    if output.exists():
        return _made_before(output, key, settings)
    rows = read_pairs(pairs)
    train = [pair for pair in rows if pair.split == "train"]
    selection, report = held_out(rows)
    tuning = _begin(train, selection, output, key, params, settings)
    resumed_from = tuning.state.step
    _train(tuning, train, listener)
    made = _save(tuning, params)
    result = _measure(made, report, tuning, params, settings, num_pairs=len(train), resumed_from=resumed_from)
    _finish(made, output, result, params, settings, key=key, lineage=lineage)
    shutil.rmtree(_work(output))
    return replace(result, folder=output)


def _key(pairs: Path, params: Params, settings: Settings) -> str:
    """Equal for trainings that give the same weights."""
    parts = (sha256_of_file(pairs), digest(params.fine_tuning), embedder_identity(params.embedding, settings))
    return hashlib.sha256("|".join(parts).encode()).hexdigest()[:32]


def _begin(
    train: Sequence[Pair], selection: Questions, output: Path, key: str, params: Params, settings: Settings
) -> _Tuning:
    import torch

    torch.set_num_threads(settings.num_threads)
    tuned = params.fine_tuning
    files = find_model(params.embedding.model, settings)
    network, run = load_network(files, params.embedding.model, settings.device)
    tokens_per_batch = params.embedding.tokens_per_batch
    embedder = TorchEmbedder(
        files, "in training", network, run, tokens_per_batch=tokens_per_batch, num_threads=settings.num_threads
    )
    optimiser = torch.optim.AdamW(network.parameters(), lr=tuned.learning_rate, weight_decay=0.0)
    needed = math.ceil(tuned.num_train_epochs * num_batches(len(train), tuned.per_device_train_batch_size))
    num_steps = needed if tuned.max_steps is None else min(needed, tuned.max_steps)
    folder = _work(output) / "checkpoint"
    state = load(folder, key)
    tuning = _Tuning(
        tuned, files, network, run, embedder, optimiser, selection, folder, state, num_steps, tokens_per_batch
    )
    _resume(tuning)
    return tuning


def _work(output: Path) -> Path:
    return output.with_name(f"{output.name}.work")


def _train(tuning: _Tuning, train: Sequence[Pair], listener: Listener | None) -> None:
    params = tuning.params
    if tuning.state.step == 0:
        _select(tuning)
    for step, batch in _steps(tuning, train):
        if tuning.state.patience_used >= params.early_stopping_patience:
            logger.info("no better for %d evaluations: stopped at step %d", params.early_stopping_patience, step)
            break
        wall, cpu = time.monotonic(), time.process_time()
        measured = {"loss": _step(tuning, batch, step)}
        tuning.state = replace(tuning.state, step=step + 1)
        last = tuning.state.step == tuning.num_steps
        if last or tuning.state.step % params.eval_steps == 0:
            measured[HEADLINE] = _select(tuning)
        seconds, cpu_seconds = time.monotonic() - wall, time.process_time() - cpu
        tuning.state = replace(
            tuning.state,
            seconds=tuning.state.seconds + seconds,
            cpu_seconds=tuning.state.cpu_seconds + cpu_seconds,
            train_loss=(*tuning.state.train_loss, (tuning.state.step, measured["loss"])),
        )
        if last or tuning.state.step % params.save_steps == 0:
            _save_checkpoint(tuning)
        if listener is not None:
            listener(tuning.state.step, tuning.num_steps, measured)


def _steps(tuning: _Tuning, train: Sequence[Pair]) -> Iterator[tuple[int, Batch]]:
    """Steps that are still to do, with their batches."""
    step, epoch = 0, 0
    while step < tuning.num_steps:
        size, seed = tuning.params.per_device_train_batch_size, tuning.params.seed
        for batch in epoch_batches(train, size=size, seed=seed, epoch=epoch):
            if tuning.state.step <= step < tuning.num_steps:
                yield step, batch
            step += 1
        epoch += 1


def _step(tuning: _Tuning, batch: Batch, step: int) -> float:
    """One optimiser step; dropout depends on the step alone, so that a resumed training is the same training."""
    import torch

    torch.manual_seed(tuning.params.seed * 1_000_003 + step)
    for group in tuning.optimiser.param_groups:
        group["lr"] = learning_rate(step, tuning.num_steps, tuning.params)
    tuning.network.train()
    loss = _loss(tuning, batch)
    tuning.optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(tuning.network.parameters(), 1.0)
    tuning.optimiser.step()
    return float(loss.detach())


def _loss(tuning: _Tuning, batch: Batch) -> "torch.Tensor":
    import torch

    vectors = _vectors(tuning, [*batch.questions, *(chunk.text for chunk in batch.chunks)])
    num_questions = len(batch.questions)
    logits = SCALE * vectors[:num_questions] @ vectors[num_questions:].T
    ignored = torch.zeros_like(logits, dtype=torch.bool)
    for question, chunk in batch.also_relevant:
        ignored[question, chunk] = True
    targets = torch.tensor(batch.targets, device=logits.device)
    return torch.nn.functional.cross_entropy(logits.masked_fill(ignored, float("-inf")), targets)


def _vectors(tuning: _Tuning, texts: Sequence[str]) -> "torch.Tensor":
    """Unit vectors `(len(texts), dim)` with their gradients, in slices that fit the processor's cache."""
    import torch

    device = next(tuning.network.parameters()).device
    tokenizer = tuning.embedder.tokenizer
    limit = min(tuning.files.max_tokens, tuning.params.max_length)
    tokenizer.enable_truncation(limit)
    tokens = [np.array(encoding.ids, dtype=np.int32) for encoding in tokenizer.encode_batch_fast(list(texts))]
    tokenizer.no_truncation()
    slices = list(batches([len(ids) for ids in tokens], tuning.tokens_per_batch))
    half = compute_dtype("auto", device.type) == torch.bfloat16
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=half):
        pooled = [
            tuning.run(tuning.network, [tokens[place] for place in part], tuning.files.pooling, device)
            for part in slices
        ]
    order = torch.tensor([place for part in slices for place in part], device=device).argsort()
    return torch.nn.functional.normalize(torch.cat(pooled).float()[order], dim=1)


def _select(tuning: _Tuning) -> float:
    """Measure the weights as they are; keep them if they are the best so far. Before the first step: the base."""
    state = tuning.state
    tuning.network.eval()
    measured = float(tuning.selection.values(tuning.embedder)[HEADLINE].mean())
    curve = (*state.validation_loss, (state.step, 1 - measured))
    if state.best_loss is None or 1 - measured < state.best_loss:
        best = replace(state, best_step=state.step, best_loss=1 - measured, patience_used=0, validation_loss=curve)
        tuning.state = save_best(tuning.folder, best, tuning.network.state_dict())
    else:
        tuning.state = replace(state, patience_used=state.patience_used + 1, validation_loss=curve)
    return measured


def _save_checkpoint(tuning: _Tuning) -> None:
    """Weights and the optimiser's averages."""
    tensors = {f"network.{name}": tensor for name, tensor in tuning.network.state_dict().items()}
    for name, parameter in tuning.network.named_parameters():
        for part, tensor in tuning.optimiser.state.get(parameter, {}).items():
            tensors[f"{part}.{name}"] = tensor
    tuning.state = save(tuning.folder, tuning.state, tensors)


def _resume(tuning: _Tuning) -> None:
    """Take up the last checkpoint, if there is one."""
    if tuning.state.step == 0:
        return
    tensors = load_tensors(tuning.folder / tuning.state.files["step"])
    device = next(tuning.network.parameters()).device
    tuning.network.load_state_dict(
        {name.removeprefix("network."): value for name, value in tensors.items() if name.startswith("network.")}
    )
    for name, parameter in tuning.network.named_parameters():
        if f"step.{name}" in tensors:
            averages = {part: tensors[f"{part}.{name}"].to(device) for part in ("exp_avg", "exp_avg_sq")}
            tuning.optimiser.state[parameter] = {"step": tensors[f"step.{name}"], **averages}
    logger.info("resuming at step %d of %d", tuning.state.step, tuning.num_steps)


def _save(tuning: _Tuning, params: Params) -> Path:
    """The model's folder with the best weights: what is measured is what will serve."""
    from safetensors.torch import save_file

    made = tuning.folder.parent / "model" / _short_name(params.embedding.model)
    shutil.rmtree(made, ignore_errors=True)
    for path in (*tuning.files.root.rglob("*.json"), *tuning.files.root.rglob("*.txt")):
        if not path.name.endswith(".index.json"):
            target = made / path.relative_to(tuning.files.root)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
    (made / str(EMBEDDER.manifest)).unlink(missing_ok=True)
    weights = load_tensors(tuning.folder / tuning.state.files["best"])
    place = made / tuning.files.folder.relative_to(tuning.files.root) / "model.safetensors"
    save_file(weights, place, metadata={"format": "pt"})
    return made


def _short_name(model: str) -> str:
    return "".join(sign if sign.isalnum() else "-" for sign in model.rpartition("/")[2])[:60]


def _measure(
    made: Path,
    report: Questions,
    tuning: _Tuning,
    params: Params,
    settings: Settings,
    *,
    num_pairs: int,
    resumed_from: int,
) -> EmbedderResult:
    """Before and after, each loaded as the index would load it."""
    embedding = params.embedding.model_copy(update={"model": str(made)})
    old = report.values(load_embedder(params.embedding, settings))
    new = report.values(load_embedder(embedding, settings))
    gain = {
        name: paired_difference(
            new[name], old[name], confidence=params.model_gate.confidence, num_resamples=params.model_gate.num_resamples
        )
        for name in new
    }
    state = tuning.state
    return EmbedderResult(
        folder=made,
        num_pairs=num_pairs,
        num_questions=len(report.questions),
        num_steps=state.step,
        best_step=state.best_step,
        before={name: float(values.mean()) for name, values in old.items()},
        after={name: float(values.mean()) for name, values in new.items()},
        gain=gain,
        selection={step: 1 - loss for step, loss in state.validation_loss},
        resumed_from=resumed_from,
        seconds=round(state.seconds, 2),
        cpu_seconds=round(state.cpu_seconds, 2),
    )


def _finish(
    made: Path,
    output: Path,
    result: EmbedderResult,
    params: Params,
    settings: Settings,
    *,
    key: str,
    lineage: Mapping[str, Any],
) -> None:
    """Card, manifest, and the rename that makes the output appear."""
    base = embedder_identity(params.embedding, settings)
    (made / CARD).write_text(card(result, base, lineage), encoding="utf-8")
    numbers = {name: value for name, value in asdict(result).items() if name != "folder"}
    training = params.fine_tuning.model_dump(mode="json") | {"key": key}
    write_manifest(made, EMBEDDER, EmbedderManifest(base, training, numbers, dict(lineage), {}))
    output.parent.mkdir(parents=True, exist_ok=True)
    made.rename(output)


def _made_before(output: Path, key: str, settings: Settings) -> EmbedderResult:
    manifest = read_embedder(output, settings)
    if manifest.training.get("key") != key:
        raise ConfigurationError(
            f"{output} must be free or made from the same pairs and parameters, found another embedder; "
            "name another folder"
        )
    raw = dict(manifest.metrics)
    gain = {name: Interval(**interval) for name, interval in raw.pop("gain").items()}
    selection = {int(step): value for step, value in raw.pop("selection").items()}
    return EmbedderResult(output, gain=gain, selection=selection, **raw)
