"""Tuning the embedding model on scifact: train queries in, nDCG@10 of the test queries out, before and after.

    python -m benchmarks.embedder_tuning --home var/benchmarks/scifact [--epochs 2] [--learning-rate 3e-5]

The way to production and no shortcut: the live index of `--home` (made by `python -m benchmarks.retrieval scifact` or
here) gives chunks and hard negatives; the embedder's gate judges by train queries that are held out; the tuned folder
becomes `embedding.model`; a refresh makes the next release from the snapshot without fetching a document; both releases
are asked the test queries through `Index.search`. The last two columns are the paired bootstrap's 95 % interval of
after - before. First the same is trained on train queries whose documents were dealt out anew: the gate must refuse it.
`--select-only` stops behind the gate: its figures are what parameters may be chosen by.
"""

import argparse
import hashlib
import json
import os
import random
import resource
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from benchmarks.judgements import load_judged
from benchmarks.retrieval import MODES, Measured, measure_judged, prepare, refresh
from tasks.bootstrap import paired_difference
from tasks.files import write_json_lines
from tasks.index.access import AccessMap
from tasks.index.access_tables import load_access
from tasks.index.embedding.embedder import load_embedder
from tasks.index.live import open_index, serving
from tasks.index.release import Release
from tasks.index.search import Index
from tasks.index.table import connect
from tasks.model.embedder.chunks import MAX_POOL, TrainableChunks
from tasks.model.embedder.pairs import (
    EmbedderQuestion,
    Pair,
    mine_pairs,
    read_pairs,
    with_enough_held_out,
    write_pairs,
)
from tasks.model.embedder.ranking import ranking_values
from tasks.model.embedder.registry import judge_embedder
from tasks.model.embedder.result import HEADLINE, EmbedderResult
from tasks.model.embedder.training import train_embedder
from tasks.model.training.trainer import TrainingProgress
from tasks.params import Params, SearchParams, load_params
from tasks.settings import Settings, quiet_environment

JUDGED, SHUFFLED = "judged", "shuffled"


