"""What the server tells the audit log: who was shown what, before it leaves; nothing leaves that cannot be noted."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from serving.api.app import create_app
from serving.api.auth import Identity
from serving.api.people.keys import KeyFile
from tasks.answer.trace import flush_traces
from tasks.audit.audit import Audit, Entry
from tasks.audit.chain import Chain
from tasks.errors import DependencyError
from tests.server import LOCKBOX, ZEPHYR, Home, StaticPair, make_home, record, running

pytestmark = pytest.mark.slow

QUESTION = "Which Python does Zephyr need?"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, migrated_mlflow: Path) -> Home:
    records = [record("zephyr", ZEPHYR, "everyone"), record("lockbox", LOCKBOX, "crew")]
    folder = tmp_path_factory.mktemp("audited")
    return make_home(folder, migrated_mlflow, records, serving={"cache_entries": 10})


@pytest.fixture(scope="module")
def client(home: Home) -> Iterator[httpx.Client]:
    key = KeyFile(home.settings.api_keys).add("alice", ())
    headers = {"Authorization": f"Bearer {key}"}
    with (
        running(create_app(home.params, home.settings, StaticPair)) as address,
        httpx.Client(base_url=f"{address}/v1", headers=headers, timeout=60) as client,
    ):
        yield client


def asked(client: httpx.Client, *, stream: bool = False) -> httpx.Response:
    body = {"messages": [{"role": "user", "content": QUESTION}], "stream": stream}
    return client.post("/chat/completions", json=body)


def of_alice(home: Home) -> list[Entry]:
    alice = Identity(home.settings, anonymous_groups=()).pseudonym("key", "alice")
    return list(Audit(home.settings.layout).entries(actor=alice))


def test_each_way_of_asking_is_noted_with_what_was_shown(home: Home, client: httpx.Client) -> None:
    trace = asked(client).json()["almanac"]["trace_id"]
    asked(client)  # from the cache
    asked(client, stream=True)
    client.get("/search", params={"query": "portable locks"})
    client.post("/feedback", json={"trace_id": trace, "rating": "down", "comment": "no"})
    flush_traces()

    entries = of_alice(home)

    assert [entry.what for entry in entries] == ["shown"] * 4 + ["rated"]
    assert all(entry.documents == ("wiki:zephyr",) for entry in entries[:4])
    first = entries[0].detail
    assert (first["trace"], first["release"], first["answerer"]) == (trace, "1", "excerpt")
    assert (entries[4].detail["trace"], entries[4].detail["rating"]) == (trace, "down")
    assert QUESTION.encode() not in home.settings.layout.audit.joinpath("log.jsonl").read_bytes()
    assert Audit(home.settings.layout).verify().problems == ()


def test_nothing_is_shown_that_cannot_be_noted(
    home: Home, client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise DependencyError("the disk is full")

    before = len(of_alice(home))
    with monkeypatch.context() as patch:
        patch.setattr(Chain, "append", full)
        plain, streamed = asked(client), asked(client, stream=True)
        searched = client.get("/search", params={"query": "Zephyr"})

    assert (plain.status_code, searched.status_code) == (503, 503)
    assert "unavailable" in streamed.text
    for response in (plain, streamed, searched):
        assert "Python 3" not in response.text
    assert len(of_alice(home)) == before
