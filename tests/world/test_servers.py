"""A team's servers: MLflow on PostgreSQL, all files and the index on S3, two machines with empty homes of their own."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from serving.promotion.live import LivePair
from tasks.index.release import load_release
from tasks.index.table import connect, open_at
from tasks.params import Params
from tasks.releases.kind import INDEX
from tasks.releases.model_registry import CHAMPION, mlflow_client
from tasks.settings import Settings
from tests.chat_model import save_chat_model
from tests.conftest import files_source
from tests.stores import team_servers

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The settings that machines share."""
    with team_servers(tmp_path_factory.mktemp("servers")) as settings:
        yield settings


def almanac(environment: dict[str, str], *arguments: str) -> dict[str, Any]:
    """Run a command as on a machine of its own; standard output must be JSON and nothing else."""
    command = [sys.executable, "-m", "cli", *arguments, "--json"]
    done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def rows(settings: Settings, number: int) -> pa.Table:
    """All that a release holds."""
    return open_at(connect(settings), load_release(settings, number).lance_tag).to_arrow().sort_by("chunk_id")


def test_two_machines_refresh_promote_and_roll_back_on_servers(
    servers: dict[str, str],
    home: Path,
    write_params: Callable[..., Params],
    refresh: Callable[..., dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    notes = tmp_path / "notes"
    notes.mkdir()
    (notes / "pager.md").write_text("# The pager\n\nThe pager is kept in the north hall.\n")
    model = {"model": str(save_chat_model(tmp_path / "model")), "gguf_file": None, "answerer": "excerpt"}
    params = write_params([files_source(notes)], generation=model)
    one, two = (servers | {"ALMANAC_HOME": str(tmp_path / name)} for name in ("one", "two"))

    checked = almanac(one, "doctor", "--stores")
    first = almanac(one, "refresh")
    (notes / "ledger.md").write_text("# The ledger\n\nThe ledger is kept in the south hall.\n")
    second = almanac(two, "refresh")
    embedded = refresh()

    assert [check["store"] for check in checked["stores"]] == ["index", "shared state", "snapshots", "MLflow"]
    assert checked["problems"] == []
    assert (first["release"], second["release"], second["unchanged"]) == (1, 2, 1)

    # The index is the one that an embedded home makes of the same documents.
    with monkeypatch.context() as second_machine:
        for name, value in two.items():
            second_machine.setenv(name, value)
        shared = Settings()
    alone = Settings(home=home, params=tmp_path / "params.yaml")
    ours, theirs = rows(shared, 2), rows(alone, embedded["release"])
    assert ours.num_rows == 2
    assert ours.drop_columns("vector").equals(theirs.drop_columns("vector"))
    # Texts that are embedded together are padded to one length, which moves the last bits.
    np.testing.assert_allclose(*(np.stack(table["vector"].to_numpy()) for table in (ours, theirs)), atol=1e-5)

    # Both machines follow what a person does in MLflow, and a rollback by command.
    lives = [
        LivePair(params, shared.model_copy(update={"home": Path(machine["ALMANAC_HOME"])})) for machine in (one, two)
    ]

    def served() -> list[int | None]:
        for live in lives:
            live.follow()
        return [index.release if (index := live.status().index) else None for live in lives]

    assert served() == [2, 2]
    with mlflow_client(shared) as client:
        client.set_registered_model_alias(INDEX.model, CHAMPION, "1")
    assert served() == [1, 1]
    with mlflow_client(shared) as client:
        client.set_registered_model_alias(INDEX.model, CHAMPION, "2")
    assert served() == [2, 2]
    assert almanac(one, "rollback", "index")["release"] == 1
    assert served() == [1, 1]

    shutil.rmtree(tmp_path / "one")
    asked = almanac(one, "ask", "Where is the pager kept?")
    assert "north hall" in asked["answer"]
    assert asked["trace_id"]
