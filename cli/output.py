"""What a command prints: one JSON object, or text and tables for a person, and bars while it runs."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, Protocol, TypeVar, runtime_checkable

import typer

from tasks.settings import Settings

if TYPE_CHECKING:
    from rich.progress import TaskID

    from tasks.params import Params

R = TypeVar("R")


@runtime_checkable
class Serializable(Protocol):
    """A result that knows the fields of its `--json`."""

    def as_json(self) -> dict[str, Any]:
        """Return the fields."""
        ...


Json = Annotated[bool, typer.Option("--json", help="One JSON object on standard output, and nothing else.")]


def print_result(result: R, as_json: bool, human: Callable[[R], None]) -> None:
    """Print a result as one line of JSON, or as `human` prints it."""
    if as_json:
        fields = result.as_json() if isinstance(result, Serializable) else result
        typer.echo(json.dumps(fields, ensure_ascii=False, default=str))
    else:
        human(result)


def read_params(settings: Settings) -> "Params":
    """Load `params.yaml`."""
    from tasks.params import load_params

    return load_params(settings.params, settings.profile)


def print_table(rows: Sequence[Mapping[str, object]], title: str | None = None) -> None:
    """Print rows as a table; the first names the columns."""
    from rich.console import Console
    from rich.table import Table

    grid = Table(title=title)
    for name in rows[0]:
        grid.add_column(name)
    for row in rows:
        grid.add_row(*(str(value) for value in row.values()))
    Console().print(grid)


@contextmanager
def progress_bars() -> Iterator[None]:
    """Draw a bar on standard error for each long stage, where standard error is a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from flows.progress import LISTENER, TELLER

    columns = (TextColumn("{task.description:>8}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    bars: dict[str, TaskID] = {}
    with Progress(*columns, console=Console(stderr=True)) as drawn:

        def listen(stage: str, done: int, total: int) -> None:
            if stage not in bars:
                bars[stage] = drawn.add_task(stage, total=total)
            drawn.update(bars[stage], completed=done)

        def say(line: str) -> None:
            drawn.console.print(line, markup=False, highlight=False, soft_wrap=True)

        token, teller = LISTENER.set(listen), TELLER.set(say)
        try:
            yield
        finally:
            LISTENER.reset(token)
            TELLER.reset(teller)


def print_fields(result: Mapping[str, object]) -> None:
    """Print one field a line."""
    for name, value in result.items():
        typer.echo(f"{name}: {value}")
