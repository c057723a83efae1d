"""A look at what was answered in the last weeks: `monitor`."""

import typer

from cli.output import Json, print_result, read_params
from tasks.settings import Settings

app = typer.Typer()


@app.command()
def monitor(json_: Json = False) -> None:
    """Say whether answers have become worse, what is asked without an answer, and what is stale; tell ALMANAC_ALERTS.

    Example: `almanac monitor`, each day
    """
    from flows.monitor import monitor as flow
    from flows.steps import runner
    from tasks.monitor.report import as_markdown

    print_result(runner(flow, read_params(Settings()))(), json_, lambda report: typer.echo(as_markdown(report)))
