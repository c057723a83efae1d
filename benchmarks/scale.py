"""A million synthetic chunks with given vectors through the product's own write, index and search path.

    python -m benchmarks.scale --chunks 1000000

Vectors are clustered around 1,000 random centres, texts are drawn from a Zipf vocabulary whose most frequent words are
the stop words, as in a language: no encoder runs. Searches ask for a noisy copy of a stored vector with eight words of
its text, as one who may read all, one chunk in a hundred, or one in ten thousand; recall is that of the vector leg
against an exact scan.
"""

import argparse
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from benchmarks.refresh.measure import cpu_seconds

DIM = 384
ROWS = 8192
WORDS_PER_CHUNK = 60
NUM_WORDS = 50_000
WORDS_PER_QUESTION = 8
Vectors = npt.NDArray[np.float32]


class Given:
    """Stands for the encoder alone: the question's vector is set by the benchmark."""

    identity = "synthetic"
    dim = DIM
    vector: Vectors

    def embed_questions(self, questions: list[str]) -> Vectors:
        """The vector that was set, once for each question."""
        return np.repeat(self.vector[None], len(questions), axis=0)


def main() -> None:
    """Run and print one Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chunks", type=int, default=1_000_000)
    parser.add_argument("--queries", type=int, default=100)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        run(Path(name), arguments.chunks, arguments.queries)


def run(folder: Path, num_chunks: int, num_queries: int) -> None:
    """Write, index, change 1 %, search."""
    os.environ["ALMANAC_HOME"] = str(folder)
    from tasks.index import table as tables
    from tasks.index.access_tables import intern
    from tasks.params import load_params
    from tasks.settings import Settings, quiet_environment

    quiet_environment()
    params = load_params(Path("params.yaml"))
    db = tables.connect(Settings())
    intern(db, {frozenset({group}) for group in ("everyone", "one_in_100", "one_in_10000")})
    print(f"\n{num_chunks} chunks of {WORDS_PER_CHUNK} words, {DIM} dimensions\n")
    print("| step | CPU s | wall s | peak MB so far |\n|---|---|---|---|")
    timed("write", lambda: tables.rewrite(db, batches(0, num_chunks), DIM))
    timed("index", lambda: tables.build_indexes(db, params.index))
    table = tables.open_latest(db)
    table.tags.create("release-0001", table.version)
    changed = [f"d{number}" for number in range(0, num_chunks // 10, 100)]
    rows = num_chunks // 100
    timed(
        "change 1 %",
        lambda: tables.update(db, "release-0001", gone=changed, rows=batches(num_chunks, num_chunks + rows), dim=DIM),
    )
    timed("bring the indexes up to date", lambda: tables.build_indexes(db, params.index))
    print(f"\ndisk {folder_bytes(folder) / 1e6:.0f} MB\n")
    search(db, params, num_chunks, num_queries)


def timed(step: str, action: Callable[[], object]) -> None:
    """Run an action and print a row."""
    before, started = cpu_seconds(), time.monotonic()
    peak = Peak()
    with peak:
        action()
    print(f"| {step} | {cpu_seconds() - before:.1f} | {time.monotonic() - started:.1f} | {peak.anonymous_mb:.0f} |")


class Peak:
    """Peak anonymous memory while it is open: mapped files are the kernel's to drop."""

    def __enter__(self) -> "Peak":
        self.anonymous_mb, self._done = 0.0, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(0.05):
            lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
            kilobytes = next(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))
            self.anonymous_mb = max(self.anonymous_mb, kilobytes / 1024)


def centres() -> Vectors:
    """1,000 random unit vectors, the same in each call."""
    return unit(np.random.default_rng(7).standard_normal((1000, DIM), dtype=np.float32))


def unit(vectors: Vectors) -> Vectors:
    """Rows of length one."""
    result: Vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return result


