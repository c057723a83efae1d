"""Clients that mean harm or are broken, thousands of them: none breaks the server or reads what it may not.

`ALMANAC_FAULT_REQUESTS=10000 python -m pytest tests/faults/test_hostile_clients.py` sends ten thousand.
"""

import json
import os
import random
import resource
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from serving.api.app import create_app
from serving.api.auth import KeyFile
from tests.server import LOCKBOX, ZEPHYR, Home, StaticPair, make_home, record, running

pytestmark = pytest.mark.slow
NUM_REQUESTS = int(os.environ.get("ALMANAC_FAULT_REQUESTS", "300"))
SEED = int(os.environ.get("ALMANAC_FAULT_SEED", "20261127"))
NUM_HALF_OPEN = 300
SECRET = "61000 crowns"
ROUTES = {
    "GET": (
        *("/", "/page/", "/v1/models", "/v1/models/almanac", "/v1/search?q=salary&top_k=5", "/v1/search?q=%00"),
        *(
            "/v1/search?q=%ff%fe&mode=hybrid",
            "/v1/documents/a%2Fb",
            "/v1/documents/..%2f..%2fetc%2fpasswd",
            "/v1/review",
        ),
        *(
            "/v1/inspection?document=salaries",
            "/v1/inspection/names?prefix=s",
            "/page/../../../etc/passwd",
            "//v1//search",
        ),
        *("/page/%2e%2e/%2e%2e/params.yaml", "/v1/search" + "/x" * 2000, "/openapi.json", "/metrics", "/readyz"),
    ),
    "POST": (
        *("/v1/chat/completions",) * 4,
        *("/v1/search", "/v1/feedback", "/v1/documents", "/v1/review/1", "/webhooks/mlflow", "/v1/unknown"),
    ),
}
ODD_METHODS = ("PUT", "DELETE", "PATCH", "OPTIONS", "HEAD", "TRACE", "FOO", "get")
VALUES = (
    *(None, True, 0, -1, 1e308, 10**40, "", " ", "\x00", "\ud800", "🦓" * 500, "salary", "' OR 1=1 --", "{{7*7}}"),
    *("<script>alert(1)</script>", "../../etc/passwd", [], {}, [[[[[]]]]], {"a": {"b": {}}}, "x" * 5000, "payroll"),
)
NAMES = (
    *(
        "model",
        "messages",
        "stream",
        "max_tokens",
        "temperature",
        "n",
        "user",
        "tools",
        "response_format",
        "query",
        "top_k",
    ),
    *(
        "mode",
        "knowledge_base",
        "as",
        "groups",
        "answer_id",
        "rating",
        "comment",
        "id",
        "text",
        "access",
        "stop",
        "seed",
    ),
)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, migrated_mlflow: Path) -> Home:
    salaries = f"# Salaries\n\nThe salary of grade seven is {SECRET}.\n"
    records = [record("zephyr", ZEPHYR, "everyone"), record("lockbox", LOCKBOX, "everyone")]
    return make_home(
        tmp_path_factory.mktemp("hostile"), migrated_mlflow, [*records, record("salaries", salaries, "payroll")]
    )


@pytest.fixture(scope="module")
def key(home: Home) -> str:
    return KeyFile(home.settings.api_keys).add("tester", ())


@pytest.fixture(scope="module")
def server(home: Home) -> Iterator[str]:
    with running(create_app(home.params, home.settings, StaticPair)) as address:
        yield address


def is_answered(server: str, key: str) -> bool:
    body = {"model": "almanac", "messages": [{"role": "user", "content": "What does zephyr need?"}]}
    headers = {"Authorization": f"Bearer {key}"}
    reply = httpx.post(f"{server}/v1/chat/completions", json=body, headers=headers, timeout=60)
    return "Python 3.11" in reply.json()["choices"][0]["message"]["content"]


def test_no_request_breaks_the_server_or_reads_what_it_may_not(server: str, key: str) -> None:
    chance = random.Random(SEED)
    statuses = dict[str, int]()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    for number in range(NUM_REQUESTS):
        request = hostile_request(chance, key)
        reply = sent(server, request)
        status = reply[9:12].decode() if reply.startswith(b"HTTP/1.1 ") else "closed"
        statuses[status] = statuses.get(status, 0) + 1
        assert not status.startswith("5"), (request[:2000], reply[:2000])
        assert SECRET.encode() not in reply, request[:2000]
        assert b"Traceback" not in reply, request[:2000]
        if number % 500 == 0:
            assert is_answered(server, key)

    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(f"{NUM_REQUESTS} requests: {dict(sorted(statuses.items()))}; {grown:.0f} MiB more memory")
    assert is_answered(server, key)
    assert len(statuses) > 4


