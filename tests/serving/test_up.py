"""`almanac up`, as a person starts it: all answers, what dies comes back, and nothing is left behind.

One stack serves all tests of this file, since it takes long to start; the last test stops it.
"""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import pytest
import yaml

from flows.schedules import CADENCES
from tasks.settings import QUIET_ENVIRONMENT
from tests.conftest import BASE_PARAMS, answers, files_source, free_ports, merged, wait_until

pytestmark = pytest.mark.slow
PROJECT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Up:
    process: "subprocess.Popen[bytes]"
    folder: Path
    ports: dict[str, int]
    run: str

    @property
    def said(self) -> str:
        return (self.folder / "up.log").read_text(encoding="utf-8", errors="replace")

    @property
    def mlflow(self) -> str:
        return f"http://127.0.0.1:{self.ports['mlflow']}"

    def below(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)


def environment(folder: Path) -> dict[str, str]:
    places = {"ALMANAC_HOME": str(folder / "home"), "ALMANAC_PARAMS": str(folder / "params.yaml")}
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "MLFLOW_"))}
    return ours | QUIET_ENVIRONMENT | places


def command(ports: dict[str, int]) -> list[str]:
    options = [f"--port={ports['server']}", f"--mlflow-port={ports['mlflow']}", f"--prefect-port={ports['prefect']}"]
    return [sys.executable, "-m", "cli", "up", *options]


def refused(folder: Path, ports: dict[str, int]) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        command(ports), cwd=PROJECT, env=environment(folder), capture_output=True, text=True, check=False, timeout=60
    )


def run_with_artifact(home: Path) -> str:
    """A run as a refresh without a server logs it: its artifacts are files in the home."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{home / 'mlflow.db'}")
    experiment = client.create_experiment("before", artifact_location=(home / "mlartifacts" / "before").as_uri())
    run: str = client.create_run(experiment).info.run_id
    client.log_text(run, "made without a server", "report.md")
    return run


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory, migrated_mlflow: Path) -> Iterator[Up]:
    folder = tmp_path_factory.mktemp("up")
    (folder / "home").mkdir()
    (folder / "home" / "mlflow.db").write_bytes(migrated_mlflow.read_bytes())
    (folder / "notes").mkdir()
    params = merged(BASE_PARAMS, {"sources": [files_source(folder / "notes")]})
    (folder / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
    run = run_with_artifact(folder / "home")
    ports = free_ports("prefect", "mlflow", "server")
    with (folder / "up.log").open("wb") as log:
        process = subprocess.Popen(
            command(ports), cwd=PROJECT, env=environment(folder), stdout=log, stderr=log, start_new_session=True
        )
    stack = Up(process, folder, ports, run)
    try:
        wait_until(lambda: "ready;" in stack.said or process.poll() is not None, seconds=280)
        yield stack
    finally:
        for left in [*stack.below(), psutil.Process(process.pid)] if process.poll() is None else []:
            with suppress(psutil.NoSuchProcess):
                left.kill()
        process.wait()


def test_all_answer_at_the_printed_addresses(up: Up) -> None:
    printed = re.findall(r"^(\w+) +(http://\S+)$", up.said, flags=re.MULTILINE)

    assert dict(printed) == {name: f"http://127.0.0.1:{port}" for name, port in up.ports.items()}, up.said
    assert all(httpx.get(address, timeout=30).is_success for name, address in printed if name != "server")
    assert httpx.get(f"{dict(printed)['server']}/healthz", timeout=30).is_success


def test_home_without_a_release_says_what_to_do(up: Up) -> None:
    assert "run `almanac refresh`" in up.said


def test_lines_are_kept_in_a_log_of_each_service(up: Up) -> None:
    logs = {path.stem for path in (up.folder / "home" / "logs").glob("*.log")}

    assert logs == {"prefect", "mlflow", "worker", "server"}


def test_schedules_wait_for_their_time(up: Up) -> None:
    api = f"http://127.0.0.1:{up.ports['prefect']}/api"

    def scheduled() -> set[str]:
        runs = httpx.post(f"{api}/flow_runs/filter", json={}, timeout=30).json()
        return {run["flow_id"] for run in runs if run["state_type"] == "SCHEDULED"}

    wait_until(lambda: len(scheduled()) == len(CADENCES), seconds=90)


def test_artifacts_of_runs_without_a_server_are_shown(up: Up) -> None:
    shown = httpx.get(f"{up.mlflow}/get-artifact", params={"run_uuid": up.run, "path": "report.md"}, timeout=30)

    assert shown.text == "made without a server"


def test_runs_through_the_server_keep_files_that_need_no_server(up: Up) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=up.mlflow)
    run = client.create_run(client.create_experiment("through"))
    client.log_text(run.info.run_id, "made with a server", "report.md")

    assert run.info.artifact_uri.startswith((up.folder / "home" / "mlartifacts").as_uri())
    direct = MlflowClient(tracking_uri=f"sqlite:///{up.folder / 'home' / 'mlflow.db'}")
    assert [file.path for file in direct.list_artifacts(run.info.run_id)] == ["report.md"]


def test_second_up_in_the_same_home_is_refused(up: Up) -> None:
    second = refused(up.folder, free_ports("prefect", "mlflow", "server"))

    assert second.returncode == 4
    assert "one `almanac up` at a time" in second.stderr


def test_taken_port_is_named_with_its_option(up: Up, tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_bytes((up.folder / "params.yaml").read_bytes())

    other = refused(tmp_path, free_ports("prefect", "server") | {"mlflow": up.ports["mlflow"]})

    assert other.returncode == 2
    assert f"port {up.ports['mlflow']} must be free for MLflow" in other.stderr
    assert "--mlflow-port" in other.stderr


def test_killed_service_is_started_again(up: Up) -> None:
    killed = [
        process
        for process in up.below()
        if "mlflow" in process.cmdline() and "serving.stack.supervise" not in process.cmdline()
    ]

    killed[0].kill()

    wait_until(lambda: not answers(f"{up.mlflow}/health"), seconds=120)
    wait_until(lambda: answers(f"{up.mlflow}/health"), seconds=120)
    assert "ended with -9; starting it again in 1 s" in up.said


def alive(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_stop_leaves_nothing_behind(up: Up) -> None:
    below = up.below()

    up.process.send_signal(signal.SIGTERM)

    assert up.process.wait(timeout=40) == 0
    assert len(below) >= 8
    # One whose parent ended first is gone when the system's first process has taken note.
    assert not [process for process in below if alive(process)]
    assert not any(answers(f"http://127.0.0.1:{port}") for port in up.ports.values())
