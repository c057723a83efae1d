"""What a thing was made from, and what was made from it: `lineage`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.output import Json, print_result
from tasks.settings import Settings

if TYPE_CHECKING:
    from tasks.lineage.graph import Lineage

app = typer.Typer()


@app.command()
def lineage(
    subject: Annotated[str, typer.Argument(help="A document, `tr-…`, an example's id, `answerer 3` or `release 3`.")],
    mermaid: Annotated[bool, typer.Option("--mermaid", help="A chart that readers of Markdown draw.")] = False,
    openlineage: Annotated[
        Path | None, typer.Option(help="Write OpenLineage events for a catalogue, a line each.")
    ] = None,
    json_: Json = False,
) -> None:
    """Show what a document, answer, example, model or release was made from, and what was made from it.

    It names documents whoever may read them, and shows no text.

    Example: `almanac lineage handbook:guides/locks.md`, or `almanac lineage "answerer 3" --mermaid`
    """
    from tasks.files import write_text
    from tasks.lineage.graph import as_mermaid, as_text
    from tasks.lineage.openlineage import events_of
    from tasks.lineage.walk import trace_lineage

    traced = trace_lineage(Settings(), subject)
    if openlineage is not None:
        write_text(openlineage, events_of(traced))

    def show(result: "Lineage") -> None:
        typer.echo(as_mermaid(result) if mermaid else as_text(result))

    print_result(traced, json_, show)
