"""Many clients at once: batches, a queue with an end, and places that are given back."""

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from pydantic import SecretStr

from serving.api.app import create_app
from serving.api.batching import Batcher
from serving.api.people.keys import KeyFile
from tasks.answer.generators.base import Generation, TextStream, collect
from tasks.answer.generators.endpoint import EndpointGenerator
from tasks.answer.generators.transformers import load_base
from tasks.answer.prompt import Messages
from tasks.errors import ConfigurationError, DependencyError
from tests.conftest import wait_until
from tests.openai_endpoint import endpoint
from tests.server import LOCKBOX, ZEPHYR, Home, StaticPair, make_home, record, running

pytestmark = pytest.mark.slow

CLIENTS, QUESTIONS = 8, 5


class HeldWriter:
    """Writes one draft at a time, each when it is let go: a model that is as slow as the test wants."""

    identity, context_length = "held", 4096

    def __init__(self) -> None:
        self.begun, self.let_go, self.batches = threading.Semaphore(0), threading.Event(), list[int]()

    def generate(self, messages: Sequence[Mapping[str, str]], *, max_new_tokens: int) -> Generation:
        return self.generate_many([messages], max_new_tokens=max_new_tokens)[0]

    def generate_many(
        self, conversations: Sequence[Sequence[Mapping[str, str]]], *, max_new_tokens: int
    ) -> list[Generation]:
        self.batches.append(len(conversations))
        self.begun.release()
        assert self.let_go.wait(60)
        return [Generation("Zephyr is a task queue for Python.", 1, 1) for _ in conversations]

    def stream(self, messages: Sequence[Mapping[str, str]], *, max_new_tokens: int) -> TextStream:
        for word in ("Zephyr ", "is ", "a ", "task ", "queue."):
            self.begun.release()
            assert self.let_go.wait(60)
            yield word
        return Generation("Zephyr is a task queue.", 1, 5)

    def count_tokens(self, text: str) -> int:
        return len(text.split())

    def count_prompt_tokens(self, messages: Sequence[Mapping[str, str]]) -> int:
        return sum(self.count_tokens(message["content"]) for message in messages)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, migrated_mlflow: Path) -> Home:
    records = [record("zephyr", ZEPHYR, "everyone"), record("lockbox", LOCKBOX, "everyone")]
    folder = tmp_path_factory.mktemp("load")
    return make_home(folder, migrated_mlflow, records, serving={"max_queue": 1, "max_batch": 1})


@pytest.fixture(scope="module")
def key(home: Home) -> str:
    return KeyFile(home.settings.api_keys).add("tester", ())


@pytest.fixture
def writer() -> Iterator[HeldWriter]:
    held = HeldWriter()
    yield held
    held.let_go.set()


@pytest.fixture
def server(home: Home, writer: HeldWriter) -> Iterator[str]:
    app = create_app(home.params, home.settings, partial(StaticPair, generator=writer))
    with running(app) as address:
        yield address
        writer.let_go.set()


def question(text: str = "What is zephyr?", **options: Any) -> dict[str, Any]:
    return {"model": "almanac", "messages": [{"role": "user", "content": text}]} | options


def post(server: str, key: str, body: dict[str, Any], **options: Any) -> httpx.Response:
    headers = {"Authorization": f"Bearer {key}"}
    return httpx.post(f"{server}/v1/chat/completions", json=body, headers=headers, timeout=60, **options)


def depth(server: str) -> float:
    lines = httpx.get(f"{server}/metrics").text.splitlines()
    return float(next(line for line in lines if line.startswith("almanac_queue_depth ")).split()[1])


def test_full_queue_answers_429_with_a_time_to_come_back(server: str, key: str, writer: HeldWriter) -> None:
    with ThreadPoolExecutor(2) as threads:
        waiting = [threads.submit(post, server, key, question()) for _ in range(2)]
        wait_until(lambda: depth(server) == 2, seconds=120)
        refused = post(server, key, question())
        streamed = post(server, key, question(stream=True))
        writer.let_go.set()
        assert [answer.result().status_code for answer in waiting] == [200, 200]
    assert (refused.status_code, streamed.status_code) == (429, 429)
    assert int(refused.headers["retry-after"]) > 0
    assert refused.json()["error"]["type"] == "rate_limit_error"


def test_health_and_search_wait_behind_no_generation(server: str, key: str, writer: HeldWriter) -> None:
    with ThreadPoolExecutor(1) as threads:
        answer = threads.submit(post, server, key, question())
        assert writer.begun.acquire(timeout=30)
        assert httpx.get(f"{server}/healthz", timeout=60).status_code == 200
        found = httpx.get(
            f"{server}/v1/search", params={"query": "zephyr"}, headers={"Authorization": f"Bearer {key}"}, timeout=60
        )
        assert found.json()["results"]
        assert not answer.done()
        writer.let_go.set()
        assert answer.result().status_code == 200


