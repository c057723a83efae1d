"""What it costs to take one document back from an index of so many chunks: CPU seconds and bytes by step.

    python -m benchmarks.erasure --chunks 100 10000 100000

Made-up notes of one chunk each in releases that all stand, each with 1 % of the notes changed; random vectors in place
of the encoder's, so that a large home is built in minutes; MLflow and DVC as they are. Each size in a process of its
own. Bytes written are the kernel's count of all that was written, also what the next step replaced. `MB of tables` is
beside them: index, snapshots in both copies, and cached vectors, which hold the text, its words or its vector.
`--servers` starts an S3 (moto), a PostgreSQL and an MLflow of the tests' and keeps all there: the figures are those of
the process that forgets then, and `MB of tables` those of its home alone.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import asdict, dataclass
from functools import wraps
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import numpy.typing as npt
import yaml

from benchmarks.refresh.measure import cpu_seconds

WORDS_PER_NOTE = 60
STEPS = (
    "find_subject",
    "search_stores",
    "_erase_from_index",
    "_erase_from_registry",
    "collect_garbage",
    "_renew_manifests",
    "delete_traces",
    "erase_vectors",
    "remove_old_bytes",
    "_clean_databases",
)
"""Of `tasks.erasure.erase`; the rest is `other`."""
TABLES = ("lancedb", "cache", "registry", "dvc-remote")
"""Of the home, what holds texts, words and vectors of every document."""


@dataclass(frozen=True, slots=True)
class Spent:
    """What was spent up to a moment, or between two; finished children are in it."""

    cpu: float
    wall: float
    mb_read: float
    mb_written: float

    @classmethod
    def until_now(cls) -> "Spent":
        """Read the counts of the kernel."""
        lines = Path("/proc/self/io").read_text(encoding="utf-8").splitlines()
        counts = {name: int(value) / 1e6 for name, _, value in (line.partition(": ") for line in lines)}
        return cls(cpu_seconds(), time.monotonic(), counts["rchar"], counts["wchar"])

    def since(self, before: "Spent") -> "Spent":
        """Return what was spent between two moments."""
        return Spent(
            self.cpu - before.cpu,
            self.wall - before.wall,
            self.mb_read - before.mb_read,
            self.mb_written - before.mb_written,
        )


@dataclass(frozen=True, slots=True)
class Erasure:
    """One erasure that was measured."""

    num_chunks: int
    num_releases: int
    num_documents: int
    spent: Spent
    mb_of_tables: float
    mb_of_tables_after: float
    peak_mb: float
    steps: dict[str, Spent]


def main() -> None:
    """Print one row for each number of chunks, and one for each step of the largest."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chunks", type=int, nargs="+", default=[100, 10_000])
    parser.add_argument("--releases", type=int, default=2)
    parser.add_argument("--documents", type=int, default=1, help="how many are taken back at once")
    parser.add_argument("--servers", action="store_true")
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.folder:
        print(json.dumps(asdict(run(options.folder, options.chunks[0], options.releases, options.documents))))
        return
    print("| chunks | releases | documents | CPU s | wall s | MB of tables | after | MB read | MB written | peak MB |")
    print(f"|{'---|' * 10}")
    for num_chunks in options.chunks:
        with servers() if options.servers else nullcontext(os.environ) as environment:
            measured = in_own_process(num_chunks, options.releases, options.documents, environment)
        print_row(measured)
    print("\n| step | CPU s | wall s | MB read | MB written |\n|---|---|---|---|---|")
    for name, spent in measured["steps"].items():
        print(f"| {name.strip('_')} | {' | '.join(f'{value:.1f}' for value in spent.values())} |")


@contextmanager
def servers() -> Iterator[Mapping[str, str]]:
    """Yield the environment of a home that keeps all on servers."""
    from tests.stores import team_servers

    with tempfile.TemporaryDirectory() as folder, team_servers(Path(folder)) as shared:
        yield os.environ | shared


def in_own_process(
    num_chunks: int, num_releases: int, num_documents: int, environment: Mapping[str, str]
) -> dict[str, Any]:
    """Measure one size; return the fields of an `Erasure`."""
    with tempfile.TemporaryDirectory() as folder:
        numbers = ["--chunks", str(num_chunks), "--releases", str(num_releases), "--documents", str(num_documents)]
        command = [sys.executable, "-m", "benchmarks.erasure", "--folder", folder, *numbers]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    fields: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return fields


def print_row(measured: dict[str, Any]) -> None:
    """Print the row of one size."""
    spent = measured["spent"]
    tables = (measured["mb_of_tables"], measured["mb_of_tables_after"])
    figures = (spent["cpu"], spent["wall"], *tables, spent["mb_read"], spent["mb_written"], measured["peak_mb"])
    numbers = (measured["num_chunks"], measured["num_releases"], measured["num_documents"])
    cells = (*(f"{number:,}" for number in numbers), *(f"{value:.1f}" for value in figures))
    print(f"| {' | '.join(cells)} |", flush=True)


