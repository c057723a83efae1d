"""`response_format` over HTTP: a value of the schema, a refusal, or an error in the form of the API."""

import json
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import openai
import pytest
from fastapi import FastAPI
from fastapi.responses import JSONResponse, Response

from serving.api.app import create_app
from serving.api.auth import KeyFile
from tasks.answer.generators.base import Generation, JsonFormat
from tasks.answer.generators.endpoint import EndpointGenerator
from tasks.answer.prompt import NOT_FOUND
from tests.server import ZEPHYR, Home, StaticPair, make_home, record, running, served

pytestmark = pytest.mark.slow

SCHEMA = {
    "type": "object",
    "properties": {"needs": {"type": "string"}, "kind": {"enum": ["queue", "lock"]}},
    "required": ["needs", "kind"],
    "additionalProperties": False,
}
FORM: Any = {"type": "json_schema", "json_schema": {"name": "facts", "strict": True, "schema": SCHEMA}}
RECORDS = [record("zephyr", ZEPHYR, "everyone")]
CACHED = {"cache_entries": 64, "cache_mb": 4}
VALUE = '{"needs": "Python 3.11", "kind": "queue"}'


@dataclass
class Endpoint:
    """An OpenAI-compatible server that answers what a test says, and keeps what it was asked."""

    text: str = VALUE
    refusal: str | None = None
    finish_reason: str = "stop"
    takes_format: bool = True
    asked: list[dict[str, Any]] = field(default_factory=list)

    def app(self) -> FastAPI:
        app = FastAPI()

        @app.get("/v1/models")
        def models() -> dict[str, Any]:
            return {"data": [{"id": "strong", "max_model_len": 4096}]}

        @app.post("/v1/chat/completions")
        def complete(body: dict[str, Any]) -> Response:
            self.asked.append(body)
            if not self.takes_format:
                problem = {"message": "response_format is not supported", "type": "invalid_request_error", "code": None}
                return JSONResponse({"error": problem | {"param": "response_format"}}, 400)
            message = {"role": "assistant", "content": self.text, "refusal": self.refusal}
            return JSONResponse({"choices": [{"message": message, "finish_reason": self.finish_reason}]})

        return app


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, migrated_mlflow: Path) -> Home:
    return make_home(tmp_path_factory.mktemp("structured"), migrated_mlflow, RECORDS, serving=CACHED)


@pytest.fixture(scope="module")
def endpoint() -> Endpoint:
    return Endpoint()


@pytest.fixture(scope="module")
def client(home: Home, endpoint: Endpoint) -> Iterator[openai.OpenAI]:
    with served(endpoint.app()) as address:
        generation = home.params.generation.model_copy(update={"endpoint": address, "model": "strong"})
        params = home.params.model_copy(update={"generation": generation})
        generator = EndpointGenerator(address, "strong", home.settings)
        with asking(home, create_app(params, home.settings, partial(StaticPair, generator=generator))) as asked:
            yield asked


class asking(AbstractContextManager[openai.OpenAI]):  # noqa: N801 - reads as a verb
    """The official client of a server that runs."""

    def __init__(self, home: Home, app: FastAPI) -> None:
        self._key, self._running = KeyFile(home.settings.api_keys).add(uuid.uuid4().hex, ()), running(app)

    def __enter__(self) -> openai.OpenAI:
        return openai.OpenAI(base_url=f"{self._running.__enter__()}/v1", api_key=self._key, max_retries=0)

    def __exit__(self, *problem: Any) -> None:
        self._running.__exit__(*problem)


def ask(client: openai.OpenAI, question: str = "What does zephyr need?", form: Any = FORM, **options: Any) -> Any:
    messages: list[Any] = [{"role": "user", "content": question}]
    return client.chat.completions.create(model="almanac", messages=messages, response_format=form, **options)


@pytest.fixture(autouse=True)
def reset(endpoint: Endpoint) -> None:
    endpoint.__init__()  # type: ignore[misc]


def test_value_comes_as_content_with_its_citations_beside_it(client: openai.OpenAI, endpoint: Endpoint) -> None:
    found = ask(client)

    message = found.choices[0].message
    assert json.loads(message.content) == {"needs": "Python 3.11", "kind": "queue"}
    assert message.refusal is None
    assert endpoint.asked[-1]["response_format"] == FORM
    (note,) = message.annotations
    place = note.url_citation
    assert message.content[place.start_index : place.end_index] == '"Python 3.11"'
    assert place.url == "https://wiki.example/zephyr"
    assert [claim["verdict"] for claim in found.model_extra["almanac"]["claims"]] == ["supported"]


