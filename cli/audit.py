"""Who was shown what, and who changed what: `audit`."""

import datetime as dt
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.output import Json, print_result
from tasks.settings import Settings

if TYPE_CHECKING:
    from tasks.audit.audit import Audit, Entry
    from tasks.audit.chain import Verdict

app = typer.Typer()

_NEWEST = 50


@app.command()
def audit(
    since: Annotated[dt.datetime | None, typer.Option(help="Only what happened then or later, UTC.")] = None,
    key: Annotated[str | None, typer.Option(help="Only what the user of this API key did or was shown.")] = None,
    document: Annotated[str | None, typer.Option(help="Only what concerns this id, forgotten or not.")] = None,
    export: Annotated[Path | None, typer.Option(help="Write the records with their hashes into a file.")] = None,
    verify: Annotated[Path | None, typer.Option(help="Check the log, and that it holds an exported copy.")] = None,
    prune: Annotated[int | None, typer.Option(help="Remove records more days old, and note it.", min=1)] = None,
    json_: Json = False,
) -> None:
    """Show who was shown which documents, and who rated, promoted, released, forgot or changed keys.

    Without `--since` the newest 50 records, with `--json` all. Texts are never in it.

    Example: `almanac audit --since 2026-11-01 --document handbook:guides/locks.md`
    """
    from tasks.audit.audit import as_json, open_audit

    settings = Settings()
    log = open_audit(settings.layout)
    moment = None if since is None else since.replace(tzinfo=since.tzinfo or dt.UTC)
    if verify is not None:
        _verify(log, verify, json_)
    elif export is not None:
        result = {"records": log.export(export, moment), "file": str(export), "head": log.verify().head}
        print_result(result, json_, lambda r: typer.echo(f"{r['records']} records, the last one is {r['head']}"))
    elif prune is not None:
        removed = {"removed": log.prune(dt.datetime.now(dt.UTC) - dt.timedelta(days=prune))}
        print_result(removed, json_, lambda r: typer.echo(f"{r['removed']} records were removed"))
    else:
        entries = list(log.entries(since=moment, actor=_pseudonym(settings, key), document=document))
        shown = entries if json_ or since else entries[-_NEWEST:]
        print_result({"entries": [as_json(entry) for entry in shown]}, json_, lambda _: _print(shown))


def _verify(log: "Audit", copy: Path, json_: bool) -> None:
    verdict = log.verify(copy)
    print_result(_fields(verdict), json_, lambda _: _print_verdict(verdict))
    if verdict.problems:
        raise typer.Exit(1)


def _pseudonym(settings: Settings, key: str | None) -> str | None:
    """The log and the traces name a user by a keyed hash."""
    if key is None:
        return None
    from serving.api.auth import Identity

    return Identity(settings, anonymous_groups=()).pseudonym("key", key)


def _fields(verdict: "Verdict") -> dict[str, Any]:
    from dataclasses import asdict

    return asdict(verdict)


def _print_verdict(verdict: "Verdict") -> None:
    typer.echo(f"{verdict.num_records} records from {verdict.first_at} to {verdict.last_at}; last: {verdict.head}")
    for problem in verdict.problems:
        typer.echo(problem)
    typer.echo("the chain does NOT hold" if verdict.problems else "the chain holds")


def _print(entries: "list[Entry]") -> None:
    for entry in entries:
        detail = " ".join(f"{name}={value}" for name, value in entry.detail.items())
        typer.echo(f"{entry.at} {entry.actor} {entry.what} {' '.join(entry.documents)} {detail}".rstrip())
    if not entries:
        typer.echo("nothing of that kind is in the log")
