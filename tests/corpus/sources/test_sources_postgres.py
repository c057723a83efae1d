"""A real PostgreSQL as a source: first scan, no change, some changed, some gone, rows that its driver cannot read.

Skips where PostgreSQL is not installed. `ALMANAC_SQL_ROWS=10000 pytest -s` prints the figures of docs/sources.md.
"""

import os
import pwd
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.exc import OperationalError

from tasks.corpus.document import Item
from tasks.corpus.parsing.parse import parse_items
from tasks.corpus.plan import IndexedDocument, Scan, Seen, SourcePlan, make_plan, save_scan
from tasks.corpus.sources import open_source
from tasks.params.sources import SqlSource
from tasks.settings import Settings
from tests.conftest import free_ports
from tests.corpus.sources.test_sources_sql import PARSING, sql_source

NUM_ROWS = int(os.environ.get("ALMANAC_SQL_ROWS", "400"))
BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
TABLE = """create table pages (id bigint primary key, title text, body text, changed timestamptz, readers text[])"""
ROWS = """insert into pages select n, 'Page ' || n, repeat('Words of page ' || n || '. ', 40),
    timestamptz '2026-11-01' + n * interval '1 second', array['staff'] from generate_series(1, :rows) as n"""
COLUMNS = {"key": "id", "text": "body", "title": "title", "updated_at": "changed", "access": "readers"}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not BINARIES, reason="PostgreSQL is not installed (apt-get install postgresql)"),
]


