"""Two machines, each with a home of its own, on one store: one writer, one release a number, no alias moved blindly."""

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from serving.promotion.live import LivePair
from tasks.errors import BusyError
from tasks.index.release import Release, load_release, release_numbers, reserve_number, save_release
from tasks.lease import hold_stores, hold_training
from tasks.params import Params, load_params
from tasks.releases.kind import INDEX
from tasks.releases.lifecycle import versions
from tasks.settings import Settings
from tasks.shared_lease import EXPIRES_SECONDS, SharedLease, hold_shared, holder_of, newest_fence
from tasks.shared_store import SharedStore, open_shared_store
from tests.chat_model import save_chat_model
from tests.conftest import files_source
from tests.stores import s3_server

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A bucket of an S3 server of the tests' own."""
    with s3_server(tmp_path_factory.mktemp("s3")) as address:
        yield address


@pytest.fixture(params=["folder", "s3"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "folder":
        return str(tmp_path / "store")
    return f"{request.getfixturevalue('bucket')}/{tmp_path.name}"


@pytest.fixture
def store(address: str) -> SharedStore:
    opened = open_shared_store(address)
    assert opened is not None
    return opened


def test_store_keeps_objects_by_name(store: SharedStore) -> None:
    assert store.read("a/1") is None
    store.write("a/1", b"one")
    store.write("a/1", b"two")
    store.write("b/1", b"")

    assert store.read("a/1") == b"two"
    assert store.names("a/") == ["a/1"]
    age = store.age_seconds("a/1")
    assert age is not None
    assert age < 60
    assert store.age_seconds("a/2") is None
    store.delete("a/1")
    store.delete("a/1")
    assert store.names("") == ["b/1"]


def test_one_of_many_creates_an_object(store: SharedStore) -> None:
    start = threading.Barrier(8)
    won: list[int] = []

    def create(number: int) -> None:
        start.wait()
        if store.create("numbers/0001", str(number).encode()):
            won.append(number)

    writers = [threading.Thread(target=create, args=(number,)) for number in range(8)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()

    assert len(won) == 1
    assert store.read("numbers/0001") == str(won[0]).encode()


def test_lease_has_one_holder_and_each_a_higher_fence(store: SharedStore) -> None:
    fences: list[int] = []
    at_a_time = [0]

    def write() -> None:
        for _ in range(2):
            with hold_shared(store, purpose="refresh", wait_seconds=120) as lease:
                at_a_time[0] += 1
                assert at_a_time[0] == 1
                lease.check()
                fences.append(lease.fence)
                at_a_time[0] -= 1

    writers = [threading.Thread(target=write) for _ in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()

    assert sorted(fences) == fences == list(range(1, 7))
    assert holder_of(store) is None


def test_second_machine_is_told_who_writes(store: SharedStore) -> None:
    with hold_shared(store, purpose="refresh"), pytest.raises(BusyError, match=rf"refresh of process {os.getpid()} on"):
        hold_shared(store, purpose="refresh").__enter__()


def test_lease_of_a_vanished_machine_is_taken_over_and_it_writes_no_more(
    store: SharedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ExitStack() as vanished:
        before = vanished.enter_context(hold_shared(store, purpose="refresh"))
        before.check()
        monkeypatch.setattr("tasks.shared_lease._silent_seconds", lambda *_: EXPIRES_SECONDS + 1)

        with hold_shared(store, purpose="refresh") as after:
            after.check()
            assert after.fence == before.fence + 1
            with pytest.raises(BusyError, match="another machine may have taken over"):
                before.check()


def test_holder_that_could_not_show_life_writes_no_more(store: SharedStore) -> None:
    now = [0.0]
    with hold_shared(store, purpose="refresh") as held:
        lease = SharedLease(store, held.fence, clock=lambda: now[0])
        lease.check()
        now[0] = EXPIRES_SECONDS + 1
        with pytest.raises(BusyError, match="no sign of life of it for 61 seconds"):
            lease.check()
        lease.beat()
        lease.check()


@dataclass(frozen=True)
class Machine:
    """A home of its own; all else is shared."""

    home: Path
    environment: dict[str, str]

    def settings(self, monkeypatch: pytest.MonkeyPatch) -> Settings:
        """Let this process be on the machine."""
        for name, value in self.environment.items():
            monkeypatch.setenv(name, value)
        return Settings()


@pytest.fixture
def machines(tmp_path: Path, migrated_mlflow: Path, write_params: Callable[..., Params]) -> list[Machine]:
    """Two homes on one folder; `tests/world/test_servers.py` has two on S3."""
    notes = tmp_path / "notes"
    notes.mkdir()
    for name in ("pager", "ledger"):
        (notes / f"{name}.md").write_text(f"# The {name}\n\nThe {name} is kept in the north hall.\n", encoding="utf-8")
    model = {"model": str(save_chat_model(tmp_path / "model")), "gguf_file": None, "answerer": "excerpt"}
    write_params([files_source(notes)], generation=model)
    shutil.copy(migrated_mlflow, tmp_path / "shared.db")
    shared = {"ALMANAC_STORE": str(tmp_path / "store"), "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path / 'shared.db'}"}
    return [Machine(tmp_path / name, shared | {"ALMANAC_HOME": str(tmp_path / name)}) for name in ("one", "two")]


def write_note(tmp_path: Path, name: str) -> None:
    (tmp_path / "notes" / f"{name}.md").write_text(f"# The {name}\n\nThe {name} hangs in the hall.\n", encoding="utf-8")


def test_second_machine_goes_on_where_the_first_one_was_lost(
    machines: list[Machine], refresh: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    one, two = machines
    one.settings(monkeypatch)
    first = refresh()
    shutil.rmtree(one.home)
    write_note(tmp_path, "bell")
    settings = two.settings(monkeypatch)

    second = refresh()

    assert (first["release"], second["release"]) == (1, 2)
    assert (second["new"], second["unchanged"], second["embedded"], second["documents"]) == (1, 2, 1, 3)
    assert release_numbers(settings) == [1, 2]
    assert load_release(settings, 2).base == 1
    assert not (two.home / "releases").exists()

    # The lost machine comes back with an empty disk, and serves what the other one released.
    again = one.settings(monkeypatch)
    live = LivePair(load_params(again.params), again)
    live.follow()
    serving = live.status().index
    assert serving is not None
    assert serving.release == 2
    assert refresh()["unchanged"] == 3


def test_machine_that_cannot_read_a_release_says_so_and_leaves_its_alias_alone(
    machines: list[Machine],
    refresh: Callable[..., dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one, two = machines
    one.settings(monkeypatch)
    refresh()
    settings = two.settings(monkeypatch)
    state = open_shared_store(settings.shared_state)
    assert state is not None
    manifest = state.read("releases/0001.json")
    assert manifest is not None
    newer = json.loads(manifest) | {"format": 99}
    state.write("releases/0001.json", json.dumps(newer).encode())
    live = LivePair(load_params(settings.params), settings)

    live.follow()
    live.follow()

    assert not live.status().ready
    assert "must have a format up to" in " ".join(live.status().reasons)
    (version,) = versions(settings, INDEX)
    assert version.is_champion
    assert not version.refused
    assert not version.rolled_back

    state.write("releases/0001.json", manifest)
    monkeypatch.setattr("serving.promotion.follow.RETRY_SECONDS", 0.0)
    other = LivePair(load_params(settings.params), settings)
    other.follow()
    assert other.status().ready


def test_overtaken_writer_never_gets_the_number_of_its_successor(
    machines: list[Machine], refresh: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The first writer sleeps behind its last check, past the end of its lease, and wakes up in the commit."""
    one, two = machines
    settings = one.settings(monkeypatch)
    with ExitStack() as sleeping:
        lease = sleeping.enter_context(hold_stores(settings, purpose="refresh"))
        number = reserve_number(settings, lease, first=1)
        other = two.settings(monkeypatch)
        with monkeypatch.context() as expired:
            expired.setattr("tasks.shared_lease._silent_seconds", lambda *_: EXPIRES_SECONDS + 1)
            released = refresh()["release"]

        with pytest.raises(BusyError):
            lease.check()
        assert (number, released) == (1, 2)
        theirs = load_release(other, released)
        stale = Release(**{name: getattr(theirs, name) for name in Release.__slots__} | {"created_at": "later"})
        with pytest.raises(BusyError, match="release 2 must be made by one machine"):
            save_release(settings, stale)
        assert load_release(settings, 2) == theirs


def test_two_retrains_on_two_machines_are_one_and_refreshes_go_on(
    machines: list[Machine], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = (machine.settings(monkeypatch) for machine in machines)
    with hold_training(one):
        with pytest.raises(BusyError, match="retrain"), hold_training(two):
            pass
        with hold_stores(two, purpose="refresh"):
            pass
    with hold_training(two):
        pass


def test_two_refreshes_at_once_make_one_release_for_each_number(
    machines: list[Machine], write_params: Callable[..., Params], tmp_path: Path
) -> None:
    """In processes of their own, as two machines; ALMANAC_TEST_ROUNDS=50 is the long form."""
    rounds = int(os.environ.get("ALMANAC_TEST_ROUNDS", "1"))
    for number in range(rounds):
        write_note(tmp_path, f"thing-{number}")
        command = [sys.executable, "-m", "cli", "refresh", "--json", "--wait", "200"]
        running = [
            subprocess.Popen(
                command, env=os.environ | machine.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            )
            for machine in machines
        ]
        ends = [process.communicate(timeout=600) for process in running]
        assert [process.returncode for process in running] == [0, 0], ends
        made = [json.loads(out)["release"] for out, _ in ends]
        assert sorted(made, key=str) == [number + 1, None]
    with pytest.MonkeyPatch.context() as monkeypatch:
        settings = machines[0].settings(monkeypatch)
        assert release_numbers(settings) == list(range(1, rounds + 1))
        assert newest_fence(open_shared_store(settings.shared_state)) == 2 * rounds  # type: ignore[arg-type]
        assert [entry.number for entry in versions(settings, INDEX)] == list(range(1, rounds + 1))
