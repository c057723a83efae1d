"""Tuning the embedding model on scifact: train queries in, nDCG@10 of the test queries out, before and after.

    python -m benchmarks.embedder_tuning --home var/benchmarks/scifact [--epochs 2] [--learning-rate 3e-5]

The way to production and no shortcut: the live index of `--home` (made by `python -m benchmarks.retrieval scifact` or
here) gives chunks and hard negatives; the tuned folder becomes `embedding.model`; a refresh makes the next release from
the snapshot without fetching a document; both releases are asked the test queries through `Index.search`. The last
two columns are the paired bootstrap's 95 % interval of after - before. `--select-only` stops behind the training: its
figures are of train queries that were held out, and are what parameters may be chosen by.
"""

import argparse
import hashlib
import json
import os
import resource
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from benchmarks.judgements import load_judged
from benchmarks.retrieval import MODES, Measured, measure_judged, prepare, refresh
from tasks.bootstrap import paired_difference
from tasks.index.access import AccessMap
from tasks.index.access_tables import load_access
from tasks.index.live import open_index, serving
from tasks.index.release import Release
from tasks.index.search import Index
from tasks.index.table import connect
from tasks.model.embedder.pairs import EmbedderQuestion, mine_pairs, write_pairs
from tasks.model.embedder.result import HEADLINE, EmbedderResult
from tasks.model.embedder.training import train_embedder
from tasks.model.training.trainer import TrainingProgress
from tasks.params import Params, SearchParams, load_params
from tasks.settings import Settings, quiet_environment

HELD_OUT_PERCENT = 25


def main() -> None:
    """Train, print what was held out; rebuild and print the test queries."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, default=Path("var") / "benchmarks" / "scifact")
    parser.add_argument("--epochs", type=float, default=2)
    parser.add_argument("--learning-rate", type=float, default=3e-5)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--max-tokens", type=int, default=256)
    parser.add_argument("--select-only", action="store_true", help="stop behind the training")
    arguments = parser.parse_args()
    quiet_environment()
    params, settings = prepare("scifact", arguments.home.resolve())
    refresh(settings)
    before = serving(settings).release
    params = with_tuning(params, arguments)
    result = timed("training", lambda: tune(params, settings, before))
    print_held_out(result)
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


def tune(params: Params, settings: Settings, release: Release) -> EmbedderResult:
    """From pairs that are mined once for a release; a training of the same parameters is not run twice."""
    folder = settings.home / "tuning"
    pairs = folder / f"pairs-{release.number}.jsonl"
    if not pairs.exists():
        index, access = index_of(params, settings, release)
        write_pairs(mine_pairs(list(asked(index)), index, access, audience="everyone"), pairs)
    key = hashlib.sha256(json.dumps(params.fine_tuning.model_dump(), sort_keys=True).encode()).hexdigest()[:12]
    lineage = {"questions": "scifact train", "corpus": release.corpus.tag}
    return train_embedder(pairs, folder / f"minilm-{key}", params, settings, lineage=lineage, listener=show)


def asked(index: Index) -> Iterator[EmbedderQuestion]:
    """Train queries with all chunks of their documents; a query's hash says whether it is held out."""
    chunks: dict[str, list[str]] = {}
    for row in index.table.search().select(["chunk_id", "document_id"]).limit(None).to_arrow().to_pylist():
        chunks.setdefault(row["document_id"].split(":", 1)[1], []).append(row["chunk_id"])
    judged = load_judged("scifact", "train")
    for key, question in judged.questions.items():
        relevant = tuple(chunk for document in judged.grades[key] for chunk in chunks.get(document, []))
        place = int(hashlib.sha256(min(judged.grades[key]).encode()).hexdigest(), 16) % 100
        yield EmbedderQuestion(question, relevant, "validation" if place < HELD_OUT_PERCENT else "train")


def show(progress: TrainingProgress) -> None:
    measured = "" if progress.validation_loss is None else f", {HEADLINE} {1 - progress.validation_loss:.4f}"
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


def print_held_out(result: EmbedderResult) -> None:
    print(f"\n{result.num_pairs} pairs, {result.num_steps} steps, weights of step {result.best_step}, by held-out MRR:")
    print(", ".join(f"{step}: {value:.3f}" for step, value in result.selection.items()))
    print(f"\n| {result.num_questions} held-out train queries | before | after | after - before |\n|---|---|---|---|")
    for name, gain in result.gain.items():
        interval = f"{gain.mean:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}]"
        print(f"| {name} | {result.before[name]:.3f} | {result.after[name]:.3f} | {interval} |")


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
