"""API keys of the server: `keys add`, `list` and `remove`."""

from typing import Annotated

import typer

from cli.output import Json, print_result, print_table
from tasks.settings import Settings

app = typer.Typer(no_args_is_help=True, help="API keys of the server: add, list, remove.")


@app.command("add")
def keys_add(
    name: str,
    groups: Annotated[str, typer.Option(help="Groups of the user, with commas.")] = "",
    may_push: Annotated[bool, typer.Option(help="May push documents to `POST /v1/documents`.")] = False,
    may_review: Annotated[bool, typer.Option(help="May decide on drafts at `/review`.")] = False,
    json_: Json = False,
) -> None:
    """Make an API key and print it; it cannot be shown again. The server takes it at once.

    Example: `almanac keys add alice --groups finance,hr`
    """
    from serving.api.auth import KeyFile
    from tasks.audit.audit import open_audit

    wanted = tuple(group.strip() for group in groups.split(",") if group.strip())
    settings = Settings()
    credential = KeyFile(settings.api_keys).add(name, wanted, may_push=may_push, may_review=may_review)
    open_audit(settings.layout).done("key added", name=name, groups=wanted, may_push=may_push, may_review=may_review)
    made = {"name": name, "groups": wanted, "may_push": may_push, "may_review": may_review, "key": credential}
    print_result(made, json_, lambda r: typer.echo(r["key"]))


@app.command("list")
def keys_list(json_: Json = False) -> None:
    """List the users that have a key, and their groups.

    Example: `almanac keys list`
    """
    from serving.api.auth import KeyFile

    keys = [
        {
            "name": key.name,
            "groups": ", ".join(key.groups),
            "may_push": key.may_push,
            "may_review": key.may_review,
        }
        for key in KeyFile(Settings().api_keys).entries()
    ]
    print_result(
        {"keys": keys}, json_, lambda r: print_table(r["keys"]) if r["keys"] else typer.echo("there is no key")
    )


@app.command("remove")
def keys_remove(name: str, json_: Json = False) -> None:
    """Remove a key; the server refuses it from the next request on.

    Example: `almanac keys remove alice`
    """
    from serving.api.auth import KeyFile
    from tasks.audit.audit import open_audit

    settings = Settings()
    KeyFile(settings.api_keys).remove(name)
    open_audit(settings.layout).done("key removed", name=name)
    print_result({"name": name, "removed": True}, json_, lambda r: typer.echo(f"the key of {r['name']} was removed"))
