"""How things stand: `status` and `doctor`."""

from dataclasses import asdict
from typing import Annotated, Any

import typer

from cli.output import Json, print_fields, print_result, read_params
from tasks.settings import Settings

app = typer.Typer()


@app.command()
def status(json_: Json = False) -> None:
    """Say what serves since when, who writes, and, where PREFECT_API_URL is set, what runs next.

    Example: `almanac status`
    """
    from flows.schedules import upcoming
    from tasks.index.history import index_status
    from tasks.releases.kind import ANSWERER
    from tasks.releases.lifecycle import champion
    from tasks.releases.version import ReleaseEntry, entry_of

    settings = Settings()
    version = champion(settings, ANSWERER)
    if version is not None:
        answerer = entry_of(version)
    else:
        is_excerpt = read_params(settings).generation.is_excerpt
        answerer = ReleaseEntry(ANSWERER.name, "excerpt" if is_excerpt else str(ANSWERER.default))
    result = asdict(index_status(settings)) | {"answerer": asdict(answerer), "schedules": upcoming()}
    print_result(result, json_, print_fields)


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
