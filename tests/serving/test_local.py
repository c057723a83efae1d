"""The operator's commands answered by the server of the home: the same answers, to the home's owner alone."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from typer.testing import CliRunner

from cli import app
from serving.local.client import ask_server
from serving.local.record import ServerRecord, read_record
from tasks.settings import Settings
from tests.conftest import wait_until
from tests.server import LOCKBOX, ZEPHYR, Home, make_home, record

pytestmark = pytest.mark.slow

QUESTION = "How do I install lockbox?"
SECRET = "# Ledger\n\nThe ledger closes on the last Friday of each quarter, by order of the finance group.\n"
SECRET_QUESTION = "When does the ledger close?"


@dataclass(frozen=True)
class Served:
    """A home and the process that serves it."""

    home: Home
    process: "subprocess.Popen[bytes]"

    @property
    def record(self) -> ServerRecord:
        found = read_record(self.home.params, self.home.settings)
        assert found is not None
        return found


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, migrated_mlflow: Path) -> Iterator[Served]:
    """`almanac serve` in a process of its own."""
    records = [
        record("zephyr", ZEPHYR, "everyone"),
        record("lockbox", LOCKBOX, "everyone"),
        record("ledger", SECRET, "finance"),
    ]
    home = make_home(tmp_path_factory.mktemp("local"), migrated_mlflow, records)
    process = started(home)
    try:
        wait_until(lambda: ask_server("search", {"query": "x"}, home.params, home.settings) is not None, seconds=120)
        yield Served(home, process)
    finally:
        process.kill()
        process.wait(30)


def started(home: Home) -> "subprocess.Popen[bytes]":
    """A server that listens."""
    environment = os.environ | {
        "ALMANAC_HOME": str(home.settings.home),
        "ALMANAC_PARAMS": str(home.settings.params),
        "OMP_NUM_THREADS": "1",
    }
    process = subprocess.Popen([sys.executable, "-m", "cli", "serve", "--port", "0"], env=environment)
    wait_until(lambda: read_record(home.params, home.settings) is not None, seconds=120)
    return process


@pytest.fixture
def environment(served: Served, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setenv("ALMANAC_HOME", str(served.home.settings.home))
    monkeypatch.setenv("ALMANAC_PARAMS", str(served.home.settings.params))
    return monkeypatch


def printed(*arguments: str) -> dict[str, Any]:
    outcome = CliRunner().invoke(app, [*arguments, "--json"])
    assert outcome.exit_code == 0, outcome.output
    fields: dict[str, Any] = json.loads(outcome.stdout.splitlines()[-1])
    return fields


COMMANDS = (
    ("ask", QUESTION),
    ("search", QUESTION),
    ("search", SECRET_QUESTION, "--as", "finance", "--top-k", "2", "--mode", "full_text"),
    ("search", SECRET_QUESTION, "--kb", "wiki", "--source", "wiki", "--as-of", "1"),
)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: " ".join(command)[:40])
def test_a_command_answers_the_same_with_the_server_and_without(
    command: tuple[str, ...], environment: pytest.MonkeyPatch
) -> None:
    environment.setenv("ALMANAC_USE_SERVER", "false")
    direct = printed(*command)
    environment.setenv("ALMANAC_USE_SERVER", "true")
    environment.setattr("tasks.index.live.LiveIndex", None)
    by_server = printed(*command)

    for fields in (direct, by_server):
        fields.pop("trace_id", None)
        fields.pop("seconds", None)
        for passage in (*fields.get("results", ()), *fields.get("passages", ())):
            passage["score"] = round(passage["score"], 3)
            passage["similarity"] = passage["similarity"] and round(passage["similarity"], 2)
    assert by_server == direct


def test_status_names_the_server(served: Served, environment: pytest.MonkeyPatch) -> None:
    by_server = printed("status")
    environment.setenv("ALMANAC_USE_SERVER", "false")
    direct = printed("status")

    assert by_server["server"] == f"http://127.0.0.1:{served.record.port}"
    assert by_server["serving"] == direct["serving"]


def test_what_not_everyone_may_read_is_shown_to_the_group_that_is_named(
    served: Served, environment: pytest.MonkeyPatch
) -> None:
    def titles(*options: str) -> set[str]:
        return {passage["title"] for passage in printed("search", SECRET_QUESTION, *options)["results"]}

    assert "Ledger" not in titles()
    assert "Ledger" not in titles("--as", "hr")
    assert "Ledger" in titles("--as", "finance")


def test_only_the_owner_may_read_the_key(served: Served) -> None:
    path = served.home.settings.layout.server
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o640)
    try:
        assert read_record(served.home.params, served.home.settings) is None, "others may know this key"
    finally:
        path.chmod(0o600)


@pytest.mark.parametrize("route", ["ask", "search", "status"])
def test_without_the_key_there_is_no_such_path(served: Served, route: str) -> None:
    address = f"http://127.0.0.1:{served.record.port}"
    for headers in ({}, {"Authorization": "Bearer x"}, {"Authorization": f"Bearer {served.record.key}x"}):
        reply = httpx.post(f"{address}/local/{route}", json={"question": QUESTION}, headers=headers)
        assert reply.status_code == 404
    key = {"Authorization": f"Bearer {served.record.key}"}
    reply = httpx.post(f"{address}/v1/search", json={"query": QUESTION}, headers=key)
    assert reply.status_code == 401, "the key opens nothing else"


def test_other_parameters_than_the_server_has_are_answered_directly(
    served: Served, environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    raw = yaml.safe_load(served.home.settings.params.read_text(encoding="utf-8"))
    raw["search"]["top_k"] = 1
    other = tmp_path / "params.yaml"
    other.write_text(yaml.safe_dump(raw), encoding="utf-8")
    environment.setenv("ALMANAC_PARAMS", str(other))

    assert len(printed("search", QUESTION)["results"]) == 1


def test_a_copied_home_does_not_lead_to_the_server_of_the_first(served: Served, tmp_path: Path) -> None:
    home, source = tmp_path / "home", served.home.settings.layout
    (home / "locks").mkdir(parents=True)
    shutil.copy2(source.server, home / "server.json")
    shutil.copy2(source.locks / "server.lock", home / "locks" / "server.lock")

    assert read_record(served.home.params, Settings(home=home, params=served.home.settings.params)) is None


def test_a_server_that_ends_takes_its_record_away_and_one_that_is_killed_is_passed_over(
    served: Served, environment: pytest.MonkeyPatch
) -> None:
    path = served.home.settings.layout.server
    served.process.send_signal(signal.SIGTERM)
    served.process.wait(60)
    assert not path.exists()

    second = started(served.home)
    second.kill()
    second.wait(30)
    assert path.exists(), "it could not take its record away"
    assert read_record(served.home.params, served.home.settings) is None
    assert printed("search", QUESTION)["results"]
    assert printed("status")["server"] is None