def run(folder: Path, num_chunks: int, num_releases: int, num_documents: int) -> Erasure:
    """Make the home, and take notes of it back.

    Raises:
        RuntimeError: something of a note is left.
    """
    from tasks.settings import Settings, quiet_environment

    quiet_environment()
    os.environ |= {"ALMANAC_HOME": str(folder / "home"), "ALMANAC_PARAMS": str(folder / "params.yaml")}
    from benchmarks.scale import Peak
    from flows.forget import forget
    from tasks.erasure.subject import Wanted

    build(folder, num_chunks, num_releases)
    tables, steps, peak = megabytes_of(Settings().home), dict[str, Spent](), Peak()
    wanted = Wanted(tuple(f"notes:note-{num_chunks // 2 + number}" for number in range(num_documents)))
    before = Spent.until_now()
    with timed_steps(steps), peak:
        receipt = forget.fn(wanted)
    spent = Spent.until_now().since(before)
    if sum(receipt.found_after.values()):
        raise RuntimeError(f"nothing of a note must be left, found {receipt.found_after}")
    parts = [Spent(**{name: sum(getattr(each, name) for each in steps.values()) for name in asdict(spent)})]
    steps["other"] = spent.since(parts[0])
    after = megabytes_of(Settings().home)
    return Erasure(num_chunks, num_releases, num_documents, spent, tables, after, peak.anonymous_mb, steps)


def build(folder: Path, num_chunks: int, num_releases: int) -> None:
    """Make a home with so many releases of so many notes."""
    from flows.refresh import refresh
    from tasks.index.embedding.embedder import TorchEmbedder

    write_params(folder)
    with patch.object(TorchEmbedder, "_embedded", random_vectors):
        for release in range(num_releases):
            write_notes(folder / "notes.jsonl", num_chunks, num_changed=release * max(1, num_chunks // 100))
            began = time.monotonic()
            refresh.fn()
            print(f"release {release + 1}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)


@contextmanager
def timed_steps(steps: dict[str, Spent]) -> Iterator[None]:
    """Count what each step spends, in `steps`."""
    from tasks.erasure import erase

    with ExitStack() as patches:
        for name in STEPS:
            patches.enter_context(patch.object(erase, name, timed(name, getattr(erase, name), steps)))
        yield


def timed(name: str, step: Callable[..., Any], steps: dict[str, Spent]) -> Callable[..., Any]:
    """Return a step that counts what it spends."""

    @wraps(step)
    def call(*args: Any, **kwargs: Any) -> Any:
        before = Spent.until_now()
        try:
            return step(*args, **kwargs)
        finally:
            spent, so_far = Spent.until_now().since(before), steps.get(name, Spent(0, 0, 0, 0))
            steps[name] = spent.since(Spent(*(-value for value in asdict(so_far).values())))

    return call


def random_vectors(self: Any, texts: Sequence[str]) -> npt.NDArray[np.float32]:
    """Stand for the encoder alone."""
    seed = zlib.crc32("\0".join(texts).encode())
    vectors = np.random.default_rng(seed).standard_normal((len(texts), self.dim), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


def write_params(folder: Path) -> None:
    """Write the project's parameters with one feed, and no golden questions of another corpus."""
    source = {"name": "notes", "kind": "records", "url": str(folder / "notes.jsonl"), "mode": "snapshot"}
    params = yaml.safe_load(Path("params.yaml").read_text(encoding="utf-8"))
    params["sources"] = [source | {"knowledge_base": "notes", "access": ["everyone"], "max_removed_fraction": 0.2}]
    params["index_gate"]["golden"] = None
    params["document_gate"]["rules"] = []
    (folder / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")


def write_notes(path: Path, num_notes: int, *, num_changed: int) -> None:
    """Write so many notes; the first `num_changed` of them say one word more."""
    with path.open("w", encoding="utf-8") as out:
        for number, text in zip(range(num_notes), texts(), strict=False):
            more = " Changed." if number < num_changed else ""
            out.write(json.dumps({"id": f"note-{number}", "title": f"Note {number}", "text": text + more}) + "\n")


def texts() -> Iterator[str]:
    """Yield the text of each note, always the same."""
    draw = random.Random(7)
    words = ["".join(draw.choice("bdfgklmnprst") + draw.choice("aeiou") for _ in range(3)) for _ in range(20_000)]
    number = 0
    while True:
        yield f"Note {number} says: {' '.join(draw.choices(words, k=WORDS_PER_NOTE))}."
        number += 1


def megabytes_of(home: Path) -> float:
    """Return the size of the tables of a home."""
    paths = (path for name in TABLES for path in (home / name).rglob("*"))
    return sum(path.lstat().st_size for path in paths if path.is_file() and not path.is_symlink()) / 1e6


if __name__ == "__main__":
    main()
