"""The door: `almanac …`. Each command calls a flow or a task.

Heavy imports stand inside the commands, so that help answers at once.
"""

import json
import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from tasks.errors import AlmanacError
from tasks.settings import Settings, quiet_environment

app = typer.Typer(
    name="almanac",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="Keep an AI assistant right: knowledge fresh, model retrained, every change gated, versioned and reversible.",
)
quarantine_app = typer.Typer(no_args_is_help=True, help="What the gates set aside: list, show, release.")
rollback_app = typer.Typer(no_args_is_help=True, help="Take a release back.")
keys_app = typer.Typer(no_args_is_help=True, help="API keys of the server: add, list, remove.")
app.add_typer(quarantine_app, name="quarantine")
app.add_typer(rollback_app, name="rollback")
app.add_typer(keys_app, name="keys")

Json = Annotated[bool, typer.Option("--json", help="One JSON object on standard output, and nothing else.")]
Groups = Annotated[list[str] | None, typer.Option("--as", help="Ask as a member of this group; may be repeated.")]
KnowledgeBases = Annotated[list[str] | None, typer.Option("--kb", help="Search only this knowledge base.")]


def main() -> None:
    """Run a command; an error of ours is one line on standard error and an exit code that says its kind."""
    quiet_environment()
    logging.basicConfig(level=os.environ.get("ALMANAC_LOG", "WARNING").upper(), stream=sys.stderr, format="%(message)s")
    # A run's own lines, with tracebacks, go to the Prefect server; a person gets bars and one line.
    for name in ("prefect.flow_runs", "prefect.task_runs", "prefect.events", "EventsWorker"):
        logging.getLogger(name).propagate = False
    logging.raiseExceptions = False
    warnings.filterwarnings("ignore", message="Failed to create the Prefect home")
    warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated")
    try:
        app()
    except AlmanacError as error:
        typer.echo(f"almanac: {error}", err=True)
        sys.exit(error.exit_code)


def _show(result: Any, as_json: bool, human: Callable[[Any], None]) -> None:
    if as_json:
        typer.echo(json.dumps(result, ensure_ascii=False, default=str))
    else:
        human(result)


def _params(settings: Settings) -> Any:
    from tasks.params import load_params

    return load_params(settings.params)


def _table(rows: list[dict[str, Any]], title: str | None = None) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title)
    for name in rows[0]:
        table.add_column(name)
    for row in rows:
        table.add_row(*(str(value) for value in row.values()))
    Console().print(table)


