"""Flows and commands in processes that can be killed: one warm process imports everything once and forks for each.

`Forked` is the side of the test; the module run as a program is the warm process: one order a line in, one outcome a
line out. Knows nothing of what the tests expect.
"""

import functools
import importlib
import json
import os
import signal
import subprocess
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests.warm_dvc import end, start, warm_dvc

KILLED = -signal.SIGKILL
WARM = (
    "flows.refresh",
    "flows.forget",
    "lancedb.table",
    "lancedb.index",
    "lance",
    "mlflow",
    "mlflow.store.tracking.sqlalchemy_store",
    "mlflow.store.model_registry.sqlalchemy_store",
    "great_expectations",
    "great_expectations.expectations",
    "pandas",
    "transformers",
    "tasks.corpus.gate.document_gate",
)


class Forked:
    """A warm process; `refresh` runs one refresh in a fork of it, `forget` one erasure, `commands` any commands."""

    def __init__(self, params: Path, *modules: str) -> None:
        """Start it; `modules` are imported beside those that every flow needs."""
        root = Path(__file__).parents[1]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.forked", str(params), *modules],
            cwd=root,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._receive()

    def refresh(
        self,
        home: Path,
        *,
        kill_at: str | None = None,
        kill_after_seconds: float | None = None,
        embedded: Path | None = None,
        **options: Any,
    ) -> dict[str, Any]:
        """Refresh a home.

        Args:
            home: `ALMANAC_HOME`.
            kill_at: `before` or `after`, then `module:name` of a function: kill -9 there.
            kill_after_seconds: kill -9 at this moment.
            embedded: a file to which the keys of each finished shard of texts are appended.
            options: of the flow.

        Returns:
            `status` (exit code, `KILLED`), `seconds` and what the flow returned, or `error`.
        """
        order = {
            "home": str(home),
            "kill_at": kill_at,
            "kill_after_seconds": kill_after_seconds,
            "embedded": str(embedded) if embedded else None,
            "options": options,
        }
        self._send(order)
        return self._receive()

    def forget(
        self, home: Path, *documents: str, kill_at: str | None = None, kill_after_seconds: float | None = None
    ) -> dict[str, Any]:
        """Forget documents; arguments and result as those of `refresh`."""
        order = {"home": str(home), "kill_at": kill_at, "kill_after_seconds": kill_after_seconds, "embedded": None}
        self._send(order | {"documents": documents})
        return self._receive()

    def commands(self, home: Path, params: Path, *lines: Sequence[str]) -> list[dict[str, Any]]:
        """Run commands of `almanac` one after another in one fork; return `code`, `out` and `err` of each."""
        order = {"home": str(home), "kill_at": None, "kill_after_seconds": None, "embedded": None}
        self._send(order | {"params": str(params), "lines": lines})
        received = self._receive()
        assert "commands" in received, received
        commands: list[dict[str, Any]] = received["commands"]
        return commands

    def killed_command(self, home: Path, params: Path, *line: str, after_seconds: float) -> dict[str, Any]:
        """Run a command of `almanac` and kill -9 it at a moment; result as that of `refresh`."""
        order = {"home": str(home), "kill_at": None, "kill_after_seconds": after_seconds, "embedded": None}
        self._send(order | {"params": str(params), "lines": [line]})
        return self._receive()

    def start(self, home: Path, params: Path, *line: str) -> int:
        """Begin a command of `almanac` that runs until it is killed; return its process."""
        order = {"home": str(home), "kill_at": None, "embedded": None}
        self._send(order | {"params": str(params), "lines": [line], "start": True})
        return int(self._receive()["pid"])

    def kill(self, pid: int) -> None:
        """kill -9 what `start` began."""
        self._send({"kill": pid})
        assert self._receive()["status"] == KILLED

    def close(self) -> None:
        """End the warm process, and what it started."""
        assert self._process.stdin
        self._process.stdin.close()
        end(self._process)

    def _send(self, order: dict[str, Any]) -> None:
        assert self._process.stdin
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()

    def _receive(self) -> dict[str, Any]:
        assert self._process.stdout
        outcome: dict[str, Any] = json.loads(self._process.stdout.readline())
        return outcome


def main() -> None:
    """Import everything, load the model, then fork for each order."""
    from tasks.settings import quiet_environment

    quiet_environment()
    os.environ |= {"ALMANAC_PARAMS": sys.argv[1], "ALMANAC_NUM_THREADS": "1"}
    _warm_up(sys.argv[2:])
    warnings.filterwarnings("ignore", message=".*fork", category=Warning)  # nothing runs in the threads that fork loses
    with warm_dvc():
        start()
        started: set[int] = set()
        print(json.dumps({"ready": True}), flush=True)
        for line in sys.stdin:
            print(json.dumps(_followed(json.loads(line), started)), flush=True)
        for pid in started:
            os.kill(pid, signal.SIGKILL)


