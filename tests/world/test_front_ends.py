"""Requests as well-known front ends send them to a real server: each is answered.

Those named `recorded` are what the client sent when it was run here; the others are written after its documentation.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from serving.api.app import create_app
from tests.scripted_endpoint import NAME, scripted_endpoint
from tests.server import ZEPHYR, Home, StaticPair, make_home, record, running, served

pytestmark = pytest.mark.slow

QUESTION = "What is zephyr?"
DRAFT = "Zephyr is a task queue for Python [1]."
TOOL = {
    "type": "function",
    "function": {"name": "get_weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}},
}
CALLED = {
    "role": "assistant",
    "content": None,
    "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "get_weather", "arguments": "{}"}}],
}
RESULT = {"role": "tool", "tool_call_id": "c1", "content": '{"sky": "clear"}'}
SYSTEM = {"role": "system", "content": "You are a helpful assistant."}
DEVELOPER = {"role": "developer", "content": "Answer in short sentences."}
USAGE = {"stream_options": {"include_usage": True}}


def user(content: Any, **more: Any) -> dict[str, Any]:
    return {"role": "user", "content": content} | more


def parts(*texts: str) -> list[dict[str, Any]]:
    return [{"type": "text", "text": text} for text in texts]


REQUESTS: dict[str, dict[str, Any]] = {
    # Open WebUI: the conversation with its own fields; native function calling offers tools
    "open-webui": {
        "messages": [SYSTEM, user("Hello"), {"role": "assistant", "content": "Hello!"}, user(QUESTION)],
        "stream": True,
        **USAGE,
        "chat_id": "0b",
        "id": "9f",
        "session_id": "s1",
        "background_tasks": {},
        "params": {},
        "tool_ids": [],
        "files": [],
        "features": {"web_search": False},
        "variables": {},
        "filter_ids": [],
    },
    "open-webui with native tools": {"messages": [user(QUESTION)], "stream": True, "tools": [TOOL], **USAGE},
    # LibreChat: user and penalties always; agents offer tools
    "librechat": {
        "messages": [SYSTEM | {"name": "instructions"}, user(QUESTION)],
        "stream": True,
        "user": "65f",
        "temperature": 1,
        "top_p": 1,
        "presence_penalty": 0,
        "frequency_penalty": 0,
    },
    "librechat agent": {
        "messages": [DEVELOPER, user(parts(QUESTION))],
        "stream": True,
        **USAGE,
        "tools": [TOOL],
        "tool_choice": "auto",
        "user": "65f",
        "parallel_tool_calls": True,
    },
    # LobeChat: parts of text, plug-ins as tools, no maximum
    "lobechat": {
        "messages": [SYSTEM, user(parts(QUESTION))],
        "stream": True,
        **USAGE,
        "temperature": 0.6,
        "top_p": 1,
        "max_tokens": None,
        "tools": [TOOL],
        "user": "u",
    },
    # openai: Python sends only what was set; JavaScript runs tools in a loop
    "openai python": {
        "messages": [DEVELOPER, user(QUESTION, name="ada")],
        "max_completion_tokens": 300,
        "reasoning_effort": "low",
        "store": False,
        "metadata": {"run": "7"},
        "seed": 7,
        "service_tier": "auto",
        "safety_identifier": "h",
        "prompt_cache_key": "k",
        "verbosity": "low",
        "n": 1,
    },
    "openai javascript runTools": {
        "messages": [
            user("How is the sky?"),
            CALLED,
            RESULT,
            {"role": "assistant", "content": "Clear."},
            user(QUESTION),
        ],
        "stream": True,
        "tools": [TOOL],
        "tool_choice": "auto",
        "modalities": ["text"],
        "logprobs": False,
    },
    "openai functions of old": {"messages": [user(QUESTION)], "functions": [TOOL["function"]], "function_call": "auto"},
    # LangChain: stop words, parts, usage with each stream; structured text
    "langchain": {
        "messages": [SYSTEM, user(parts("Context:", QUESTION))],
        "stream": True,
        **USAGE,
        "stop": ["\nObservation:"],
        "temperature": 0.7,
        "top_logprobs": None,
    },
    "langchain js": {
        "messages": [user(QUESTION)],
        "temperature": 1,
        "top_p": 1,
        "frequency_penalty": 0,
        "presence_penalty": 0,
        "n": 1,
        "stream": False,
    },
    # LlamaIndex: OpenAILike
    "llama-index": {
        "messages": [SYSTEM, user(QUESTION)],
        "temperature": 0.1,
        "max_tokens": 256,
        "response_format": {"type": "text"},
        "tool_choice": "none",
    },
    # what they sent to `almanac serve` here, word for word but for the question
    "recorded: langchain-openai 1.7.4 chain": {
        "messages": [
            {"content": "Be short.", "role": "system"},
            user("Hello"),
            {"content": "It retries.", "role": "assistant"},
            user(QUESTION),
        ],
        "stream": False,
        "temperature": 0.0,
    },
    "recorded: langchain-openai 1.7.4 stream": {"messages": [user(QUESTION)], "stream": True, **USAGE},
    "recorded: langchain-openai 1.7.4 bind_tools": {
        "messages": [user(QUESTION)],
        "stream": False,
        "temperature": 0.0,
        "tools": [TOOL],
    },
    "recorded: llama-index-llms-openai-like 0.8.1 chat engine": {
        "messages": [SYSTEM, user("Hello"), {"role": "assistant", "content": "Hello [1]."}, user(QUESTION)],
        "stream": True,
        "temperature": 0.1,
    },
    "recorded: openai-node 6.49.0 runTools": {
        "messages": [user(QUESTION)],
        "tools": [TOOL],
        "tool_choice": "auto",
        "stream": False,
    },
    "recorded: openai-node 6.49.0 stream": {"messages": [user(QUESTION)], "stream": True},
    "picture before": {
        "messages": [
            user([*parts("What is this?"), {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]),
            {"role": "assistant", "content": parts("A picture."), "refusal": None, "audio": None, "annotations": []},
            user([{"type": "file", "file": {"file_id": "f"}}, *parts(QUESTION)]),
        ]
    },
}
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "a call is demanded": ({"tools": [TOOL], "tool_choice": "required"}, "tool_choice"),
    "this call is demanded": (
        {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "f"}}},
        "tool_choice",
    ),
    "several answers": ({"n": 3}, "n"),
    "a form of no kind that there is": ({"response_format": {"type": "grammar"}}, "response_format"),
    "probabilities": ({"logprobs": True}, "logprobs"),
    "no tokens": ({"max_tokens": 0}, "body.max_tokens"),
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, migrated_mlflow: Path) -> Home:
    serving = {"anonymous_groups": ["everyone"], "max_queue": 64}
    folder = tmp_path_factory.mktemp("front-ends")
    return make_home(folder, migrated_mlflow, [record("zephyr", ZEPHYR, "everyone")], serving=serving)


@pytest.fixture(scope="module")
def http(home: Home) -> Iterator[httpx.Client]:
    with served(scripted_endpoint(lambda _: DRAFT)) as place:
        changes = {"endpoint": place, "model": NAME, "prompt": "full-answer", "max_new_tokens": 300}
        params = home.params.model_copy(update={"generation": home.params.generation.model_copy(update=changes)})
        with (
            running(create_app(params, home.settings, StaticPair)) as address,
            httpx.Client(base_url=address, timeout=60, headers={"Authorization": "Bearer sk-no-key"}) as client,
        ):
            client.headers.pop("Authorization")
            yield client


def chat(http: httpx.Client, request: dict[str, Any]) -> httpx.Response:
    return http.post("/v1/chat/completions", json={"model": "almanac"} | request)


def text_of(response: httpx.Response, *, is_streamed: bool) -> str:
    """The text of an answer, after a look at the form that clients parse."""
    assert response.status_code == 200, response.text
    if not is_streamed:
        choice = response.json()["choices"][0]
        assert (choice["index"], choice["finish_reason"], choice["message"]["role"]) == (0, "stop", "assistant")
        return str(choice["message"]["content"])
    assert response.headers["content-type"].startswith("text/event-stream")
    lines = [line.removeprefix("data: ") for line in response.text.splitlines() if line.startswith("data: ")]
    assert lines[-1] == "[DONE]"
    chunks = [json.loads(line) for line in lines[:-1]]
    assert {(chunk["object"], chunk["model"]) for chunk in chunks} == {("chat.completion.chunk", "almanac")}
    assert len({chunk["id"] for chunk in chunks}) == 1
    deltas = [chunk["choices"][0] for chunk in chunks if chunk["choices"]]
    assert deltas[0]["delta"]["role"] == "assistant"
    assert [delta["finish_reason"] for delta in deltas if delta["finish_reason"]] == ["stop"]
    return "".join(delta["delta"].get("content") or "" for delta in deltas)


@pytest.mark.parametrize("name", REQUESTS)
def test_request_of_a_front_end_is_answered(http: httpx.Client, name: str) -> None:
    request = REQUESTS[name]
    answer = chat(http, request)

    assert text_of(answer, is_streamed=bool(request.get("stream"))) == DRAFT


@pytest.mark.parametrize("name", [name for name, request in REQUESTS.items() if "stream_options" in request])
def test_the_stream_ends_with_its_usage_where_it_was_asked_for(http: httpx.Client, name: str) -> None:
    lines = [line for line in chat(http, REQUESTS[name]).text.splitlines() if line.startswith("data: {")]
    last = json.loads(lines[-1].removeprefix("data: "))

    assert last["choices"] == []
    assert last["usage"]["total_tokens"] == last["usage"]["prompt_tokens"] + last["usage"]["completion_tokens"] > 0


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("stream", [False, True])
def test_what_cannot_be_given_is_refused_before_a_stream_begins(http: httpx.Client, name: str, stream: bool) -> None:
    fields, parameter = REFUSED[name]
    answer = chat(http, {"messages": [user(QUESTION)], "stream": stream} | fields)

    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == parameter


def test_models_are_listed_and_found_one_by_one(http: httpx.Client) -> None:
    listed = http.get("/v1/models").json()
    assert (listed["object"], [model["id"] for model in listed["data"]]) == ("list", ["almanac"])
    assert {"id", "object", "created", "owned_by"} <= listed["data"][0].keys()
    assert http.get("/v1/models/almanac").json()["id"] == "almanac"
    assert http.get("/v1/models/almanac/wiki").json()["id"] == "almanac/wiki"
    missing = http.get("/v1/models/gpt-4o")
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "model_not_found")


@pytest.mark.parametrize("path", ["/", "/healthz", "/readyz", "/v1/models", "/v1/models/almanac"])
def test_a_probe_by_head_is_answered_like_get_without_a_body(http: httpx.Client, path: str) -> None:
    probe = http.head(path)

    assert (probe.status_code, probe.content) == (http.get(path).status_code, b"")


@pytest.mark.parametrize(
    "path", ["/v1/embeddings", "/v1/completions", "/v1/responses", "/v1/audio/speech", "/api/tags"]
)
def test_what_the_server_does_not_offer_is_not_found_in_openais_form(http: httpx.Client, path: str) -> None:
    answer = http.post(path, json={"model": "almanac", "input": "x", "prompt": "x"})

    assert (answer.status_code, answer.json()["error"]["type"]) == (404, "invalid_request_error")


def test_a_trailing_slash_leads_to_the_same_answer(http: httpx.Client) -> None:
    answer = http.post("/v1/chat/completions/", json=REQUESTS["langchain js"], follow_redirects=True)

    assert DRAFT in answer.text
