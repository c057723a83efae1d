"""Commands that run until Ctrl-C: `up`, `serve` and `worker`."""

from typing import Annotated

import typer

from cli.output import read_params
from tasks.settings import Settings

app = typer.Typer()


@app.command()
def up(
    port: Annotated[int | None, typer.Option(help="Of the answering server; default: ALMANAC_PORT or 8000.")] = None,
    mlflow_port: Annotated[int | None, typer.Option(help="Default: ALMANAC_MLFLOW_PORT or 5000.")] = None,
    prefect_port: Annotated[int | None, typer.Option(help="Default: ALMANAC_PREFECT_PORT or 4200.")] = None,
) -> None:
    """Start all: Prefect with the schedules, MLflow, a worker and the answering server; Ctrl-C stops all.

    Example: `almanac up`, or `almanac up --port 8080`
    """
    from serving.stack.up import Ports
    from serving.stack.up import up as run

    settings = Settings()
    read_params(settings)
    ports = Ports(prefect_port or settings.prefect_port, mlflow_port or settings.mlflow_port, port or settings.port)
    run(settings, ports, say=typer.echo)


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on; default: ALMANAC_HOST or 127.0.0.1.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; default: ALMANAC_PORT or 8000.")] = None,
) -> None:
    """Answer over HTTP: the OpenAI-compatible API and the chat page; Ctrl-C stops it.

    Example: `almanac serve --port 8080`
    """
    from serving.api.run import serve as run

    settings = Settings()
    run(read_params(settings), settings, host=host or settings.host, port=settings.port if port is None else port)


@app.command()
def worker(
    wait: Annotated[float, typer.Option(help="Seconds to wait for the Prefect server.")] = 120,
) -> None:
    """Put the schedules of params.yaml on the Prefect server of PREFECT_API_URL, and run what is due.

    Example: `PREFECT_API_URL=http://127.0.0.1:4200/api almanac worker`
    """
    from flows.worker import start_worker

    settings = Settings()
    start_worker(read_params(settings), settings, wait_seconds=wait)