@contextmanager
def _progress() -> Iterator[None]:
    """Draw a bar on standard error for each long stage, where standard error is a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from flows.progress import LISTENER, TELLER

    columns = (TextColumn("{task.description:>8}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    bars: dict[str, Any] = {}
    with Progress(*columns, console=Console(stderr=True)) as progress:

        def listen(stage: str, done: int, total: int) -> None:
            if stage not in bars:
                bars[stage] = progress.add_task(stage, total=total)
            progress.update(bars[stage], completed=done)

        def say(line: str) -> None:
            progress.console.print(line, markup=False, highlight=False, soft_wrap=True)

        token, teller = LISTENER.set(listen), TELLER.set(say)
        try:
            yield
        finally:
            LISTENER.reset(token)
            TELLER.reset(teller)


@app.command()
def plan(json_: Json = False) -> None:
    """Say what a refresh would do, and stop.

    Example: `almanac plan`
    """
    from flows.refresh import from_base, list_sources
    from tasks.corpus.plan import guard_removals
    from tasks.errors import GateError

    settings = Settings()
    run = from_base(_params(settings), settings)
    found = list_sources(run)
    result: dict[str, Any] = found.counts() | {"refused": None}
    try:
        guard_removals(found, run.base.known, allowed=())
    except GateError as error:
        result["refused"] = str(error)
    _show(result, json_, _print_plan)


def _print_plan(result: dict[str, Any]) -> None:
    names = ("new", "changed", "moved", "removed", "expired", "unchanged", "held")
    typer.echo(f"{result['listed']} listed: " + ", ".join(f"{result[name]} {name}" for name in names))
    typer.echo(f"at most {result['chunks_to_embed']} chunks to embed, about {result['estimated_seconds']:.0f} seconds")
    if result["refused"]:
        typer.echo(f"a refresh would refuse: {result['refused']}")


@app.command()
def refresh(
    json_: Json = False,
    rebuild: Annotated[bool, typer.Option(help="Write every row anew, from the snapshot.")] = False,
    allow_removal: Annotated[list[str] | None, typer.Option(help="A source that may lose many documents.")] = None,
    again: Annotated[bool, typer.Option(help="Release content that was rolled back before.")] = False,
    wait: Annotated[float, typer.Option(help="Seconds to wait for another refresh to end.")] = 0,
) -> None:
    """Bring the index up to its sources: gate, index, gate, release.

    Example: `almanac refresh`, or `almanac refresh --allow-removal wiki`
    """
    from flows.refresh import refresh as flow
    from flows.steps import runner

    with _progress():
        result = runner(flow, _params(Settings()))(
            rebuild=rebuild, allow_removal=tuple(allow_removal or ()), again=again, wait_seconds=wait
        )
    _show(result, json_, _print_refresh)


def _print_refresh(result: dict[str, Any]) -> None:
    if result["release"] is None:
        typer.echo(
            f"nothing to release: {result['unchanged']} unchanged, {result['quarantined']} in quarantine "
            f"({result['seconds']} s)"
        )
        return
    state = "serves now" if result["released"] else "waits for the alias `champion` in the MLflow UI"
    typer.echo(
        f"release {result['release']} {state}: {result['accepted']} documents accepted, {result['quarantined']} "
        f"quarantined, {result['removed']} removed, {result['unchanged']} unchanged; {result['embedded']} chunks "
        f"embedded of {result['chunks']} ({result['seconds']} s)"
    )
    for name, value in result["metrics"].items():
        typer.echo(f"  {name} {value:.4g}")


@app.command()
def retrain(
    json_: Json = False,
    profile: Annotated[str | None, typer.Option(help="Of `profiles` in params.yaml, as quick.")] = None,
    method: Annotated[
        str | None,
        typer.Option(help="lora, full, continual_pretraining, dpo or embedder; default: as params.yaml says."),
    ] = None,
    wait: Annotated[float, typer.Option(help="Seconds to wait for another retrain to end.")] = 0,
) -> None:
    """Train a candidate and let the model gate decide; a person promotes it in the MLflow UI.

    Exit code 3: the gate refused, and nothing was registered.

    Example: `almanac retrain`, or `almanac retrain --profile quick`
    """
    from flows.retrain import retrain as flow
    from flows.steps import runner
    from tasks.model.answerer.candidate import checked_method

    with _progress():
        result = runner(flow, _params(Settings()))(profile=profile, method=checked_method(method), wait_seconds=wait)
    _show(result, json_, _print_retrain)
    if not result["registered"]:
        for reason in result["reasons"]:
            typer.echo(f"almanac: the model gate refused: {reason}", err=True)
        raise typer.Exit(3)


def _print_retrain(result: dict[str, Any]) -> None:
    others = {"base": result["baseline"], "champion": result["champion"], "candidate": result["metrics"]}
    compared = {name: metrics for name, metrics in others.items() if metrics}
    _table(
        [{"metric": name} | {who: _number(found, name) for who, found in compared.items()} for name in result["shown"]]
    )
    for note in result["notes"]:
        typer.echo(f"note: {note}")
    model = "almanac-embedder" if result["method"] == "embedder" else "almanac-answerer"
    state = (
        f"version {result['version']} of {model} is the challenger: it serves once you set its alias `champion` in the "
        "MLflow UI"
        if result["registered"]
        else "nothing was registered: what serves is unchanged"
    )
    typer.echo(
        f"{state}; {result['examples']} examples ({result['training_set']}), trained by {result['method']} in "
        f"{result['train_seconds']:.0f} s of {result['seconds']:.0f} s"
    )


def _number(metrics: dict[str, float], name: str) -> str:
    return f"{metrics[name]:.3f}" if name in metrics else ""


@app.command()
def compare(
    json_: Json = False,
    challenger: Annotated[bool, typer.Option(help="Compare the challenger, in place of the champion.")] = False,
    version: Annotated[str | None, typer.Option(help="Compare this version of almanac-answerer.")] = None,
    answerer: Annotated[Path | None, typer.Option(help="Compare the answerer in this folder.")] = None,
    output: Annotated[Path | None, typer.Option(help="Folder for the Markdown file, JSON and plots.")] = None,
    profile: Annotated[str | None, typer.Option(help="Of `profiles` in params.yaml, as quick.")] = None,
) -> None:
    """Compare base and fine-tuned answerer, closed-book and with retrieval, on the held-out golden questions.

    Example: `almanac compare`, or `almanac compare --challenger --output comparison`
    """
    from flows.compare import compare as flow
    from flows.steps import runner

    with _progress():
        result = runner(flow, _params(Settings()))(
            challenger=challenger, version=version, answerer=answerer, output=output, profile=profile
        )
    _show(result, json_, _print_comparison)


def _print_comparison(result: dict[str, Any]) -> None:
    _table(result["table"], title=f"{result['questions']} held-out questions, index release {result['index_release']}")
    typer.echo(f"recommended: {result['recommendation']}")
    for reason in result["reasons"]:
        typer.echo(f"  {reason}")
    for note in (*result["notes"], result["freshness"]["note"]):
        if note:
            typer.echo(f"note: {note}")
    typer.echo(f"{result['folder']} holds table and plots; MLflow run {result['mlflow_run']}")


@app.command()
def ask(question: str, as_: Groups = None, kb: KnowledgeBases = None, json_: Json = False) -> None:
    """Answer a question with citations, from what the asker may read.

    Example: `almanac ask "How do I cap the number of retries in tenacity?" --as finance`
    """
    from tasks.answer.assistant import Assistant
    from tasks.answer.trace import flush_traces

    settings = Settings()
    reply = Assistant(_params(settings), settings).ask(question, groups=as_ or (), knowledge_bases=kb or ())
    flush_traces()
    _show(_reply(reply), json_, _print_reply)


def _reply(reply: Any) -> dict[str, Any]:
    answer = reply.answer
    return {
        "answer": answer.text,
        "abstained": answer.abstained,
        "reason": answer.reason,
        "citations": [asdict(citation) for citation in answer.citations],
        "passages": [asdict(passage) for passage in answer.passages],
        "index_version": reply.index_version,
        "answerer_version": reply.answerer_version,
        "trace_id": reply.trace_id,
        "seconds": reply.seconds,
    }


def _print_reply(reply: dict[str, Any]) -> None:
    typer.echo(reply["answer"])
    for citation in reply["citations"]:
        quote = " ".join(citation["quote"].split())
        typer.echo(f"\n[{citation['marker']}] {citation['title']}  {citation['uri']}\n    “{quote[:300]}”")
    typer.echo(f"\nindex release {reply['index_version']}, {reply['seconds']:.1f} s, trace {reply['trace_id']}")


@app.command()
def search(
    question: str,
    as_: Groups = None,
    kb: KnowledgeBases = None,
    top_k: Annotated[int | None, typer.Option(help="How many passages; default: search.top_k.")] = None,
    mode: Annotated[str | None, typer.Option(help="hybrid, vector or full_text; default: search.mode.")] = None,
    json_: Json = False,
) -> None:
    """Find passages that the asker may read.

    Example: `almanac search "exponential backoff" --top-k 3`
    """
    from tasks.index.live import LiveIndex
    from tasks.index.search import Request, checked_mode

    settings = Settings()
    index = LiveIndex(_params(settings), settings)
    request = Request(question, tuple(as_ or ()), tuple(kb or ()), mode=checked_mode(mode), top_k=top_k)
    found = [asdict(passage) for passage in index.search(request)]
    _show({"results": found, "release": index.serving.release.number}, json_, _print_search)


def _print_search(result: dict[str, Any]) -> None:
    for rank, passage in enumerate(result["results"], start=1):
        text = " ".join(passage["text"].split())
        typer.echo(f"{rank:>2}. {passage['score']:.3f}  {passage['title']}  {passage['uri']}\n    {text[:200]}")
    if not result["results"]:
        typer.echo("nothing found that you may read")


@app.command()
def releases(json_: Json = False) -> None:
    """List the releases, of the index and of the answerer, that can be rolled back to.

    Example: `almanac releases`
    """
    from tasks.index.history import list_releases
    from tasks.model.answerer.register import answerer_releases

    settings = Settings()
    _show({"releases": list_releases(settings) + answerer_releases(settings)}, json_, _print_releases)


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
            _table([{name: _cell(row, name) for name in names} for row in rows], title=kind)


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
    _show(
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
    _show(
        result,
        json_,
        lambda r: typer.echo(f"answerer {r['version']} serves again; version {r['abandoned']} was taken back"),
    )


@quarantine_app.command("list")
def quarantine_list(json_: Json = False) -> None:
    """List what is in quarantine, with reasons.

    Example: `almanac quarantine list`
    """
    from tasks.corpus.quarantine import held

    _show({"items": [asdict(item) for item in held(Settings().home)]}, json_, _print_quarantine)


def _print_quarantine(result: dict[str, Any]) -> None:
    columns = ("id", "status", "source", "key", "rule", "reason")
    if result["items"]:
        _table([{name: item[name] for name in columns} for item in result["items"]])
    else:
        typer.echo("nothing is in quarantine")


@quarantine_app.command("show")
def quarantine_show(item: str, json_: Json = False) -> None:
    """Show one item with the beginning of its text.

    Example: `almanac quarantine show 3f9a1c`
    """
    from tasks.corpus.quarantine import show

    _show(asdict(show(Settings().home, item)), json_, _print_fields)


@quarantine_app.command("release")
def quarantine_release(item: str, json_: Json = False) -> None:
    """Let an item through at the next refresh; it stays let through while its content is the same.

    Example: `almanac quarantine release 3f9a1c`
    """
    from tasks.corpus.quarantine import release

    result = asdict(release(Settings().home, item))
    _show(result, json_, lambda r: typer.echo(f"{r['source']}:{r['key']} passes at the next `almanac refresh`"))


def _print_fields(result: dict[str, Any]) -> None:
    for name, value in result.items():
        typer.echo(f"{name}: {value}")


@app.command()
def up(
    port: Annotated[int | None, typer.Option(help="Of the answering server; default: ALMANAC_PORT or 8000.")] = None,
    mlflow_port: Annotated[int | None, typer.Option(help="Default: ALMANAC_MLFLOW_PORT or 5000.")] = None,
    prefect_port: Annotated[int | None, typer.Option(help="Default: ALMANAC_PREFECT_PORT or 4200.")] = None,
) -> None:
    """Start all: Prefect with the schedules, MLflow, a worker and the answering server; Ctrl-C stops all.

    Example: `almanac up`, or `almanac up --port 8080`
    """
    from serving.stack.up import Ports
    from serving.stack.up import up as run

    settings = Settings()
    _params(settings)
    ports = Ports(prefect_port or settings.prefect_port, mlflow_port or settings.mlflow_port, port or settings.port)
    run(settings, ports, say=typer.echo)


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on; default: ALMANAC_HOST or 127.0.0.1.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; default: ALMANAC_PORT or 8000.")] = None,
) -> None:
    """Answer over HTTP: the OpenAI-compatible API and the chat page; Ctrl-C stops it.

    Example: `almanac serve --port 8080`
    """
    from serving.api.run import serve as run

    settings = Settings()
    run(_params(settings), settings, host=host or settings.host, port=settings.port if port is None else port)


@keys_app.command("add")
def keys_add(
    name: str,
    groups: Annotated[str, typer.Option(help="Groups of the user, with commas.")] = "",
    json_: Json = False,
) -> None:
    """Make an API key and print it; it cannot be shown again. The server takes it at once.

    Example: `almanac keys add alice --groups finance,hr`
    """
    from serving.api.auth import KeyFile

    wanted = tuple(group.strip() for group in groups.split(",") if group.strip())
    credential = KeyFile(Settings().api_keys).add(name, wanted)
    _show({"name": name, "groups": wanted, "key": credential}, json_, lambda r: typer.echo(r["key"]))


@keys_app.command("list")
def keys_list(json_: Json = False) -> None:
    """List the users that have a key, and their groups.

    Example: `almanac keys list`
    """
    from serving.api.auth import KeyFile

    found = [{"name": key.name, "groups": ", ".join(key.groups)} for key in KeyFile(Settings().api_keys).entries()]
    _show({"keys": found}, json_, lambda r: _table(r["keys"]) if r["keys"] else typer.echo("there is no key"))


@keys_app.command("remove")
def keys_remove(name: str, json_: Json = False) -> None:
    """Remove a key; the server refuses it from the next request on.

    Example: `almanac keys remove alice`
    """
    from serving.api.auth import KeyFile

    KeyFile(Settings().api_keys).remove(name)
    _show({"name": name, "removed": True}, json_, lambda r: typer.echo(f"the key of {r['name']} was removed"))


@app.command()
def worker(
    wait: Annotated[float, typer.Option(help="Seconds to wait for the Prefect server.")] = 120,
) -> None:
    """Put the schedules of params.yaml on the Prefect server of PREFECT_API_URL, and run what is due.

    Example: `PREFECT_API_URL=http://127.0.0.1:4200/api almanac worker`
    """
    from flows.worker import start_worker

    settings = Settings()
    start_worker(_params(settings), settings, wait_seconds=wait)


@app.command()
def status(json_: Json = False) -> None:
    """Say what serves since when, who writes, and, where PREFECT_API_URL is set, what runs next.

    Example: `almanac status`
    """
    from flows.schedules import upcoming
    from tasks.index.history import status as current
    from tasks.model.answerer.register import serving_answerer

    settings = Settings()
    found = current(settings) | {"answerer": serving_answerer(settings), "schedules": upcoming()}
    _show(found, json_, _print_fields)


@app.command()
def doctor(json_: Json = False, deep: Annotated[bool, typer.Option(help="Read every row, too.")] = False) -> None:
    """Find what is wrong and name the remedy; exit code 1 if anything is.

    Example: `almanac doctor --deep`
    """
    from flows.schedules import problems as problems_of_schedules
    from tasks.index.doctor import examine

    settings = Settings()
    params = _params(settings)
    problems = examine(params, settings, deep=deep) + list(problems_of_schedules(params))
    _show({"problems": problems}, json_, _print_problems)
    if problems:
        raise typer.Exit(1)


def _print_problems(result: dict[str, Any]) -> None:
    for problem in result["problems"]:
        typer.echo(f"{problem['what']}\n  where: {problem['where']}\n  remedy: {problem['remedy']}")
    if not result["problems"]:
        typer.echo("nothing wrong found")


if __name__ == "__main__":
    main()
