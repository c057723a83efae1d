"""A teacher that answers over HTTP as OpenAI's endpoints do."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest


@pytest.fixture
def endpoint() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A real HTTP server that answers as OpenAI's does, and what it was asked."""
    asked: list[dict[str, Any]] = []
    listed = [
        {"question": "How long are snapshots kept by Zephyr?", "answer": "Ninety  days"},
        {"question": "Who pays for Zephyr?", "answer": "the moon"},
    ]

    class Reply(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            message = {"choices": [{"message": {"content": f"Here: {json.dumps(listed)}"}}]}
            body = json.dumps(message | {"usage": {"total_tokens": 150}}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Reply)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1", asked
    server.shutdown()
    server.server_close()
