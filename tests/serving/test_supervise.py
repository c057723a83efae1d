"""One command is kept running: started again when it dies, gone for good when it is asked to end."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil

from tests.conftest import wait_until

SUPERVISOR = (
    "import sys, serving.stack.supervise as supervise; supervise.MAX_RESTARTS = 1; "
    "sys.exit(supervise.Supervisor(sys.argv[1:]).run())"
)
IGNORES_SIGTERM = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(99)"
)
LEAVES_AN_ORPHAN = (
    "import os, subprocess, sys, time; "
    "orphan = subprocess.Popen(['sleep', '99'], start_new_session=True); print(orphan.pid, flush=True); "
    "time.sleep(99)"
)


def supervise(*command: str) -> "subprocess.Popen[str]":
    return subprocess.Popen([sys.executable, "-c", SUPERVISOR, *command], stdout=subprocess.PIPE, text=True)


def first_line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout
    return process.stdout.readline().strip()


def gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_command_that_dies_is_started_again_until_the_limit(tmp_path: Path) -> None:
    starts = tmp_path / "starts"

    process = supervise(sys.executable, "-c", f"open({str(starts)!r}, 'a').write('x'); raise SystemExit(3)")
    said, _ = process.communicate(timeout=60)

    assert process.returncode == 3
    assert starts.read_text() == "xx"
    assert "starting it again in 1 s (1 of 1)" in said
    assert "giving up" in said


def test_what_the_command_started_ends_with_it_in_whatever_session() -> None:
    process = supervise(sys.executable, "-c", LEAVES_AN_ORPHAN)
    orphan = int(first_line(process))

    process.terminate()

    assert process.wait(timeout=30) == 0
    assert gone(orphan)


def test_orphans_of_a_killed_command_end_before_it_starts_again() -> None:
    process = supervise(sys.executable, "-c", LEAVES_AN_ORPHAN)
    orphan = int(first_line(process))
    (command,) = psutil.Process(process.pid).children()

    command.kill()

    assert "ended with -9" in first_line(process)
    assert gone(orphan)
    process.terminate()
    assert process.wait(timeout=30) == 0


def test_second_signal_kills_a_command_that_does_not_listen() -> None:
    process = supervise(sys.executable, "-c", IGNORES_SIGTERM)
    assert first_line(process) == "up"
    (command,) = psutil.Process(process.pid).children()

    process.terminate()
    process.send_signal(signal.SIGINT)

    assert process.wait(timeout=13) == 0
    assert gone(command.pid)


def test_command_ends_when_whoever_keeps_it_was_killed() -> None:
    parent = (
        f"import subprocess, sys; p = subprocess.Popen([sys.executable, '-c', {SUPERVISOR!r}, 'sleep', '99']); "
        "print(p.pid, flush=True); p.wait()"
    )
    process = subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True)
    keeper = int(first_line(process))
    wait_until(lambda: psutil.Process(keeper).children(), seconds=120)
    (command,) = psutil.Process(keeper).children()

    os.kill(process.pid, signal.SIGKILL)
    process.wait()

    wait_until(lambda: gone(keeper) and gone(command.pid), seconds=120)