def batches(begin: int, end: int) -> Iterator[pa.RecordBatch]:
    """Rows `begin` to `end` of the synthetic table, ten chunks a document."""
    from tasks.index.access import access_id
    from tasks.index.table import chunk_schema

    middle = centres()
    words = vocabulary()
    ids = np.array([access_id({group}) for group in ("everyone", "one_in_100", "one_in_10000")])
    schema = chunk_schema(DIM)
    for start in range(begin, end, ROWS):
        numbers = np.arange(start, min(start + ROWS, end))
        random = np.random.default_rng(start)
        noise = random.standard_normal((len(numbers), DIM), dtype=np.float32) * 0.03
        vectors = unit(middle[random.integers(0, 1000, len(numbers))] + noise)
        # What is rarer than all words is spread over them: cut to the last one it would stand in nearly every chunk.
        drawn = words[(random.zipf(1.2, (len(numbers), WORDS_PER_CHUNK)) - 1) % NUM_WORDS]
        texts = [" ".join(row) for row in drawn]
        group = np.where(numbers % 10_000 == 0, 2, np.where(numbers % 100 == 0, 1, 0))
        columns = {
            "chunk_id": pa.array([f"c{n}" for n in numbers]),
            "document_id": pa.array([f"d{n // 10}" for n in numbers]),
            "access_id": pa.array(ids[group]),
            "ordinal": pa.array(numbers % 10, pa.int32()),
            "text": pa.array(texts),
            "search_text": pa.array(texts),
            "terms": pa.array(texts),
            "vector": pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), DIM),
        }
        yield pa.record_batch([columns.get(f.name, filler(f, len(numbers))) for f in schema], schema=schema)


def vocabulary() -> npt.NDArray[np.str_]:
    """Words by rank: what no question is asked for first, then words without a meaning."""
    from tasks.index.search.terms import STOP_WORDS

    stop_words = sorted(STOP_WORDS)
    return np.array([*stop_words, *(f"w{number}" for number in range(NUM_WORDS - len(stop_words)))])


def filler(field: pa.Field, length: int) -> pa.Array:
    """A constant column for what the benchmark does not vary."""
    if pa.types.is_boolean(field.type):
        return pa.array([False] * length)
    if pa.types.is_string(field.type):
        return pa.array(["x"] * length, field.type)
    return pa.array([0] * length, field.type) if pa.types.is_integer(field.type) else pa.nulls(length, field.type)


def search(db: object, params: object, num_chunks: int, num_queries: int) -> None:
    """Latency and recall by mode and filter."""
    from tasks.index import table as tables
    from tasks.index.access_tables import load_access
    from tasks.index.search import Index, Request

    table = tables.open_latest(db)  # type: ignore[arg-type]
    encoder, access = Given(), load_access(db)  # type: ignore[arg-type]
    index = Index(table, encoder, params.search, params.index, release="1")  # type: ignore[arg-type, attr-defined]
    random = np.random.default_rng(1)
    picks = random.integers(num_chunks // 10, num_chunks, num_queries)
    sample = table.to_lance().take(picks.tolist(), columns=["vector", "text"])
    print("| asker | mode | p50 ms | p95 ms | recall@10 of the vector leg |\n|---|---|---|---|---|")
    for groups in (("one_in_100", "one_in_10000"), ("one_in_100",), ("one_in_10000",)):
        only = (
            access if len(groups) > 1 else type(access)({k: v for k, v in access.sets.items() if v & set(groups)}, {})
        )
        for mode in ("vector", "full_text", "hybrid"):
            spent, recall = [], []
            for row in sample.to_pylist():
                noisy = np.asarray(row["vector"], np.float32) + random.standard_normal(DIM, dtype=np.float32) * 0.02
                encoder.vector = unit(noisy[None])[0]
                question = " ".join(row["text"].split()[:WORDS_PER_QUESTION])
                started = time.perf_counter()
                found = index.search(Request(question, groups, mode=mode, top_k=10), only)  # type: ignore[arg-type]
                spent.append((time.perf_counter() - started) * 1000)
                if mode == "vector":
                    recall.append(
                        overlap(table, encoder.vector, only.readable_ids(groups), [p.chunk_id for p in found])
                    )
            p50, p95 = np.percentile(spent, [50, 95])
            print(f"| {'+'.join(groups)} | {mode} | {p50:.1f} | {p95:.1f} | {np.mean(recall) if recall else '':.5} |")


def overlap(table: object, vector: Vectors, readable: list[int], nearest: list[str]) -> float:
    """Share of the exact ten nearest that were found."""
    from lancedb.expr import col

    query = table.search(vector, vector_column_name="vector").distance_type("cosine")  # type: ignore[attr-defined]
    exact = query.where(col("access_id").isin(readable)).bypass_vector_index().select(["chunk_id"]).limit(10).to_list()
    return len({row["chunk_id"] for row in exact} & set(nearest)) / max(len(exact), 1)


def folder_bytes(folder: Path) -> int:
    """Bytes of all files."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


if __name__ == "__main__":
    main()
