"""Parsing and embedding on two workers of Dask or Ray through Prefect: the same index, also when one is killed."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.refresh import refresh as refresh_flow
from flows.steps import runner
from tasks.index.table import connect, open_latest
from tasks.params import Params
from tasks.settings import Settings
from tests.conftest import files_source, wait_until

pytestmark = pytest.mark.slow


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    folder = tmp_path / "notes"
    folder.mkdir()
    for number in range(12):
        text = f"# Machine {number}\n\nIt stands in hall {number} and has {number + 2} wheels.\n"
        (folder / f"{number}.md").write_text(text, encoding="utf-8")
    return folder


def rows(settings: Settings) -> pa.Table:
    return open_latest(connect(settings)).to_arrow().sort_by("chunk_id")


def kill_a_worker_once(holds: Callable[[], object], killed: list[int]) -> None:
    wait_until(holds, seconds=200)
    wait_until(_workers, seconds=20)
    worker = _workers()[0]
    worker.kill()
    killed.append(worker.pid)


def _workers() -> list[psutil.Process]:
    """Return the workers of Dask, or those of Ray, which names each by the task in its hand."""
    return [child for child in psutil.Process().children(recursive=True) if _is_worker(_command(child))]


def _is_worker(command: str) -> bool:
    has_task = command.startswith("ray::") and command != "ray::IDLE" and "Agent" not in command
    return "spawn_main" in command or has_task


def _command(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline()).strip()
    except psutil.NoSuchProcess:
        return ""


@pytest.mark.parametrize(
    ("workers", "moment"),
    [("dask", "parse/*.rejects.json"), ("dask", "embed/*.vectors.parquet"), ("ray", "parse/*.rejects.json")],
)
def test_killed_worker_changes_nothing_in_the_index(
    workers: str,
    moment: str,
    notes: Path,
    home: Path,
    settings: Settings,
    prefect_server: str,
    write_params: Callable[..., Params],
    refresh: Callable[..., dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    shards = {"items_per_shard": 1, "chunks_per_shard": 1}
    write_params([files_source(notes)], execution=shards)
    monkeypatch.setenv("ALMANAC_HOME", str(tmp_path / "threads"))
    refresh()
    expected = rows(Settings())
    monkeypatch.setenv("ALMANAC_HOME", str(home))
    monkeypatch.setenv("PREFECT_API_URL", prefect_server)
    params = write_params([files_source(notes)], execution=shards | {"runner": workers})
    killed: list[int] = []
    killer = threading.Thread(
        target=kill_a_worker_once, args=(lambda: list((home / "work").glob(moment)), killed), daemon=True
    )
    killer.start()

    with temporary_settings({PREFECT_API_URL: prefect_server}):
        result = runner(refresh_flow, params)().as_json()

    found = rows(settings)
    assert len(killed) == 1
    assert result["accepted"] == 12
    assert found.drop_columns("vector").equals(expected.drop_columns("vector"))
    vectors = [np.stack(table["vector"].to_numpy()) for table in (found, expected)]
    np.testing.assert_allclose(*vectors, atol=1e-5)
