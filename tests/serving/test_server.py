"""The HTTP API, spoken to by the official client over a real socket."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings

from serving.api.app import create_app
from serving.api.limits import MAX_BODY_BYTES
from serving.api.people.keys import KeyFile
from tasks.index.passage import Passage
from tests.server import LOCKBOX, ZEPHYR, Home, StaticPair, make_home, record, running

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, migrated_mlflow: Path) -> Home:
    records = [
        record("zephyr", ZEPHYR, "everyone"),
        record("lockbox", LOCKBOX, "everyone", knowledge_base="tools"),
    ]
    return make_home(tmp_path_factory.mktemp("server"), migrated_mlflow, records)


@pytest.fixture(scope="module")
def key(home: Home) -> str:
    return KeyFile(home.settings.api_keys).add("tester", ())


@pytest.fixture(scope="module")
def server(home: Home) -> Iterator[str]:
    with running(create_app(home.params, home.settings, StaticPair)) as address:
        yield address


@pytest.fixture
def client(server: str, key: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{server}/v1", api_key=key, max_retries=0)


@pytest.fixture
def http(server: str, key: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server, headers={"Authorization": f"Bearer {key}"}, timeout=60) as client:
        yield client


def ask(client: openai.OpenAI, *texts: str, **options: Any) -> Any:
    """Ask; `texts` are the user's messages, oldest first."""
    messages: list[Any] = [{"role": "user", "content": text} for text in texts]
    return client.chat.completions.create(model=options.pop("model", "almanac"), messages=messages, **options)


def documents(found: Any) -> set[str]:
    return {passage["document_id"] for passage in found.model_extra["almanac"]["passages"]}


def test_answer_cites_in_text_and_as_annotations(client: openai.OpenAI) -> None:
    found = ask(client, "What is zephyr?")
    message = found.choices[0].message
    assert "Zephyr is a task queue for Python." in message.content
    (annotation,) = message.annotations
    place = annotation.url_citation
    assert message.content[place.start_index : place.end_index] == "[1]"
    assert (place.url, place.title) == ("https://wiki.example/zephyr", "Zephyr")


def test_answer_names_quote_versions_and_trace(client: openai.OpenAI) -> None:
    details = ask(client, "What is zephyr?").model_extra["almanac"]
    (citation,) = details["citations"]
    assert citation["quote"] == ZEPHYR[citation["start"] : citation["end"]]
    assert (details["index_version"], details["answerer_version"]) == ("1", "excerpt")
    assert details["trace_id"].startswith("tr-")
    assert (details["outcome"], details["abstained"], details["reason"]) == ("answer", False, None)


def test_stream_joins_to_the_whole_answer_with_annotations_last(client: openai.OpenAI) -> None:
    parts = list(ask(client, "What is zephyr?", stream=True, stream_options={"include_usage": True}))
    assert parts[0].choices[0].delta.role == "assistant"
    text = "".join(part.choices[0].delta.content or "" for part in parts if part.choices)
    assert text == ask(client, "What is zephyr?").choices[0].message.content
    last = parts[-2]
    assert last.choices[0].finish_reason == "stop"
    assert last.choices[0].delta.model_extra["annotations"][0]["type"] == "url_citation"
    assert last.model_extra["almanac"]["index_version"] == "1"
    assert parts[-1].usage.total_tokens == 0  # no model wrote


def test_stream_helper_of_the_client_reads_the_answer(client: openai.OpenAI) -> None:
    messages: list[Any] = [{"role": "user", "content": "What is zephyr?"}]
    with client.chat.completions.stream(model="almanac", messages=messages) as stream:
        final = stream.get_final_completion()
    assert "Zephyr is a task queue for Python." in (final.choices[0].message.content or "")


def test_follow_up_is_answered_about_what_was_asked_before(client: openai.OpenAI) -> None:
    found = ask(client, "What does lockbox give?", "How do I install it?")
    assert "Install lockbox with pip from the package index." in found.choices[0].message.content


def test_question_without_a_subject_is_asked_back_and_a_name_then_answers_it(client: openai.OpenAI) -> None:
    asked = ask(client, "How do I install it?")
    assert asked.model_extra["almanac"]["outcome"] == "clarification"
    assert "Which one do you mean:" in asked.choices[0].message.content
    assert {note.url_citation.title for note in asked.choices[0].message.annotations} == {"Zephyr", "Lockbox"}
    found = ask(client, "How do I install it?", "lockbox")
    assert "Install lockbox with pip from the package index." in found.choices[0].message.content
    assert found.model_extra["almanac"]["outcome"] == "answer"


def test_parts_of_a_message_and_other_roles_are_understood(client: openai.OpenAI) -> None:
    parts = [{"type": "text", "text": "What is zephyr?"}]
    messages: list[Any] = [
        {"role": "user", "content": "Good morning!"},
        {"role": "assistant", "content": None},
        {"role": "user", "content": parts},
    ]
    found = client.chat.completions.create(model="almanac", messages=messages, temperature=1.5, seed=3, max_tokens=5)
    assert "Zephyr is a task queue for Python." in (found.choices[0].message.content or "")


@pytest.mark.parametrize("role", ["system", "developer"])
def test_system_message_is_refused_where_no_model_can_honour_it(client: openai.OpenAI, role: str) -> None:
    messages: list[Any] = [{"role": role, "content": "As a pirate."}, {"role": "user", "content": "What is zephyr?"}]
    with pytest.raises(openai.BadRequestError) as raised:
        client.chat.completions.create(model="almanac", messages=messages)
    assert raised.value.code == "system_message_unsupported"


