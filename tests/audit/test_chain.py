"""The audit log: a chain that many write at once, that a kill leaves whole, and that tells what was done to it."""

import datetime as dt
import multiprocessing
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.audit.audit import Audit
from tasks.audit.chain import PRUNED, Chain, verify
from tasks.errors import CorruptionError, DependencyError
from tasks.home import Home

FORK = multiprocessing.get_context("fork")


@pytest.fixture
def chain(tmp_path: Path) -> Chain:
    return Chain(tmp_path / "audit")


def fill(chain: Chain, number: int = 5) -> None:
    for index in range(number):
        chain.append("shown", "user", {"release": index})


def lines(chain: Chain) -> list[bytes]:
    return chain.path.read_bytes().splitlines(keepends=True)


def problems(chain: Chain) -> tuple[str, ...]:
    return verify(chain.records()).problems


def test_each_record_follows_the_one_before(chain: Chain) -> None:
    fill(chain)

    verdict = verify(chain.records())

    assert (verdict.num_records, verdict.problems) == (5, ())
    assert verdict.head == list(chain.records())[-1].hash
    assert oct(chain.path.stat().st_mode)[-3:] == "600"
    assert oct(chain.folder.stat().st_mode)[-3:] == "700"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda rows: [*rows[:2], rows[2].replace(b'"release":2', b'"release":9'), *rows[3:]], "3 is not as it was"),
        (lambda rows: [*rows[:2], *rows[3:]], "record 4 does not follow record 2"),
        (lambda rows: [rows[0], rows[2], rows[1], *rows[3:]], "record 3 does not follow record 1"),
        (lambda rows: rows[2:], "the records before 3 are gone"),
    ],
    ids=["changed", "removed", "moved", "begun later"],
)
def test_whoever_touches_a_record_breaks_the_chain(
    chain: Chain, change: Callable[[list[bytes]], list[bytes]], said: str
) -> None:
    fill(chain)

    chain.path.write_bytes(b"".join(change(lines(chain))))

    assert said in problems(chain)[0]


def test_records_cut_off_the_end_are_missed_by_an_exported_copy(tmp_path: Path) -> None:
    log, copy = Audit(Home(tmp_path)), tmp_path / "copy.jsonl"
    for number in range(4):
        log.shown("user", [f"notes:{number}"])
    assert log.export(copy) == 4
    log.shown("user", ["notes:later"])
    assert log.verify(copy).problems == ()

    kept = log.path.read_bytes().splitlines(keepends=True)
    log.path.write_bytes(b"".join(kept[:2]))

    assert log.verify().problems == ()
    assert "record 3 of" in log.verify(copy).problems[0]


def test_pruned_chain_holds_and_says_who_removed_what(tmp_path: Path) -> None:
    now = [dt.datetime(2026, 1, 1, tzinfo=dt.UTC)]
    chain = Chain(tmp_path, clock=lambda: now[0])
    for _ in range(6):
        chain.append("shown", "user", {})
        now[0] += dt.timedelta(days=30)

    removed = chain.prune(now[0] - dt.timedelta(days=100), "os:root")

    assert removed == 3
    assert problems(chain) == ()
    last = list(chain.records())[-1]
    assert (last.what, last.actor, last.detail["through"]) == (PRUNED, "os:root", 3)
    # Again, when the record of the first time is old itself.
    now[0] += dt.timedelta(days=400)
    chain.append("shown", "user", {})
    assert chain.prune(now[0] - dt.timedelta(days=100), "os:root") == 4
    assert problems(chain) == ()
    assert chain.prune(now[0] - dt.timedelta(days=100), "os:root") == 0
    chain.path.write_bytes(b"".join(lines(chain)[1:]))
    assert problems(chain)
    with pytest.raises(CorruptionError, match="must hold before it is shortened"):
        chain.prune(now[0], "os:root")


def test_what_a_power_cut_left_of_a_record_is_dropped_and_told(chain: Chain) -> None:
    fill(chain, 2)
    with chain.path.open("ab") as stream:
        stream.write(b'{"number":3,"at":"2026')

    assert problems(chain) == ()
    chain.append("shown", "user", {})

    assert problems(chain) == ()
    assert list(chain.records())[-1].detail == {"bytes_of_a_write_that_was_cut": 22}


def append_many(folder: Path, number: int) -> None:
    log = Audit(Home(folder))
    for index in range(number):
        log.shown(f"user-{os.getpid()}", [f"notes:{index}", "notes:both"], release="1")


def test_many_processes_write_one_chain(tmp_path: Path) -> None:
    writers = [FORK.Process(target=append_many, args=(tmp_path, 50)) for _ in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()

    log = Audit(Home(tmp_path))
    assert (log.verify().num_records, log.verify().problems) == (200, ())
    assert {name for entry in log.entries() for name in entry.documents} == {
        *(f"notes:{number}" for number in range(50)),
        "notes:both",
    }


def test_killed_writers_leave_a_chain_that_holds(tmp_path: Path) -> None:
    """ALMANAC_KILL_MOMENTS is how many."""
    moments = random.Random(20261127)
    for _ in range(int(os.environ.get("ALMANAC_KILL_MOMENTS", "10"))):
        writers = [FORK.Process(target=append_many, args=(tmp_path, 100_000)) for _ in range(2)]
        for writer in writers:
            writer.start()
        time.sleep(moments.uniform(0.01, 0.05))
        for writer in writers:
            os.kill(writer.pid, signal.SIGKILL)  # type: ignore[arg-type]
            writer.join()
        log = Audit(Home(tmp_path))
        log.done("promoted")
        assert log.verify().problems == ()
        assert not [name for entry in log.entries() for name in entry.documents if name.startswith("#")]


def test_full_disk_leaves_the_log_as_it_was(chain: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(chain, 2)
    before, write = chain.path.read_bytes(), os.write
    monkeypatch.setattr("os.write", lambda descriptor, data: write(descriptor, data[:10]))

    with pytest.raises(DependencyError, match="found room for 10"):
        chain.append("shown", "user", {})

    assert chain.path.read_bytes() == before


def test_forgotten_document_has_no_name_but_who_knows_it_learns_who_was_shown_it(tmp_path: Path) -> None:
    log = Audit(Home(tmp_path))
    log.shown("alice", ["notes:mbeki.md", "notes:backup.md"], release="3")
    log.shown("bob", ["notes:backup.md"], release="3")

    assert log.forget(["notes:mbeki.md"]) == 1

    assert log.verify().problems == ()
    assert all(b"mbeki" not in path.read_bytes() for path in (tmp_path / "audit").iterdir())
    first, second = log.entries()
    assert first.documents[0].startswith("#")
    assert (first.documents[1], second.documents) == ("notes:backup.md", ("notes:backup.md",))
    assert [entry.actor for entry in Audit(Home(tmp_path)).entries(document="notes:mbeki.md")] == ["alice"]
