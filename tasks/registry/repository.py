"""Commands of git and DVC in one repository, run as programs: their environment, locks and errors.

Knows nothing of what is stored there.
"""

import fcntl
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from tasks.errors import BusyError, DependencyError

_GIT = [
    "git",
    *("-c", "user.name=Almanac", "-c", "user.email=almanac@localhost", "-c", "commit.gpgsign=false"),
    *("-c", "tag.gpgsign=false", "-c", "core.hooksPath=/dev/null", "-c", "gc.auto=0", "-c", "core.autocrlf=false"),
]
# `dvc add` and `dvc push` as two programs would import DVC twice, which is most of their cost.
_DVC_COMMANDS = """\
import json, sys
from dvc.cli import main
sys.exit(next(filter(None, map(main, json.loads(sys.argv[1]))), 0))
"""
_LOCKED = ("Unable to acquire lock", "is being blocked by")
_ATTEMPTS = 3
_LOCK_SECONDS = 60
_COMMAND_SECONDS = 3600
_GIT_LOCK_SECONDS = 3


class Repository:
    """A folder with `.git` and `.dvc`; whoever writes to it holds `tasks.lease`."""

    def __init__(self, root: Path, remote: str) -> None:
        """Name the folder and, for messages, the DVC remote; nothing is touched."""
        self.root = root
        self.remote = remote

    def show(self, revision: str, path: str) -> str | None:
        """Return text of a file at a revision; None: the revision or the file does not exist."""
        if not self.root.exists():
            return None
        result = self._run([*_GIT, "show", f"{revision}:{path}"], self.root)
        return result.stdout if result.returncode == 0 else None

    def git(self, *arguments: str, folder: Path | None = None, text: str | None = None) -> str:
        """Run one git command, in `folder` or else the repository, and return what it printed.

        Args:
            arguments: the command and its arguments.
            folder: where it runs.
            text: its standard input.

        Raises:
            DependencyError: git is missing or failed.
        """
        result = self._run([*_GIT, *arguments], folder or self.root, text=text)
        if result.returncode:
            raise DependencyError(
                f"`git {arguments[0]}` must succeed in {self.root}, found: {_reason(result.stderr)}; "
                "remove the cause and run the command again"
            )
        return result.stdout

    def dvc(self, *commands: list[str], writes: bool = True) -> None:
        """Run DVC commands in one process, the next only after success; those that write wait for DVC's own lock.

        Raises:
            DependencyError: DVC is missing, or a command failed.
            BusyError: another DVC command keeps the repository locked.
        """
        for _ in range(_ATTEMPTS):
            if writes:
                self._wait_for_dvc()
            result = self._run_dvc(commands, writes)
            if result.returncode == 0:
                return
            if not any(sign in result.stderr for sign in _LOCKED):
                break
        names = " and ".join(f"`dvc {command[0]}`" for command in commands)
        raise DependencyError(
            f"{names} must succeed in {self.root} (remote {self.remote}), found: {_reason(result.stderr)}; "
            "remove the cause and run the command again: what was done is kept"
        )

    def _run_dvc(self, commands: Sequence[list[str]], writes: bool) -> subprocess.CompletedProcess[str]:
        program = [sys.executable, "-P", "-c", _DVC_COMMANDS, json.dumps(commands)]
        if writes:
            try:
                return self._run(program, self.root)
            finally:
                self._close_site_to_others()
        # A reader waits for no lock: it neither sees nor leaves what the writer remembers.
        with tempfile.TemporaryDirectory(prefix="almanac-dvc-") as folder:
            return self._run(program, self.root, {"DVC_SITE_CACHE_DIR": folder})

    def _close_site_to_others(self) -> None:
        """DVC opens its folder of locks to all users of a machine, whatever the umask says."""
        site = self.root / ".dvc" / "tmp" / "site"
        for folder in (site, site / "repo"):
            if folder.is_dir():
                folder.chmod(0o700)

    def _wait_for_dvc(self) -> None:
        """Wait for a DVC command that outlived its killed parent; forget the locks and notes of dead ones.

        DVC notes file by file what it is going to push. A command killed between two notes leaves a part, which the
        next push takes for the whole: it sends the list of the files without the files, and succeeds.
        """
        folder = self.root / ".dvc" / "tmp"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with (folder / "lock").open("a") as lock:
                self._wait_for_lock(lock.fileno())
                # Its entries name process numbers, which after a restart of a container belong to others.
                (folder / "rwlock").unlink(missing_ok=True)
                for index in folder.glob("site/repo/*/index"):
                    shutil.rmtree(index)
        except OSError as error:
            raise DependencyError(
                f"{folder} must be writable, found: {error.strerror}; free space or own it"
            ) from error

    def _wait_for_lock(self, descriptor: int) -> None:
        deadline = time.monotonic() + _LOCK_SECONDS
        while not _try_flock(descriptor):
            if time.monotonic() > deadline:
                raise BusyError(
                    f"no other DVC command may run in {self.root}, found one for {_LOCK_SECONDS} s; "
                    "wait until it ends and run the command again"
                )
            time.sleep(0.1)

    def remove_stale_locks(self) -> None:
        """Remove what a killed git left; one that outlived its killed parent gets the time to end."""
        folder = self.root / ".git"
        for lock in [*folder.glob("*.lock"), *folder.glob("refs/**/*.lock")]:
            deadline = time.monotonic() + _GIT_LOCK_SECONDS
            while lock.exists() and time.monotonic() < deadline:
                time.sleep(0.05)
            lock.unlink(missing_ok=True)

    def _run(
        self,
        command: list[str],
        folder: Path,
        changes: Mapping[str, str] = MappingProxyType({}),
        text: str | None = None,
    ) -> subprocess.CompletedProcess[str]:
        try:
            return subprocess.run(
                command,
                check=False,
                cwd=folder,
                env={**self._environment(folder), **changes},
                capture_output=True,
                text=True,
                input=text,
                timeout=_COMMAND_SECONDS,
            )
        except FileNotFoundError as error:
            raise DependencyError(f"{command[0]} must be installed, found none on the PATH; install it") from error
        except subprocess.TimeoutExpired as error:
            raise DependencyError(
                f"the registry's commands must end within {_COMMAND_SECONDS} s, found one that did not; "
                f"check the remote {self.remote}"
            ) from error

    def _environment(self, folder: Path) -> dict[str, str]:
        # A git hook that runs us sets GIT_DIR and others, which would lead git to another repository.
        return {name: value for name, value in os.environ.items() if not name.startswith("GIT_")} | {
            "GIT_CEILING_DIRECTORIES": str(folder.parent),
            "LC_ALL": "C",
            "DVC_NO_ANALYTICS": "1",
            "DVC_SITE_CACHE_DIR": str(self.root / ".dvc" / "tmp" / "site"),
        }


def _try_flock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _reason(stderr: str) -> str:
    """One line: the errors that git or DVC named, without their advice."""
    lines = [" ".join(line.split()) for line in stderr.splitlines() if line.strip()]
    errors = [line[6:].strip() for line in lines if line.lower().startswith(("error:", "fatal:"))]
    return "; ".join(dict.fromkeys((errors or lines[-1:])[:3])) or "no message"
