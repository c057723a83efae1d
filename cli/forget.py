"""Take documents back from every store that they reached: `forget`."""

import datetime as dt
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.output import Json, print_result, read_params
from tasks.errors import ConfigurationError
from tasks.settings import Settings

if TYPE_CHECKING:
    from tasks.erasure.erase import ErasurePlan
    from tasks.erasure.receipt import Receipt

app = typer.Typer()


@app.command("forget")
def forget_command(
    documents: Annotated[list[str] | None, typer.Argument(help="Ids, as `almanac search` shows them.")] = None,
    source: Annotated[str | None, typer.Option(help="Every document of a source.")] = None,
    subject: Annotated[str | None, typer.Option(help="Every document whose title or text holds these words.")] = None,
    older_than: Annotated[int | None, typer.Option(help="Documents last changed more days ago.", min=1)] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do it; without, say what would be done.")] = False,
    verify: Annotated[Path | None, typer.Option(help="Check a receipt instead, and that it names DOCUMENTS.")] = None,
    wait: Annotated[float, typer.Option(help="Seconds to wait for another writer.")] = 0,
    json_: Json = False,
) -> None:
    """Take documents back from every store: all releases, snapshots, training sets, caches, quarantine and traces.

    They never come back by a refresh, whatever their source holds. Without `--yes` nothing is changed.

    Example: `almanac forget notes:people/smith.md --yes`
    """
    from tasks.erasure.subject import Wanted

    settings = Settings()
    if verify is not None:
        print_result(_verified(settings, verify, documents or []), json_, _print_verified)
        return
    before = None if older_than is None else dt.datetime.now(dt.UTC) - dt.timedelta(days=older_than)
    wanted = Wanted(tuple(documents or ()), source, subject, before)
    if wanted == Wanted():
        raise ConfigurationError(
            "`almanac forget` must be told what, found nothing; name documents, --source, --subject or --older-than"
        )
    if not yes:
        from tasks.erasure.erase import plan_erasure

        print_result(plan_erasure(settings, wanted), json_, _print_plan)
        return
    from flows.forget import forget
    from flows.steps import runner

    receipt = runner(forget, read_params(settings))(wanted, wait_seconds=wait)
    print_result(receipt, json_, _print_receipt)
    if not receipt.is_clean:
        raise typer.Exit(1)


def _verified(settings: Settings, path: Path, documents: list[str]) -> dict[str, bool]:
    from tasks.erasure.receipt import verify_receipt

    named = {name: verify_receipt(settings, path, name) for name in documents}
    return {"receipt": verify_receipt(settings, path)} | named


def _print_verified(verdicts: dict[str, bool]) -> None:
    for name, holds in verdicts.items():
        typer.echo(f"{name}: {'verified' if holds else 'NOT verified'}")


def _print_plan(plan: "ErasurePlan") -> None:
    for name in plan.documents:
        notes = ["in quarantine"] if name in plan.quarantined else []
        notes += ["no line of its own: a search cannot find it"] if name in plan.undistinctive else []
        typer.echo(f"{name}{' (' + ', '.join(notes) + ')' if notes else ''}")
    where = ", ".join(f"{store} ({number} files)" for store, number in sorted(plan.found.items())) or "no file"
    typer.echo(f"{len(plan.documents)} documents; snapshots: {', '.join(plan.snapshots) or 'none'}")
    typer.echo(f"{plan.traces} traces show or quote them; their text stands in {where}")
    typer.echo("nothing was changed; the same command with --yes takes them back for good")


def _print_receipt(receipt: "Receipt") -> None:
    from tasks.erasure.receipt import as_markdown

    typer.echo(as_markdown(receipt))
    typer.echo(f"kept as {Settings().layout.forgotten / 'receipts' / (receipt.id + '.json')}, and in MLflow")
