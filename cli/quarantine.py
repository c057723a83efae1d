"""What the gates set aside: `quarantine list`, `show` and `release`."""

from dataclasses import asdict
from typing import Any

import typer

from cli.output import Json, print_fields, print_result, print_table
from tasks.settings import Settings

app = typer.Typer(no_args_is_help=True, help="What the gates set aside: list, show, release.")


@app.command("list")
def quarantine_list(json_: Json = False) -> None:
    """List what is in quarantine, with reasons, and apart from it what is no document (unsupported files, drafts).

    Example: `almanac quarantine list`
    """
    from tasks.corpus.parsing.parse import LEFT_OUT
    from tasks.corpus.quarantine import held

    items = held(Settings().home)
    result = {
        "items": [asdict(item) for item in items if item.rule not in LEFT_OUT],
        "left_out": [asdict(item) for item in items if item.rule in LEFT_OUT],
    }
    print_result(result, json_, _print_quarantine)


def _print_quarantine(result: dict[str, Any]) -> None:
    columns = ("id", "status", "source", "key", "rule", "reason")
    if result["items"]:
        print_table([{name: item[name] for name in columns} for item in result["items"]])
    else:
        typer.echo("nothing is in quarantine")
    if result["left_out"]:
        typer.echo("\nleft out, since they are no documents:")
        print_table([{name: item[name] for name in ("source", "key", "rule", "reason")} for item in result["left_out"]])


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
    from tasks.audit.audit import open_audit
    from tasks.corpus.quarantine import release

    settings = Settings()
    result = asdict(release(settings.home, item))
    document = f"{result['source']}:{result['key']}"
    open_audit(settings.layout).done("released from quarantine", documents=[document], rule=result["rule"])
    print_result(result, json_, lambda r: typer.echo(f"{r['source']}:{r['key']} passes at the next `almanac refresh`"))