def test_another_form_is_another_entry_of_the_cache(client: openai.OpenAI, endpoint: Endpoint) -> None:
    question = "Which Python does zephyr need?"
    assert not ask(client, question).model_extra["almanac"]["cached"]
    assert ask(client, question).model_extra["almanac"]["cached"]
    endpoint.text = '{"any": 1}'
    other = ask(client, question, {"type": "json_object"})
    assert (other.choices[0].message.content, other.model_extra["almanac"]["cached"]) == ('{"any": 1}', False)


def test_stream_sends_the_value_once_it_was_checked(client: openai.OpenAI) -> None:
    parts = list(ask(client, "What is it that zephyr needs?", stream=True))

    assert "".join(part.choices[0].delta.content or "" for part in parts if part.choices) == VALUE
    assert parts[-1].choices[0].delta.model_extra["annotations"][0]["type"] == "url_citation"


@pytest.mark.parametrize("says", ["refusal", "sentence"])
def test_no_answer_in_the_documents_is_a_refusal(says: str, client: openai.OpenAI, endpoint: Endpoint) -> None:
    endpoint.text, endpoint.refusal = ("", "I cannot") if says == "refusal" else (NOT_FOUND, None)
    found = ask(client, f"Who wrote zephyr, by {says}?")

    message = found.choices[0].message
    assert message.content is None
    assert "found no answer" in message.refusal or "wrote nothing" in message.refusal
    assert found.model_extra["almanac"]["abstained"]
    parts = list(ask(client, f"Who wrote zephyr, by {says}?", stream=True))
    assert "".join(part.choices[0].delta.refusal or "" for part in parts if part.choices) == message.refusal
    assert not any(part.choices[0].delta.content for part in parts if part.choices)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"text": '{"needs": 3, "kind": "queue"}'}, "breaks"),
        ({"text": "Zephyr needs Python 3.11."}, "no JSON"),
        ({"text": '{"needs": "Py', "finish_reason": "length"}, "cut at the limit"),
    ],
)
def test_what_is_not_of_the_form_is_an_error(
    change: dict[str, str], why: str, client: openai.OpenAI, endpoint: Endpoint
) -> None:
    for name, value in change.items():
        setattr(endpoint, name, value)
    with pytest.raises(openai.UnprocessableEntityError) as raised:
        ask(client, f"What, {why}, does zephyr need?")
    assert (raised.value.param, raised.value.code) == ("response_format", "response_format_not_met")
    assert why in str(raised.value)
    with pytest.raises(openai.APIError, match=why):
        list(ask(client, f"What, {why}, does zephyr need?", stream=True))


def test_endpoint_that_knows_no_form_is_named_in_the_error(client: openai.OpenAI, endpoint: Endpoint) -> None:
    endpoint.takes_format = False
    with pytest.raises(openai.BadRequestError, match="response_format is not supported"):
        ask(client, "What does zephyr need by an old server?")


@pytest.mark.parametrize(
    "form",
    [
        {"type": "yaml"},
        {"type": "json_schema"},
        {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": 3}}},
        {"type": "json_schema", "json_schema": {"name": "x", "schema": {"$ref": "http://127.0.0.1:9/x"}}},
    ],
)
def test_what_is_no_form_is_refused_at_once(form: Any, client: openai.OpenAI, endpoint: Endpoint) -> None:
    with pytest.raises(openai.BadRequestError) as raised:
        ask(client, form=form)
    assert (raised.value.param, raised.value.code) == ("response_format", "response_format_unsupported")
    assert endpoint.asked == []


class Held:
    """A model in this process: it writes the first value of an enumeration."""

    identity, context_length = "held:none", 4096

    def generate_json(self, messages: Any, form: JsonFormat, *, max_new_tokens: int) -> Generation:
        assert max_new_tokens >= 512
        return Generation(json.dumps(form.schema["enum"][0]), 1, 1)

    def generate(self, messages: Any, *, max_new_tokens: int) -> Generation:
        return Generation("", 1, 0)

    def count_tokens(self, text: str) -> int:
        return len(text.split())

    def count_prompt_tokens(self, messages: Any) -> int:
        return 10


@pytest.mark.parametrize("kind", ["excerpt", "local"])
def test_each_kind_of_answerer_writes_json_or_says_why_not(kind: str, home: Home) -> None:
    pair: Callable[..., StaticPair] = partial(StaticPair, generator=Held()) if kind == "local" else StaticPair  # type: ignore[arg-type]
    wanted = {"type": "json_schema", "json_schema": {"name": "kind", "schema": {"enum": ["queue"]}}}
    with asking(home, create_app(home.params, home.settings, pair)) as client:
        if kind == "local":
            assert ask(client, form=wanted).choices[0].message.content == '"queue"'
            wanted["json_schema"] = {"name": "x", "schema": {"type": "array", "uniqueItems": True}}
        with pytest.raises(openai.BadRequestError) as raised:
            ask(client, form=wanted)
    assert raised.value.code == "response_format_unsupported"
    assert ("uniqueItems" if kind == "local" else "promote an answerer") in str(raised.value)
