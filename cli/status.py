"""How things stand: `status` and `doctor`."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.output import Json, print_result, read_params
from tasks.settings import Settings

if TYPE_CHECKING:
    from flows.schedules import Schedule
    from tasks.index.history import IndexStatus
    from tasks.releases.version import ReleaseEntry

app = typer.Typer()


@dataclass(frozen=True, slots=True)
class Status:
    """How things stand.

    Attributes:
        schedules: by cadence; None: no Prefect server is set.
        since: when the index release began to serve.
    """

    index: "IndexStatus"
    answerer: "ReleaseEntry"
    schedules: "Mapping[str, Schedule | None] | None"
    since: str | None

    def as_json(self) -> dict[str, Any]:
        """Return the fields of `almanac status --json`."""
        fields = asdict(self)
        index: dict[str, Any] = fields["index"]
        return index | {"answerer": fields["answerer"], "schedules": fields["schedules"]}


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
    version, index = champion(settings, ANSWERER), champion(settings, INDEX)
    if version is not None:
        answerer = entry_of(version)
    else:
        is_excerpt = read_params(settings).generation.is_excerpt
        answerer = ReleaseEntry(ANSWERER.name, "excerpt" if is_excerpt else str(ANSWERER.default))
    since = index.tags.get(Tag.SERVED) if index else None
    print_result(Status(index_status(settings), answerer, upcoming(), since), json_, print_status)


def print_status(status: Status) -> None:
    """Print it for a person."""
    index, serving = status.index, status.index.serving
    if serving is None:
        typer.echo("serves:    nothing yet; run `almanac refresh`")
    else:
        typer.echo(
            f"serves:    index release {serving.version} since {status.since or serving.created_at}: "
            f"{serving.documents} documents, {serving.chunks} chunks"
        )
        typer.echo(f"embedder:  {serving.lineage['embedder']}")
    newest = index.newest_release
    if newest is not None and (serving is None or serving.version != newest):
        typer.echo(f"newest:    index release {newest} of {index.newest_created_at}, which does not serve")
    typer.echo(f"answerer:  {_answerer(status.answerer)}")
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
