"""A data registry, what it holds, and processes that are killed as they write to it."""

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tasks.registry.data_registry import CORPUS, Registry, Revision

fork = multiprocessing.get_context("fork")


def open_registry(home: Path) -> Registry:
    return Registry(home / "registry", str(home / "dvc-remote"))


def publish(home: Path, week: int, kind: type[Registry] = Registry) -> Revision:
    """Publish the files of the weeks up to this one."""
    files = [home / "work" / f"{number:04}.parquet" for number in range(week + 1)]
    return kind(home / "registry", str(home / "dvc-remote")).publish(files, f"week-{week}", f"Week {week}")


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def git(home: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=home / "registry", check=True, capture_output=True, text=True).stdout


def size_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def wipe_local_copies(home: Path) -> None:
    shutil.rmtree(home / "registry" / ".dvc" / "cache")
    shutil.rmtree(home / "registry" / CORPUS)


class KilledAfterFill(Registry):
    def _fill(self, *arguments) -> None:  # type: ignore[no-untyped-def]
        super()._fill(*arguments)
        os.kill(os.getpid(), signal.SIGKILL)


class KilledAfterAdd(Registry):
    def _save(self) -> None:
        self._repository.dvc(["add", CORPUS])
        os.kill(os.getpid(), signal.SIGKILL)


class KilledAfterPush(Registry):
    def _save(self) -> None:
        super()._save()
        os.kill(os.getpid(), signal.SIGKILL)


DIES_IN_PUSH = """
import os, signal, sys
from dvc.cli import main
from sqltrie.sqlite.sqlite import SQLiteTrie

plain = SQLiteTrie.__setitem__

def dies(trie, key, value):
    plain(trie, key, value)
    if "push" in key:
        trie.commit()  # as the next insertion would
        os.kill(os.getppid(), signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)

SQLiteTrie.__setitem__ = dies
sys.exit(main(["push"]))
"""


class KilledInPush(Registry):
    """DVC has noted the folder that it is going to push, and none of its files."""

    def _save(self) -> None:
        self._repository.dvc(["add", CORPUS])
        self._repository._run([sys.executable, "-c", DIES_IN_PUSH], self.root)


class KilledBeforeCommit(Registry):
    def _commit(self, *arguments) -> None:  # type: ignore[no-untyped-def]
        self._repository.git("add", "--", f"{CORPUS}.dvc")
        (self.root / ".git" / "index.lock").write_text("")
        os.kill(os.getpid(), signal.SIGKILL)


class KilledAfterCommit(Registry):
    def _commit(self, *arguments) -> None:  # type: ignore[no-untyped-def]
        super()._commit(*arguments)
        os.kill(os.getpid(), signal.SIGKILL)


class KilledAfterTag(Registry):
    def _tag(self, *arguments) -> None:  # type: ignore[no-untyped-def]
        super()._tag(*arguments)
        os.kill(os.getpid(), signal.SIGKILL)


def assert_one_commit_and_one_tag_a_week(home: Path) -> None:
    assert git(home, "log", "--format=%s").splitlines() == ["Week 1", "Week 0", "Create the data registry"]
    assert git(home, "tag", "--list").split() == ["week-0", "week-1"]
    assert git(home, "status", "--short") == ""
    wipe_local_copies(home)
    for week in (0, 1):
        open_registry(home).restore(f"week-{week}", home / f"restored-{week}")
        names = [f"{number:04}.parquet" for number in range(week + 1)]
        assert content(home / f"restored-{week}") == {name: (home / "work" / name).read_bytes() for name in names}


def publish_in_a_group(home: Path, week: int) -> None:
    os.setpgid(0, 0)
    publish(home, week)


def killed_in(home: Path, call: Callable[[Registry], None], method: str) -> None:
    """Run `call` in a process that dies when a git command named `method` has run."""

    def run() -> None:
        registry = open_registry(home)
        plain = registry._repository.git

        def git_then_die(*arguments: str, folder: Path | None = None) -> str:
            printed = plain(*arguments, folder=folder)
            if arguments[0] == method:
                os.kill(os.getpid(), signal.SIGKILL)
            return printed

        registry._repository.git = git_then_die  # type: ignore[method-assign]
        call(registry)

    process = fork.Process(target=run)
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
