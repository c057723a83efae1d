"""Commands of the quarterly cadence: `retrain` and `compare`."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.output import Json, print_result, print_table, progress_bars, read_params
from tasks.settings import Settings

if TYPE_CHECKING:
    from tasks.model.comparison.report import ComparisonResult
    from tasks.model.retrain.outcome import Outcome
    from tasks.model.retrain.result import RetrainResult

app = typer.Typer()

_GATES = {"embedder": "embedder's gate", "answerer": "model gate"}


@app.command()
def retrain(
    json_: Json = False,
    profile: Annotated[str | None, typer.Option(help="Of `profiles` in params.yaml, as quick.")] = None,
    method: Annotated[
        str | None,
        typer.Option(help="lora, full, continual_pretraining, dpo or embedder, alone; default: as params.yaml says."),
    ] = None,
    wait: Annotated[float, typer.Option(help="Seconds to wait for another retrain to end.")] = 0,
    knowledge_base: Annotated[
        str | None, typer.Option(help="Train an answerer on the documents of this one alone, for who asks it alone.")
    ] = None,
) -> None:
    """Train embedder and answerer and let their gates decide; a person promotes them in the MLflow UI.

    Each knowledge base of `knowledge_bases.answerers` gets an answerer of its own beside them.

    Exit code 3: the gates refused both, and nothing was registered.

    Example: `almanac retrain`, `almanac retrain --profile quick`, or `almanac retrain --knowledge-base handbook`
    """
    from flows.retrain import retrain as flow
    from flows.steps import runner
    from tasks.model.retrain.inputs import checked_method

    with progress_bars():
        result = runner(flow, read_params(Settings()))(
            profile=profile, method=checked_method(method), wait_seconds=wait, knowledge_base=knowledge_base
        )
    print_result(result, json_, _print_retrain)
    if not result.earned:
        for outcome in result.outcomes:
            for reason in outcome.reasons:
                typer.echo(f"almanac: the {_GATES[outcome.kind]} refused{_whose(outcome)}: {reason}", err=True)
        raise typer.Exit(3)


def _whose(outcome: "Outcome") -> str:
    return "" if outcome.knowledge_base is None else f" that of {outcome.knowledge_base}"


def _print_retrain(result: "RetrainResult") -> None:
    from tasks.model.retrain.outcome import outcome_lines, outcome_rows

    columns = {"base": result.baseline, "champion": result.champion, "candidate": result.metrics}
    compared = {name: metrics for name, metrics in columns.items() if metrics}
    print_table(
        [{"metric": name} | {who: _number(metrics, name) for who, metrics in compared.items()} for name in result.shown]
    )
    for note in result.notes:
        typer.echo(f"note: {note}")
    print_table(outcome_rows(result.outcomes), title="What the quarter earned")
    for line in outcome_lines(result.outcomes):
        typer.echo(line)
    typer.echo(f"{result.examples} examples ({result.training_set}), {result.seconds:.0f} s")


def _number(metrics: Mapping[str, float], name: str) -> str:
    return f"{metrics[name]:.3f}" if name in metrics else ""


@app.command()
def compare(
    json_: Json = False,
    answerer: Annotated[
        list[str] | None,
        typer.Option(help="base, champion, challenger, a version, a profile or a folder; as often as wanted."),
    ] = None,
    challenger: Annotated[bool, typer.Option(help="As --answerer base --answerer challenger.")] = False,
    closed_book: Annotated[bool, typer.Option(help="Ask each answerer without passages too.")] = True,
    output: Annotated[Path | None, typer.Option(help="Folder for the Markdown file, JSON and plots.")] = None,
    profile: Annotated[str | None, typer.Option(help="Of `profiles` in params.yaml, as quick.")] = None,
    knowledge_base: Annotated[
        str | None, typer.Option(help="Ask the questions and documents of this one alone, its own answerer too.")
    ] = None,
) -> None:
    """Compare answerers, closed-book and with retrieval, and retrieval alone, on the held-out golden questions.

    Example: `almanac compare`, `almanac compare --answerer base --answerer laptop --no-closed-book`, or
    `almanac compare --knowledge-base handbook`
    """
    from flows.compare import compare as flow
    from flows.steps import runner

    names = [*(["base", "challenger"] if challenger else []), *(answerer or [])]
    with progress_bars():
        result = runner(flow, read_params(Settings()))(
            answerers=names, closed_book=closed_book, output=output, profile=profile, knowledge_base=knowledge_base
        )
    print_result(result, json_, _print_comparison)


def _print_comparison(result: "ComparisonResult") -> None:
    from tasks.model.comparison.report import table

    report = result.report
    title = f"{report.num_questions} held-out questions, {report.place}"
    print_table(table(report), title=title)
    typer.echo(f"recommended: {report.recommendation.strategy.name}")
    for reason in report.recommendation.reasons:
        typer.echo(f"  {reason}")
    for note in filter(None, (*report.notes, report.freshness.note)):
        typer.echo(f"note: {note}")
    typer.echo(f"{result.folder} holds table and plots; MLflow run {result.mlflow_run}")
