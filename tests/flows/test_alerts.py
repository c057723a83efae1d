"""People are told of what ended badly: by a webhook here, by mail or chat elsewhere."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from flows.alerts import tell_people
from tasks.settings import Settings


@contextmanager
def webhook(status: int) -> Iterator[tuple[str, list[dict[str, str]]]]:
    """A server that takes messages, or refuses them; its address and what came."""
    came: list[dict[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            came.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(status)
            self.end_headers()

        def log_message(self, *args: object) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"json://user:secret@127.0.0.1:{server.server_port}/hook", came
    finally:
        server.shutdown()
        server.server_close()


def test_every_address_gets_the_message(monkeypatch: pytest.MonkeyPatch) -> None:
    with webhook(200) as (one, first), webhook(200) as (two, second):
        monkeypatch.setenv("ALMANAC_ALERTS", f"{one} {two}")

        assert tell_people(Settings(), "Almanac: weekly platinum-rat", "Crashed\nstarted again as teal-ant")

    for came in (first, second):
        assert [message["title"] for message in came] == ["Almanac: weekly platinum-rat"]
        assert "started again as teal-ant" in came[0]["message"]


def test_wrong_address_keeps_nothing_from_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    with webhook(200) as (address, came):
        monkeypatch.setenv("ALMANAC_ALERTS", f"nonsense {address}")

        assert not tell_people(Settings(), "Almanac", "Crashed")

    assert len(came) == 1


def test_address_that_refuses_is_in_the_log_without_its_password(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with webhook(500) as (address, _):
        monkeypatch.setenv("ALMANAC_ALERTS", address)

        assert not tell_people(Settings(), "Almanac", "Crashed")

    assert "not everybody of ALMANAC_ALERTS could be told" in caplog.text
    assert "secret" not in caplog.text


def test_without_an_address_the_log_has_the_message(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("ALMANAC_ALERTS", raising=False)

    assert tell_people(Settings(), "Almanac", "Crashed")
    assert "Almanac: Crashed" in caplog.text
