"""Tuning of the embedding model: pairs of question and chunk in, the folder of a model out, whole or not at all.

The folder is one that `embedding.model` loads: pooling, tokenizer and limits are those of the model that was tuned.
Killed at any line, the same call goes on from the last checkpoint, which lies beside the output. Knows nothing of the
index or MLflow.
"""

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tasks.bootstrap import Interval, paired_difference
from tasks.errors import ConfigurationError
from tasks.files import sha256_of_file, whole_folder, write_json
from tasks.index.embedding.cache import EmbeddingCache, Vectors, text_key
from tasks.index.embedding.champion import root_of
from tasks.index.embedding.embedder import Embedder, TorchEmbedder, embedder_identity, load_embedder, load_network
from tasks.index.embedding.files import ModelFiles, find_model
from tasks.index.embedding.models import UNKNOWN, needs_of
from tasks.index.embedding.registered import EmbedderManifest, read_embedder
from tasks.model.embedder.card import CARD, card
from tasks.model.embedder.chunks import read_pool
from tasks.model.embedder.contrastive import Contrastive, tokenize
from tasks.model.embedder.pairs import read_pairs
from tasks.model.embedder.questions import Questions, held_out
from tasks.model.embedder.result import EmbedderResult
from tasks.model.training.checkpoint import save_tensors
from tasks.model.training.trainer import Listener, Outcome, Trainer, make_accelerator
from tasks.params import Params, digest
from tasks.params.fine_tuning import FineTuningParams
from tasks.releases.folder import write_manifest
from tasks.releases.kind import EMBEDDER
from tasks.settings import Settings

FORMAT = "5"
"""Changes with anything here that changes what the same parameters train, and with the checkpoint."""


def train_embedder(
    pairs: Path,
    output: Path,
    params: Params,
    settings: Settings,
    *,
    pool: Path,
    lineage: Mapping[str, Any],
    listener: Listener | None = None,
) -> EmbedderResult:
    """Tune `params.embedding` by `params.fine_tuning`; repeated, return what was done.

    A quarter of the validation documents choose the step whose weights are kept, the others measure before and after.

    Args:
        pairs: of `tasks.model.embedder.pairs`.
        pool: of `tasks.model.embedder.chunks`.
        output: a folder that appears whole; one that was made from the same inputs is returned as it is.
        params: `embedding` is the model to start from.
        settings: device and threads.
        lineage: kept in the manifest.
        listener: called after every step.

    Raises:
        ConfigurationError: `output` stands and was made from other inputs; the model cannot be loaded; there are
            several processes.
        CorruptionError: the pairs or an existing output are not what was written.
        GateError: too few pairs.
    """
    key = _key(pairs, pool, params, settings)
    if output.exists():
        return _read_result(output, key, settings)
    rows = read_pairs(pairs)
    selection, report = held_out(rows, read_pool(pool))
    files = find_model(params.embedding.model, settings)
    network, run = load_network(files, params.embedding.model, settings.device)
    tokens_per_batch = params.embedding.tokens_per_batch
    train = [pair for pair in rows if pair.split == "train"]
    objective = Contrastive(
        pairs=train,
        tokens=tokenize(train, files, max_length=params.fine_tuning.max_length),
        files=files,
        run=run,
        embedder=TorchEmbedder(
            files, "in training", network, run, tokens_per_batch=tokens_per_batch, num_threads=settings.num_threads
        ),
        selection=selection,
        params=params.fine_tuning,
        tokens_per_batch=tokens_per_batch,
    )
    checkpoints = output.with_name(f".{output.name}.training")
    outcome = _trainer(objective, network, checkpoints, key, params.fine_tuning, settings).run(listener)
    with whole_folder(output) as beside:
        _write_model(network, files, beside, params.embedding.model)
        result = _measure(beside, output, report, outcome, params, settings, num_pairs=len(train))
        _describe(beside, result, params, settings, key=key, lineage=lineage)
    shutil.rmtree(checkpoints)
    return result


def _key(pairs: Path, pool: Path, params: Params, settings: Settings) -> str:
    """Return what is equal for trainings that give the same weights."""
    tuning = params.fine_tuning.model_copy(update={"save_steps": 0})
    files = (sha256_of_file(path) for path in (pairs, pool))
    parts = (FORMAT, *files, digest(tuning), digest(params.search), embedder_identity(params.embedding, settings))
    return hashlib.sha256("|".join(parts).encode()).hexdigest()[:32]


