"""`almanac up`: Prefect, MLflow, the worker with its schedules, and the answering server, from one command.

Honcho starts them and shows their lines; each runs under `serving.stack.supervise`, which starts it again when it dies.
"""

import functools
import logging
import os
import queue
import shlex
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from logging.handlers import RotatingFileHandler
from pathlib import Path
from types import FrameType

import httpx
from filelock import FileLock, Timeout
from honcho.colour import get_colours
from honcho.printer import Message, Printer
from honcho.process import Process

from flows.pool import WORK_POOL
from tasks.errors import BusyError, ConfigurationError, DependencyError
from tasks.releases.tracking_store import open_store
from tasks.settings import Settings
from tasks.tenant import of_tenant

HOST = "127.0.0.1"
READY_SECONDS = 300.0
_TURN_SECONDS = 0.5
_LOG_BYTES = 10_000_000


@dataclass(frozen=True, slots=True)
class Ports:
    """Where the three servers listen."""

    prefect: int
    mlflow: int
    server: int


@dataclass(frozen=True, slots=True)
class Service:
    """One process of the stack.

    Attributes:
        url: what a person opens; None: nothing.
        is_ready: asks whether it answers.
        after: the services that must answer before it starts.
    """

    name: str
    command: tuple[str, ...]
    url: str | None
    is_ready: Callable[[], bool]
    after: tuple[str, ...] = ()


def up(settings: Settings, ports: Ports, *, say: Callable[[str], None]) -> None:
    """Run the stack until Ctrl-C or SIGTERM; `say` gets what a person should know.

    Raises:
        BusyError: the stack of this home runs already.
        ConfigurationError: a port is taken.
        DependencyError: a service died too often, or did not answer in time.
    """
    home = settings.home.resolve()
    with _only_one(home):
        _check_ports(settings, ports)
        open_store(settings)
        services = stack(settings, ports)
        Stack(services, environment(settings, ports), settings.layout.logs).run(lambda: _greet(services, settings, say))


def stack(settings: Settings, ports: Ports) -> tuple[Service, ...]:
    """Return the services to start, in their order: a server that a variable names already is used, not started."""
    prefect, mlflow, server = _addresses(settings, ports)
    services = {
        "prefect": Service(
            "prefect", prefect_command(HOST, ports.prefect), prefect, lambda: _answers(f"{prefect}/api/health")
        ),
        "mlflow": Service(
            "mlflow", mlflow_command(settings, HOST, ports.mlflow), mlflow, lambda: _answers(f"{mlflow}/health")
        ),
    }
    own = {name: service for name, service in services.items() if name not in _elsewhere(settings)}
    return (
        *own.values(),
        Service("worker", _almanac("worker"), None, lambda: _has_worker(f"{prefect}/api"), after=_only(own, "prefect")),
        Service("server", _almanac("serve"), server, lambda: _answers(f"{server}/healthz"), after=_only(own, "mlflow")),
    )


def _elsewhere(settings: Settings) -> dict[str, str]:
    """Return the servers that run already: the addresses in `PREFECT_API_URL` and `MLFLOW_TRACKING_URI`."""
    named = {"prefect": settings.prefect_api_url, "mlflow": settings.mlflow_tracking_uri}
    return {name: address for name, address in named.items() if address and address.startswith("http")}


def _addresses(settings: Settings, ports: Ports) -> tuple[str, str, str]:
    elsewhere = _elsewhere(settings)
    prefect = elsewhere.get("prefect", f"http://{HOST}:{ports.prefect}").removesuffix("/").removesuffix("/api")
    mlflow = elsewhere.get("mlflow", f"http://{HOST}:{ports.mlflow}").removesuffix("/")
    return prefect, mlflow, f"http://{HOST}:{ports.server}"


def _only(services: Mapping[str, Service], name: str) -> tuple[str, ...]:
    return (name,) if name in services else ()


