"""DVC in a warm process that forks for each command: to import it costs three quarters of a command's CPU seconds.

`warm_dvc` is the side of the tests; the module run as a program is the warm process, which ends with the test process.
Each command still runs in a process of its own, with its own folder and environment, as the program that
`tasks.registry.repository` starts does, and goes on where who asked for it is killed.
"""

import atexit
import importlib
import json
import os
import select
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

WARM = (
    "dvc.cachemgr",
    "dvc.cli.parser",
    "dvc.data_cloud",
    "dvc.lock",
    "dvc.repo",
    "dvc.repo.add",
    "dvc.repo.artifacts",
    "dvc.repo.brancher",
    "dvc.repo.datasets",
    "dvc.repo.graph",
    "dvc.repo.index",
    "dvc.repo.metrics",
    "dvc.repo.open_repo",
    "dvc.repo.params",
    "dvc.repo.plots",
    "dvc.repo.push",
    "dvc.repo.stage",
    "dvc.repo.worktree",
    "dvc.utils.strictyaml",
    "dvc_data.hashfile.build",
    "dvc_data.hashfile.status",
    "dvc_data.index.push",
    "dvc_data.index.save",
    "dulwich.worktree",
    "fsspec.implementations.memory",
    "networkx",
    "scmrepo.git",
)


@contextmanager
def warm_dvc() -> Iterator[None]:
    """Let every `Repository` of this process, and of its forks, run DVC in forks of the warm one."""
    from tasks.registry.repository import _DVC_COMMANDS, Repository

    cold = Repository._run

    def run(
        repository: Repository,
        command: list[str],
        folder: Path,
        changes: Mapping[str, str] = MappingProxyType({}),
        text: str | None = None,
    ) -> subprocess.CompletedProcess[str]:
        if _DVC_COMMANDS not in command:
            return cold(repository, command, folder, changes, text)
        return _ask(json.loads(command[-1]), folder, {**repository._environment(folder), **changes})

    Repository._run = run  # type: ignore[method-assign]
    try:
        yield
    finally:
        Repository._run = cold  # type: ignore[method-assign]


def _ask(
    commands: Sequence[Sequence[str]], folder: Path, environment: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    with tempfile.TemporaryDirectory(prefix="almanac-dvc-said-") as said:
        order = {"commands": commands, "folder": str(folder), "environment": environment, "said": said}
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(start())
            connection.sendall(json.dumps(order | {"umask": _umask()}).encode())
            connection.shutdown(socket.SHUT_WR)
            code = int(connection.recv(16))
        out, err = (Path(said, name).read_text(encoding="utf-8") for name in ("out", "err"))
    return subprocess.CompletedProcess("dvc", code, out, err)


@cache
def start() -> str:
    """Start the warm process, once, and return the address at which it takes orders."""
    address = str(Path(tempfile.mkdtemp(prefix="almanac-warm-dvc-")) / "socket")
    process = subprocess.Popen(
        [sys.executable, "-P", __file__, address], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    atexit.register(_end, process)
    return address


def _end(process: "subprocess.Popen[str]") -> None:
    """With its standard input, which is this process's alone, the warm process ends too; one killed takes it along."""
    assert process.stdin
    process.stdin.close()
    end(process)


def end(process: "subprocess.Popen[str]") -> None:
    """Wait for a process that was told to end, kill one that does not.

    A grandchild of a killed test may still hold its standard input, and a library may flush its queues for long:
    neither is what a test asks about.
    """
    try:
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _umask() -> int:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return int(next(line for line in lines if line.startswith("Umask:")).split()[1], 8)


def main() -> None:
    """Import DVC, then fork for each order."""
    for name in WARM:
        importlib.import_module(name)
    address = Path(sys.argv[1])
    with socket.socket(socket.AF_UNIX) as orders:
        orders.bind(str(address))
        orders.listen(64)
        print("ready", flush=True)
        while sys.stdin not in select.select([orders, sys.stdin], [], [])[0]:
            connection, _ = orders.accept()
            if os.fork() == 0:
                _child(connection)
            connection.close()
            _reap(os.WNOHANG)
    _reap(0)
    address.unlink()
    address.parent.rmdir()


def _reap(options: int) -> None:
    with suppress(ChildProcessError):
        while os.waitpid(-1, options)[0]:
            pass


def _child(connection: socket.socket) -> None:
    code = 1
    try:
        order = json.loads(b"".join(iter(lambda: connection.recv(1 << 16), b"")))
        code = _outcome(order)
    finally:  # a forked child must not go on with its parent's loop
        sys.stdout.flush()
        sys.stderr.flush()
        with suppress(OSError):  # who asked was killed
            connection.sendall(str(code).encode())
        os._exit(0)


def _outcome(order: dict[str, Any]) -> int:
    from dvc.cli import main as dvc

    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(Path(order["said"], name), os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    os.umask(order["umask"])
    os.chdir(order["folder"])
    os.environ.clear()
    os.environ.update(order["environment"])
    return int(next(filter(None, map(dvc, order["commands"])), 0))


if __name__ == "__main__":
    main()
