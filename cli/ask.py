"""Commands that read the live index: `ask` and `search`."""

import datetime as dt
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.output import Json, print_result, read_params
from tasks.settings import Settings

if TYPE_CHECKING:
    from tasks.params import Params

app = typer.Typer()

Groups = Annotated[list[str] | None, typer.Option("--as", help="Ask as a member of this group; may be repeated.")]
KnowledgeBases = Annotated[list[str] | None, typer.Option("--kb", help="Search only this knowledge base.")]


@app.command()
def ask(question: str, as_: Groups = None, kb: KnowledgeBases = None, json_: Json = False) -> None:
    """Answer a question with citations, from what the asker may read.

    Example: `almanac ask "How do I cap the number of retries in tenacity?" --as finance`
    """
    from serving.local.client import ask_server

    settings = Settings()
    params = read_params(settings)
    body = {"question": question, "groups": as_ or (), "knowledge_bases": kb or ()}
    reply = ask_server("ask", body, params, settings)
    print_result(_answered(body, params, settings) if reply is None else reply, json_, _print_reply)


def _answered(body: dict[str, Any], params: "Params", settings: Settings) -> dict[str, Any]:
    from tasks.answer.assistant import Assistant, reply_json
    from tasks.answer.trace import flush_traces

    assistant = Assistant(params, settings)
    reply = assistant.ask(body["question"], groups=body["groups"], knowledge_bases=body["knowledge_bases"])
    flush_traces()
    return reply_json(reply)


def _print_reply(reply: dict[str, Any]) -> None:
    typer.echo(reply["answer"])
    if reply["reason"]:
        typer.echo(f"\n{reply['reason']}")
    text = " ".join(reply["answer"].split())
    for citation in reply["citations"]:
        quote = " ".join(citation["quote"].split())
        typer.echo(f"\n[{citation['marker']}] {citation['title']}  {citation['uri']}")
        # An excerpt is its own quote.
        if quote not in text:
            typer.echo(f"    “{quote[:300]}”")
    for claim in reply["claims"]:
        if claim["verdict"] == "unverified":
            missing = f" (stands in no passage: {', '.join(claim['missing_terms'])})" if claim["missing_terms"] else ""
            typer.echo(f"\nnot verified: {' '.join(claim['text'].split())}{missing}")
    typer.echo(f"\nindex release {reply['index_version']}, {reply['seconds']:.1f} s, trace {reply['trace_id']}")


@app.command()
def search(
    question: str,
    as_: Groups = None,
    kb: KnowledgeBases = None,
    top_k: Annotated[int | None, typer.Option(help="How many passages; default: search.top_k.")] = None,
    mode: Annotated[str | None, typer.Option(help="hybrid, vector or full_text; default: search.mode.")] = None,
    source: Annotated[list[str] | None, typer.Option(help="Search only this source.")] = None,
    tag: Annotated[list[str] | None, typer.Option(help="A field of the metadata, as team=payments.")] = None,
    since: Annotated[dt.datetime | None, typer.Option(help="Only documents updated then or later, UTC.")] = None,
    until: Annotated[dt.datetime | None, typer.Option(help="Only documents updated before, UTC.")] = None,
    as_of: Annotated[int | None, typer.Option(help="Search this release, by the access of today.")] = None,
    json_: Json = False,
) -> None:
    """Find passages that the asker may read.

    Example: `almanac search "exponential backoff" --top-k 3 --since 2026-01-01 --tag team=payments`
    """
    from serving.local.client import ask_server

    settings = Settings()
    params = read_params(settings)
    body = {
        "query": question,
        "groups": as_ or [],
        "kb": kb or [],
        "mode": mode,
        "top_k": top_k,
        "source": source or [],
        "tag": tag or [],
        "since": since,
        "until": until,
        "as_of": as_of,
    }
    result = ask_server("search", body, params, settings)
    print_result(_searched(body, params, settings) if result is None else result, json_, _print_search)


def _searched(body: dict[str, Any], params: "Params", settings: Settings) -> dict[str, Any]:
    from serving.api.search_body import OperatorSearch
    from tasks.audit.audit import open_audit, process_owner
    from tasks.index.live import LiveIndex

    asked = OperatorSearch.model_validate(body)
    request = asked.request(asked.groups)
    index = LiveIndex(params, settings)
    passages = [asdict(passage) for passage in index.search(request)]
    number = asked.as_of or index.serving.release.number
    names = [passage["document_id"] for passage in passages]
    open_audit(settings.layout).shown(process_owner(), names, release=str(number))
    return {"results": passages, "release": number}


def _print_search(result: dict[str, Any]) -> None:
    for rank, passage in enumerate(result["results"], start=1):
        text = " ".join(passage["text"].split())
        typer.echo(f"{rank:>2}. {passage['score']:.3f}  {passage['title']}  {passage['uri']}\n    {text[:200]}")
    if not result["results"]:
        typer.echo("nothing found that you may read")
