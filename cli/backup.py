"""The home as a backup: `backup`, `restore`."""

from pathlib import Path
from typing import Annotated

import typer

from cli.output import Json, print_result

app = typer.Typer()


@app.command("backup")
def backup_command(
    folder: Annotated[Path, typer.Argument(help="A new folder outside the home.")],
    wait: Annotated[float, typer.Option(help="Seconds to wait for a flow that writes.")] = 0,
    json_: Json = False,
) -> None:
    """Copy the home while the server answers: index, releases, snapshots, MLflow, quarantine, keys, what was forgotten.

    Models' and vectors' caches are left out: they are made again. A store that lies elsewhere is named, not copied.

    Example: `almanac backup /backups/2026-11-27`
    """
    from flows.backup import back_up

    backup = back_up(folder, wait)
    print_result(backup.as_json(), json_, _print_backup)


@app.command("restore")
def restore_command(
    folder: Annotated[Path, typer.Argument(help="What `almanac backup` made.")],
    tombstones: Annotated[
        Path | None, typer.Option(help="`forgotten/tombstones.json` of the lost home: what was forgotten since.")
    ] = None,
    json_: Json = False,
) -> None:
    """Bring a backup back into an empty home, each file checked; documents that were forgotten are taken out again.

    Example: `almanac restore /backups/2026-11-27 --tombstones /lost/var/forgotten/tombstones.json`
    """
    from flows.backup import restore

    backup, receipt = restore(folder, tombstones)
    forgotten = {"forgotten_again": len(receipt.documents) if receipt else 0}
    print_result(backup.as_json() | forgotten, json_, _print_restored)


def _print_backup(fields: dict[str, object]) -> None:
    typer.echo(f"{fields['files']} files, {_megabytes(fields)} MB in {fields['folder']}")
    _print_elsewhere(fields)


def _print_restored(fields: dict[str, object]) -> None:
    again = (
        f"; {fields['forgotten_again']} forgotten documents were taken out again" if fields["forgotten_again"] else ""
    )
    typer.echo(f"{fields['files']} files of {fields['at']} restored{again}; `almanac doctor` says whether all is well")
    _print_elsewhere(fields)


def _megabytes(fields: dict[str, object]) -> str:
    return f"{int(str(fields['bytes'])) / 1e6:.1f}"


def _print_elsewhere(fields: dict[str, object]) -> None:
    for place in fields["not_copied"] if isinstance(fields["not_copied"], list) else []:
        typer.echo(f"not in it, it lies elsewhere: {place}")
