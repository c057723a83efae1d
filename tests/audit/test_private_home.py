"""All that a refresh and a question leave in the home is its owner's alone, and the audit log knows of them."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tasks.params import Params
from tests.chat_model import save_chat_model
from tests.conftest import files_source

pytestmark = pytest.mark.slow

READ_ONLY = 0o444
"""DVC protects what it keeps so; the folder around it lets nobody else in."""


def almanac(*arguments: str) -> dict[str, Any]:
    """Run a command as a person whose machine lets everybody read new files."""
    command = ["sh", "-c", 'umask 022; exec "$@"', "sh", sys.executable, "-m", "cli", *arguments, "--json"]
    done = subprocess.run(command, env=os.environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def test_home_is_read_by_its_owner_alone(tmp_path: Path, home: Path, write_params: Callable[..., Params]) -> None:
    notes = tmp_path / "notes"
    notes.mkdir()
    (notes / "pager.md").write_text("# The pager\n\nThe pager is kept in the north hall.\n")
    model = {"model": str(save_chat_model(tmp_path / "model")), "gguf_file": None, "answerer": "excerpt"}
    write_params([files_source(notes)], generation=model)
    home.chmod(0o700)
    (home / "mlflow.db").chmod(0o600)

    almanac("refresh")
    asked = almanac("ask", "Where is the pager kept?")
    almanac("search", "pager")
    almanac("keys", "add", "alice", "--groups", "crew")
    entries = almanac("audit")["entries"]

    paths = [path for path in home.rglob("*") if not path.is_symlink()]
    modes = {str(path.relative_to(home)): path.stat().st_mode & 0o777 for path in paths}
    open_to_others = {
        name: oct(mode)
        for name, mode in modes.items()
        if mode & 0o077 and (mode != READ_ONLY or (home / name).is_dir())
    }
    assert open_to_others == {}
    assert [entry["what"] for entry in entries] == ["promoted", "shown", "shown", "key added"]
    assert entries[1]["documents"] == ["notes:pager.md"]
    assert entries[1]["detail"]["trace"] == asked["trace_id"]
    assert entries[3]["detail"]["name"] == "alice"
    assert "north hall" not in json.dumps(entries)
