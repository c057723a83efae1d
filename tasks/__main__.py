"""The stages of `dvc.yaml`: `python -m tasks corpus | chunk | index | evaluate`.

The same functions as the weekly refresh, from `params.yaml` in this folder into `data/`. Reads the data registry and
the embedding cache of `ALMANAC_HOME`; touches no release, no alias and no table that serves.
"""

import csv
import json
import shutil
import sys
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pyarrow.parquet as pq

from tasks.corpus.document import sha256
from tasks.corpus.registry import Registry, sha256_of
from tasks.errors import AlmanacError, ConfigurationError
from tasks.files import whole_file, write_json
from tasks.params import Params, digest, load_params
from tasks.settings import Settings, quiet_environment

if TYPE_CHECKING:
    from tasks.index.golden import Located

DATA = Path("data")
DOCUMENTS = DATA / "corpus" / "documents.parquet"
CHUNKS = DATA / "chunks" / "chunks.parquet"
INDEX = DATA / "index"
METRICS = DATA / "metrics.json"
TOPICS = DATA / "topics.csv"
MADE_FROM = "made_from.json"
"""Beside each output: the digest of what it was made from, so that no stale output is taken for a fresh one."""


def corpus(params: Params, settings: Settings) -> None:
    """Restore a snapshot from the data registry; write its live documents."""
    from tasks.index.candidate import all_documents

    tag = _snapshot_tag(params, settings)
    _empty(DOCUMENTS.parent)
    with TemporaryDirectory(dir=DATA) as folder:
        files = Registry(settings.registry, settings.remote).restore(tag, Path(folder) / "snapshot")
        all_documents(files, DOCUMENTS)
    write_json(DOCUMENTS.parent / MADE_FROM, {"snapshot": tag})


def _snapshot_tag(params: Params, settings: Settings) -> str:
    from tasks.index.release import load_release, release_numbers

    if params.experiment.snapshot != "newest":
        return params.experiment.snapshot
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
    from tasks.index.access import intern
    from tasks.index.build import access_sets, keep_vectors, missing_texts, open_cache
    from tasks.index.embed import embed_shard, load_embedder
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
    rewrite(db, row_batches_of([CHUNKS], cache, embedder.identity), embedder.dim)
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
    from tasks.index.access import load_access
    from tasks.index.embed import load_embedder
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
    with whole_file(TOPICS) as beside, beside.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, ["topic", "num_questions", "recall_at_k", "mrr_at_k"], lineterminator="\n")
        writer.writeheader()
        writer.writerows({"topic": topic} | _quality(found) for topic, found in sorted(by_topic.items()))


def _experiment(settings: Settings) -> Settings:
    return settings.model_copy(update={"lancedb_uri": str(INDEX.resolve())})


def _chunks_digest(params: Params) -> str:
    return sha256(sha256_of(DOCUMENTS), digest(params.chunking), digest(params.embedding))


def _index_digest(params: Params) -> str:
    return sha256(_chunks_digest(params), sha256_of(CHUNKS), digest(params.index))


def _require(folder: Path, wanted: str, *, stage: str) -> None:
    manifest = folder / MADE_FROM
    found = json.loads(manifest.read_text(encoding="utf-8"))["digest"] if manifest.exists() else "nothing"
    if found != wanted:
        raise ConfigurationError(
            f"{folder} must be made from the documents and parameters of now, found {found[:16]}; "
            f"run `dvc repro`, or `python -m tasks {stage}`"
        )


def _empty(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)


STAGES: Mapping[str, Callable[[Params, Settings], None]] = {
    stage.__name__: stage for stage in (corpus, chunk, index, evaluate)
}


def main(arguments: Sequence[str]) -> int:
    """Run one stage; an error of ours is one line on standard error and an exit code that says its kind."""
    quiet_environment()
    if len(arguments) != 1 or arguments[0] not in STAGES:
        sys.stderr.write(f"usage: python -m tasks {'|'.join(STAGES)}\n")
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