def test_thanks_search_nothing(client: openai.OpenAI) -> None:
    found = ask(client, "What is zephyr?", "Thanks a lot!")
    assert (documents(found), found.choices[0].message.content[:15]) == (set(), "You are welcome")


def test_knowledge_base_is_chosen_by_model_name_or_field(client: openai.OpenAI) -> None:
    assert documents(ask(client, "What is zephyr?", model="almanac/tools")) == {"wiki:lockbox"}
    extra = {"knowledge_base": "wiki"}
    assert documents(ask(client, "What is lockbox?", extra_body=extra)) == {"wiki:zephyr"}


@pytest.mark.parametrize(
    ("options", "parameter"),
    [
        ({"n": 2}, "n"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}], "tool_choice": "required"}, "tool_choice"),
        ({"logprobs": True}, "logprobs"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
    ],
)
def test_what_cannot_be_given_is_refused_in_openais_form(
    client: openai.OpenAI, options: dict[str, Any], parameter: str
) -> None:
    with pytest.raises(openai.BadRequestError) as raised:
        ask(client, "What is zephyr?", **options)
    assert raised.value.param == parameter
    assert raised.value.type == "invalid_request_error"


def test_another_model_is_not_found(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as raised:
        ask(client, "What is zephyr?", model="gpt-9")
    assert raised.value.code == "model_not_found"


def test_models_lists_what_serves(client: openai.OpenAI) -> None:
    (entry,) = client.models.list().data
    assert entry.id == "almanac"
    assert client.models.retrieve("almanac").id == "almanac"


@pytest.mark.parametrize("content", ["", "   ", None])
def test_question_without_words_is_refused(http: httpx.Client, content: str | None) -> None:
    found = http.post("/v1/chat/completions", json={"messages": [{"role": "user", "content": content}]})
    assert found.status_code == 400


def test_question_that_is_too_long_is_refused_with_the_limit(http: httpx.Client) -> None:
    body = {"messages": [{"role": "user", "content": "zephyr " * 400}]}
    found = http.post("/v1/chat/completions", json=body)
    assert found.status_code == 400
    assert "2000 characters" in found.json()["error"]["message"]
    streamed = http.post("/v1/chat/completions", json=body | {"stream": True})
    assert "2000 characters" in streamed.text


def test_body_that_is_too_large_is_refused_with_and_without_its_length(http: httpx.Client) -> None:
    big = b"x" * (MAX_BODY_BYTES + 1)
    known = http.post("/v1/chat/completions", content=big)
    chunked = http.post(
        "/v1/chat/completions", content=(big[start : start + 65536] for start in range(0, len(big), 65536))
    )
    assert (known.status_code, chunked.status_code) == (413, 413)


def test_search_gives_the_fields_of_the_command(http: httpx.Client) -> None:
    found = http.get("/v1/search", params={"query": "task queue", "top_k": 1}).json()
    assert found["release"] == 1
    (passage,) = found["results"]
    assert set(passage) == set(Passage.__dataclass_fields__)
    assert passage["document_id"] == "wiki:zephyr"
    posted = http.post("/v1/search", json={"query": "task queue", "kb": ["tools"]}).json()
    assert [entry["document_id"] for entry in posted["results"]] == ["wiki:lockbox"]


@pytest.mark.parametrize(
    "parameters",
    [{}, {"query": ""}, {"query": "x", "top_k": 0}, {"query": "x", "mode": "y"}, {"query": "x", "kb": "'"}],
)
def test_search_that_makes_no_sense_is_refused(http: httpx.Client, parameters: dict[str, Any]) -> None:
    found = http.get("/v1/search", params=parameters)
    assert found.status_code == 400
    assert found.json()["error"]["type"] == "invalid_request_error"


def test_only_known_hosts_are_served(http: httpx.Client) -> None:
    assert http.get("/v1/models", headers={"Host": "evil.example"}).status_code == 400
    assert http.get("/healthz", headers={"Host": "10.0.0.7:8000"}).status_code == 200


def test_browsers_are_told_to_load_from_here_only(http: httpx.Client) -> None:
    headers = http.get("/healthz").headers
    assert "default-src 'none'" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"


def test_metrics_count_answers_and_hold_no_text(http: httpx.Client, client: openai.OpenAI) -> None:
    ask(client, "What is zephyr?")
    http.get("/v1/search", params={"query": "heliotrope"})
    text = http.get("/metrics").text
    assert 'almanac_answers_total{answerer_version="excerpt",index_version="1",outcome="answer"}' in text
    assert 'almanac_requests_total{route="/v1/search",status="200"}' in text
    assert "almanac_queue_depth 0.0" in text
    assert not [word for word in ("zephyr", "heliotrope", "tester", "wiki") if word in text.lower()]


def test_unknown_path_is_an_error_in_the_one_form(http: httpx.Client) -> None:
    assert http.get("/v1/nothing").json()["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/search", "/v1/feedback", "/v1/models", "/readyz"])
def test_no_machine_written_request_makes_the_server_fail(server: str, key: str, path: str) -> None:
    schema = schemathesis.openapi.from_url(f"{server}/openapi.json").include(path_regex=f"^{path}")
    statuses: Counter[int] = Counter()

    def call(case: Any) -> None:
        found = case.call(headers={"Authorization": f"Bearer {key}"})
        statuses[found.status_code] += 1
        assert found.status_code < 500, (case.body, case.query)

    for result in schema.get_all_operations():
        limits = settings(max_examples=25, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        limits(given(case=result.ok().as_strategy())(call))()
    assert sum(statuses.values()) > 0
