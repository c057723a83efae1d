"""What the tests of bad input run, break and look at."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from tasks.settings import QUIET_ENVIRONMENT
from tests.conftest import Outcome, merged

ROOT = Path(__file__).resolve().parents[2]
NOTES = {
    "deploy.md": "# Deploying\n\nRun the blue-green script `swap.sh` to move traffic to the new cluster.\n",
    "backup.md": "# Backups\n\nSnapshots of the ledger are kept for ninety days in cold storage.\n",
}
DEAD = "http://127.0.0.1:9"


def change_params(place: Path, **changes: Any) -> None:
    path = place / "params.yaml"
    raw = merged(yaml.safe_load(path.read_text(encoding="utf-8")), changes)
    path.write_text(yaml.safe_dump(raw), encoding="utf-8")


def answers(almanac: Callable[..., Outcome]) -> bool:
    found = almanac("search", "how long are snapshots kept?", "--json")
    return found.code == 0 and json.loads(found.out)["results"][0]["title"] == "Backups"


def cut(path: Path, share: float = 0.5) -> None:
    """Keep only the first part of a file, as a disk that died would."""
    data = path.read_bytes()
    path.chmod(0o600)
    path.unlink()
    path.write_bytes(data[: int(len(data) * share)])


def live_data(place: Path) -> list[Path]:
    return sorted((place / "home" / "lancedb" / "chunks.lance" / "data").glob("*.lance"))


def live_manifests(place: Path) -> list[Path]:
    return sorted((place / "home" / "lancedb" / "chunks.lance" / "_versions").glob("*.manifest"))


def corrupt_snapshot(place: Path) -> None:
    """Both copies: the registry's folder and cache, and the remote."""
    for folder in ("registry", "dvc-remote"):
        for path in (place / "home" / folder).rglob("*"):
            with_rows = path.is_file() and path.read_bytes()[:4] == b"PAR1"
            if with_rows:
                path.chmod(0o600)
                cut(path)


def corrupt_cache(place: Path) -> None:
    path = next((place / "home" / "cache").glob("embeddings-*.sqlite"))
    path.write_bytes(b"no database at all, but long enough to be read as one" * 100)
    for beside in path.parent.glob(f"{path.name}-*"):
        beside.unlink()


def run_program(*arguments: str, **environment: str) -> tuple[Outcome, float]:
    """The real program in a process of its own, and its CPU seconds."""
    before = os.times()
    done = subprocess.run(
        [sys.executable, "-m", "cli", *arguments],
        cwd=ROOT,
        env=os.environ | QUIET_ENVIRONMENT | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    after = os.times()
    seconds = after.children_user + after.children_system - before.children_user - before.children_system
    return Outcome(done.returncode, done.stdout, done.stderr), seconds
