"""What the gates set aside: `quarantine list`, `show` and `release`."""

from dataclasses import asdict
from typing import Any

import typer

from cli.output import Json, print_fields, print_result, print_table
from tasks.settings import Settings

app = typer.Typer(no_args_is_help=True, help="What the gates set aside: list, show, release.")


@app.command("list")
def quarantine_list(json_: Json = False) -> None:
    """List what is in quarantine, with reasons.

    Example: `almanac quarantine list`
    """
    from tasks.corpus.quarantine import held

    print_result({"items": [asdict(item) for item in held(Settings().home)]}, json_, _print_quarantine)


def _print_quarantine(result: dict[str, Any]) -> None:
    columns = ("id", "status", "source", "key", "rule", "reason")
    if result["items"]:
        print_table([{name: item[name] for name in columns} for item in result["items"]])
    else:
        typer.echo("nothing is in quarantine")


@app.command("show")
def quarantine_show(item: str, json_: Json = False) -> None:
    """Show one item with the beginning of its text.

    Example: `almanac quarantine show 3f9a1c`
    """
    from tasks.corpus.quarantine import show

    print_result(asdict(show(Settings().home, item)), json_, print_fields)


@app.command("release")
def quarantine_release(item: str, json_: Json = False) -> None:
    """Let an item through at the next refresh; it stays let through while its content is the same.

    Example: `almanac quarantine release 3f9a1c`
    """
    from tasks.corpus.quarantine import release

    result = asdict(release(Settings().home, item))
    print_result(result, json_, lambda r: typer.echo(f"{r['source']}:{r['key']} passes at the next `almanac refresh`"))