@pytest.mark.parametrize("stream", [False, True])
def test_client_that_leaves_gives_its_place_back(server: str, key: str, writer: HeldWriter, stream: bool) -> None:
    address = httpx.URL(server)
    connection = HTTPConnection(address.host, address.port)
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    connection.request("POST", "/v1/chat/completions", json.dumps(question(stream=stream)), headers)
    assert writer.begun.acquire(timeout=30)
    assert depth(server) == 1
    connection.close()
    wait_until(lambda: depth(server) == 0, seconds=120)
    assert not writer.let_go.is_set()


def test_stream_begins_before_the_answer_is_there(server: str, key: str, writer: HeldWriter) -> None:
    client = openai.OpenAI(base_url=f"{server}/v1", api_key=key, max_retries=0)
    stream = client.chat.completions.create(**question(stream=True))
    assert next(iter(stream)).choices[0].delta.role == "assistant"
    assert not writer.let_go.is_set()
    writer.let_go.set()
    assert "".join(part.choices[0].delta.content or "" for part in stream).startswith("Zephyr is a task queue")


def test_answer_that_takes_too_long_is_given_up(home: Home, key: str, writer: HeldWriter) -> None:
    settings = home.settings.model_copy(update={"request_timeout_seconds": 0.5})
    with running(create_app(home.params, settings, partial(StaticPair, generator=writer))) as server:
        late = post(server, key, question())
        streamed = post(server, key, question(stream=True))
        writer.let_go.set()
    assert (late.status_code, late.json()["error"]["code"]) == (503, "timeout")
    assert '"code": "timeout"' in streamed.text


def test_eight_clients_get_what_one_alone_gets(home: Home, key: str) -> None:
    params = home.params.model_copy(
        update={
            "serving": home.params.serving.model_copy(update={"max_queue": 16, "max_batch": 4}),
            "generation": home.params.generation.model_copy(update={"answerer": "model", "max_new_tokens": 8}),
        }
    )
    texts = [
        "What is zephyr?",
        "What does lockbox give?",
        "Which Python does zephyr need?",
        "Who is the king of spoons?",
    ]

    def ask(server: str, text: str) -> tuple[int, Any]:
        answer = post(server, key, question(text))
        return answer.status_code, answer.json()["choices"][0]["message"]["content"]

    with running(create_app(params, home.settings, StaticPair)) as server:
        alone = {text: ask(server, text) for text in texts}
        asked = [texts[place % len(texts)] for place in range(CLIENTS * QUESTIONS)]
        with ThreadPoolExecutor(CLIENTS) as threads:
            found = list(threads.map(partial(ask, server), asked))
        lines = httpx.get(f"{server}/metrics").text.splitlines()
    assert found == [alone[text] for text in asked]
    figures = dict(line.rsplit(" ", 1) for line in lines if line.startswith("almanac_batch_size_"))
    assert float(figures["almanac_batch_size_sum"]) > float(figures["almanac_batch_size_count"])


def drafts(count: int) -> list[Messages]:
    return [[{"role": "user", "content": f"Draft {number}: {'word ' * (7 * number)}"}] for number in range(count)]


def test_batched_drafts_are_those_of_the_model_alone(home: Home) -> None:
    generator = load_base(home.params.generation, home.settings)
    alone = [generator.generate(messages, max_new_tokens=12) for messages in drafts(6)]
    sizes: list[int] = []
    batcher = Batcher(max_batch=4, observe=sizes.append)
    batched = batcher.wrap(generator)
    batcher.start()
    with ThreadPoolExecutor(6) as threads:
        found = list(threads.map(partial(batched.generate, max_new_tokens=12), drafts(6)))
    batcher.stop()
    assert found == alone
    assert sum(sizes) == 6
    assert max(sizes) > 1


def test_failure_of_a_batch_reaches_each_of_its_requests() -> None:
    class Broken(HeldWriter):
        def generate_many(self, *_: Any, **__: Any) -> list[Generation]:
            raise MemoryError("no room")

    batcher = Batcher(max_batch=4)
    broken = batcher.wrap(Broken())
    batcher.start()
    for messages in drafts(2):
        with pytest.raises(MemoryError, match="no room"):
            broken.generate(messages, max_new_tokens=4)
    batcher.stop()


