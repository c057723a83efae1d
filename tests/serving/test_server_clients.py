"""Requests as people's clients send them: pictures, half characters, unknown fields, other origins, wrong paths."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from serving.api.app import create_app
from serving.api.text import clean, encoded
from tests.server import ZEPHYR, Home, StaticPair, make_home, record, running

pytestmark = pytest.mark.slow

QUESTION = "What is zephyr?"
ORIGIN = "http://localhost:3000"
PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": "auto"}}
PREFLIGHT = {
    "Origin": ORIGIN,
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "authorization,content-type,x-stainless-lang",
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, migrated_mlflow: Path) -> Home:
    records = [record("zephyr", ZEPHYR, "everyone")]
    serving = {"anonymous_groups": ["everyone"], "max_queue": 64}
    return make_home(tmp_path_factory.mktemp("clients"), migrated_mlflow, records, serving=serving)


@pytest.fixture(scope="module")
def http(home: Home) -> Iterator[httpx.Client]:
    with (
        running(create_app(home.params, home.settings, StaticPair)) as address,
        httpx.Client(base_url=address, timeout=60) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def open_http(home: Home) -> Iterator[httpx.Client]:
    """A server that a page of `ORIGIN` may call."""
    own = home.settings.model_copy(update={"cors_origins": f"{ORIGIN}/, app://obsidian.md"})
    with (
        running(create_app(home.params, own, StaticPair)) as address,
        httpx.Client(base_url=address, timeout=60) as client,
    ):
        yield client


def chat(http: httpx.Client, *messages: dict[str, Any], **fields: Any) -> httpx.Response:
    return http.post("/v1/chat/completions", json={"model": "almanac", "messages": list(messages)} | fields)


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def text_of(response: httpx.Response) -> str:
    assert response.status_code == 200, response.text
    return str(response.json()["choices"][0]["message"]["content"])


def test_picture_in_a_history_refuses_no_later_question(http: httpx.Client) -> None:
    seen = user([{"type": "text", "text": "What is in this?"}, PICTURE])
    said = {"role": "assistant", "content": [{"type": "refusal", "refusal": "I see no pictures."}]}
    assert "task queue" in text_of(chat(http, seen, said, user(QUESTION)))


def test_text_beside_a_picture_is_the_question(http: httpx.Client) -> None:
    audio = {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}
    assert "task queue" in text_of(chat(http, user([PICTURE, {"type": "text", "text": QUESTION}, audio])))


def test_picture_alone_is_no_question(http: httpx.Client) -> None:
    refused = chat(http, user(QUESTION), user([PICTURE]))
    assert refused.status_code == 400
    assert "in words" in refused.json()["error"]["message"]


@pytest.mark.parametrize("stream", [False, True])
def test_half_a_character_is_replaced(http: httpx.Client, stream: bool) -> None:
    body = json.dumps({"messages": [user("What is zephyr \ud83d?")], "stream": stream, "user": "\udc00"})
    answer = http.post("/v1/chat/completions", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 200
    assert "task queue" in answer.text
    search = http.post(
        "/v1/search", content=b'{"query": "zephyr \\ud83d"}', headers={"Content-Type": "application/json"}
    )
    assert search.status_code == 200


@given(st.recursive(st.text(st.characters()), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
@settings(max_examples=300, suppress_health_check=list(HealthCheck))
def test_any_text_can_be_cleaned_and_encoded(value: Any) -> None:
    assert json.loads(encoded(value)) == clean(value)


class Failing(StaticPair):
    """A pair whose every search meets a fault of ours."""

    def acquire(self, user_key: str | None = None, knowledge_base: str | None = None) -> Any:
        raise ZeroDivisionError


def test_any_failure_within_a_stream_ends_it_as_an_error_event(home: Home) -> None:
    with (
        running(create_app(home.params, home.settings, Failing)) as address,
        httpx.Client(base_url=address, timeout=60) as http,
    ):
        stream = chat(http, user(QUESTION), stream=True)
    assert stream.status_code == 200
    last = json.loads(stream.text.strip().split("\n\n")[-1].removeprefix("data: "))
    assert last["error"]["code"] == "internal"


@pytest.mark.parametrize(
    "body",
    [
        # Open WebUI
        {
            "stream": True,
            "stream_options": {"include_usage": True},
            "chat_id": "c",
            "id": "m",
            "features": {},
            "tools": [],
        },
        # LibreChat
        {"stream": True, "user": "65f0", "temperature": 1, "top_p": 1, "presence_penalty": 0, "frequency_penalty": 0},
        # LobeChat
        {"stream": True, "temperature": 0.6, "top_p": 1, "presence_penalty": 0, "max_tokens": None, "stop": None},
        # openai in JavaScript and Python
        {"max_completion_tokens": 500, "reasoning_effort": "low", "store": False, "metadata": {"a": "b"}, "seed": 1},
        # LangChain
        {"n": 1, "stop": ["\nObservation"], "logprobs": False, "temperature": 0.7, "parallel_tool_calls": None},
        # LlamaIndex
        {"max_tokens": 512, "temperature": 0.1, "response_format": {"type": "text"}, "tool_choice": "none"},
    ],
)
def test_requests_of_known_clients_are_answered(http: httpx.Client, body: dict[str, Any]) -> None:
    answer = chat(http, {**user(QUESTION), "name": "ada"}, **body)
    assert answer.status_code == 200, answer.text
    assert "task queue" in answer.text


@pytest.mark.parametrize(("method", "path"), [("GET", "/v1/nothing"), ("POST", "/nothing"), ("DELETE", "/v1/a/b")])
def test_unknown_path_is_not_found_in_the_apis_words(http: httpx.Client, method: str, path: str) -> None:
    answer = http.request(method, path)
    assert answer.status_code == 404
    assert path in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/v1/chat/completions"), ("DELETE", "/v1/search"), ("POST", "/healthz")]
)
def test_wrong_method_is_told_with_the_right_one(http: httpx.Client, method: str, path: str) -> None:
    answer = http.request(method, path)
    assert answer.status_code == 405
    assert answer.headers["allow"] in answer.json()["error"]["message"]


def test_page_and_its_files_are_served(http: httpx.Client) -> None:
    assert "text/html" in http.get("/").headers["content-type"]
    assert "javascript" in http.get("/page/app.js").headers["content-type"]


def test_other_origins_are_refused_unless_the_operator_names_them(http: httpx.Client) -> None:
    preflight = http.options("/v1/chat/completions", headers=PREFLIGHT)
    assert preflight.status_code == 405
    assert "access-control-allow-origin" not in preflight.headers


def test_named_origin_may_ask_and_read_the_answer(open_http: httpx.Client) -> None:
    preflight = open_http.options("/v1/chat/completions", headers=PREFLIGHT)
    assert preflight.status_code == 200
    assert preflight.headers["access-control-allow-origin"] == ORIGIN
    assert "x-stainless-lang" in preflight.headers["access-control-allow-headers"]
    body = {"messages": [user(QUESTION)]}
    answer = open_http.post("/v1/chat/completions", json=body, headers={"Origin": ORIGIN})
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    refused = open_http.post("/v1/chat/completions", json={}, headers={"Origin": ORIGIN})
    assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (400, ORIGIN)


def test_origin_that_was_not_named_may_not(open_http: httpx.Client) -> None:
    other = open_http.options("/v1/chat/completions", headers=PREFLIGHT | {"Origin": "https://evil.example"})
    assert other.status_code == 400
    assert "access-control-allow-origin" not in other.headers