def _followed(order: dict[str, Any], started: set[int]) -> dict[str, Any]:
    """Run one order; `started` are the processes that go on behind it."""
    if "kill" in order:
        started.remove(order["kill"])
        os.kill(order["kill"], signal.SIGKILL)
        return {"status": os.waitstatus_to_exitcode(os.waitpid(order["kill"], 0)[1])}
    if "start" in order:
        pid = _fork(order)
        started.add(pid)
        return {"pid": pid}
    return _run(order)


def _warm_up(modules: Sequence[str]) -> None:
    import torch

    from tasks.index.embedding.embedder import load_embedder
    from tasks.params import load_params
    from tasks.settings import Settings

    torch.set_num_threads(1)  # a pool of threads would not survive the fork
    for name in (*WARM, *modules):
        importlib.import_module(name)
    settings = Settings()
    load_embedder(load_params(settings.params).embedding, settings)


def _run(order: dict[str, Any]) -> dict[str, Any]:
    output, started = _output(order), time.monotonic()
    output.unlink(missing_ok=True)
    pid = _fork(order)
    if order["kill_after_seconds"] is not None:
        time.sleep(order["kill_after_seconds"])
        os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    result = json.loads(output.read_text()) if output.exists() else {}
    return result | {"status": os.waitstatus_to_exitcode(status), "seconds": time.monotonic() - started}


def _fork(order: dict[str, Any]) -> int:
    pid = os.fork()
    if pid == 0:
        _child(order, _output(order))
    return pid


def _output(order: dict[str, Any]) -> Path:
    return Path(order["home"]).with_suffix(".outcome.json")


def _child(order: dict[str, Any], output: Path) -> None:
    from tasks.errors import AlmanacError

    log = os.open(output.with_suffix(".log"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.environ["ALMANAC_HOME"] = order["home"]
    status, outcome = 1, {"error": f"see {output.with_suffix('.log')}"}
    try:
        if order["embedded"]:
            _note_finished_shards(Path(order["embedded"]))
        if order["kill_at"]:
            _kill_at(*order["kill_at"].split())
        outcome, status = _outcome(order), 0
    except AlmanacError as error:
        outcome, status = {"error": str(error)}, error.exit_code
    finally:  # a forked child must not go on with its parent's loop; what else it raised is in the log
        if error := sys.exception():
            traceback.print_exception(error)
        output.write_text(json.dumps(outcome))
        os._exit(status)


def _outcome(order: dict[str, Any]) -> dict[str, Any]:
    from flows.forget import forget
    from flows.refresh import refresh
    from tasks.erasure.subject import Wanted

    if "lines" in order:
        os.environ["ALMANAC_PARAMS"] = order["params"]
        return {"commands": [_command(line, Path(order["home"]).parent) for line in order["lines"]]}
    if "documents" in order:
        result: dict[str, Any] = forget.fn(Wanted(tuple(order["documents"]))).as_json()
    else:
        result = refresh.fn(**order["options"]).as_json()
    return result


def _command(line: list[str], scratch: Path) -> dict[str, Any]:
    """Run a command as the program does; what it prints goes through files, as its libraries print too."""
    import cli

    code, paths = 0, [scratch / "out.txt", scratch / "err.txt"]
    for number, path in enumerate(paths, start=1):
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, number)
        os.close(file)
    sys.argv = ["almanac", *line]
    try:
        cli.main()
    except SystemExit as end:
        code = int(end.code or 0)
    except Exception:  # noqa: BLE001 - what the program would end with; the test says that it must not
        code = -1
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    out, err = (path.read_text(encoding="utf-8", errors="replace") for path in paths)
    return {"code": code, "out": out, "err": err}


def _kill_at(when: str, where: str) -> None:
    """Wrap `module:name` (or `module:Class.name`; a step is wrapped inside) so that its call ends the process."""
    from flows.steps import Step

    module_name, _, path = where.partition(":")
    owner: Any = importlib.import_module(module_name)
    *parents, name = path.split(".")
    for parent in parents:
        owner = getattr(owner, parent)
    target = getattr(owner, name)
    if isinstance(target, Step):
        owner, name, target = target, "_function", target._function
    setattr(owner, name, _deadly(target, when))


def _deadly(function: Callable[..., Any], when: str) -> Callable[..., Any]:
    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        if when == "after":
            function(*args, **kwargs)
        os.kill(os.getpid(), signal.SIGKILL)

    return call


def _note_finished_shards(log: Path) -> None:
    """Append the keys of each shard that this process embedded, once its vectors stand."""
    import pyarrow.parquet as pq

    import flows.refresh as module

    embed_shard = module.embed_shard

    def noting(texts: Path, output: Path, *rest: Any) -> Path:
        stood = output.exists()
        done = embed_shard(texts, output, *rest)
        if not stood:
            keys = pq.read_table(texts, columns=["key"]).column("key").to_pylist()
            with log.open("a") as stream:
                stream.write("".join(f"{key}\n" for key in keys))
        return done

    module.embed_shard = noting


if __name__ == "__main__":
    main()
