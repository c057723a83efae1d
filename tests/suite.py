"""`make test`: the processes of `tests.longest_first`, as many at a time as there are cores.

Each is a fork of this process, which has imported the large libraries once: to import them takes ten CPU seconds, more
than most files' tests. LanceDB and Prefect are not among them: the one calls its fork support experimental, the other
reads its settings when it is imported.

A process that fails among others runs once more at the end, from a new interpreter and with the cores to itself: what
fails then fails `make test`. What passes then is named in the last lines, since a test that needs a quiet machine is
still one to mend.
"""

import gc
import importlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO

from tasks.settings import QUIET_ENVIRONMENT
from tests.longest_first import processes

WARM = (
    "fastapi",
    "great_expectations",
    "great_expectations.expectations",
    "httpx",
    "mlflow",
    "mlflow.store.model_registry.sqlalchemy_store",
    "mlflow.store.tracking.sqlalchemy_store",
    "pandas",
    "peft",
    "pyarrow.parquet",
    "torch",
    "transformers",
)


@dataclass(frozen=True, slots=True)
class Run:
    """A fork of this process that runs some test files, and the file without a name that it writes to."""

    files: Sequence[str]
    report: IO[bytes]
    started: float


def main() -> int:
    """Run all tests; return the exit code of `make test`, or in a fork that of its files."""
    _import_once()
    waiting = processes()
    running: dict[int, Run] = {}
    failed: list[Sequence[str]] = []
    while waiting or running:
        if waiting and len(running) < int(os.environ.get("JOBS") or os.cpu_count() or 1):
            run = Run(waiting.pop(0), tempfile.TemporaryFile(), time.monotonic())  # noqa: SIM115 - closed when it was read
            process = os.fork()
            if process == 0:
                return _fork(run)
            running[process] = run
            continue
        process, status, used = os.wait4(-1, 0)
        run = running.pop(process)
        with run.report as report:
            report.seek(0)
            print(" ".join(run.files), report.read().decode(errors="replace").rstrip(), sep="\n")
        seconds, cpu_seconds = time.monotonic() - run.started, used.ru_utime + used.ru_stime
        print(f"{seconds:.0f} s, {cpu_seconds:.0f} CPU s", flush=True)
        if status:
            failed.append(run.files)
    broken = [files for files in failed if not _passes_alone(files)]
    for files in failed:
        outcome = "failed" if files in broken else "failed among others and passed alone, a test to mend"
        print(f"{outcome}: {' '.join(files)}")
    return 1 if broken else 0


def _import_once() -> None:
    before = dict(os.environ)
    os.environ |= QUIET_ENVIRONMENT
    for name in WARM:
        importlib.import_module(name)
    os.environ.clear()
    os.environ.update(before)
    gc.freeze()  # else each fork looks through what was imported, and at its end takes it down: half of its CPU seconds


def _fork(run: Run) -> int:
    import pytest

    os.dup2(run.report.fileno(), 1)
    os.dup2(run.report.fileno(), 2)
    return int(pytest.main(list(run.files)))


def _passes_alone(files: Sequence[str]) -> bool:
    print(f"once more, alone: {' '.join(files)}", flush=True)
    return subprocess.run([sys.executable, "-m", "pytest", *files], check=False).returncode == 0


if __name__ == "__main__":
    sys.exit(main())
