import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tasks.errors import BusyError, ConfigurationError, CorruptionError
from tasks.lease import hold

ROOT = Path(__file__).resolve().parents[2]

HOLDER = """
import subprocess, sys, time
from pathlib import Path
from tasks.lease import hold
with hold(Path(sys.argv[1]), purpose="refresh") as lease:
    if sys.argv[2] == "with-child":
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], close_fds=False)
        print(lease.fence, child.pid, flush=True)
    elif sys.argv[2] == "with-fork":
        import multiprocessing
        child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
        child.start()
        print(lease.fence, child.pid, flush=True)
    else:
        print(lease.fence, 0, flush=True)
    time.sleep(60)
"""


@contextmanager
def another_holder(home: Path, kind: str = "alone") -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A process that holds the lease for a minute, and the process that it started."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(home), kind], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert process.stdout is not None
    child = int(process.stdout.readline().split()[1])
    try:
        yield process, child
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        if child:
            os.kill(child, signal.SIGKILL)


def test_second_process_is_told_at_once_who_holds_the_lease(tmp_path: Path) -> None:
    with another_holder(tmp_path) as (process, _):
        started = time.monotonic()
        with pytest.raises(BusyError) as error, hold(tmp_path, purpose="forget"):
            pass
        assert time.monotonic() - started < 30
        holder = json.loads((tmp_path / "locks" / "writer.json").read_text())
    for word in ("refresh", str(process.pid), holder["host"], holder["since"]):
        assert word in str(error.value)
    assert "\n" not in str(error.value)


def test_second_holder_in_the_same_process_is_refused(tmp_path: Path) -> None:
    with hold(tmp_path, purpose="refresh"), pytest.raises(BusyError), hold(tmp_path, purpose="forget"):
        pass


def test_waiting_process_gets_the_lease_when_the_holder_ends(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with another_holder(tmp_path) as (process, _):
        started = time.monotonic()
        with pytest.raises(BusyError), hold(tmp_path, purpose="forget", wait_seconds=0.5):
            pass
        assert time.monotonic() - started >= 0.5
        assert f"process {process.pid}" in caplog.text
        process.terminate()
        with hold(tmp_path, purpose="forget", wait_seconds=10):
            pass


@pytest.mark.parametrize("kind", ["alone", "with-child", "with-fork"])
def test_lease_of_a_killed_holder_is_free_though_its_child_lives(tmp_path: Path, kind: str) -> None:
    with another_holder(tmp_path, kind) as (process, child):
        process.kill()
        process.wait()
        if child:
            os.kill(child, 0)
        # A forked child lets go in its first moments, which may come after its parent's last.
        with hold(tmp_path, purpose="refresh", wait_seconds=5) as lease:
            assert lease.fence == 2


def test_forked_child_leaves_the_lease_to_its_parent(tmp_path: Path) -> None:
    with hold(tmp_path, purpose="refresh"):
        child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(0,))
        child.start()
        child.join()
        with pytest.raises(BusyError), hold(tmp_path, purpose="forget"):
            pass


def test_each_lease_has_a_higher_fence(tmp_path: Path) -> None:
    fences = []
    for _ in range(3):
        with hold(tmp_path, purpose="refresh") as lease:
            lease.check()
            fences.append(lease.fence)
    assert fences == [1, 2, 3]


def test_holder_that_wakes_up_after_its_successor_is_stopped(tmp_path: Path) -> None:
    with hold(tmp_path, purpose="refresh") as old:
        (tmp_path / "locks" / "writer.lock").unlink()
        with hold(tmp_path, purpose="refresh") as new:
            new.check()
            with pytest.raises(BusyError, match="another writer has taken over"):
                old.check()


def test_lease_ends_when_its_work_fails(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), hold(tmp_path, purpose="refresh"):
        raise ZeroDivisionError
    with hold(tmp_path, purpose="refresh"):
        pass
    assert not (tmp_path / "locks" / "writer.json").exists()


def test_home_that_is_a_file_is_named(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.write_text("")
    with pytest.raises(ConfigurationError, match=str(home)), hold(home, purpose="refresh"):
        pass


def test_damaged_fence_is_not_taken_for_a_number(tmp_path: Path) -> None:
    (tmp_path / "locks").mkdir()
    (tmp_path / "locks" / "fence").write_text("")
    with pytest.raises(CorruptionError, match="fence"), hold(tmp_path, purpose="refresh"):
        pass
