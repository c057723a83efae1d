"""The review queue: `review` with `fill`, `list`, `next`, `accept`, `correct`, `drop`, and files."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.output import Json, print_result, print_table, read_params
from tasks.settings import Settings

if TYPE_CHECKING:
    from tasks.model.examples.review.draft import Decision

app = typer.Typer(
    help="Drafts for training and evaluation that wait for a person: fill, list, next, accept, correct, drop."
)
_SHOWN_CHARACTERS = 600
_LINE_CHARACTERS = 60
Id = Annotated[str, typer.Argument(help="Of a draft, or its beginning.")]


@app.callback(invoke_without_command=True)
def review(
    context: typer.Context,
    export: Annotated[Path | None, typer.Option(help="Write every draft to this file, a JSON object a line.")] = None,
    import_: Annotated[Path | None, typer.Option("--import", help="Decide as this file says; write it first.")] = None,
    json_: Json = False,
) -> None:
    """Say how many drafts wait; or write them to a file, or take verdicts from one.

    Example: `almanac review --export drafts.jsonl`, then `almanac review --import drafts.jsonl`
    """
    if context.invoked_subcommand is not None:
        return
    from tasks.model.examples.review.exchange import export_drafts, import_drafts
    from tasks.model.examples.review.golden import golden_writer
    from tasks.model.examples.review.queue import counts

    settings = Settings()
    if import_ is not None:
        write = golden_writer(read_params(settings))
        print_result(asdict(import_drafts(settings.layout, import_, reviewer=import_.name, write=write)), json_, _said)
    elif export is not None:
        result = {"exported": export_drafts(settings.layout, export), "file": str(export)}
        print_result(result, json_, lambda r: typer.echo(f"{r['exported']} drafts are in {r['file']}"))
    else:
        print_result(counts(settings.layout), json_, _print_counts)


@app.command()
def fill(
    golden: Annotated[int, typer.Option(min=0, help="Golden questions that are made from documents, at most.")] = 40,
    json_: Json = False,
) -> None:
    """Offer drafts: what the next retrain would learn, and golden questions from documents and unanswered questions.

    Example: `almanac review fill --golden 60`
    """
    from tasks.model.examples.review.collect import fill_queue

    settings = Settings()
    result = asdict(fill_queue(read_params(settings), settings, num_golden=golden))
    print_result(result, json_, _print_filled)


@app.command("list")
def list_(
    status: Annotated[str, typer.Option(help="draft, accepted, corrected, dropped, or all.")] = "draft",
    json_: Json = False,
) -> None:
    """List drafts, the oldest first.

    Example: `almanac review list --status dropped`
    """
    from tasks.errors import ConfigurationError
    from tasks.model.examples.review.draft import STATUSES
    from tasks.model.examples.review.queue import drafts

    chosen = next((one for one in STATUSES if one == status), None)
    if chosen is None and status != "all":
        raise ConfigurationError(f"--status must be one of {', '.join((*STATUSES, 'all'))}, found {status!r}")
    found = [asdict(draft) for draft in drafts(Settings().layout, status=chosen)]
    print_result({"drafts": found}, json_, _print_list)


@app.command("next")
def next_(json_: Json = False) -> None:
    """Show the first draft that waits.

    Example: `almanac review next`
    """
    from tasks.model.examples.review.queue import drafts

    waiting = drafts(Settings().layout, status="draft")
    print_result({"draft": asdict(waiting[0]) if waiting else None, "waiting": len(waiting)}, json_, _print_next)


@app.command()
def accept(draft: Id, json_: Json = False) -> None:
    """Accept a draft as it stands.

    Example: `almanac review accept 3f9a1c`
    """
    from tasks.model.examples.review.draft import Decision

    _decide(draft, Decision("accepted"), json_)


@app.command()
def correct(
    draft: Id,
    question: Annotated[str | None, typer.Option(help="In place of the draft's.")] = None,
    answer: Annotated[str | None, typer.Option(help="In place of the draft's; empty: the documents hold none.")] = None,
    anchor: Annotated[str | None, typer.Option(help="Of a golden question: words of a passage that hold it.")] = None,
    json_: Json = False,
) -> None:
    """Accept a draft with another question or answer.

    Example: `almanac review correct 3f9a1c --answer "ninety days"`
    """
    from tasks.model.examples.review.draft import Decision

    _decide(draft, Decision("corrected", question, answer, anchor), json_)


@app.command()
def drop(draft: Id, json_: Json = False) -> None:
    """Drop a draft: it enters no training set and no evaluation, made again or not.

    Example: `almanac review drop 3f9a1c`
    """
    from tasks.model.examples.review.draft import Decision

    _decide(draft, Decision("dropped"), json_)


def _decide(draft: str, decision: "Decision", json_: bool) -> None:
    from tasks.model.examples.review.golden import golden_writer
    from tasks.model.examples.review.queue import decide

    settings = Settings()
    write = golden_writer(read_params(settings))
    after = decide(settings.layout, draft, decision, write=write)
    print_result(asdict(after), json_, lambda r: typer.echo(f"{r['id']} is {r['status']}: {r['question_now']}"))


def _print_counts(counts: dict[str, int]) -> None:
    typer.echo(", ".join(f"{number} {status}" for status, number in counts.items()))
    if not any(counts.values()):
        typer.echo("the queue is empty; `almanac review fill` offers drafts")


def _print_filled(result: dict[str, int]) -> None:
    typer.echo(f"{result['examples']} new drafts of examples, {result['golden']} of golden questions")
    if result["withdrawn"]:
        typer.echo(f"{result['withdrawn']} were withdrawn: their documents are gone, or not for the audience any more")


def _print_list(result: dict[str, Any]) -> None:
    rows = [
        {name: draft[name] for name in ("id", "kind", "origin", "status")}
        | {name: _short(draft[f"{name}_now"] or "") for name in ("question", "answer")}
        for draft in result["drafts"]
    ]
    if rows:
        print_table(rows)
    else:
        typer.echo("no draft has this status")


def _print_next(result: dict[str, Any]) -> None:
    draft = result["draft"]
    if draft is None:
        typer.echo("no draft waits; `almanac review fill` offers more")
        return
    typer.echo(f"{draft['id']}  {draft['kind']}, {draft['origin']} ({draft['how']}), {result['waiting']} wait")
    typer.echo(f"question: {draft['question_now']}\nanswer: {draft['answer_now'] or '(none in the documents)'}")
    for passage in draft["passages"]:
        typer.echo(f"\n[{passage['document_id']}] {passage['title']}\n{passage['text'][:_SHOWN_CHARACTERS]}")


def _said(result: dict[str, Any]) -> None:
    typer.echo(f"{result['decided']} decided, {result['unchanged']} as before, {len(result['refused'])} refused")
    for line in result["refused"]:
        typer.echo(line)


def _short(text: str) -> str:
    return text if len(text) <= _LINE_CHARACTERS else f"{text[: _LINE_CHARACTERS - 1]}…"