def test_clients_that_never_finish_keep_no_other_waiting(server: str, key: str) -> None:
    """Slow loris: connections that send a request byte by byte, its head or its body."""
    beginnings = (
        b"",
        b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nX-Slow: ",
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 900000\r\n"
        b"Content-Type: application/json\r\nAuthorization: Bearer " + key.encode() + b"\r\n\r\n{",
    )
    with ExitStack() as stack:
        half_open = [stack.enter_context(connection(server)) for _ in range(NUM_HALF_OPEN)]
        for number, client in enumerate(half_open):
            client.sendall(beginnings[number % len(beginnings)])
        started = time.monotonic()
        assert is_answered(server, key)
        print(f"{NUM_HALF_OPEN} half-open connections: answered in {time.monotonic() - started:.2f} s")
        for client in half_open:
            with suppress(OSError):
                client.sendall(b"x")
        assert is_answered(server, key)
    assert is_answered(server, key)


def hostile_request(chance: random.Random, key: str) -> bytes:
    """Return the bytes of a request: wrong in its line, headers, body, or in what it asks for."""
    make: Callable[[random.Random, str], bytes] = chance.choice(
        (_wrong_json, _wrong_json, _wrong_bytes, _wrong_head, _wrong_length)
    )
    return make(chance, key)


def _head(chance: random.Random, key: str, length: int | str, *more: bytes) -> bytes:
    right = "POST" if chance.random() < 0.7 else "GET"
    path = chance.choice(ROUTES[right])
    method = right if chance.random() < 0.85 else chance.choice(ODD_METHODS)
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", f"Content-Length: {length}", "Connection: close"]
    lines.append(
        "Content-Type: "
        + chance.choice(("application/json", "text/plain", "multipart/form-data", "application/xml", ""))
    )
    if chance.random() < 0.5:
        lines.append(
            f"Authorization: Bearer {chance.choice((key, key[:-1], 'x' * 3000, '', 'eyJhbGciOiJub25lIn0.e30.'))}"
        )
    return "\r\n".join(lines).encode() + b"".join(b"\r\n" + line for line in more) + b"\r\n\r\n"


def _wrong_json(chance: random.Random, key: str) -> bytes:
    content = {chance.choice(NAMES): chance.choice(VALUES) for _ in range(chance.randrange(6))}
    if chance.random() < 0.6:
        role = chance.choice(("user", "system", "assistant", "tool", "nobody", None))
        message = {"role": role, "content": chance.choice(VALUES)} | {chance.choice(NAMES): chance.choice(VALUES)}
        content |= {
            "model": chance.choice(("almanac", "gpt-4", None)),
            "messages": [message] * chance.choice((0, 1, 1, 1, 40)),
        }
    body = json.dumps(content).encode()
    return _head(chance, key, len(body)) + body


def _wrong_bytes(chance: random.Random, key: str) -> bytes:
    body = chance.choice(
        (
            *(
                chance.randbytes(chance.randrange(1, 3000)),
                b"\xff\xfe{}",
                b'{"messages": [{"role": "user", "content": "\xc3\x28"}]}',
            ),
            *(
                b"[" * 100_000,
                b'{"a":' * 20_000 + b"1" + b"}" * 20_000,
                b"9" * 50_000,
                b'{"model": "almanac", "messages": NaN}',
            ),
            *(b"x" * 1_000_001, b'{"model":"almanac","model":"almanac","messages":[],"messages":1}'),
        )
    )
    return _head(chance, key, len(body)) + body


def _wrong_head(chance: random.Random, key: str) -> bytes:
    more = chance.choice(
        (
            *(
                b"X-Long: " + b"a" * 70_000,
                b"X-Bad: \xff\xfe\x00",
                b"Cookie: " + chance.randbytes(40),
                b"Host: evil.example",
            ),
            *(
                b"Transfer-Encoding: chunked",
                b"Expect: 100-continue",
                b"Range: bytes=0-0,1-1,2-2",
                b"X-Forwarded-For: 127.0.0.1",
            ),
            *(
                b"Origin: https://evil.example",
                b"If-None-Match: *",
                b"Accept: application/x-unknown",
                b"X-Many: a\r\n" * 300,
            ),
        )
    )
    return _head(chance, key, 2, more) + b"{}"


def _wrong_length(chance: random.Random, key: str) -> bytes:
    length = chance.choice(("-1", "99999999999999999999", "abc", "0x10", "1,2", "500"))
    return _head(chance, key, length) + b'{"model": "almanac"}'


def connection(server: str) -> socket.socket:
    """Open a connection of a client's own."""
    address = urlsplit(server)
    return socket.create_connection((address.hostname, address.port), timeout=30)


def sent(server: str, request: bytes) -> bytes:
    """Send bytes and return what comes back until the server closes; a client whose body is too short leaves."""
    reply = bytearray()
    with connection(server) as client, suppress(OSError):
        client.sendall(request)
        if b"Content-Length: 500\r\n" in request or b"chunked" in request or b"Host: evil" in request:
            client.shutdown(socket.SHUT_WR)
        while part := client.recv(65_536):
            reply += part
    return bytes(reply)
