"""The decision that brings people here: `advise`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.output import Json, print_result, read_params
from tasks.settings import Settings

if TYPE_CHECKING:
    from tasks.advise.home_facts import Reading
    from tasks.advise.scorecard import Fact

app = typer.Typer()


@app.command()
def advise(
    json_: Json = False,
    needs: Annotated[
        Path | None, typer.Option(help="A YAML file with the keys of `needs`, in place of params.yaml's.")
    ] = None,
    home: Annotated[bool, typer.Option(help="Read what this home knows; --no-home: go by the needs alone.")] = True,
    ask: Annotated[bool, typer.Option(help="Ask what is not known, where a person sits at a terminal.")] = True,
    brief: Annotated[bool, typer.Option(help="The grounds alone: no costs, scorecard and facts.")] = False,
    output: Annotated[Path | None, typer.Option(help="A Markdown file that the page is written to, too.")] = None,
) -> None:
    """Retrieval, fine-tuning, both or neither: which now, why, at what cost, what would change it, and what is next.

    Reads what this home knows, asks the rest at a terminal, and says what nobody knows.

    Example: `almanac advise`, or `almanac advise --needs case.yaml --no-home`
    """
    from tasks.advise.advise import advise as advise_on
    from tasks.advise.home_facts import Reading, read_home
    from tasks.advise.needs import read_needs, stated
    from tasks.advise.page import brief as brief_page
    from tasks.advise.page import markdown
    from tasks.files import write_text

    settings = Settings()
    params = read_params(settings)
    case = params.needs if needs is None else read_needs(needs)
    volume = params.compare.questions_per_month if case.questions_per_month is None else case.questions_per_month
    facts = stated(case, "params.yaml, needs" if needs is None else needs.name)
    reading = read_home(params, settings, questions_per_month=volume) if home else Reading()
    if ask and not json_ and sys.stdin.isatty() and sys.stderr.isatty():
        facts |= _asked(reading, facts)
    advice = advise_on(reading, facts, case, questions_per_month=volume)
    page = brief_page(advice) if brief else markdown(advice)
    if output is not None:
        write_text(output, page)
    print_result(advice, json_, lambda _: _print_page(page))


def _print_page(page: str) -> None:
    if not sys.stdout.isatty():
        typer.echo(page, nl=False)
        return
    from rich.console import Console
    from rich.markdown import Markdown

    Console().print(Markdown(page))


def _asked(reading: "Reading", facts: "dict[str, Fact]") -> "dict[str, Fact]":
    """Ask, in the order of the steps, what could still change the recommendation; an empty answer: not known."""
    from tasks.advise.advise import open_questions
    from tasks.advise.scorecard import Fact

    answers: dict[str, Fact] = {}
    skipped: set[str] = set()
    while left := [name for name in open_questions(reading, facts | answers) if name not in skipped]:
        value = _ask(left[0])
        if value is None:
            skipped.add(left[0])
        else:
            answers[left[0]] = Fact(value, "answered at the terminal")
    _show_needs(answers)
    return answers


def _ask(name: str) -> "str | float | bool | None":
    from tasks.advise.criteria import BY_NAME
    from tasks.advise.needs import parse_answer
    from tasks.errors import ConfigurationError

    criterion = BY_NAME[name]
    choices = "" if criterion.is_number else " (" + ", ".join(level.name for level in criterion.levels) + ")"
    while True:
        typed = typer.prompt(
            f"{criterion.question}{choices} Enter: not known", default="", show_default=False, err=True
        )
        if not typed.strip():
            return None
        try:
            return parse_answer(name, typed)
        except ConfigurationError as error:
            typer.echo(str(error), err=True)


def _show_needs(answers: "dict[str, Fact]") -> None:
    if answers:
        lines = "\n".join(f"  {name}: {fact.value}" for name, fact in answers.items())
        typer.echo(f"To keep these answers, add to params.yaml:\nneeds:\n{lines}\n", err=True)
