"""The stages of `dvc.yaml`: `python -m experiments STAGE`.

The same functions as in the weekly refresh and the quarterly retrain, from `params.yaml` here into `data/`. Reads
the data registry, the live index and the caches of `ALMANAC_HOME`; touches no release, no alias, no registered model
and no table that serves. Trainings are runs of the MLflow experiment `almanac-experiments`.
"""

import csv
import json
import os
import shutil
import sys
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pyarrow.parquet as pq

from tasks.corpus.document import sha256
from tasks.errors import AlmanacError, ConfigurationError
from tasks.files import sha256_of_file, whole_file, write_json
from tasks.params import Params, digest, load_params
from tasks.registry.shared import open_registry
from tasks.settings import Settings, quiet_environment
from tasks.tenant import of_tenant

if TYPE_CHECKING:
    from tasks.index.golden import Located

DATA = Path("data")
DOCUMENTS = DATA / "corpus" / "documents.parquet"
CHUNKS = DATA / "chunks" / "chunks.parquet"
INDEX = DATA / "index"
METRICS = DATA / "metrics.json"
TOPICS = DATA / "topics.csv"
EXAMPLES = DATA / "examples"
ANSWERER = DATA / "answerer"
ANSWERER_METRICS = DATA / "answerer.json"
LOSS = DATA / "loss.csv"
EXPERIMENT = "almanac-experiments"
MADE_FROM = "made_from.json"
"""Beside each output: the digest of what it was made from, so that no stale output is taken for a fresh one."""


def corpus(params: Params, settings: Settings) -> None:
    """Restore a snapshot from the data registry; write its live documents."""
    from tasks.index.candidate import all_documents

    tag = _snapshot_tag(params.experiment.snapshot, settings)
    _empty(DOCUMENTS.parent)
    with TemporaryDirectory(dir=DATA) as folder:
        files = open_registry(settings, tag=tag).restore(tag, Path(folder) / "snapshot")
        all_documents(files, DOCUMENTS)
    write_json(DOCUMENTS.parent / MADE_FROM, {"snapshot": tag})


def _snapshot_tag(snapshot: str, settings: Settings) -> str:
    from tasks.index.release import load_release, release_numbers

    if snapshot != "newest":
        return snapshot
    numbers = release_numbers(settings)
    if not numbers:
        raise ConfigurationError(
            f"an experiment needs a snapshot of the corpus, found no release in {settings.home.resolve()}; "
            "run `almanac refresh` first, or set ALMANAC_HOME to a home that has one"
        )
    return load_release(settings, max(numbers)).corpus.tag


def chunk(params: Params, settings: Settings) -> None:
    """Cut the documents into chunks."""
    from tasks.index.build import chunk_documents

    _empty(CHUNKS.parent)
    chunk_documents(DOCUMENTS, CHUNKS, params, settings)
    write_json(CHUNKS.parent / MADE_FROM, {"digest": _chunks_digest(params)})


def index(params: Params, settings: Settings) -> None:
    """Embed what was never embedded, and write the table with its indexes."""
    from tasks.index.access_tables import intern
    from tasks.index.build import access_sets, keep_vectors, missing_texts, open_cache
    from tasks.index.embedding.embedder import load_embedder
    from tasks.index.embedding.shards import embed_shard
    from tasks.index.table import build_indexes, connect, rewrite, row_batches_of

    _require(CHUNKS.parent, _chunks_digest(params), stage="chunk")
    embedder = load_embedder(params.embedding, settings)
    cache = open_cache(embedder, settings)
    _empty(INDEX)
    with TemporaryDirectory(dir=DATA) as folder:
        size = params.execution.chunks_per_shard
        for shard in missing_texts([CHUNKS], cache, Path(folder), chunks_per_shard=size):
            embed_shard(shard.texts, shard.vectors, params.embedding, settings)
            keep_vectors(shard, cache)
    db = connect(_experiment(settings))
    intern(db, access_sets([CHUNKS]))
    rows = row_batches_of([CHUNKS], cache, embedder.identity, language=params.index.language)
    rewrite(db, rows, embedder.dim)
    build_indexes(db, params.index)
    write_json(INDEX / MADE_FROM, {"digest": _index_digest(params)})


def evaluate(params: Params, settings: Settings) -> None:
    """Ask the golden questions; write the metrics, and recall by topic."""
    from tasks.index.golden import load_golden, locate

    _require(INDEX, _index_digest(params), stage="index")
    if params.index_gate.golden is None:
        raise ConfigurationError("an experiment is measured by golden questions; set index_gate.golden to their file")
    questions = load_golden(Path(params.index_gate.golden), params.index_gate.split)
    located, missing = locate(questions, _texts())
    if not located:
        raise ConfigurationError(
            f"golden questions must have their support in the corpus, found none of {len(missing)} in {DOCUMENTS}; "
            "set index_gate.golden to questions on this corpus"
        )
    ranks = _ranks(located, params, settings)
    quality = _quality(ranks) | {"num_chunks": pq.read_metadata(CHUNKS).num_rows, "golden_missing": len(missing)}
    write_json(METRICS, quality)
    _write_topics(located, ranks)


def _texts() -> dict[str, str]:
    table = pq.read_table(DOCUMENTS, columns=["document_id", "text"])
    return dict(zip(table["document_id"].to_pylist(), table["text"].to_pylist(), strict=True))