def test_endpoint_answers_as_the_model_in_process(home: Home) -> None:
    own = load_base(home.params.generation, home.settings)
    app = endpoint(own, name="tiny", failures=2, key="s3cret")
    settings = home.settings.model_copy(update={"endpoint_api_key": SecretStr("s3cret")})
    with running(app) as address:
        remote = EndpointGenerator(address, "tiny", settings)
        assert remote.context_length == own.context_length
        expected = [generation.text for generation in own.generate_many(drafts(3), max_new_tokens=12)]
        assert [entry.text for entry in remote.generate_many(drafts(3), max_new_tokens=12)] == expected
    assert {body["temperature"] for body in app.state.asked} == {0}


def test_endpoint_streams_what_it_would_give_whole(home: Home) -> None:
    own = load_base(home.params.generation, home.settings)
    with running(endpoint(own, name="tiny")) as address:
        remote = EndpointGenerator(address, "tiny", home.settings)
        whole = remote.generate(drafts(1)[0], max_new_tokens=12)
        stream = remote.stream(drafts(1)[0], max_new_tokens=12)
        first = next(stream)
        assert collect(stream) == whole
    assert 0 < len(first) < len(whole.text)
    assert whole.finish_reason == "length"


def test_what_a_model_refuses_is_left_out_from_then_on(home: Home) -> None:
    own = load_base(home.params.generation, home.settings)
    app = endpoint(own, name="tiny", refuses=("max_tokens", "temperature", "stream_options"))
    with running(app) as address:
        remote = EndpointGenerator(address, "tiny", home.settings)
        first = collect(remote.stream(drafts(1)[0], max_new_tokens=12))
        num_tries = len(app.state.asked)
        again = remote.generate(drafts(1)[0], max_new_tokens=12)
    assert first.text == again.text
    assert num_tries == 4
    assert set(app.state.asked[-1]) == {"model", "messages", "max_completion_tokens"}
    assert len(app.state.asked) == num_tries + 1


def test_refusal_of_an_endpoint_is_shown_in_one_line(home: Home) -> None:
    own = load_base(home.params.generation, home.settings)
    with running(endpoint(own, name="tiny", refuses=("messages",))) as address:
        remote = EndpointGenerator(address, "tiny", home.settings)
        with pytest.raises(ConfigurationError, match=r"^[^\n]*status 400: Unsupported parameter: 'messages'[^\n]*$"):
            remote.generate(drafts(1)[0], max_new_tokens=4)


def test_stream_goes_past_the_queue_and_holds_batches_back(writer: HeldWriter) -> None:
    batcher = Batcher(max_batch=4)
    batched = batcher.wrap(writer)
    batcher.start()
    writer.let_go.set()
    stream = batched.stream(drafts(1)[0], max_new_tokens=4)
    assert next(stream) == "Zephyr "
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(batched.generate, drafts(1)[0], max_new_tokens=4)
        wait_until(lambda: batcher.num_waiting == 0, seconds=60)
        assert writer.batches == []
        assert collect(stream).num_completion_tokens == 5
        assert waiting.result(60).text == "Zephyr is a task queue for Python."
    batcher.stop()


def test_stream_that_is_closed_lets_others_write(writer: HeldWriter) -> None:
    batcher = Batcher(max_batch=4)
    batched = batcher.wrap(writer)
    batcher.start()
    writer.let_go.set()
    stream = batched.stream(drafts(1)[0], max_new_tokens=4)
    next(stream)
    stream.close()
    assert batched.generate(drafts(1)[0], max_new_tokens=4).num_completion_tokens == 1
    batcher.stop()


def test_server_answers_through_an_endpoint(home: Home, key: str, writer: HeldWriter) -> None:
    writer.let_go.set()
    with running(endpoint(writer, name="tiny")) as address:
        remote = home.params.generation.model_copy(update={"endpoint": f"{address}/v1", "model": "tiny"})
        params = home.params.model_copy(update={"generation": remote})
        with running(create_app(params, home.settings, StaticPair)) as server:
            answer = post(server, key, question()).json()
    assert "Zephyr is a task queue for Python" in answer["choices"][0]["message"]["content"]
    assert answer["almanac"]["answerer_version"] == "base"


def test_endpoint_that_is_wrong_says_what_to_do(home: Home) -> None:
    own = load_base(home.params.generation, home.settings)
    with running(endpoint(own, name="tiny", key="s3cret")) as address:
        with pytest.raises(ConfigurationError, match="must serve 'other', found \\['tiny'\\]"):
            EndpointGenerator(address, "other", home.settings)
        remote = EndpointGenerator(address, "tiny", home.settings)
        with pytest.raises(ConfigurationError, match="ALMANAC_ENDPOINT_API_KEY"):
            remote.generate(drafts(1)[0], max_new_tokens=4)
    with pytest.raises(DependencyError, match="must answer"):
        remote.generate(drafts(1)[0], max_new_tokens=4)