def _trainer(
    objective: Contrastive, network: Any, folder: Path, key: str, fine_tuning: FineTuningParams, settings: Settings
) -> Trainer:
    accelerator = make_accelerator(fine_tuning, settings)
    if accelerator.num_processes > 1:
        raise ConfigurationError(
            f"the method embedder trains in one process, found {accelerator.num_processes}: a question's negatives are "
            "the whole batch; start it without `accelerate launch`"
        )
    return Trainer(objective, network, fine_tuning, folder=folder, key=key, accelerator=accelerator)


def _write_model(network: Any, files: ModelFiles, folder: Path, model: str) -> None:
    """Write the model in the layout of the one that was tuned: what is measured is what will serve."""
    for path in (*files.root.rglob("*.json"), *files.root.rglob("*.txt")):
        if path.name != EMBEDDER.manifest and not path.name.endswith(".index.json"):
            target = folder / path.relative_to(files.root)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
    if needs_of(model) != UNKNOWN:
        # The table of what models need goes by the name, which a folder of ours does not bear.
        config = folder / files.folder.relative_to(files.root) / "config.json"
        write_json(config, json.loads(config.read_text(encoding="utf-8")) | {"_name_or_path": Path(model).name})
    weights = folder / files.folder.relative_to(files.root) / "model.safetensors"
    save_tensors(weights, network.state_dict())


def _measure(
    folder: Path,
    output: Path,
    report: Questions,
    outcome: Outcome,
    params: Params,
    settings: Settings,
    *,
    num_pairs: int,
) -> EmbedderResult:
    """Measure before and after, each loaded as the index would load it."""
    embedding = params.embedding.model_copy(update={"model": str(folder)})
    live = load_embedder(params.embedding, settings)
    old = report.values(live, params.search, _kept_vectors(live, report.texts, settings))
    new = report.values(load_embedder(embedding, settings), params.search)
    gate = params.model_gate
    measured = len(report.questions) - report.num_golden

    def gain(part: slice) -> dict[str, Interval]:
        confidence, num_resamples = gate.confidence, gate.num_resamples
        return {
            name: paired_difference(
                new[name][part], old[name][part], confidence=confidence, num_resamples=num_resamples
            )
            for name in new
        }

    state = outcome.state
    return EmbedderResult(
        folder=output,
        num_pairs=num_pairs,
        num_questions=measured,
        pool=len(report.texts),
        num_steps=state.step,
        best_step=state.best_step,
        before={name: float(values[:measured].mean()) for name, values in old.items()},
        after={name: float(values[:measured].mean()) for name, values in new.items()},
        gain=gain(slice(measured)),
        selection=dict(state.validation_loss),
        resumed_from=outcome.resumed_from,
        seconds=round(state.seconds, 2),
        cpu_seconds=round(state.cpu_seconds, 2),
        num_golden=report.num_golden,
        golden=gain(slice(measured, None)) if report.num_golden else {},
    )


def _kept_vectors(embedder: Embedder, texts: Sequence[str], settings: Settings) -> Vectors:
    """Return the vectors of chunks, from the cache of the home where the index embedded them."""
    cache = EmbeddingCache(settings.home, embedder.identity, embedder.dim)
    keys = {text_key(text): text for text in texts}
    if missing := cache.missing(list(keys)):
        cache.put(missing, embedder.embed([keys[key] for key in missing]))
    return cache.get(list(keys))


def _describe(
    folder: Path, result: EmbedderResult, params: Params, settings: Settings, *, key: str, lineage: Mapping[str, Any]
) -> None:
    """Write the card and the manifest."""
    base = embedder_identity(params.embedding, settings)
    (folder / CARD).write_text(card(result, base, lineage), encoding="utf-8")
    numbers = {name: value for name, value in asdict(result).items() if name != "folder"}
    training = params.fine_tuning.model_dump(mode="json") | {"key": key}
    root = root_of(params.embedding, settings)
    write_manifest(folder, EMBEDDER, EmbedderManifest(base, training, numbers, dict(lineage), {}, root=root))


def _read_result(output: Path, key: str, settings: Settings) -> EmbedderResult:
    manifest = read_embedder(output, settings)
    if manifest.training.get("key") != key:
        raise ConfigurationError(
            f"{output} must be free or made from the same pairs and parameters, found another embedder; "
            "name another folder"
        )
    raw = dict(manifest.metrics)
    gain, golden = (
        {name: Interval(**interval) for name, interval in raw.pop(part).items()} for part in ("gain", "golden")
    )
    selection = {int(step): value for step, value in raw.pop("selection").items()}
    return EmbedderResult(output, gain=gain, selection=selection, golden=golden, **raw)