def _as_owner(folder: Path) -> dict[str, Any]:
    """PostgreSQL refuses to run as root; Debian's package brings the user `postgres`."""
    if os.getuid() != 0:
        return {}
    owner = pwd.getpwnam("postgres")
    os.chown(folder, owner.pw_uid, owner.pw_gid)
    return {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []}


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The address of a server of its own, with a password."""
    folder, port = Path("/tmp") / f"almanac-postgres-{os.getpid()}", free_ports("postgres")["postgres"]
    folder.mkdir(mode=0o700)
    (folder / "password").write_text("hunter2secret")
    (folder / "password").chmod(0o644)
    owner = _as_owner(folder)
    try:
        initdb = [str(BINARIES[-1] / "initdb"), "-D", str(folder / "data"), "-U", "reader", "--auth=scram-sha-256"]
        quick = [f"--pwfile={folder}/password", "--no-sync", "--encoding=UTF8", "--locale=C.UTF-8"]
        subprocess.run([*initdb, *quick], check=True, capture_output=True, cwd="/", **owner)
        run = [str(BINARIES[-1] / "postgres"), "-D", str(folder / "data"), "-p", str(port), "-c", "fsync=off"]
        only_here = ["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="]
        process = subprocess.Popen(
            [*run, *only_here], cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **owner
        )
        try:
            yield f"postgresql://reader@127.0.0.1:{port}/postgres"
        finally:
            process.terminate()
            process.wait(30)
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def table(server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Connection]:
    """A connection that writes to a table made anew."""
    monkeypatch.setenv("WIKI_PASSWORD", "hunter2secret")
    url = server.replace("postgresql://reader", "postgresql+psycopg://reader:hunter2secret")
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    with _connected(engine) as connection:
        connection.execute(text("drop table if exists pages"))
        connection.execute(text(TABLE))
        connection.execute(text(ROWS), {"rows": NUM_ROWS})
        yield connection
    engine.dispose()


def _connected(engine: Any) -> Connection:
    for _attempt in range(100):
        try:
            connection: Connection = engine.connect()
            return connection
        except OperationalError:  # it is starting
            time.sleep(0.1)
    raise TimeoutError("PostgreSQL must answer within ten seconds")


def postgres_source(server: str, **more: object) -> SqlSource:
    return sql_source(server, **({"password_env": "WIKI_PASSWORD", "columns": COLUMNS} | more))


def planned(source: SqlSource, known: dict[str, IndexedDocument], settings: Settings, what: str) -> SourcePlan:
    started, cpu = time.monotonic(), time.process_time()
    plan = make_plan(
        [source], {source.name: known}, settings=settings, held={}, signatures={source.name: "s"}, learned_access={}
    )
    part = plan.sources[0]
    print(f"\n{what}: {time.monotonic() - started:.2f} s, {time.process_time() - cpu:.2f} CPU s, {plan.counts()}")
    save_scan(
        settings,
        source.name,
        Scan({key: Seen(seen.fingerprint, seen.fingerprint) for key, seen in part.seen.items()}, "s"),
    )
    return part


def as_known(items: list[Item]) -> dict[str, IndexedDocument]:
    return {item.key: IndexedDocument(f"wiki:{item.key}", item.fingerprint, "r", None, ("staff",)) for item in items}


def test_a_table_is_followed_row_by_row(server: str, table: Connection, settings: Settings) -> None:
    source = postgres_source(server)
    first = planned(source, {}, settings, "first")
    known = as_known(first.new)
    same = planned(source, known, settings, "no change")
    num_changed = NUM_ROWS // 100
    table.execute(text(f"update pages set body = body || 'New.', changed = now() where id <= {num_changed}"))
    changed = planned(source, known, settings, "1 % changed")
    known |= as_known(changed.changed)
    table.execute(text(f"delete from pages where id > {NUM_ROWS - num_changed}"))
    gone = planned(source, known, settings, "1 % deleted")

    assert (len(first.new), same.unchanged, len(same.to_read)) == (NUM_ROWS, NUM_ROWS, 0)
    assert {item.key for item in changed.to_read} == {str(number) for number in range(1, num_changed + 1)}
    assert (gone.removed, gone.to_read) == ([str(NUM_ROWS - at) for at in range(num_changed)][::-1], [])


def test_rows_become_documents(server: str, table: Connection, tmp_path: Path) -> None:
    source = postgres_source(server)
    items = list(open_source(source, cache=tmp_path).scan())
    started = time.monotonic()
    documents = parse_items(source, items, parsing=PARSING, cache=tmp_path).documents
    print(f"\nread and parsed: {time.monotonic() - started:.2f} s")

    assert len(documents) == NUM_ROWS
    assert (documents[6].title, documents[6].access) == ("Page 7", ("staff",))
    assert documents[6].text.startswith("Words of page 7.")


@pytest.mark.parametrize("with_times", [True, False])
def test_a_value_that_the_driver_cannot_read_costs_its_row_alone(
    server: str, table: Connection, tmp_path: Path, with_times: bool
) -> None:
    """Python has no year 20000; the driver raises in the midst of the rows."""
    columns = COLUMNS if with_times else {"key": "id", "text": "body", "expires_at": "changed"}
    source = postgres_source(server, columns=columns)
    list(open_source(source, cache=tmp_path).scan())
    table.execute(text("update pages set changed = '20000-01-01' where id = 7"))

    for _scan in range(2):
        items = list(open_source(source, cache=tmp_path).scan())
        result = parse_items(source, items, parsing=PARSING, cache=tmp_path)
        assert [(reject.key, reject.code) for reject in result.rejects] == [("7", "damaged")]
        assert len(items) == NUM_ROWS


@pytest.mark.parametrize("kind", ["uuid", "text", "numeric"])
def test_keys_of_other_types_are_found_again(server: str, table: Connection, tmp_path: Path, kind: str) -> None:
    key = {"uuid": "md5(id::text)::uuid", "text": "'page ' || id", "numeric": "id::numeric"}[kind]
    source = postgres_source(server, query=f"select {key} as id, body, title, changed, readers from pages limit 50")
    items = list(open_source(source, cache=tmp_path).scan())

    assert len(parse_items(source, items, parsing=PARSING, cache=tmp_path).documents) == 50


def test_the_source_is_never_written(server: str, table: Connection, tmp_path: Path) -> None:
    table.execute(text("drop sequence if exists counter"))
    table.execute(text("create sequence counter"))
    source = postgres_source(server, query="select nextval('counter') as id, body, title, changed, readers from pages")

    with pytest.raises(Exception, match="read-only transaction"):
        list(open_source(source, cache=tmp_path).scan())


def test_a_wrong_password_is_not_shown(
    server: str, table: Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WIKI_PASSWORD", "wrong-but-secret")

    with pytest.raises(Exception, match="must be readable at") as caught:
        list(open_source(postgres_source(server), cache=tmp_path).scan())

    assert "wrong-but-secret" not in str(caught.value)