def _ranks(located: "Sequence[Located]", params: Params, settings: Settings) -> list[int | None]:
    """Asked by one who may read everything, as the index gate does."""
    from tasks.index.access_tables import load_access
    from tasks.index.embedding.embedder import load_embedder
    from tasks.index.golden import support_rank
    from tasks.index.search import Index, Request
    from tasks.index.table import connect, open_latest

    db = connect(_experiment(settings))
    embedder = load_embedder(params.embedding, settings)
    table = Index(open_latest(db), embedder, params.search, params.index, release="experiment")
    access = load_access(db)
    everyone = frozenset().union(*access.sets.values())
    top_k = params.index_gate.k
    return [
        support_rank(entry, table.search(Request(entry.question.question, groups=everyone, top_k=top_k), access))
        for entry in located
    ]


def _quality(ranks: Sequence[int | None]) -> dict[str, float]:
    return {
        "num_questions": len(ranks),
        "recall_at_k": sum(rank is not None for rank in ranks) / len(ranks),
        "mrr_at_k": sum(1 / rank for rank in ranks if rank is not None) / len(ranks),
    }


def _write_topics(located: "Sequence[Located]", ranks: Sequence[int | None]) -> None:
    by_topic: dict[str, list[int | None]] = defaultdict(list)
    for entry, rank in zip(located, ranks, strict=True):
        by_topic[entry.question.topic].append(rank)
    rows = [{"topic": topic} | _quality(rows_of_topic) for topic, rows_of_topic in sorted(by_topic.items())]
    _write_rows(TOPICS, ["topic", "num_questions", "recall_at_k", "mrr_at_k"], rows)


def _write_rows(path: Path, names: Sequence[str], rows: Sequence[Mapping[str, object]]) -> None:
    with whole_file(path) as beside, beside.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def examples(params: Params, settings: Settings) -> None:
    """Build and gate the training set over the live index; it is no version of the data registry."""
    from tasks.model.examples.build import build_training_set

    _empty(EXAMPLES)
    build_training_set(params, settings, EXAMPLES)


def train(params: Params, settings: Settings) -> None:
    """Train an answerer on the examples; a run that was killed goes on from its checkpoint."""
    from tasks.model.answerer.candidate import train_candidate
    from tasks.model.examples.training_set import read_training_set
    from tasks.model.training import run_log

    training_set = read_training_set(EXAMPLES)
    name = os.environ.get("DVC_EXP_NAME", "workspace")
    key = sha256(name, training_set.sha256, digest(params.fine_tuning), digest(params.generation))[:16]
    run_id = run_log.open_run(settings, of_tenant(EXPERIMENT), key, name=name)
    run_log.log_params(settings, run_id, params.model_dump(mode="json", include={"examples", "fine_tuning"}))
    lineage = {"run_id": run_id, "corpus": training_set.corpus, "training_set": training_set.sha256}
    result = train_candidate(training_set, ANSWERER, params, settings, lineage=lineage).result
    curves = run_log.Curves(settings, run_id)
    for step, loss in result.train_loss:
        curves.add(step, {"train_loss": loss})
    curves.flush()
    run_log.end_run(settings, run_id)
    _write_rows(LOSS, ["step", "train_loss"], [{"step": at, "train_loss": loss} for at, loss in result.train_loss])


def evaluate_answerer(params: Params, settings: Settings) -> None:
    """Ask the trained answerer and the base the held-out questions over the live index."""
    from tasks.answer.answerer import BASE, read_manifest
    from tasks.model.answerer.candidate import CANDIDATE, evaluate_answerers, served
    from tasks.model.answerer.card import card_metrics
    from tasks.model.evaluation.model_gate import decide
    from tasks.model.training import run_log

    folder = ANSWERER / "training"
    evaluations = evaluate_answerers(folder, None, params, settings)
    decision = decide(evaluations[CANDIDATE], evaluations[BASE], served(evaluations), params.model_gate)
    run_id = str(read_manifest(folder).lineage["run_id"])
    metrics = evaluations[CANDIDATE].metrics()
    run_log.log_metrics(settings, run_id, metrics)
    shown = {name: metrics[name] for name in card_metrics(params.model_gate) if name in metrics}
    base = {name: value for name, value in evaluations[BASE].metrics().items() if name in shown}
    write_json(ANSWERER_METRICS, shown | {"base": base, "gate": "passed" if decision.passed else "refused"})


def _experiment(settings: Settings) -> Settings:
    return settings.model_copy(update={"lancedb_uri": str(INDEX.resolve())})


def _chunks_digest(params: Params) -> str:
    return sha256(sha256_of_file(DOCUMENTS), digest(params.chunking), digest(params.embedding))


def _index_digest(params: Params) -> str:
    return sha256(_chunks_digest(params), sha256_of_file(CHUNKS), digest(params.index))


def _require(folder: Path, wanted: str, *, stage: str) -> None:
    manifest = folder / MADE_FROM
    stored = json.loads(manifest.read_text(encoding="utf-8"))["digest"] if manifest.exists() else "nothing"
    if stored != wanted:
        raise ConfigurationError(
            f"{folder} must be made from the documents and parameters of now, found {stored[:16]}; "
            f"run `dvc repro`, or `python -m experiments {stage}`"
        )


def _empty(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)


STAGES: Mapping[str, Callable[[Params, Settings], None]] = {
    stage.__name__: stage for stage in (corpus, chunk, index, evaluate, examples, train, evaluate_answerer)
}


def main(arguments: Sequence[str]) -> int:
    """Run one stage; an error of ours is one line on standard error and an exit code that says its kind."""
    quiet_environment()
    if len(arguments) != 1 or arguments[0] not in STAGES:
        sys.stderr.write(f"usage: python -m experiments {'|'.join(STAGES)}\n")
        return 2
    try:
        # Not ALMANAC_PARAMS: `dvc exp run -S` changes the file in this folder.
        STAGES[arguments[0]](load_params(Path("params.yaml")), Settings())
    except AlmanacError as error:
        sys.stderr.write(f"almanac: {error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
