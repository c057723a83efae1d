"""Servers of the tests' own: S3 by moto, PostgreSQL by the package of the system."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import mkdtemp

import httpx
import pytest

from tasks.settings import QUIET_ENVIRONMENT
from tests.conftest import answers, free_ports, wait_until

BUCKET = "almanac"


def direct(_name: str, port: int) -> int:
    """Put nothing before a server."""
    return port


@contextmanager
def team_servers(folder: Path, before: Callable[[str, int], int] = direct) -> Iterator[dict[str, str]]:
    """Yield the settings that machines share: MLflow on PostgreSQL, its files and all else on S3.

    `DATABASE` is the address of MLflow's database, for the test alone. `before` takes the name and the port of
    `mlflow`, `postgres` and `s3`, and returns the port at which each is spoken to.
    """
    port = free_ports("mlflow")["mlflow"]
    with ExitStack() as stack:
        database = make_database(stack.enter_context(postgres_server(folder, before)), "mlflow")
        bucket = stack.enter_context(s3_server(folder, before))
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
        command += ["--workers", "1", "--backend-store-uri", database, "--no-serve-artifacts"]
        command += ["--default-artifact-root", f"{bucket}/mlartifacts"]
        environment = os.environ | QUIET_ENVIRONMENT | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        with (folder / "mlflow.log").open("wb") as log:
            server = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
        stack.callback(server.wait)
        stack.callback(os.killpg, server.pid, 9)
        address = f"http://127.0.0.1:{before('mlflow', port)}"
        wait_until(lambda: answers(f"{address}/health"), seconds=300)
        # On a busy machine a server of one process answers late.
        patience = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "60", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3"}
        shared = {"MLFLOW_TRACKING_URI": address, "ALMANAC_STORE": f"{bucket}/shared", "DATABASE": database}
        yield shared | patience


@contextmanager
def s3_server(folder: Path, before: Callable[[str, int], int] = direct) -> Iterator[str]:
    """Set the environment of an S3 server on a free port; yield the address of its one bucket."""
    port = free_ports("s3")["s3"]
    address = f"http://127.0.0.1:{before('s3', port)}"
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with pytest.MonkeyPatch.context() as environment, (folder / "s3.log").open("wb") as log:
        environment.setenv("AWS_ENDPOINT_URL", address)
        environment.setenv("AWS_ACCESS_KEY_ID", "testing")
        environment.setenv("AWS_SECRET_ACCESS_KEY", "testing")
        environment.setenv("AWS_DEFAULT_REGION", "us-east-1")
        server = subprocess.Popen(command, stdout=log, stderr=log, env=os.environ | QUIET_ENVIRONMENT)
        try:
            wait_until(lambda: _is_up(address), seconds=120)
            httpx.put(f"{address}/{BUCKET}", timeout=30).raise_for_status()
            yield f"s3://{BUCKET}"
        finally:
            server.kill()
            server.wait()


def _is_up(address: str) -> bool:
    try:
        return httpx.get(address, timeout=5).status_code < 500
    except httpx.HTTPError:
        return False


@contextmanager
def postgres_server(folder: Path, before: Callable[[str, int], int] = direct) -> Iterator[str]:
    """Yield the address of a database cluster on a free port, without the name of a database; its log is in `folder`.

    The cluster lies outside pytest's folders: each pytest that starts closes those to all but its own user.
    """
    programs = _programs()
    if programs is None:
        pytest.skip("PostgreSQL must be installed for this test, found no initdb; apt-get install postgresql")
    port = free_ports("postgres")["postgres"]
    data = Path(mkdtemp(prefix="almanac-postgres-"))
    # PostgreSQL does not run as root.
    user = "postgres" if os.geteuid() == 0 else None
    if user:
        shutil.chown(data, user)
    options = ["--no-locale", "--encoding=UTF8", "--auth=trust", "--username=almanac", "--no-sync"]
    subprocess.run([programs / "initdb", *options, "-D", data], check=True, capture_output=True, user=user, cwd=data)
    listen = ["-c", "listen_addresses=127.0.0.1", "-c", f"unix_socket_directories={data}", "-c", "fsync=off"]
    command = [programs / "postgres", "-D", data, "-p", str(port), *listen]
    with (folder / "postgres.log").open("wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, user=user, cwd=data)
    address = f"postgresql://almanac@127.0.0.1:{before('postgres', port)}"
    try:
        wait_until(lambda: _connects(f"{address}/postgres"), seconds=60)
        yield address
    finally:
        server.terminate()
        server.wait()
        shutil.rmtree(data)


def make_database(address: str, name: str) -> str:
    """Make a database; return its address."""
    import psycopg2

    connection = psycopg2.connect(f"{address}/postgres")
    connection.autocommit = True
    try:
        with connection.cursor() as cursor:
            cursor.execute(f"CREATE DATABASE {name}")
    finally:
        connection.close()
    return f"{address}/{name}"


def _programs() -> Path | None:
    """Return the folder of the newest PostgreSQL: Debian keeps it off the PATH."""
    places = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    on_path = shutil.which("initdb")
    return places[-1] if places else Path(on_path).parent if on_path else None


def _connects(address: str) -> bool:
    import psycopg2

    try:
        psycopg2.connect(address, connect_timeout=2).close()
    except psycopg2.OperationalError:
        return False
    return True
