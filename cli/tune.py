"""The command that searches for better retrieval settings: `tune`."""

from typing import TYPE_CHECKING, Annotated

import typer

from cli.output import Json, print_result, print_table, read_params
from tasks.settings import Settings

if TYPE_CHECKING:
    from tasks.index.tuning import TuneResult

app = typer.Typer()


@app.command()
def tune(
    json_: Json = False,
    trials: Annotated[int, typer.Option(min=1, help="Proposals at most.")] = 150,
    seconds: Annotated[float, typer.Option(min=1, help="No proposal begins later.")] = 900,
    budget_ms: Annotated[float, typer.Option(help="Median milliseconds that a search may take.")] = 500,
    chunk_tokens: Annotated[
        list[int] | None, typer.Option(min=64, help="A size of chunks to try beside today's; may be repeated.")
    ] = None,
) -> None:
    """Search for better settings of `search` on the golden questions; params.yaml itself is not changed.

    Each size of chunks is embedded into an index of its own, which is deleted afterwards.

    The winner is written as a diff into the home, with what it brought on the held-out questions.

    Example: `almanac tune --budget-ms 200`, or `almanac tune --chunk-tokens 128 --chunk-tokens 384`
    """
    from tasks.index.tuning import tune as search

    settings = Settings()
    result = search(
        read_params(settings),
        settings,
        num_trials=trials,
        max_seconds=seconds,
        budget_ms=budget_ms,
        chunk_sizes=chunk_tokens or (),
    )
    print_result(result, json_, _print_tune)


def _print_tune(result: "TuneResult") -> None:
    metrics = result.metrics
    print_table(
        [
            {
                "settings": name,
                f"nDCG, {result.num_tuning_questions} tuning questions": f"{metrics[f'tuning_ndcg{end}']:.3f}",
                f"nDCG, {result.num_test_questions} held out": f"{metrics[f'test_ndcg{end}']:.3f}",
                "ms a search": f"{metrics[f'latency_ms{end}']:.0f}",
            }
            for name, end in (("today's", "_today"), ("winner", ""))
        ]
    )
    gain = result.difference
    typer.echo(
        f"on held-out questions {gain.mean:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}]; "
        f"{result.num_trials} trials in {result.seconds:.0f} s"
    )
    for max_tokens, ndcg in sorted(result.chunk_sizes.items()):
        typer.echo(f"best with chunks of {max_tokens} tokens, on the tuning questions: {ndcg:.3f}")
    if result.diff is None:
        typer.echo("no proposal was better than today's settings")
        return
    for name, value in result.changes.items():
        typer.echo(f"  {name}: {value}")
    typer.echo(f"to take them: patch -p1 < {result.diff}")
    if "chunking.max_tokens" in result.changes:
        typer.echo("the next refresh then embeds every document anew")
    if gain.low <= 0:
        typer.echo("note: the interval holds zero, so the held-out questions do not show a gain")
