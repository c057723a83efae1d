"""Run the cases and say which are right: `python -m benchmarks.cases [NAME …]`; exit code 1 where one is wrong.

They lie beside the project, in `../shared/cases` or the folder of `ALMANAC_CASES_DIR`; each is a folder of an input,
a program and `expect.json`. Each program runs in a process of its own; those that speak HTTP find a real server.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.cases.verdicts import is_right

ROOT = Path(__file__).parents[2]
FOLDER = Path(os.environ.get("ALMANAC_CASES_DIR", ROOT / ".." / "shared" / "cases")).resolve()
_PAGE = "# Parking\n\nParking costs nine euros a day. The car park opens at six in the morning.\n"
_TIMEOUT_SECONDS = 600
_SERVER_SECONDS = 300


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one case.

    Attributes:
        kind: the letter of its kind.
        got: what its program printed; its last error line where it printed nothing.
    """

    name: str
    kind: str
    is_right: bool
    got: Any


def main() -> int:
    """Run them, print a line each and the wrong ones in full."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="names of cases, or single letters of kinds; none: all")
    names = parser.parse_args().names
    if not FOLDER.is_dir():
        raise SystemExit(f"the cases must be at hand, found no folder {FOLDER}; set ALMANAC_CASES_DIR")
    folders = [folder for folder in sorted(FOLDER.iterdir()) if (folder / "expect.json").exists()]
    chosen = [folder for folder in folders if not names or folder.name in names or _kind(folder) in names]
    with _server() if any(_needs_server(folder) for folder in chosen) else nullcontext(""):
        outcomes = [_run(folder) for folder in chosen]
    for outcome in outcomes:
        if not outcome.is_right:
            print(f"\n{outcome.name}: {json.dumps(outcome.got, ensure_ascii=False)[:1500]}")
    print(f"\n{_summary(outcomes)}")
    return int(any(not outcome.is_right for outcome in outcomes))


def _summary(outcomes: Sequence[Outcome]) -> str:
    wrong = sorted((outcome.kind, outcome.name) for outcome in outcomes if not outcome.is_right)
    named = "; wrong: " + ", ".join(f"{kind} {name}" for kind, name in wrong) if wrong else ""
    return f"{len(outcomes) - len(wrong)} of {len(outcomes)} right{named}"


def _kind(folder: Path) -> str:
    return str(json.loads((folder / "expect.json").read_text(encoding="utf-8"))["kind"])


def _needs_server(folder: Path) -> bool:
    return " http(" in f" {(folder / 'run.py').read_text(encoding='utf-8')}".replace("say(http(", " http(")


def _run(folder: Path) -> Outcome:
    command = [sys.executable, "-m", "benchmarks.cases.run_one", str(folder / "run.py")]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=folder, env=environment, timeout=_TIMEOUT_SECONDS, check=False
    )
    said = [json.loads(line.removeprefix("GOT ")) for line in done.stdout.splitlines() if line.startswith("GOT ")]
    got = said[0] if len(said) == 1 else said or f"no result: {done.stderr.strip()[-600:]}"
    outcome = Outcome(folder.name, _kind(folder), is_right(folder.name, got, folder), got)
    print(f"{'right' if outcome.is_right else 'WRONG':5} {outcome.kind:2} {outcome.name}", flush=True)
    return outcome


@contextmanager
def _server() -> Iterator[None]:
    """A server over one page, which may be asked without a key and from one other origin."""
    from benchmarks.cases import functions

    with tempfile.TemporaryDirectory() as scratch:
        docs = Path(scratch, "docs")
        docs.mkdir()
        (docs / "parking.md").write_text(_PAGE, encoding="utf-8")
        functions.home(
            [functions.files(docs)],
            keep=scratch,
            serving={"anonymous_groups": ["everyone"], "smoke_questions": []},
            generation={"answerer": "excerpt"},
        )
        print(f"a server over one page: {functions.refresh()}", flush=True)
        port = _free_port()
        environment = os.environ | {"ALMANAC_CORS_ORIGINS": "http://localhost:3000"}
        server = subprocess.Popen(
            [sys.executable, "-m", "cli", "serve", "--port", str(port)], cwd=ROOT, env=environment
        )
        try:
            os.environ["ALMANAC_URL"] = f"http://127.0.0.1:{port}"
            _wait(f"http://127.0.0.1:{port}/readyz")
            yield
        finally:
            server.terminate()
            server.wait(timeout=60)


def _free_port() -> int:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def _wait(address: str) -> None:
    deadline = time.monotonic() + _SERVER_SECONDS
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(address, timeout=5):
                return
        except OSError:
            time.sleep(1)
    raise SystemExit(f"the server must be ready within {_SERVER_SECONDS} s, found none at {address}")


if __name__ == "__main__":
    sys.exit(main())
