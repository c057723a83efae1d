"""How things stand: `status` and `doctor`."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated, Any

import typer

from cli.output import Json, print_result, read_params
from tasks.settings import Settings

app = typer.Typer()


@app.command()
def status(json_: Json = False) -> None:
    """Say what serves since when, who writes, and, where PREFECT_API_URL is set, what runs next.

    Example: `almanac status`
    """
    from flows.schedules import upcoming
    from tasks.index.history import index_status
    from tasks.releases.kind import ANSWERER, INDEX
    from tasks.releases.lifecycle import champion
    from tasks.releases.tags import Tag
    from tasks.releases.version import ReleaseEntry, entry_of

    settings = Settings()
    version = champion(settings, ANSWERER)
    if version is not None:
        answerer = entry_of(version)
    else:
        is_excerpt = read_params(settings).generation.is_excerpt
        answerer = ReleaseEntry(ANSWERER.name, "excerpt" if is_excerpt else str(ANSWERER.default))
    result = asdict(index_status(settings)) | {"answerer": asdict(answerer), "schedules": upcoming()}
    index = champion(settings, INDEX)
    since = index.tags.get(Tag.SERVED) if index else None
    print_result(result, json_, lambda fields: print_status(fields, since))


def print_status(result: Mapping[str, Any], since: str | None) -> None:
    """Print the fields of `status --json` for a person; `since` is when the index release began to serve."""
    serving, newest, writer = result["serving"], result["newest_release"], result["writer"]
    if serving is None:
        typer.echo("serves:    nothing yet; run `almanac refresh`")
    else:
        typer.echo(
            f"serves:    index release {serving['version']} since {since or serving['created_at']}: "
            f"{serving['documents']} documents, {serving['chunks']} chunks"
        )
        typer.echo(f"embedder:  {serving['lineage']['embedder']}")
    if newest is not None and (serving is None or serving["version"] != newest):
        typer.echo(f"newest:    index release {newest} of {result['newest_created_at']}, which does not serve")
    typer.echo(f"answerer:  {_answerer(result['answerer'])}")
    typer.echo(f"writes:    {_writer(writer) if writer else 'nobody'}")
    _print_schedules(result["schedules"])
    typer.echo(f"stores:    {result['mlflow']}, {result['index']}")


def _writer(holder: Mapping[str, Any]) -> str:
    return f"{holder['purpose']} of process {holder['pid']} on {holder['host']}, since {holder['since']}"


def _answerer(entry: Mapping[str, Any]) -> str:
    made = f" of {entry['created_at']}" if entry["created_at"] else ""
    return f"version {entry['version']}{made}" if entry["mlflow_version"] else f"{entry['version']} (the default)"


def _print_schedules(schedules: Mapping[str, Any] | None) -> None:
    if schedules is None:
        typer.echo("schedules: not known here; set PREFECT_API_URL, or run `almanac up`")
        return
    for name, entry in schedules.items():
        if entry is None:
            typer.echo(f"schedules: {name} is not scheduled")
            continue
        last = f"; last {entry['last']['started']}, {entry['last']['state']}" if entry["last"] else ""
        typer.echo(f"schedules: {name} next {entry['next'] or 'never'}{last}")


@app.command()
def doctor(json_: Json = False, deep: Annotated[bool, typer.Option(help="Read every row, too.")] = False) -> None:
    """Find what is wrong and name the remedy; exit code 1 if anything is.

    Example: `almanac doctor --deep`
    """
    from flows.schedules import problems as problems_of_schedules
    from tasks.index.doctor import examine

    settings = Settings()
    params = read_params(settings)
    problems = examine(params, settings, deep=deep) + list(problems_of_schedules(params))
    print_result({"problems": [asdict(problem) for problem in problems]}, json_, _print_problems)
    if problems:
        raise typer.Exit(1)


def _print_problems(result: dict[str, Any]) -> None:
    for problem in result["problems"]:
        typer.echo(f"{problem['what']}\n  where: {problem['where']}\n  remedy: {problem['remedy']}")
    if not result["problems"]:
        typer.echo("nothing wrong found")