def prefect_command(host: str, port: int) -> tuple[str, ...]:
    """Return the command of the Prefect server; its database is in `PREFECT_HOME`, or where Prefect's variable says."""
    options = ("--host", host, "--port", str(port), "--log-level", "WARNING")
    return (sys.executable, "-m", "prefect", "server", "start", *options)


def mlflow_command(settings: Settings, host: str, port: int, *extra: str) -> tuple[str, ...]:
    """Return the command of an MLflow server over the home's database and files, or those that the settings name.

    Artifacts are not proxied: their addresses are then those that runs without a server write and read.
    """
    artifacts = settings.shared_artifacts or settings.layout.artifacts.as_uri()
    return (
        *(sys.executable, "-m", "mlflow", "server", "--host", host, "--port", str(port), "--workers", "1"),
        *("--backend-store-uri", settings.tracking_uri),
        *("--no-serve-artifacts", "--default-artifact-root", artifacts),
        *("--uvicorn-opts", "--log-level warning", *extra),
    )


def environment(settings: Settings, ports: Ports) -> dict[str, str]:
    """Return what all services see: one home, one set of parameters, and the addresses of the servers."""
    prefect, mlflow, _ = _addresses(settings, ports)
    return os.environ | {
        "ALMANAC_HOME": str(settings.home.resolve()),
        "ALMANAC_PARAMS": str(settings.params.resolve()),
        "MLFLOW_TRACKING_URI": mlflow,
        "PREFECT_API_URL": f"{prefect}/api",
        "ALMANAC_PORT": str(ports.server),
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "PYTHONUNBUFFERED": "1",
    }