def main() -> None:
    """Train, print what was held out; rebuild and print the test queries."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, default=Path("var") / "benchmarks" / "scifact")
    parser.add_argument("--epochs", type=float, default=2)
    parser.add_argument("--learning-rate", type=float, default=3e-5)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--max-tokens", type=int, default=256)
    parser.add_argument("--pool", type=int, default=MAX_POOL, help="chunks of the index that the gate ranks over")
    parser.add_argument("--labels", nargs="*", default=[SHUFFLED, JUDGED], choices=[SHUFFLED, JUDGED])
    parser.add_argument("--seen", type=int, metavar="N", help="rank test queries over N chunks, trained on or not")
    parser.add_argument("--select-only", action="store_true", help="stop behind the gate")
    arguments = parser.parse_args()
    quiet_environment()
    params, settings = prepare("scifact", arguments.home.resolve())
    refresh(settings)
    before = serving(settings).release
    params = with_tuning(params, arguments)
    for labels in arguments.labels:
        result = timed("training", partial(tune, params, settings, before, arguments.pool, shuffled=labels == SHUFFLED))
        print_held_out(result, labels)
    if arguments.seen:
        print_seen(params, settings, before, result.folder, arguments.seen)
    if arguments.select_only:
        return
    old = ask(params, settings, before)
    use_model(settings, result.folder)
    timed("rebuild", lambda: refresh(settings))
    after = serving(settings).release
    print_releases(before, after)
    print_test(old, ask(load_params(settings.params), settings, after))


def with_tuning(params: Params, arguments: argparse.Namespace) -> Params:
    tuned = {
        "method": "embedder",
        "learning_rate": arguments.learning_rate,
        "num_train_epochs": arguments.epochs,
        "per_device_train_batch_size": arguments.batch,
        "max_length": arguments.max_tokens,
        "eval_steps": 10,
        "save_steps": 10,
        "early_stopping_patience": 3,
        "max_steps": None,
    }
    return params.model_copy(update={"fine_tuning": params.fine_tuning.model_copy(update=tuned)})


def tune(params: Params, settings: Settings, release: Release, pool_size: int, *, shuffled: bool) -> EmbedderResult:
    """From pairs that are mined once for a release; a training of the same parameters is not run twice."""
    folder = settings.home / "tuning"
    labels = SHUFFLED if shuffled else JUDGED
    pairs, pool = (folder / f"{name}-{release.number}-{JUDGED}.jsonl" for name in ("pairs", f"pool-{pool_size}"))
    if not (pairs.exists() and pool.exists()):
        index, access = index_of(params, settings, release)
        write_json_lines(pool, TrainableChunks(index, access, "everyone").sample(pool_size))
        write_pairs(mine_pairs(with_enough_held_out(list(asked(index))), index, access, audience="everyone"), pairs)
    if shuffled:
        pairs = write_shuffled(pairs, folder / f"pairs-{release.number}-{SHUFFLED}.jsonl")
    key = hashlib.sha256(json.dumps(params.fine_tuning.model_dump(), sort_keys=True).encode()).hexdigest()[:12]
    lineage = {"questions": f"scifact train, {labels}", "corpus": release.corpus.tag}
    output = folder / f"minilm-{labels}-{pool_size}-{key}"
    return train_embedder(pairs, output, params, settings, pool=pool, lineage=lineage, listener=show)


def asked(index: Index) -> Iterator[EmbedderQuestion]:
    """Train queries with all chunks of their documents."""
    chunks: dict[str, list[str]] = {}
    for row in index.table.search().select(["chunk_id", "document_id"]).limit(None).to_arrow().to_pylist():
        chunks.setdefault(row["document_id"].split(":", 1)[1], []).append(row["chunk_id"])
    judged = load_judged("scifact", "train")
    for key, question in judged.questions.items():
        relevant = tuple(chunk for document in judged.grades[key] for chunk in chunks.get(document, []))
        yield EmbedderQuestion(question, relevant, min(judged.grades[key]), "train")


def write_shuffled(pairs: Path, output: Path) -> Path:
    """Deal the questions out anew over the chunks of their split: labels that teach nothing."""
    rows = read_pairs(pairs)
    dealt: list[Pair] = []
    for split in ("train", "validation"):
        some = [pair for pair in rows if pair.split == split]
        questions = [pair.question for pair in some]
        random.Random(7).shuffle(questions)
        dealt += [replace(pair, question=question) for pair, question in zip(some, questions, strict=True)]
    write_pairs(dealt, output)
    return output


def print_seen(params: Params, settings: Settings, release: Release, folder: Path, num_chunks: int) -> None:
    """Rank test queries over their own chunks and `num_chunks` more, apart by whether their document was trained on."""
    index, access = index_of(params, settings, release)
    judged = load_judged("scifact", "test")
    places = index.table.search().select(["chunk_id", "document_id"]).limit(None).to_arrow().to_pylist()
    chunks = TrainableChunks(index, access, "everyone")
    wanted = {document for grades in judged.grades.values() for document in grades}
    chunks.fetch(row["chunk_id"] for row in places if row["document_id"].split(":", 1)[1] in wanted)
    chunks.sample(num_chunks)
    rows = list(chunks.rows.values())
    documents = [row.text.group.split(":", 1)[1] for row in rows]
    questions = list(judged.questions.values())
    live = load_embedder(params.embedding, settings)
    tuned = load_embedder(params.embedding.model_copy(update={"model": str(folder)}), settings)
    vectors = np.array([row.vector for row in rows])
    old = live.embed_questions(questions) @ vectors.T
    new = tuned.embed_questions(questions) @ tuned.embed([row.text.text for row in rows]).T
    relevant = np.array([[document in judged.grades[key] for document in documents] for key in judged.questions])
    pairs = read_pairs(settings.home / "tuning" / f"pairs-{release.number}-{JUDGED}.jsonl")
    trained = {pair.positive.group.split(":", 1)[1] for pair in pairs if pair.split == "train"}
    seen = np.array([not trained.isdisjoint(judged.grades[key]) for key in judged.questions])
    before, after = (ranking_values(scores, relevant) for scores in (old, new))
    print(f"\n| test queries, {len(rows)} chunks | n | metric | before | after | after - before |")
    print("|---|---|---|---|---|---|")
    for name, some in (("of a document that training asked of", seen), ("of another", ~seen)):
        for metric in (HEADLINE, "ndcg_at_10"):
            gain = paired_difference(after[metric][some], before[metric][some], confidence=0.95, num_resamples=10000)
            means = f"{before[metric][some].mean():.3f} | {after[metric][some].mean():.3f}"
            interval = f"{gain.mean:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}]"
            print(f"| {name} | {some.sum()} | {metric} | {means} | {interval} |", flush=True)


def show(progress: TrainingProgress) -> None:
    measured = "" if progress.validation_loss is None else f", held-out loss {progress.validation_loss:.4f}"
    print(f"step {progress.step}/{progress.num_steps}: loss {progress.train_loss:.4f}{measured}", flush=True)


def use_model(settings: Settings, folder: Path) -> None:
    raw = yaml.safe_load(settings.params.read_text(encoding="utf-8"))
    raw["embedding"]["model"] = str(folder)
    settings.params.write_text(yaml.safe_dump(raw), encoding="utf-8")
    os.environ["ALMANAC_PARAMS"] = str(settings.params)


def index_of(params: Params, settings: Settings, release: Release) -> tuple[Index, AccessMap]:
    db = connect(settings)
    search = SearchParams(**(params.search.model_dump() | {"max_chunks_per_document": 1}))
    return open_index(db, release, params.model_copy(update={"search": search}), settings), load_access(db)


def ask(params: Params, settings: Settings, release: Release) -> Measured:
    index, access = index_of(params, settings, release)
    return measure_judged("scifact", load_judged("scifact", "test"), index, access)


def timed(name: str, work: Any) -> Any:
    wall, cpu = time.monotonic(), time.process_time()
    result = work()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    seconds, cpu_seconds = time.monotonic() - wall, time.process_time() - cpu
    print(f"{name}: {seconds:.0f} s, {cpu_seconds:.0f} CPU seconds, peak memory {peak:.0f} MB", flush=True)
    return result


def print_held_out(result: EmbedderResult, labels: str) -> None:
    print(
        f"\n{result.num_pairs} {labels} pairs, {result.num_steps} steps, weights of step {result.best_step}, by loss:"
    )
    print(", ".join(f"{step}: {value:.3f}" for step, value in result.selection.items()))
    print(
        f"\n| {result.num_questions} held-out train queries, {labels}, over {result.pool} chunks | before | after ",
        end="",
    )
    print("| after - before |\n|---|---|---|---|")
    for name, gain in result.gain.items():
        interval = f"{gain.mean:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}]"
        print(f"| {name} | {result.before[name]:.3f} | {result.after[name]:.3f} | {interval} |")
    reasons = judge_embedder(result)
    print(f"\nthe gate {'refuses: ' + '; '.join(reasons) if reasons else 'passes it'}\n", flush=True)


def print_releases(before: Release, after: Release) -> None:
    for release in (before, after):
        print(f"release {release.number}: {release.fingerprint.embedder}")


def print_test(old: Measured, new: Measured) -> None:
    print("\n| 300 test queries | metric | before | after | after - before |\n|---|---|---|---|---|")
    for mode in MODES:
        for place, metric in enumerate(old.metrics):
            gain = paired_difference(
                new.values[mode][place], old.values[mode][place], confidence=0.95, num_resamples=10000
            )
            means = f"{old.values[mode][place].mean():.3f} | {new.values[mode][place].mean():.3f}"
            print(f"| {mode} | {metric} | {means} | {gain.mean:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}] |")


if __name__ == "__main__":
    main()
