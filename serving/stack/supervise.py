"""Keep one command running: `python -m serving.stack.supervise COMMAND…`.

Started again when it ends, more and more slowly, until it ended too often. Whatever it started ends with it, in
whichever process group it stands: a server whose parent was killed would hold the port. Knows nothing of what it runs.
"""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Sequence
from types import FrameType

import psutil

GRACE_SECONDS = 15.0
MAX_RESTARTS = 5
WINDOW_SECONDS = 600.0
_POLL_SECONDS = 0.25
_PR_SET_CHILD_SUBREAPER = 36


class Supervisor:
    """Runs a command until it is asked to stop (SIGTERM), its parent is gone, or the command ended too often."""

    def __init__(self, command: Sequence[str]) -> None:
        """Take over the signals of this process."""
        self._command = command
        self._signals = 0
        self._parent = os.getppid()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._count)
        _adopt_orphans()

    def run(self) -> int:
        """Keep the command running; return 0 if it was asked to stop, else the command's last exit code."""
        ends: deque[float] = deque()
        while True:
            code = self._run_once()
            if self._stopping:
                return 0
            now = time.monotonic()
            ends.append(now)
            while now - ends[0] > WINDOW_SECONDS:
                ends.popleft()
            if len(ends) > MAX_RESTARTS:
                print(f"ended {len(ends)} times within {WINDOW_SECONDS / 60:.0f} minutes, giving up", flush=True)
                return code or 1
            delay = 2.0 ** (len(ends) - 1)
            print(f"ended with {code}; starting it again in {delay:.0f} s ({len(ends)} of {MAX_RESTARTS})", flush=True)
            self._sleep(delay)

    @property
    def _stopping(self) -> bool:
        return self._signals > 0 or os.getppid() != self._parent

    def _run_once(self) -> int:
        if self._stopping:
            return 0
        child = subprocess.Popen(self._command)
        while child.poll() is None and not self._stopping:
            time.sleep(_POLL_SECONDS)
        self._end_all(child)
        return child.wait()

    def _end_all(self, child: "subprocess.Popen[bytes]") -> None:
        """Ask what the command left, or is, to end; kill it after the grace or at a second signal."""
        deadline = time.monotonic() + GRACE_SECONDS
        for process in _below():
            _signal(process, signal.SIGTERM)
        while _below() and time.monotonic() < deadline and self._signals < 2:
            child.poll()
            time.sleep(0.05)
        while left := _below():
            for process in left:
                _signal(process, signal.SIGKILL)
            child.poll()
            time.sleep(0.05)

    def _sleep(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and not self._stopping:
            time.sleep(_POLL_SECONDS)

    def _count(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        self._signals += 1


def _adopt_orphans() -> None:
    """Orphans of the command become children of this process, where the kernel can do so (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _below() -> list[psutil.Process]:
    return [process for process in psutil.Process().children(recursive=True) if _lives(process)]


def _lives(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _signal(process: psutil.Process, number: int) -> None:
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return


if __name__ == "__main__":
    sys.exit(Supervisor(sys.argv[1:]).run())