class Stack:
    """Starts services in their order, shows and keeps their lines, and stops them together."""

    def __init__(self, services: Sequence[Service], environment: dict[str, str], logs: Path) -> None:
        """Nothing starts before `run`."""
        self._waiting = list(services)
        self._services = {service.name: service for service in services}
        self._environment = environment
        self._events: queue.Queue[Message] = queue.Queue()
        self._logs = {name: _log_file(logs / f"{name}.log") for name in self._services}
        self._printer = Printer(sys.stdout, width=max(map(len, self._services)))
        self._colours = get_colours()
        self._pids: dict[str, int] = {}
        self._ready: set[str] = set()
        self._failed: str | None = None
        self._signals = 0
        self._num_signals = 0

    def run(self, on_ready: Callable[[], None]) -> None:
        """Run until a signal comes; call `on_ready` once, when all answer.

        Raises:
            DependencyError: a service ended for good, or not all answered in time.
        """
        with self._signals_counted():
            deadline = time.monotonic() + READY_SECONDS
            while not self._stopping:
                self._turn()
                if self._check_services() and len(self._ready) == len(self._services):
                    deadline = float("inf")
                    on_ready()
                if time.monotonic() > deadline:
                    missing = sorted(set(self._services) - self._ready)
                    self._failed = f"{', '.join(missing)} did not answer within {READY_SECONDS:.0f} seconds"
            while self._pids:
                self._tell_to_stop()
                self._turn()
        if self._failed:
            raise DependencyError(f"all services must run, found: {self._failed}; see the logs in ALMANAC_HOME/logs")

    @property
    def _stopping(self) -> bool:
        return self._signals > 0 or self._failed is not None

    def _check_services(self) -> bool:
        """Note who answers now, start who waited for it; whether anything changed."""
        asked = [name for name in self._pids if name not in self._ready]
        new = {name for name in asked if self._services[name].is_ready()}
        self._ready |= new
        for service in [service for service in self._waiting if self._ready.issuperset(service.after)]:
            self._waiting.remove(service)
            self._start(service)
        return bool(new)

    def _start(self, service: Service) -> None:
        # `exec`: the keeper takes the shell's place, so that a signal reaches it.
        command = "exec " + shlex.join((sys.executable, "-m", "serving.stack.supervise", *service.command))
        process = Process(command, name=service.name, colour=next(self._colours), env=self._environment)
        self._pids[service.name] = 0
        threading.Thread(target=process.run, args=(self._events,), name=service.name, daemon=True).start()

    def _turn(self) -> None:
        """Take what the services say, for a moment."""
        try:
            message = self._events.get(timeout=_TURN_SECONDS)
            while True:
                self._take(message)
                message = self._events.get_nowait()
        except queue.Empty:
            return

    def _take(self, message: Message) -> None:
        if message.type == "line":
            self._printer.write(message)
            self._logs[message.name].info(message.data.decode("utf-8", "replace").rstrip("\n"))
        elif message.type == "start":
            self._pids[message.name] = message.data["pid"]
            if self._num_signals:
                _send(message.data["pid"], signal.SIGTERM)
        else:
            del self._pids[message.name]
            if not self._stopping:
                self._failed = f"{message.name} ended with exit code {message.data['returncode']}"

    def _tell_to_stop(self) -> None:
        """A signal to each keeper at the first signal or failure, and one more at the second signal, which kills.

        Two different ones: the kernel would make one of two that are the same.
        """
        wanted = min(max(self._signals, 1), 2)
        while self._num_signals < wanted:
            number = (signal.SIGTERM, signal.SIGINT)[self._num_signals]
            self._num_signals += 1
            for pid in filter(None, self._pids.values()):
                _send(pid, number)

    @contextmanager
    def _signals_counted(self) -> Iterator[None]:
        def count(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
            self._signals += 1

        before = {number: signal.signal(number, count) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _almanac(*arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "cli", *arguments)


def _send(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def _log_file(path: Path) -> logging.Logger:
    """A logger of its own that writes lines as they are, in files of bounded size."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handler = RotatingFileHandler(path, maxBytes=_LOG_BYTES, backupCount=2, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    log = logging.Logger(path.stem)
    log.addHandler(handler)
    return log


@contextmanager
def _only_one(home: Path) -> Iterator[None]:
    lock = home / "locks" / "up.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(lock, timeout=0):
            yield
    except Timeout as error:
        raise BusyError(
            f"one `almanac up` at a time may run in {home}, found another one; stop it, or set ALMANAC_HOME"
        ) from error


def _check_ports(settings: Settings, ports: Ports) -> None:
    options = {
        "prefect": ("Prefect", "--prefect-port", ports.prefect),
        "mlflow": ("MLflow", "--mlflow-port", ports.mlflow),
    }
    own = [option for name, option in options.items() if name not in _elsewhere(settings)]
    for name, option, port in (*own, ("the server", "--port", ports.server)):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError as error:
                raise ConfigurationError(
                    f"port {port} must be free for {name}, found: {error.strerror}; stop what listens there, or name "
                    f"another port by {option}"
                ) from error


@functools.cache
def _client() -> httpx.Client:
    """One for all questions: making one reads all certificates of the system."""
    return httpx.Client(timeout=2)


def _answers(address: str) -> bool:
    try:
        return _client().get(address).is_success
    except httpx.HTTPError:
        return False


def _has_worker(api: str) -> bool:
    try:
        answer = _client().post(f"{api}/work_pools/{of_tenant(WORK_POOL)}/workers/filter", json={})
    except httpx.HTTPError:
        return False
    return answer.is_success and any(worker["status"] == "ONLINE" for worker in answer.json())


def _greet(services: Sequence[Service], settings: Settings, say: Callable[[str], None]) -> None:
    from tasks.index.release import release_numbers

    own = ((service.name, service.url) for service in services if service.url)
    for name, address in (*_elsewhere(settings).items(), *own):
        say(f"{name:<8} {address}")
    if not release_numbers(settings):
        say("nothing was released yet: run `almanac refresh` in another terminal, then ask")
    say("ready; Ctrl-C stops all, a second Ctrl-C kills")
