"""API keys of the server: `keys add`, `list`, `rotate` and `remove`."""

import datetime as dt
import re
from collections.abc import Mapping, Sequence
from typing import Annotated

import typer

from cli.output import Json, print_result, print_table
from tasks.settings import Settings

app = typer.Typer(no_args_is_help=True, help="API keys of the server: add, list, rotate, remove.")

_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT")

Lifetime = Annotated[float | None, typer.Option(help="Days until it ends; default: no end.", min=0)]


@app.command("add")
def keys_add(
    name: str,
    groups: Annotated[str, typer.Option(help="Groups of the user, with commas.")] = "",
    role: Annotated[
        list[str] | None,
        typer.Option(help="reader (default), reviewer, promoter or operator; give it again for more than one."),
    ] = None,
    expires_days: Lifetime = None,
    may_push: Annotated[
        bool, typer.Option(help="A program that pushes documents to `POST /v1/documents` and does no more.")
    ] = False,
    knowledge_base: Annotated[
        list[str] | None,
        typer.Option("--knowledge-base", help="It reads this one alone; give it again for more. A reader's key only."),
    ] = None,
    may_review: Annotated[bool, typer.Option(help="The same as `--role reviewer`.", hidden=True)] = False,
    json_: Json = False,
) -> None:
    """Make an API key and print it; it cannot be shown again. The server takes it at once.

    Example: `almanac keys add alice --groups finance,hr --role reviewer --expires-days 90`
    """
    from serving.api.people.keys import KeyFile
    from serving.api.people.roles import parse_roles
    from tasks.audit.audit import open_audit
    from tasks.tenant_claim import claim_home

    wanted = tuple(group.strip() for group in groups.split(",") if group.strip())
    roles = parse_roles([*(role or ()), *(["reviewer"] if may_review else [])])
    settings, limit = Settings(), tuple(knowledge_base or ())
    claim_home(settings)
    credential = KeyFile(settings.api_keys).add(
        name,
        wanted,
        roles=roles,
        may_push=may_push,
        lifetime=_days(expires_days),
        knowledge_bases=limit,
    )
    fields = {"name": name, "groups": wanted, "roles": roles, "may_push": may_push, "knowledge_bases": limit}
    open_audit(settings.layout).done(
        "key added", name=name, groups=wanted, roles=roles, may_push=may_push, knowledge_bases=limit
    )
    print_result(fields | {"key": credential}, json_, lambda r: typer.echo(r["key"]))


@app.command("list")
def keys_list(json_: Json = False) -> None:
    """List who has a key: groups, roles, when it ends and when this home's server saw it last.

    Example: `almanac keys list`
    """
    from serving.api.people.keys import KeyFile, LastUse

    settings = Settings()
    used = LastUse(settings.layout.keys_used).times()
    keys = [
        {
            "name": key.name,
            "groups": ", ".join(key.groups),
            "roles": ", ".join(key.roles),
            "may_push": key.may_push,
            "knowledge_bases": ", ".join(key.knowledge_bases) or "all",
            "created_at": key.created_at or "",
            "expires_at": key.expires_at or "never",
            "old_key_until": key.old_until or "",
            "last_used": used.get(key.name, "never"),
        }
        for key in KeyFile(settings.api_keys).entries()
    ]
    print_result(
        {"keys": keys}, json_, lambda r: print_table(_shown(r["keys"])) if r["keys"] else typer.echo("there is no key")
    )


@app.command("rotate")
def keys_rotate(
    name: str,
    overlap_hours: Annotated[float, typer.Option(help="How long the old key is taken beside the new one.")] = 24.0,
    expires_days: Annotated[
        float | None, typer.Option(help="Days until the new key ends; default: as many as the old one had.", min=0)
    ] = None,
    json_: Json = False,
) -> None:
    """Put a new key in the place of one and print it; name, groups, roles and ratings stay.

    Example: `almanac keys rotate alice --overlap-hours 48`
    """
    from serving.api.people.keys import KeyFile
    from tasks.audit.audit import open_audit

    settings = Settings()
    credential = KeyFile(settings.api_keys).rotate(
        name, overlap=dt.timedelta(hours=overlap_hours), lifetime=_days(expires_days)
    )
    open_audit(settings.layout).done("key rotated", name=name, overlap_hours=overlap_hours)
    fields = {"name": name, "overlap_hours": overlap_hours, "key": credential}
    print_result(fields, json_, lambda r: typer.echo(r["key"]))


@app.command("remove")
def keys_remove(name: str, json_: Json = False) -> None:
    """Remove a key; the server refuses it from the next request on.

    Example: `almanac keys remove alice`
    """
    from serving.api.people.keys import KeyFile
    from tasks.audit.audit import open_audit

    settings = Settings()
    KeyFile(settings.api_keys).remove(name)
    open_audit(settings.layout).done("key removed", name=name)
    print_result({"name": name, "removed": True}, json_, lambda r: typer.echo(f"the key of {r['name']} was removed"))


def _shown(keys: Sequence[Mapping[str, object]]) -> list[dict[str, object]]:
    """Keys as rows of a table that fits a terminal: no column that says nothing of any, moments cut short."""
    columns = [name for name in keys[0] if any(key[name] not in ("", False, "all") for key in keys)]
    return [{name.removesuffix("_at").replace("_", " "): _short(name, key[name]) for name in columns} for key in keys]


def _short(name: str, value: object) -> object:
    if not isinstance(value, str) or not _MOMENT.match(value):
        return value
    return value[:10] if name.endswith("_at") else value[:16].replace("T", " ")


def _days(number: float | None) -> dt.timedelta | None:
    return None if number is None else dt.timedelta(days=number)
