"""Documents that programs push: kept at once, gated at the next refresh, read by whom they name."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from serving.api.app import create_app
from serving.api.people.keys import KeyFile
from tasks.corpus import inbox
from tasks.corpus.inbox import PushRequest
from tasks.corpus.sources import open_source
from tasks.errors import ConfigurationError
from tasks.home import Home as Places
from tasks.index.live import LiveIndex
from tasks.index.search import Request
from tasks.params import Params
from tasks.params.sources import PushSource
from tests.server import ZEPHYR, Home, StaticPair, make_home, record, running

pytestmark = pytest.mark.slow
PUSH = {"name": "notes", "kind": "push", "knowledge_base": "wiki", "access": [], "max_removed_fraction": 1.0}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, migrated_mlflow: Path) -> Home:
    folder = tmp_path_factory.mktemp("pushed")
    home = make_home(folder, migrated_mlflow, [record("zephyr", ZEPHYR, "everyone")])
    raw = yaml.safe_load(home.settings.params.read_text())
    raw["sources"].append(PUSH)
    home.settings.params.write_text(yaml.safe_dump(raw))
    return Home(Params.model_validate(raw), home.settings)


@pytest.fixture(scope="module")
def server(home: Home) -> Iterator[str]:
    with running(create_app(home.params, home.settings, StaticPair)) as address:
        yield address


@pytest.fixture(scope="module")
def client(home: Home, server: str) -> Iterator[httpx.Client]:
    key = KeyFile(home.settings.api_keys).add("pusher", (), may_push=True)
    with httpx.Client(base_url=f"{server}/v1", headers={"Authorization": f"Bearer {key}"}, timeout=60) as client:
        yield client


def refreshed(home: Home) -> dict[str, Any]:
    from dataclasses import asdict

    from flows.refresh import refresh

    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("ALMANAC_HOME", str(home.settings.home))
        environment.setenv("ALMANAC_PARAMS", str(home.settings.params))
        return asdict(refresh.fn())


def found(home: Home, question: str, *groups: str) -> list[str]:
    return [passage.document_id for passage in LiveIndex(home.params, home.settings).search(Request(question, groups))]


def test_a_pushed_document_is_found_after_the_next_refresh_by_whom_it_names(home: Home, client: httpx.Client) -> None:
    body = {"id": "a/b c", "text": "# Valves\n\nThe valve needs grease.", "access": ["crew"], "metadata": {"team": "x"}}
    pushed = client.post("/documents", json=body)
    client.post("/documents", json={"id": "empty", "text": "<!-- -->", "format": "html"})

    assert (pushed.status_code, pushed.json()["status"], pushed.json()["document_id"]) == (
        202,
        "waiting",
        "notes:a/b c",
    )
    refreshed(home)
    assert client.get("/documents/a%2Fb%20c").json()["status"] == "taken_in"
    held = client.get("/documents/empty").json()
    assert (held["status"], "must have text" in held["reason"]) == ("quarantined", True)
    assert "notes:a/b c" in found(home, "grease valve", "crew")
    assert "notes:a/b c" not in found(home, "grease valve")

    client.post("/documents", json=body | {"text": "# Valves\n\nThe valve needs oil."})
    assert client.get("/documents/a/b c").json()["status"] == "waiting"
    assert client.delete("/documents/a/b c").json()["status"] == "removed"
    assert client.delete("/documents/a/b c").status_code == client.get("/documents/a/b c").status_code == 404
    refreshed(home)
    assert "notes:a/b c" not in found(home, "grease valve", "crew")


@pytest.mark.parametrize("method", ["POST", "GET", "DELETE"])
def test_a_key_without_the_right_is_refused(home: Home, server: str, method: str) -> None:
    name = f"reader {method}"
    key = KeyFile(home.settings.api_keys).add(name, ("everyone",))
    path = "/v1/documents" if method == "POST" else "/v1/documents/x"
    for headers, status in (({"Authorization": f"Bearer {key}"}, 403), ({}, 401)):
        answer = httpx.request(method, f"{server}{path}", headers=headers, json={"id": "x", "text": "t"})
        assert answer.status_code == status


@pytest.mark.parametrize(
    "body",
    [
        '{"id": "x", "text": "t", "access": ["a"], "access": ["everyone"]}',
        '{"id": "x", "text": "t", "Access": ["a"]}',
        '{"id": "x", "text": "t", "access": "a,b"}',
        '{"id": "x", "text": "t", "access": ["a b"]}',
        '{"id": "x", "text": "t", "updated_at": "yesterday"}',
        '{"id": "", "text": "t"}',
        '{"id": "x"}',
        '["x"]',
        '{"id": ',
        "[" * 100_000,
    ],
)
def test_a_body_that_is_in_doubt_is_refused_at_once(client: httpx.Client, body: str) -> None:
    answer = client.post("/documents", content=body)

    assert answer.status_code == 400
    assert answer.json()["error"]["message"]
    assert client.get("/documents/x").status_code == 404


def test_a_retry_changes_nothing_and_a_key_stands_for_one_request(client: httpx.Client) -> None:
    first = client.post("/documents", json={"id": "k", "text": "One."}, headers={"Idempotency-Key": "1"}).json()
    client.post("/documents", json={"id": "k", "text": "Two."}, headers={"Idempotency-Key": "2"})
    late = client.post("/documents", json={"id": "k", "text": "One."}, headers={"Idempotency-Key": "1"})
    other = client.post("/documents", json={"id": "k", "text": "Three."}, headers={"Idempotency-Key": "1"})

    assert (late.status_code, late.json()["received_at"]) == (202, first["received_at"])
    assert other.status_code == 400


def test_the_inbox_is_private_and_outlives_its_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALMANAC_HOME", str(tmp_path))
    places = Places(tmp_path)
    request = PushRequest("ann", "1")
    inbox.put(places, "notes", "b", {"text": "Words.", "format": "txt", "access": ["crew"]}, request)
    inbox.put(places, "other", "a", {"text": "Words.", "format": "md"}, None)
    reader = open_source(PushSource.model_validate(PUSH), cache=tmp_path / "cache")

    (item,) = reader.scan()
    raw = reader.fetch(item)

    assert (raw.data, raw.name, dict(raw.overrides)) == (b"Words.", "document.txt", {"access": ["crew"]})
    assert raw.raw_hash == reader.raw_hash(item)
    assert (places.inbox.stat().st_mode & 0o777, (places.inbox / "documents.db").stat().st_mode & 0o777) == (
        0o700,
        0o600,
    )
    with pytest.raises(ConfigurationError, match="another"):
        inbox.take_back(places, "notes", "b", request)
    assert inbox.take_back(places, "notes", "b")
    assert b"crew" not in (places.inbox / "documents.db").read_bytes()


def test_old_key_files_are_still_read(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    keys = KeyFile(path)
    credential = keys.add("ann", ("staff",), may_push=True)
    rows = json.loads(path.read_text())
    del rows["keys"][0]["may_push"]
    path.write_text(json.dumps(rows))
    os.utime(path, (1, 1))

    key = keys.find(credential)

    assert key is not None
    assert (key.groups, key.may_push) == (("staff",), False)
