"""Under a real Prefect server: what a run reports, refusals, how shards are spread, and a server that goes away."""

import logging
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from prefect import flow
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.refresh import refresh as refresh_flow
from flows.steps import cluster, runner, step
from tasks.errors import BusyError, DependencyError, GateError
from tasks.lease import hold
from tasks.params import ExecutionParams, Params
from tests.conftest import files_source, wait_until

pytestmark = pytest.mark.slow
PROJECT = Path(__file__).parents[2]


@pytest.fixture
def server(prefect_server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("PREFECT_API_URL", prefect_server)
    with temporary_settings({PREFECT_API_URL: prefect_server}):
        yield prefect_server


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    folder = tmp_path / "notes"
    folder.mkdir()
    for name in ("pager", "ledger"):
        (folder / f"{name}.md").write_text(f"# The {name}\n\nThe {name} is kept in the north hall.\n", encoding="utf-8")
    return folder


def found(server: str, what: str, **body: Any) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = httpx.post(f"{server}/{what}/filter", json=body, timeout=30).json()
    return rows


def last_run(server: str) -> dict[str, Any]:
    newest = {"flow_runs": {"start_time": {"is_null_": False}}, "sort": "START_TIME_DESC", "limit": 1}
    return found(server, "flow_runs", **newest)[0]


def refresh_in_process_of_its_own(address: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "cli", "refresh", "--json"]
    environment = os.environ | {"PREFECT_API_URL": address}
    return subprocess.run(
        command, cwd=PROJECT, env=environment, capture_output=True, text=True, check=False, timeout=300
    )


def test_refresh_reports_its_steps_and_artifacts(server: str, write_params: Callable[..., Params], notes: Path) -> None:
    params = write_params([files_source(notes)])

    result = runner(refresh_flow, params)().as_json()

    run = last_run(server)
    mine = {"id": {"any_": [run["id"]]}}
    assert (run["state_type"], result["release"]) == ("COMPLETED", 1)
    artifacts = {row["key"]: row["data"] for row in found(server, "artifacts", flow_runs=mine)}
    assert set(artifacts) == {"refresh-plan", "document-gate", "index-gate", "parse", "embed"}
    assert artifacts["parse"] == artifacts["embed"] == 100

    def steps() -> set[str]:
        return {row["name"].rsplit("-", 1)[0] for row in found(server, "task_runs", flow_runs=mine)}

    wait_until(
        lambda: {"list_sources", "parse", "gate", "chunk", "embed", "release", "register_release"} <= steps(),
        seconds=30,
    )


def test_refused_refresh_is_failed_with_its_reason_and_one_line(
    server: str, write_params: Callable[..., Params], notes: Path
) -> None:
    write_params([files_source(notes)], document_gate={"min_documents": 50})

    refused = refresh_in_process_of_its_own(server)

    run = last_run(server)
    assert refused.returncode == 3
    assert "Traceback" not in refused.stderr
    assert "at least 50 documents" in refused.stderr.splitlines()[-1]
    assert run["state_type"] == "FAILED"
    assert "at least 50 documents" in run["state"]["message"]


def test_second_refresh_is_refused_while_one_runs(
    server: str, home: Path, write_params: Callable[..., Params], notes: Path
) -> None:
    params = write_params([files_source(notes)])

    with hold(home.resolve(), purpose="refresh"), pytest.raises(BusyError):
        runner(refresh_flow, params)()

    assert last_run(server)["state_type"] == "FAILED"


@pytest.mark.parametrize(("error", "calls"), [(GateError("no"), 1), (DependencyError("not now"), 2)])
def test_only_a_dependency_is_asked_again(server: str, error: Exception, calls: int) -> None:
    asked = []

    @step(retries=1)
    def ask() -> None:
        asked.append(1)
        raise error

    @flow(name="asking")
    def asking() -> None:
        ask()

    with pytest.raises(type(error)):
        asking()
    assert len(asked) == calls


def test_server_that_is_down_is_told_in_one_line(
    write_params: Callable[..., Params], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")

    with caplog.at_level(logging.WARNING):
        call = runner(refresh_flow, write_params([files_source(Path("notes"))]))

    assert call is refresh_flow.fn
    assert [record.getMessage().split(":")[0] for record in caplog.records] == ["the Prefect server at http"]


class Line:
    """A line to the server that can be cut, as if the server had died."""

    def __init__(self, address: str) -> None:
        self._target = (urlsplit(address).hostname, urlsplit(address).port)
        self._open: list[socket.socket] = []
        self._door = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self._door.getsockname()[1]}/api"
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        for end in (self._door, *self._open):
            _close(end)

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._door.accept()
            except OSError:
                return
            far = socket.create_connection(self._target)
            self._open += [near, far]
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=_copy, args=(source, sink), daemon=True).start()


def _close(end: socket.socket) -> None:
    """Wakes the thread that waits on it, too, which closing alone does not."""
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()


def _copy(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    _close(sink)


def test_server_that_dies_on_the_way_does_not_stop_the_refresh(
    server: str, home: Path, write_params: Callable[..., Params], notes: Path
) -> None:
    write_params([files_source(notes)])
    line = Line(server)

    def cut_in_the_middle() -> None:
        wait_until((home / "work").exists, seconds=200)
        line.cut()

    threading.Thread(target=cut_in_the_middle, daemon=True).start()
    ended = refresh_in_process_of_its_own(line.address)

    assert ended.returncode == 0, ended.stderr
    assert '"release": 1' in ended.stdout
    assert "the Prefect server stopped answering" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_twenty_shards_of_a_prefect_run_are_worked_on_two_at_a_time(server: str) -> None:
    """Each shard is a parser process that may take `max_memory_mb`."""
    lock, at_a_time, most = threading.Lock(), [0], [0]

    @step()
    def work(shard: int) -> int:
        with lock:
            at_a_time[0] += 1
            most[0] = max(most[0], at_a_time[0])
        time.sleep(0.05)
        with lock:
            at_a_time[0] -= 1
        return shard

    @flow(name="spreading")
    def spreading() -> list[int]:
        return list(work.map(range(20), num_workers=2))

    assert sorted(spreading()) == list(range(20))
    assert most[0] == 2


def test_shards_of_a_scheduled_run_go_to_the_cluster_of_the_parameters(
    server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A deployment names the bare flow: no option that the command line gives it is there."""
    from prefect.task_runners import ThreadPoolTaskRunner

    started: list[ExecutionParams] = []

    def stand_in(execution: ExecutionParams) -> ThreadPoolTaskRunner:
        started.append(execution)
        return ThreadPoolTaskRunner(max_workers=1)

    monkeypatch.setattr("flows.steps.cluster_runner", stand_in)
    execution = ExecutionParams(runner="dask", num_workers=2, items_per_shard=1, chunks_per_shard=1)

    @step()
    def work(shard: int) -> str:
        return threading.current_thread().name

    @flow(name="spreading")
    def spreading() -> set[str]:
        with cluster(execution):
            return {*work.map(range(4), num_workers=2), *work.map(range(4), num_workers=2)}

    assert len(spreading()) == 1
    assert started == [execution]
