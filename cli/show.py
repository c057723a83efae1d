"""What is known of one document: `show`."""

from typing import TYPE_CHECKING, Annotated

import typer

from cli.output import Json, print_result, read_params
from tasks.settings import Settings

if TYPE_CHECKING:
    from tasks.answer.inspection.document import ShownDocument

app = typer.Typer()

_MAX_SHOWN = 2000


@app.command()
def show(
    document: str,
    original: Annotated[bool, typer.Option(help="Read the original from its source, too.")] = False,
    json_: Json = False,
) -> None:
    """Show a document: what was extracted, chunks, quarantine, releases, readers, the answers that read it.

    DOCUMENT is its id, path or address, or a part of one.

    Example: `almanac show handbook:guides/locks.md`
    """
    from tasks.answer.inspection.document import show_document

    settings = Settings()
    print_result(show_document(document, read_params(settings), settings, with_original=original), json_, _print)


def _print(document: "ShownDocument") -> None:
    typer.echo(f"{document.document_id}\n  title     {document.title}\n  address   {document.uri}")
    typer.echo(f"  state     {document.state}")
    typer.echo(f"  readers   {', '.join(document.readers) or 'nobody'}")
    for label, value in (("updated", document.updated_at), ("expires", document.expires_at)):
        if value:
            typer.echo(f"  {label}   {value}")
    if document.reason:
        typer.echo(f"  set aside {document.reason} (almanac quarantine show {document.quarantine_id})")
    for event in document.history:
        typer.echo(f"  release {event.release} of {event.created_at[:10]}: {event.what}")
    for answer in document.cited_by:
        how = "cited for" if answer.cited else "read for"
        typer.echo(f"  {how} {answer.question!r} ({answer.trace_id})")
    typer.echo(f"\n{len(document.chunks)} chunk(s) that search can find")
    for chunk in document.chunks:
        heading = f"  {chunk.headings}" if chunk.headings else ""
        typer.echo(f"--- {chunk.start}-{chunk.end}{heading}\n{chunk.text}")
    if not document.chunks and document.text:
        typer.echo(f"\n--- the text that was extracted\n{document.text[:_MAX_SHOWN]}")
    if document.original is not None:
        typer.echo(f"\n--- the original\n{document.original[:_MAX_SHOWN]}")
