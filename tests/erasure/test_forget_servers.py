"""An erasure where a team keeps everything on servers, killed once: MLflow on PostgreSQL, files and index on S3."""

from collections.abc import Iterator
from pathlib import Path

import boto3
import psycopg2
import pytest

from flows.forget import forget
from flows.refresh import refresh
from tasks.corpus.tombstones import erasure_is_unfinished
from tasks.erasure import erase as erasing
from tasks.erasure.byte_search import Needles, holds
from tasks.erasure.erase import plan_erasure
from tasks.erasure.receipt import verify_receipt
from tasks.erasure.subject import Wanted
from tests.erasure.forgotten_home import DOCUMENT, SECRET, fill, move_in
from tests.stores import BUCKET, team_servers

pytestmark = pytest.mark.slow

NEEDLES = Needles((SECRET,), ())


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[dict[str, str]]:
    with team_servers(tmp_path) as settings:
        yield settings


def objects_with_it(folder: Path) -> set[str]:
    """Return the first part of the name of each object that holds the text, by a walk of its own."""
    client, stores = boto3.client("s3"), set()
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET):
        for entry in page.get("Contents", []):
            copy = folder / f"object{Path(entry['Key']).suffix}"
            client.download_file(BUCKET, entry["Key"], str(copy))
            if holds(copy, NEEDLES):
                stores.add("/".join(entry["Key"].split("/")[:2]))
    return stores


def tables_with_it(database: str, folder: Path) -> set[str]:
    """Return the tables of MLflow's database that hold the text."""
    found = set()
    with psycopg2.connect(database) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        for (name,) in cursor.fetchall():
            with (folder / "table").open("w+b") as copy:
                cursor.copy_expert(f'COPY "{name}" TO STDOUT', copy)
            if "Mbeki of the Harare office" in (folder / "table").read_text(encoding="utf-8"):
                found.add(name)
    return found


def test_document_is_taken_back_from_servers_by_who_finishes_a_killed_erasure(
    servers: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, value in servers.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "world").mkdir()
    settings = move_in(tmp_path / "world", monkeypatch)
    fill(settings, tmp_path / "world" / "notes", num_releases=1)
    before = objects_with_it(tmp_path) | tables_with_it(servers["DATABASE"], tmp_path)
    plan = plan_erasure(settings, Wanted((DOCUMENT,)))

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(erasing, "_renew_manifests", killed)
        forget.fn(Wanted((DOCUMENT,)))
    assert erasure_is_unfinished(settings)
    receipt = forget.fn(Wanted((DOCUMENT,)))

    assert {"shared/lancedb", "shared/dvc-remote"} <= before
    assert {"lancedb", "dvc-remote"} <= plan.found.keys() and plan.traces >= 1
    assert receipt.found_after == {}
    assert objects_with_it(tmp_path) == set()
    assert tables_with_it(servers["DATABASE"], tmp_path) == set()
    (path,) = (settings.layout.forgotten / "receipts").glob("*.json")
    assert verify_receipt(settings, path, DOCUMENT)
    assert any("VACUUM FULL" in place for place in receipt.not_reached)
    assert not any("old versions" in place for place in receipt.not_reached)

    # A machine that was elsewhere while it was forgotten leaves it out, too.
    monkeypatch.setenv("ALMANAC_HOME", str(tmp_path / "elsewhere"))
    assert refresh.fn().documents == 2
    assert objects_with_it(tmp_path) == set()


def killed(*_: object) -> None:
    raise KeyboardInterrupt
