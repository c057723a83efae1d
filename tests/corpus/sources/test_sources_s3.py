"""A bucket as a source, on moto's S3 server: an object whose ETag stands as it was is not fetched again."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import server as moto_server

from tasks.corpus.plan import IndexedDocument, RefreshPlan, Scan, Seen, make_plan, save_scan
from tasks.corpus.sources import open_source
from tasks.params.sources import FilesSource
from tasks.settings import Settings

NUM_OBJECTS = 50
SOURCE = FilesSource(
    kind="files", name="bucket", url="s3://docs/a", knowledge_base="kb", access=(), max_removed_fraction=1
)


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The paths of the objects that were asked for."""
    from werkzeug.serving import WSGIRequestHandler

    paths: list[str] = []

    def note(handler: Any, *_: object) -> None:
        if handler.command == "GET" and "/a/" in handler.path:
            paths.append(handler.path)

    monkeypatch.setattr(WSGIRequestHandler, "log_request", note)
    return paths


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    server = moto_server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    address = "http://{}:{}".format(*server.get_host_and_port())
    monkeypatch.setenv("AWS_ENDPOINT_URL", address)
    client = boto3.client("s3", endpoint_url=address)
    client.create_bucket(Bucket="docs")
    for number in range(NUM_OBJECTS):
        put(client, number, f"Words {number}.")
    yield client
    server.stop()


def put(client: Any, number: int, text: str) -> None:
    client.put_object(Bucket="docs", Key=f"a/{number}.md", Body=text.encode())


def planned(indexed: dict[str, IndexedDocument], settings: Settings) -> RefreshPlan:
    """Plan, read what is to be read, and keep what was seen, as a refresh does."""
    signatures = {SOURCE.name: "s"}
    plan = make_plan(
        [SOURCE], {SOURCE.name: indexed}, settings=settings, held={}, signatures=signatures, learned_access={}
    )
    part, reader = plan.sources[0], open_source(SOURCE, cache=settings.layout.scan)
    seen = dict(part.seen)
    for item in part.to_read:
        raw = reader.fetch(item)
        indexed[item.key] = IndexedDocument(f"{SOURCE.name}:{item.key}", raw.raw_hash, "r", None, ())
        seen[item.key] = Seen(item.fingerprint, raw.raw_hash)
    save_scan(settings, SOURCE.name, Scan(seen, "s"))
    return plan


def test_objects_are_fetched_only_where_their_etag_changed(bucket: Any, fetched: list[str], tmp_path: Path) -> None:
    settings, indexed = Settings(home=tmp_path), dict[str, IndexedDocument]()
    planned(indexed, settings)
    assert len(fetched) == NUM_OBJECTS
    fetched.clear()

    assert planned(indexed, settings).counts()["unchanged"] == NUM_OBJECTS
    assert fetched == []
    put(bucket, 3, "New words.")
    put(bucket, 4, "Words 4.")
    bucket.delete_object(Bucket="docs", Key="a/5.md")
    counts = planned(indexed, settings).counts()

    assert (counts["changed"], counts["removed"], counts["unchanged"]) == (1, 1, NUM_OBJECTS - 2)
    assert {path.partition("?")[0] for path in fetched} == {"/docs/a/3.md"}
