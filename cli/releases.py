"""What was released, and the way back: `releases` and `rollback`."""

from typing import Annotated, Any

import typer

from cli.output import Json, print_result, print_table
from tasks.settings import Settings

app = typer.Typer()
rollback_app = typer.Typer(no_args_is_help=True, help="Take a release back.")
app.add_typer(rollback_app, name="rollback")


@app.command()
def releases(json_: Json = False) -> None:
    """List the releases, of the index and of the answerer, that can be rolled back to.

    Example: `almanac releases`
    """
    from tasks.index.history import list_releases
    from tasks.model.answerer.register import answerer_releases

    settings = Settings()
    print_result({"releases": list_releases(settings) + answerer_releases(settings)}, json_, _print_releases)


def _print_releases(result: dict[str, Any]) -> None:
    found = result["releases"]
    if not found:
        typer.echo("no release yet; run `almanac refresh`")
        return
    columns = {
        "index": ("version", "aliases", "created_at", "documents", "chunks", "recall_at_k"),
        "answerer": ("version", "aliases", "created_at", "method", "answer_f1", "training_set"),
    }
    for kind, names in columns.items():
        rows = [entry | entry["lineage"] | entry["metrics"] for entry in found if entry["kind"] == kind]
        if rows:
            print_table([{name: _cell(row, name) for name in names} for row in rows], title=kind)


def _cell(entry: dict[str, Any], name: str) -> str:
    value = entry.get(name, "")
    return ", ".join(value) if isinstance(value, list) else f"{value:.4g}" if isinstance(value, float) else str(value)


@rollback_app.command("index")
def rollback_index(
    version: Annotated[int | None, typer.Argument(help="Release to go back to; default: the one before.")] = None,
    json_: Json = False,
) -> None:
    """Let an earlier index release serve again; running processes notice within seconds.

    Example: `almanac rollback index`, or `almanac rollback index 7`
    """
    from tasks.index.history import roll_back_index

    result = roll_back_index(Settings(), version)
    print_result(
        result,
        json_,
        lambda r: typer.echo(f"index release {r['release']} serves again; {r['abandoned']} was taken back"),
    )


@rollback_app.command("answerer")
def rollback_answerer(
    version: Annotated[
        str | None, typer.Argument(help="Version to go back to, or `base`; default: the one that served before.")
    ] = None,
    json_: Json = False,
) -> None:
    """Let an earlier answerer, or the base model, serve again; running processes notice within seconds.

    Example: `almanac rollback answerer`, or `almanac rollback answerer base`
    """
    from tasks.model.answerer.register import roll_back_answerer

    result = roll_back_answerer(Settings(), version)
    print_result(
        result,
        json_,
        lambda r: typer.echo(f"answerer {r['version']} serves again; version {r['abandoned']} was taken back"),
    )
