"""Commands of the weekly cadence: `plan` and `refresh`."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from cli.output import Json, print_result, progress_bars, read_params
from tasks.settings import Settings

if TYPE_CHECKING:
    from tasks.index.refresh.result import RefreshResult

app = typer.Typer()


@app.command()
def plan(json_: Json = False) -> None:
    """Say what a refresh would do, and stop.

    Example: `almanac plan`
    """
    from flows.refresh import list_sources
    from tasks.corpus.plan import guard_removals
    from tasks.errors import GateError
    from tasks.index.refresh.inputs import read_inputs

    settings = Settings()
    inputs = read_inputs(read_params(settings), settings)
    planned = list_sources(inputs)
    refused = None
    try:
        guard_removals(planned, inputs.base.indexed, allowed=())
    except GateError as error:
        refused = str(error)
    print_result(planned.counts() | {"refused": refused}, json_, _print_plan)


def _print_plan(result: Mapping[str, int | float | str | None]) -> None:
    names = ("new", "changed", "moved", "removed", "expired", "unchanged", "held", "left_out")
    typer.echo(f"{result['listed']} listed: " + ", ".join(f"{result[name]} {name}" for name in names))
    typer.echo(f"at most {result['chunks_to_embed']} chunks to embed, about {result['estimated_seconds']:.0f} seconds")
    if result["refused"]:
        typer.echo(f"a refresh would refuse: {result['refused']}")


@app.command()
def refresh(
    json_: Json = False,
    rebuild: Annotated[bool, typer.Option(help="Write every row anew, from the snapshot.")] = False,
    allow_removal: Annotated[list[str] | None, typer.Option(help="A source that may lose many documents.")] = None,
    again: Annotated[bool, typer.Option(help="Release content that was rolled back before.")] = False,
    wait: Annotated[float, typer.Option(help="Seconds to wait for another refresh to end.")] = 0,
) -> None:
    """Bring the index up to its sources: gate, index, gate, release.

    Example: `almanac refresh`, or `almanac refresh --allow-removal wiki`
    """
    from flows.refresh import refresh as flow
    from flows.steps import runner

    with progress_bars():
        result = runner(flow, read_params(Settings()))(
            rebuild=rebuild, allow_removal=tuple(allow_removal or ()), again=again, wait_seconds=wait
        )
    print_result(result, json_, _print_refresh)


def _print_refresh(result: "RefreshResult") -> None:
    if result.release is None:
        typer.echo(
            f"nothing to release: {result.unchanged} unchanged, {result.quarantined} in quarantine, "
            f"{result.left_out} left out ({result.seconds} s)"
        )
        return
    state = "serves now" if result.released else "waits for the alias `champion` in the MLflow UI"
    typer.echo(
        f"release {result.release} {state}: {result.accepted} documents accepted, {result.quarantined} quarantined, "
        f"{result.left_out} left out, {result.removed} removed, {result.unchanged} unchanged; "
        f"{result.embedded} chunks embedded of {result.chunks} ({result.seconds} s)"
    )
    for name, value in (result.metrics or {}).items():
        typer.echo(f"  {name} {value:.4g}")
