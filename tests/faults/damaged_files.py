"""A home with what Almanac keeps, the ways in which one of its files can be damaged, and what is run then."""

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from tests.chat_model import save_chat_model
from tests.conftest import BASE_PARAMS, files_source, merged

NOTES = {
    "deploy.md": "# Deploying\n\nRun the blue-green script `swap.sh` to move traffic to the new cluster.\n",
    "backup.md": "# Backups\n\nSnapshots of the ledger are kept for ninety days in cold storage.\n",
    "salaries.md": "---\naccess: [payroll]\n---\n# Salaries\n\nSnapshots are kept of grade seven: 61000 crowns.\n",
    "broken.md": "---\naccess: [payroll\n---\n# Broken\n\nFront matter that cannot be read.\n",
}
QUESTION = "how long are snapshots kept?"
SECRET = "61000"
COMMANDS = {
    "search": ["search", QUESTION, "--json"],
    "ask": ["ask", QUESTION, "--json"],
    "status": ["status"],
    "releases": ["releases"],
    "quarantine": ["quarantine", "list"],
    "keys": ["keys", "list"],
    "review": ["review", "list"],
    "audit": ["audit"],
    "show": ["show", "backup.md"],
    "doctor": ["doctor", "--deep"],
    "refresh": ["refresh"],
}
LEFT_OUT = (
    "prefect/",
    "locks/",
    "lancedb/",
    "registry/",
    "dvc-remote/",
    "mlartifacts/",
    "sha256/",
    "-wal",
    "-shm",
    "lock",
)


def _cut(path: Path) -> None:
    data = path.read_bytes()
    _replace(path, data[: len(data) // 2])


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    chance = random.Random(path.name)
    for _ in range(max(1, len(data) // 50)):
        if data:
            data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    _replace(path, bytes(data))


def _foreign(path: Path) -> None:
    _replace(path, b'{"no": ["file of Almanac"]}\n' * 20)


def _gone(path: Path) -> None:
    path.unlink()


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGES: dict[str, Callable[[Path], None]] = {
    "cut": _cut,
    "flipped": _flip,
    "foreign": _foreign,
    "gone": _gone,
    "folder": _folder,
}


def _replace(path: Path, data: bytes) -> None:
    path.chmod(0o600)
    path.unlink()
    path.write_bytes(data)
    path.chmod(0o600)


def make_home(folder: Path, migrated_mlflow: Path) -> None:
    """Write notes, one of them restricted and one unreadable, parameters and an empty home."""
    (folder / "notes").mkdir()
    for name, text in NOTES.items():
        (folder / "notes" / name).write_text(text, encoding="utf-8")
    (folder / "home").mkdir()
    shutil.copy(migrated_mlflow, folder / "home" / "mlflow.db")
    save_chat_model(folder / "model")
    write_params(folder)


def write_params(folder: Path, model: Path | None = None) -> None:
    """Write `params.yaml` for the notes of `folder`."""
    raw = merged(BASE_PARAMS, {"sources": [files_source(folder / "notes")]})
    changes = {"model": str(model or folder / "model"), "gguf_file": None, "answerer": "excerpt"}
    raw = merged(raw, {"generation": changes})
    (folder / "params.yaml").write_text(yaml.safe_dump(raw), encoding="utf-8")


def files_of(home: Path) -> list[str]:
    """Return the files of a home, one of each kind of name, relative to it."""
    kinds: dict[str, str] = {}
    for path in sorted(home.rglob("*")):
        name = path.relative_to(home).as_posix()
        if path.is_file() and not path.is_symlink() and not any(part in name for part in LEFT_OUT):
            kinds.setdefault(_kind(name), name)
    return sorted(kinds.values())


def _kind(name: str) -> str:
    parts = name.split("/")
    return "/".join(["".join("#" if sign in "0123456789abcdef-" else sign for sign in part) for part in parts])


def answers(outcome: dict[str, Any]) -> bool:
    """Say whether a search found what it should."""
    return outcome["code"] == 0 and json.loads(outcome["out"])["results"][0]["title"] == "Backups"
