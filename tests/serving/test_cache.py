"""Answers given before: who gets them again, and what makes each of them a thing of the past."""

import datetime as dt
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from serving.api.app import create_app
from serving.api.people.keys import KeyFile
from serving.promotion.pair import Pair
from tasks.answer.generators.base import Generation
from tasks.index.access_tables import record_changes
from tasks.index.table import connect
from tests.server import LOCKBOX, ZEPHYR, Home, StaticPair, make_home, record, running

pytestmark = pytest.mark.slow

QUESTION = "What is zephyr?"
WRITING_SECONDS = 0.5


class CountingWriter:
    """A model that takes its time and counts what it wrote."""

    identity, context_length, num_written = "counting", 4096, 0

    def generate(self, messages: Sequence[Mapping[str, str]], *, max_new_tokens: int) -> Generation:
        return self.generate_many([messages], max_new_tokens=max_new_tokens)[0]

    def generate_many(
        self, conversations: Sequence[Sequence[Mapping[str, str]]], *, max_new_tokens: int
    ) -> list[Generation]:
        self.num_written += len(conversations)
        time.sleep(WRITING_SECONDS)
        return [Generation("Zephyr is a task queue for Python [1].", 10, 5) for _ in conversations]

    def count_tokens(self, text: str) -> int:
        return len(text.split())

    def count_prompt_tokens(self, messages: Sequence[Mapping[str, str]]) -> int:
        return sum(self.count_tokens(message["content"]) for message in messages)


class SwappedPair(StaticPair):
    """A pair that takes the place of another while the server runs."""

    changes: Mapping[str, Any] = {}

    @contextmanager
    def acquire(self, user_key: str | None = None, knowledge_base: str | None = None) -> Iterator[Pair]:
        assert self.pair is not None
        yield replace(self.pair, **self.changes)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, migrated_mlflow: Path) -> Home:
    records = [
        record("zephyr", ZEPHYR, "staff"),
        record("lockbox", LOCKBOX, "everyone", knowledge_base="tools"),
        record("brief", "# Brief\n\nThe brief note of the day is blue.\n", "everyone"),
    ]
    records[2] |= {"expires_at": (dt.datetime.now(dt.UTC) + dt.timedelta(hours=1)).isoformat()}
    return make_home(
        tmp_path_factory.mktemp("cache"), migrated_mlflow, records, serving={"cache_entries": 64, "cache_mb": 4}
    )


@pytest.fixture(scope="module")
def keys(home: Home) -> dict[str, str]:
    file = KeyFile(home.settings.api_keys)
    return {name: file.add(name, groups) for name, groups in (("ada", ("staff",)), ("ben", ("staff",)), ("eve", ()))}


class Server:
    """A running server with its writer and pairs."""

    def __init__(self, app: Any, address: str, writer: CountingWriter, keys: Mapping[str, str]) -> None:
        self.service, self.address, self.writer, self.keys = app.state.service, address, writer, keys

    def ask(self, user: str = "ada", *questions: str, **fields: Any) -> Any:
        messages = [{"role": "user", "content": text} for text in questions or (QUESTION,)]
        answer = httpx.post(
            f"{self.address}/v1/chat/completions",
            json={"messages": messages} | fields,
            headers={"Authorization": f"Bearer {self.keys[user]}"},
            timeout=60,
        )
        assert answer.status_code == 200, answer.text
        return answer.json()

    def is_cached(self, *args: str, **fields: Any) -> bool:
        return bool(self.ask(*args, **fields)["almanac"]["cached"])


@pytest.fixture
def server(home: Home, keys: dict[str, str]) -> Iterator[Server]:
    writer = CountingWriter()
    app = create_app(home.params, home.settings, partial(SwappedPair, generator=writer))
    with running(app) as address:
        yield Server(app, address, writer, keys)


def test_repeated_question_is_answered_without_the_model_and_can_be_rated(server: Server) -> None:
    first, second = server.ask(), server.ask("ada", "  What  is\tzephyr? ")
    assert server.writer.num_written == 1
    assert second["choices"][0]["message"]["content"] == first["choices"][0]["message"]["content"]
    assert (first["almanac"]["cached"], second["almanac"]["cached"]) == (False, True)
    assert second["usage"]["total_tokens"] == 0
    assert second["almanac"]["seconds"] < first["almanac"]["seconds"]
    print(f"first {first['almanac']['seconds']} s, repeated {second['almanac']['seconds']} s")
    trace = second["almanac"]["trace_id"]
    assert trace not in (None, first["almanac"]["trace_id"])
    rated = httpx.post(
        f"{server.address}/v1/feedback",
        json={"trace_id": trace, "rating": "up"},
        headers={"Authorization": f"Bearer {server.keys['ada']}"},
    )
    assert rated.status_code == 202
    figures = httpx.get(f"{server.address}/metrics").text
    assert 'almanac_cache_total{event="hit"} 1.0' in figures
    assert 'almanac_cache_total{event="miss"} 1.0' in figures


def test_who_may_read_the_same_shares_an_answer_and_nobody_else(server: Server) -> None:
    server.ask("ada")
    assert server.is_cached("ben")
    assert not server.is_cached("eve")


def test_filter_and_what_a_follow_up_leans_on_ask_anew(server: Server) -> None:
    server.ask("ada", "How is it installed?")
    assert not server.is_cached("ada", "How is it installed?", knowledge_base="tools")
    assert not server.is_cached("ada", "What is lockbox?", "How is it installed?")
    assert server.is_cached("ada", "What is lockbox?", "How is it installed?")


def test_promotion_asks_anew(server: Server) -> None:
    server.ask()
    now = server.service.pairs.pair
    server.service.pairs.changes = {"answerer": replace(now.answerer, version="2")}
    assert not server.is_cached()
    server.service.pairs.changes = {}
    assert server.is_cached()  # a rollback finds what it said before


def test_changed_parameter_of_the_answerer_asks_anew(server: Server) -> None:
    server.ask()
    now = server.service.pairs.pair
    params = now.answerer.params.model_copy(update={"num_passages": 1})
    server.service.pairs.changes = {"answerer": replace(now.answerer, params=params)}
    assert not server.is_cached()


def test_release_asks_anew(server: Server) -> None:
    server.ask()
    release = server.service.pairs.pair.release
    server.service.pairs.changes = {"release": replace(release, number=release.number + 1)}
    assert not server.is_cached()


def test_expiry_of_a_document_ends_what_was_said_before_it(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    server.ask()
    index = server.service.pairs.pair.index
    soon = index.next_expiry()
    assert dt.timedelta(minutes=50) < soon - dt.datetime.now(dt.UTC) <= dt.timedelta(hours=1)
    assert server.is_cached()

    class Later(dt.datetime):
        @classmethod
        def now(cls, tz: dt.tzinfo | None = None) -> dt.datetime:
            return soon + dt.timedelta(seconds=1)

    monkeypatch.setattr("tasks.answer.cache.dt.datetime", Later)
    assert not server.is_cached()


def test_lost_permission_asks_anew_at_the_next_request(server: Server, home: Home) -> None:
    assert server.ask()["almanac"]["citations"]
    assert server.is_cached()
    record_changes(connect(home.settings), {"wiki:zephyr": ("board",)})
    answer = server.ask()
    assert not answer["almanac"]["cached"]
    assert "wiki:zephyr" not in {passage["document_id"] for passage in answer["almanac"]["passages"]}
    record_changes(connect(home.settings), {"wiki:zephyr": ("staff",)})
