"""The calendar, under a real Prefect server: what is deployed runs, and what died is said to be dead."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.schedules import Cron, Interval
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Running, Scheduled

from flows.deployments import apply, cadences, deploy, schedule_values
from flows.recovery import MAX_TRIES, TOLD, Incident, catch_up, look_after, mark_dead
from flows.schedules import problems, upcoming
from tasks.params import Params
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


def runs_of(server: str, deployment: object, state: str) -> list[dict[str, Any]]:
    with_state = {"state": {"type": {"any_": [state]}}}
    return found(server, "flow_runs", flow_runs=with_state, deployments={"id": {"any_": [str(deployment)]}})


def deployments(server: str) -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in found(server, "deployments")}


@contextmanager
def worker(folder: Path) -> Iterator[None]:
    with (folder / "worker.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "cli", "worker"],
            cwd=PROJECT,
            env=os.environ | {"PREFECT_WORKER_QUERY_SECONDS": "2"},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        yield
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_cron_schedules_create_runs(server: str, write_params: Callable[..., Params], notes: Path) -> None:
    """The only test that notices a SQLAlchemy with which schedules silently create nothing."""
    deployed = deploy(write_params([files_source(notes)]), PROJECT)

    for name, time_of_day in {"refresh": "03:00", "retrain": "02:00", "monitor": "06:00"}.items():
        wait_until(lambda name=name: runs_of(server, deployed[name], "SCHEDULED"), seconds=90)  # type: ignore[misc]
        scheduled = runs_of(server, deployed[name], "SCHEDULED")
        assert all(run["auto_scheduled"] for run in scheduled)
        assert {run["expected_start_time"][11:16] for run in scheduled} == {time_of_day}


def test_status_knows_what_runs_next(server: str, write_params: Callable[..., Params], notes: Path) -> None:
    deployed = deploy(write_params([files_source(notes)]), PROJECT)
    for deployment in deployed.values():
        wait_until(lambda deployment=deployment: runs_of(server, deployment, "SCHEDULED"), seconds=90)  # type: ignore[misc]

    found = upcoming()

    assert found
    starts = {name: schedule and (schedule.next or "")[11:16] for name, schedule in found.items()}
    assert starts == {"refresh/weekly": "03:00", "retrain/quarterly": "02:00", "monitor/daily": "06:00"}


def test_doctor_finds_a_schedule_that_is_not_the_one_of_the_parameters(
    server: str, write_params: Callable[..., Params], notes: Path
) -> None:
    deployed = deploy(write_params([files_source(notes)]), PROJECT)
    for deployment in deployed.values():
        wait_until(lambda deployment=deployment: runs_of(server, deployment, "SCHEDULED"), seconds=90)  # type: ignore[misc]
    changed = write_params([files_source(notes)], schedule={"retrain_cron": "0 5 1 * *"})

    assert list(problems(write_params([files_source(notes)]))) == []
    (problem,) = problems(changed)

    assert problem.what.startswith("retrain/quarterly must run at '0 5 1 * *'")


def test_doctor_says_that_the_server_is_down(
    write_params: Callable[..., Params], notes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")

    (problem,) = problems(write_params([files_source(notes)]))

    assert problem.what.startswith("the Prefect server at http://127.0.0.1:9/api must answer")


def test_schedule_that_was_switched_off_stays_off(
    server: str, write_params: Callable[..., Params], notes: Path
) -> None:
    params = write_params([files_source(notes)])
    deployment = deploy(params, PROJECT)["refresh"]
    schedule = deployments(server)["weekly"]["schedules"][0]["id"]
    address = f"{server}/deployments/{deployment}/schedules/{schedule}"
    assert httpx.patch(address, json={"active": False}, timeout=30).is_success

    deploy(params, PROJECT)

    schedules = deployments(server)["weekly"]["schedules"]
    assert [entry["active"] for entry in schedules] == [False]
    assert httpx.patch(address.replace(schedule, schedules[0]["id"]), json={"active": True}, timeout=30).is_success


def test_run_that_nobody_took_is_found(server: str, write_params: Callable[..., Params], notes: Path) -> None:
    params = write_params([files_source(notes)])
    deployment = deploy(params, PROJECT)["refresh"]
    due = datetime.now(UTC) - timedelta(hours=1)
    with get_client(sync_client=True) as client:
        late = client.create_flow_run_from_deployment(deployment, state=Scheduled(scheduled_time=due))

        assert any("nobody took it" in problem.what for problem in problems(params))

        client.delete_flow_run(late.id)


def test_cron_follows_the_parameters(server: str, write_params: Callable[..., Params], notes: Path) -> None:
    deploy(write_params([files_source(notes)]), PROJECT)

    deploy(
        write_params([files_source(notes)], schedule={"refresh_cron": "30 4 * * 2", "timezone": "Europe/Rome"}), PROJECT
    )

    schedules = [entry["schedule"] for entry in deployments(server)["weekly"]["schedules"]]
    assert [(entry["cron"], entry["timezone"]) for entry in schedules] == [("30 4 * * 2", "Europe/Rome")]


def test_due_refresh_is_run_by_the_worker_and_another_one_when_a_watched_folder_changed(
    server: str,
    home: Path,
    write_params: Callable[..., Params],
    notes: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ALMANAC_WATCH_QUIET_SECONDS", "3")
    params = write_params([files_source(notes, watch=True)])
    weekly = cadences(params)[0]

    with worker(tmp_path):
        wait_until(lambda: "started!" in (tmp_path / "worker.log").read_text(), seconds=240)
        soon = Interval(timedelta(days=1), anchor_date=datetime.now(UTC) + timedelta(seconds=10), slug=weekly.name)
        deployment = apply(weekly, soon, PROJECT)
        wait_until(lambda: runs_of(server, deployment, "COMPLETED"), seconds=240)
        assert runs_of(server, deployment, "COMPLETED")[0]["auto_scheduled"]
        assert (home / "releases" / "0001.json").exists()
        for number in range(50):
            (notes / f"{number}.md").write_text(
                f"# Page {number}\n\nThe pager number {number} lies in room {number}.\n"
            )
        wait_until(lambda: len(runs_of(server, deployment, "COMPLETED")) == 2, seconds=240)

    assert json.loads((home / "releases" / "0002.json").read_text())["num_documents"] == 52
    assert not (home / "releases" / "0003.json").exists()


def test_deployment_that_was_paused_stays_paused(server: str, write_params: Callable[..., Params], notes: Path) -> None:
    params = write_params([files_source(notes)])
    deployment = deploy(params, PROJECT)["refresh"]
    with get_client(sync_client=True) as client:
        client.pause_deployment(deployment)

        deploy(params, PROJECT)

        assert client.read_deployment(deployment).paused
        client.resume_deployment(deployment)


def test_run_without_life_is_marked_crashed(server: str) -> None:
    @flow(name="refresh")
    def killed() -> None: ...

    @flow(name="somebody-elses")
    def not_ours() -> None: ...

    now = datetime.now(UTC)
    with get_client(sync_client=True) as client:
        ours, theirs = (client.create_flow_run(each, state=Running()) for each in (killed, not_ours))

        assert mark_dead(client, now=now + timedelta(seconds=60)) == []
        assert mark_dead(client, now=now + timedelta(seconds=90)) == [ours.name]

        assert client.read_flow_run(ours.id).state_type == "CRASHED"
        assert client.read_flow_run(theirs.id).state_type == "RUNNING"


def test_run_that_ended_well_stays_completed(server: str, write_params: Callable[..., Params], notes: Path) -> None:
    @flow(name="promote")
    def short() -> None: ...

    deploy(write_params([files_source(notes)]), PROJECT)
    short()
    with get_client(sync_client=True) as client:
        # A heartbeat that comes behind the end started the wait of an automation, which then marked the run.
        assert client.read_automations() == []
        assert mark_dead(client, now=datetime.now(UTC) + timedelta(hours=1)) == []
    (run,) = found(server, "flow_runs", flows={"name": {"any_": ["promote"]}})
    assert run["state_type"] == "COMPLETED"


def test_killed_run_is_started_again_and_somebody_is_told(
    server: str, write_params: Callable[..., Params], notes: Path
) -> None:
    deployment = deploy(write_params([files_source(notes)]), PROJECT)["refresh"]
    told: list[Incident] = []

    def look() -> None:
        look_after(client, told.append, now=datetime.now(UTC) + timedelta(seconds=90))

    with get_client(sync_client=True) as client:
        run = client.create_flow_run_from_deployment(deployment, parameters={"again": True}, state=Running())
        for attempt in range(2, MAX_TRIES + 1):
            look()
            look()
            (again,) = [r for r in runs_of(server, deployment, "SCHEDULED") if f"almanac:try-{attempt}" in r["tags"]]
            assert again["parameters"]["again"] is True
            # It is due in a minute: Prefect would not let it run before.
            client.set_flow_run_state(again["id"], Running(), force=True)
        look()

        assert client.read_flow_run(run.id).tags == [TOLD]
    assert len(told) == MAX_TRIES
    assert all(incident.what.startswith("Crashed: its process is gone") for incident in told)
    assert told[0].done.startswith("started again as ")
    assert told[-1].done == "killed 3 times in a row: a person must look"


def test_missed_schedule_is_caught_up_once(server: str, write_params: Callable[..., Params], notes: Path) -> None:
    params = write_params([files_source(notes)])
    deploy(params, PROJECT)
    quarterly = cadences(params)[1]
    cron = Cron(quarterly.cron, timezone="UTC", slug=quarterly.name)
    now = datetime.now(UTC)
    with get_client(sync_client=True) as client:
        # A schedule that holds since now has missed nothing.
        new = client.read_deployment(apply(quarterly, cron, PROJECT, since=now.isoformat()))
        assert catch_up(client, new, now) is None

        old = client.read_deployment(apply(quarterly, cron, PROJECT, since="2020-01-01T00:00:00+00:00"))
        made = [catch_up(client, old, now) for _ in range(2)]

        assert made[0] is not None
        assert made[1] is not None
        assert made[0].id == made[1].id
        client.delete_flow_run(made[0].id)


def test_of_several_runs_that_nobody_took_the_last_one_is_left(
    server: str, write_params: Callable[..., Params], notes: Path
) -> None:
    deployment = deploy(write_params([files_source(notes)]), PROJECT)["retrain"]
    now = datetime.now(UTC)
    with get_client(sync_client=True) as client:
        late = [
            client.create_flow_run_from_deployment(deployment, state=Scheduled(scheduled_time=now - age))
            for age in (timedelta(days=14), timedelta(days=7))
        ]

        assert catch_up(client, client.read_deployment(deployment), now) is None

        assert [client.read_flow_run(run.id).state_type for run in late] == ["CANCELLED", "SCHEDULED"]
        for run in late:
            client.delete_flow_run(run.id)


def test_prefect_deploy_makes_the_same_deployments(
    server: str, write_params: Callable[..., Params], notes: Path
) -> None:
    deploy(write_params([files_source(notes)], schedule={"timezone": "Europe/Rome"}), PROJECT)
    before = {name: _compared(row) for name, row in deployments(server).items()}
    command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"]

    done = subprocess.run(
        [*command, "--prefect-file", "infra/prefect.yaml"], cwd=PROJECT, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert {name: _compared(row) for name, row in deployments(server).items()} == before


def _compared(row: dict[str, Any]) -> dict[str, Any]:
    names = ("entrypoint", "work_pool_name", "concurrency_options", "job_variables", "parameters", "paused")
    schedules = [(entry["schedule"], entry["active"], entry["slug"]) for entry in row["schedules"]]
    return {name: row[name] for name in names} | {
        "limit": row["global_concurrency_limit"]["limit"],
        "schedules": schedules,
    }


def test_prefect_file_names_no_time_of_its_own(write_params: Callable[..., Params], notes: Path) -> None:
    write_params([files_source(notes)])
    declared = yaml.safe_load((PROJECT / "infra" / "prefect.yaml").read_text(encoding="utf-8"))

    crons = {entry["schedules"][0]["cron"] for entry in declared["deployments"]}

    assert crons == {"{{ almanac.refresh_cron }}", "{{ almanac.retrain_cron }}", "{{ almanac.monitor_cron }}"}
    assert {"refresh_cron", "retrain_cron", "monitor_cron", "timezone", "project"} == set(schedule_values())
