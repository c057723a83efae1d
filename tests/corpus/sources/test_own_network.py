"""What a web server answers leads no source into the own network: redirects, other names, addresses in disguise."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tasks.corpus.sources import open_source
from tasks.corpus.sources.public_address import is_public
from tasks.errors import DependencyError
from tasks.params.sources import FilesSource, RecordsSource

SECRET = b'{"id": "1", "text": "the credentials of the machine"}\n'
BASE = {"name": "web", "knowledge_base": "kb", "access": ["everyone"], "max_removed_fraction": 1.0}


@pytest.fixture
def port() -> Iterator[int]:
    """A server that sends from `/out/HOST/…` to the same page of another host."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path.startswith("/out/"):
                _, _, host, page = self.path.split("/", 3)
                self.send_response(302)
                self.send_header("Location", f"http://{host}:{self.server.server_port}/{page}")  # type: ignore[attr-defined]
                self.end_headers()
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(SECRET)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(SECRET)

        do_HEAD = do_GET  # noqa: N815 (the interface)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


def files(url: str) -> FilesSource:
    return FilesSource.model_validate(BASE | {"kind": "files", "url": url})


def test_host_that_is_named_is_read_wherever_it_stands(port: int, tmp_path: Path) -> None:
    reader = open_source(files(f"http://127.0.0.1:{port}/out/127.0.0.1/feed.jsonl"), cache=tmp_path)

    (item,) = reader.scan()

    assert reader.fetch(item).data == SECRET


@pytest.mark.parametrize("other", ["localhost", "127.0.0.2", "0.0.0.0", "2130706433"])
def test_named_host_leads_to_no_other_of_the_own_network(port: int, other: str, tmp_path: Path) -> None:
    reader = open_source(files(f"http://127.0.0.1:{port}/out/{other}/feed.jsonl"), cache=tmp_path)

    with pytest.raises(DependencyError):
        [reader.fetch(item) for item in reader.scan()]


def test_feed_of_records_leads_there_neither(port: int, tmp_path: Path) -> None:
    fields = BASE | {"kind": "records", "mode": "snapshot", "url": f"http://127.0.0.1:{port}/out/localhost/feed.jsonl"}

    with pytest.raises(DependencyError):
        list(open_source(RecordsSource.model_validate(fields), cache=tmp_path).scan())


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.215.14", True),
        ("2606:2800:21f:cb07:6820:80da:af6b:8b2c", True),
        ("10.1.2.3", False),
        ("172.31.0.1", False),
        ("192.168.1.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("::1", False),
        ("fe80::1%eth0", False),
        ("fd00:ec2::254", False),
        ("::ffff:10.0.0.1", False),
        ("64:ff9b::a00:1", False),
        ("2002:7f00:1::", False),
    ],
)
def test_addresses_of_the_own_network_are_known_in_every_form(address: str, public: bool) -> None:
    assert is_public(address) is public
