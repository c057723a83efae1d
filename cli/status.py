"""How things stand: `status` and `doctor`."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.output import Json, print_result, print_table, read_params
from tasks.settings import Settings

if TYPE_CHECKING:
    from flows.schedules import Schedule
    from flows.status import Status
    from tasks.releases.version import ReleaseEntry

app = typer.Typer()

_COLUMNS = ("store", "address", "seconds", "version", "skew_seconds")


@app.command()
def status(json_: Json = False) -> None:
    """Say what serves since when, who writes, and, where PREFECT_API_URL is set, what runs next.

    Example: `almanac status`
    """
    from pydantic import TypeAdapter

    from flows.status import Status, system_status
    from serving.local.client import ask_server
    from serving.local.record import read_record

    settings = Settings()
    params = read_params(settings)
    record = read_record(params, settings)
    fields = ask_server("status", {}, params, settings)
    status = system_status(params, settings) if fields is None else TypeAdapter(Status).validate_python(fields)
    server = f"http://{record.host}:{record.port}" if record else None
    print_result(replace(status, server=server), json_, print_status)


def print_status(status: "Status") -> None:
    """Print it for a person."""
    index, serving = status.index, status.index.serving
    if serving is None:
        typer.echo("serves:    nothing yet; run `almanac refresh`")
    else:
        typer.echo(
            f"serves:    index release {serving.version} since {status.since or serving.created_at}: "
            f"{serving.documents} documents, {serving.chunks} chunks"
        )
        then = f"; from the next refresh on {status.next_embedder}" if status.next_embedder else ""
        typer.echo(f"embedder:  {serving.lineage['embedder']}{then}")
    newest = index.newest_release
    if newest is not None and (serving is None or serving.version != newest):
        typer.echo(f"newest:    index release {newest} of {index.newest_created_at}, which does not serve")
    typer.echo(f"answerer:  {_answerer(status.answerer)}")
    for own in status.own_answerers:
        typer.echo(f"           {own.kind.partition('.')[2]}: {_answerer(own)}")
    if status.trial:
        typer.echo(f"trial:     {status.trial}")
    for name, trial in status.own_trials.items():
        typer.echo(f"trial:     {name}: {trial}")
    if status.server:
        typer.echo(f"server:    {status.server}")
    typer.echo(f"writes:    {index.writer or 'nobody'}")
    _print_schedules(status.schedules)
    typer.echo(f"stores:    {index.mlflow}, {index.index}")


def _answerer(entry: "ReleaseEntry") -> str:
    created = f" of {entry.created_at}" if entry.created_at else ""
    return f"version {entry.version}{created}" if entry.mlflow_version else f"{entry.version} (the default)"


def _print_schedules(schedules: "Mapping[str, Schedule | None] | None") -> None:
    if schedules is None:
        typer.echo("schedules: not known here; set PREFECT_API_URL, or run `almanac up`")
        return
    for name, schedule in schedules.items():
        if schedule is None:
            typer.echo(f"schedules: {name} is not scheduled")
            continue
        last = f"; last {schedule.last.started}, {schedule.last.state}" if schedule.last else ""
        typer.echo(f"schedules: {name} next {schedule.next or 'never'}{last}")


@app.command()
def doctor(
    json_: Json = False,
    deep: Annotated[bool, typer.Option(help="Read every row, too.")] = False,
    stores: Annotated[bool, typer.Option(help="Ask each store alone: reach, rights, version and clock.")] = False,
) -> None:
    """Find what is wrong and name the remedy; exit code 1 if anything is.

    Example: `almanac doctor --deep`, or before a first refresh on servers: `almanac doctor --stores`
    """
    settings = Settings()
    if stores:
        from tasks.index.doctor_stores import check_stores, problems_of_stores

        checks = check_stores(settings)
        problems = problems_of_stores(checks)
        result = {"stores": [asdict(check) for check in checks]}
    else:
        from flows.schedules import problems as problems_of_schedules
        from tasks.index.doctor import examine

        params = read_params(settings)
        problems = examine(params, settings, deep=deep) + list(problems_of_schedules(params))
        result = {}
    print_result(result | {"problems": [asdict(problem) for problem in problems]}, json_, _print_problems)
    if problems:
        raise typer.Exit(1)


def _print_problems(result: dict[str, Any]) -> None:
    rows = [{name: _cell(value) for name, value in row.items() if name in _COLUMNS} for row in result.get("stores", [])]
    if rows:
        print_table(rows)
    for problem in result["problems"]:
        typer.echo(f"{problem['what']}\n  where: {problem['where']}\n  remedy: {problem['remedy']}")
    if not result["problems"]:
        typer.echo("nothing wrong found")


def _cell(value: object) -> str:
    return "" if value is None else f"{value:.2f}" if isinstance(value, float) else str(value)
