"""One id leads from a question to its spans, MLflow trace and log lines; a real receiver takes what is sent."""

import json
import logging
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from serving.api.app import create_app
from serving.api.auth import KeyFile
from tasks.answer.trace import flush_traces
from tasks.answer.trace_search import answer_traces
from tasks.settings import RedactingFormatter, Settings
from tasks.telemetry import ENDPOINT, TRACES_ENDPOINT, correlation_id, flush_spans, in_trace, span, trace
from tests.server import ZEPHYR, Home, StaticPair, make_home, record, running

QUESTION = "Which Python does Zephyr need?"


@dataclass
class Collector:
    """What a collector was sent."""

    address: str = ""
    bodies: list[bytes] = field(default_factory=list)

    def spans(self) -> list[Span]:
        flush_spans()
        requests = [ExportTraceServiceRequest.FromString(body) for body in self.bodies]
        scopes = [scope for one in requests for entry in one.resource_spans for scope in entry.scope_spans]
        return [each for scope in scopes for each in scope.spans]


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    """A receiver of OTLP over HTTP, named by the variable."""
    taken = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/v1/traces"
            taken.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    taken.address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setenv(TRACES_ENDPOINT, "")
    monkeypatch.delenv(TRACES_ENDPOINT)
    monkeypatch.setenv(ENDPOINT, taken.address)
    yield taken
    server.shutdown()
    server.server_close()


def test_without_a_collector_only_the_id_is_left() -> None:
    assert correlation_id() is None
    with trace("request") as identity, span("search"):
        assert correlation_id() == identity
        assert len(identity) == 32
    assert correlation_id() is None


def test_a_callers_trace_goes_on(collector: Collector) -> None:
    above = f"00-{'a' * 32}-{'b' * 16}-01"
    with trace("request", traceparent=above) as identity, span("search", num_passages=3):
        pass
    with trace("request", traceparent="00-nonsense") as other:
        pass

    assert identity == "a" * 32 != other
    by_name = {(each.name, each.trace_id.hex()): each for each in collector.spans()}
    request, search = by_name["request", identity], by_name["search", identity]
    assert request.parent_span_id.hex() == "b" * 16
    assert search.parent_span_id == request.span_id
    assert search.attributes[0].key == "almanac.num_passages"
    assert not by_name["request", other].parent_span_id


def test_error_is_told_by_its_kind_and_not_by_its_words(collector: Collector) -> None:
    @in_trace("refresh")
    def fail() -> None:
        raise ValueError("what somebody asked")

    with pytest.raises(ValueError, match="asked"):
        fail()

    assert [each.status.message for each in collector.spans()] == ["ValueError"]
    assert b"somebody" not in b"".join(collector.bodies)


def test_log_line_is_json_by_setting_and_names_its_request(tmp_path: Path) -> None:
    line = logging.LogRecord("almanac", logging.WARNING, __file__, 1, 'a "quoted" word', None, None)
    with trace("request") as identity:
        plain = RedactingFormatter("%(message)s", Settings(home=tmp_path)).format(line)
        fields = json.loads(RedactingFormatter("%(message)s", Settings(home=tmp_path, log_format="json")).format(line))

    assert plain == f'a "quoted" word (request {identity})'
    assert fields.pop("time").endswith("+00:00")
    assert fields == {"level": "WARNING", "logger": "almanac", "message": 'a "quoted" word', "request_id": identity}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, migrated_mlflow: Path) -> Home:
    return make_home(tmp_path_factory.mktemp("traced"), migrated_mlflow, [record("zephyr", ZEPHYR, "everyone")])


@pytest.mark.slow
def test_one_id_leads_from_the_response_to_spans_and_the_answers_trace(home: Home, collector: Collector) -> None:
    key = KeyFile(home.settings.api_keys).add("tester", ())
    body = {"model": "almanac", "messages": [{"role": "user", "content": QUESTION}]}
    with running(create_app(home.params, home.settings, StaticPair)) as address:
        headers = {"Authorization": f"Bearer {key}"}
        response = httpx.post(f"{address}/v1/chat/completions", json=body, headers=headers, timeout=120)
    flush_traces()

    identity = response.headers["x-request-id"]
    spans = {each.name: each for each in collector.spans() if each.trace_id.hex() == identity}
    assert set(spans) == {"request", "search", "answer"}
    assert {spans[name].parent_span_id for name in ("search", "answer")} == {spans["request"].span_id}
    attributes = {each.key: each.value for each in spans["request"].attributes}
    assert attributes["almanac.route"].string_value == "/v1/chat/completions"
    assert attributes["almanac.status"].int_value == 200
    assert QUESTION.encode() not in b"".join(collector.bodies)
    [answered] = answer_traces(home.settings, f"tags.`almanac.request_id` = '{identity}'")
    assert answered.info.trace_id == response.json()["almanac"]["trace_id"]
