"""What was released, what serves, and the way back: `releases`, `promote` and `rollback`."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.output import Json, print_result, print_table, read_params
from tasks.settings import Settings

if TYPE_CHECKING:
    from tasks.releases.approval import Approver

OwnAnswerer = Annotated[
    str | None, typer.Option("--knowledge-base", help="The answerer that this knowledge base has of its own.")
]

app = typer.Typer()
rollback_app = typer.Typer(no_args_is_help=True, help="Take a release back.")
app.add_typer(rollback_app, name="rollback")


@app.command()
def releases(json_: Json = False) -> None:
    """List the releases, of the index, the answerers and the embedder, that can be rolled back to.

    Example: `almanac releases`
    """
    from tasks.index.history import list_releases
    from tasks.releases.answerers import answerer_kinds
    from tasks.releases.kind import EMBEDDER
    from tasks.releases.lifecycle import versions
    from tasks.releases.version import entry_of

    settings = Settings()
    entries = list_releases(settings)
    for kind in (*answerer_kinds(settings), EMBEDDER):
        entries += [entry_of(version) for version in reversed(versions(settings, kind))]
    print_result({"releases": [asdict(entry) for entry in entries]}, json_, _print_releases)


def _print_releases(result: dict[str, Any]) -> None:
    listed = result["releases"]
    if not listed:
        typer.echo("no release yet; run `almanac refresh`")
        return
    columns = {
        "index": ("version", "aliases", "created_at", "documents", "chunks", "recall_at_k"),
        "answerer": ("version", "aliases", "created_at", "method", "answer_f1", "training_set"),
        "embedder": ("version", "aliases", "created_at", "base", "training_set"),
    }
    for kind in dict.fromkeys(entry["kind"] for entry in listed):
        names = columns[kind.partition(".")[0]]
        rows = [entry | entry["lineage"] | entry["metrics"] for entry in listed if entry["kind"] == kind]
        if rows:
            print_table([{name: _cell(row, name) for name in names} for row in rows], title=kind)


def _cell(entry: dict[str, Any], name: str) -> str:
    value = entry.get(name, "")
    return (
        ", ".join(value)
        if isinstance(value, list | tuple)
        else f"{value:.4g}"
        if isinstance(value, float)
        else str(value)
    )


@app.command("promote")
def promote_release(
    kind: Annotated[str, typer.Argument(help="index, answerer or embedder.")],
    version: Annotated[int, typer.Argument(help="As `almanac releases` has it.")],
    knowledge_base: OwnAnswerer = None,
    json_: Json = False,
) -> None:
    """Let a version serve; running processes notice within seconds. Signed by the key in ALMANAC_API_KEY, if set.

    An embedder serves with the next refresh, which makes an index with it.

    Example: `almanac promote answerer 3`
    """
    from tasks.errors import ConfigurationError
    from tasks.index.history import promote_index
    from tasks.releases.kind import ANSWERER, EMBEDDER, answerer_of
    from tasks.releases.lifecycle import promote

    settings = Settings()
    if knowledge_base is not None and kind != ANSWERER.name:
        raise ConfigurationError(f"only an answerer may be a knowledge base's own, found {kind!r}; name answerer")
    if kind == "index":
        promote_index(settings, version, _promoter(settings))
    elif kind in (ANSWERER.name, EMBEDDER.name):
        promoted = answerer_of(knowledge_base) if kind == ANSWERER.name else EMBEDDER
        promote(settings, promoted, str(version), _promoter(settings))
    else:
        raise ConfigurationError(f"what is promoted must be index, answerer or embedder, found {kind!r}; name one")
    result = {"kind": kind, "version": version} | ({} if knowledge_base is None else {"knowledge_base": knowledge_base})
    print_result(result, json_, lambda _: typer.echo(_promoted(kind, version)))


def _promoted(kind: str, version: int) -> str:
    from tasks.index.embedding.champion import pinned
    from tasks.index.embedding.registered import version_named_by
    from tasks.releases.kind import EMBEDDER

    if kind != EMBEDDER.name:
        return f"{kind} {version} serves, unless the server refuses it: `almanac status`"
    settings = Settings()
    embedding = read_params(settings).embedding
    if version_named_by(pinned(embedding, settings).model) == str(version):
        return f"embedder {version} is the champion; the next `almanac refresh` makes an index with it"
    return (
        f"embedder {version} is the champion, but no index is made with it: embedding.model names {embedding.model}, "
        f"which it was not tuned from; name `mlflow:{EMBEDDER.model}@champion` there, or promote another"
    )


def _promoter(settings: Settings) -> "Approver | None":
    """Return whose key stands in ALMANAC_API_KEY; None: it is not set."""
    from serving.api.auth import Identity
    from serving.api.errors import ApiError
    from serving.api.people.roles import Right
    from tasks.errors import ConfigurationError
    from tasks.releases.approval import Approver

    if settings.api_key is None:
        return None
    try:
        asker = Identity(settings, anonymous_groups=()).asker(f"Bearer {settings.api_key.get_secret_value()}")
        asker.require(Right.PROMOTE)
    except ApiError as error:
        raise ConfigurationError(f"ALMANAC_API_KEY: {error}") from error
    return Approver(asker.name, asker.user)


@rollback_app.command("index")
def rollback_index(
    version: Annotated[int | None, typer.Argument(help="Release to go back to; default: the one before.")] = None,
    json_: Json = False,
) -> None:
    """Let an earlier index release serve again; running processes notice within seconds.

    Example: `almanac rollback index`, or `almanac rollback index 7`
    """
    from tasks.index.history import roll_back_index

    settings = Settings()
    rollback = roll_back_index(settings, version, _promoter(settings))
    print_result(
        asdict(rollback) | {"release": rollback.version},
        json_,
        lambda r: typer.echo(f"index release {r['release']} serves again; {r['abandoned']} was taken back"),
    )


@rollback_app.command("answerer")
def rollback_answerer(
    version: Annotated[
        str | None, typer.Argument(help="Version to go back to, or `base`; default: the one that served before.")
    ] = None,
    knowledge_base: OwnAnswerer = None,
    json_: Json = False,
) -> None:
    """Let an earlier answerer, or the base model, serve again; running processes notice within seconds.

    What a knowledge base's own goes back to, before its first version, is the general answerer: `general`.

    Example: `almanac rollback answerer`, or `almanac rollback answerer base`
    """
    from tasks.releases.kind import answerer_of
    from tasks.releases.lifecycle import roll_back
    from tasks.releases.version import Rollback

    settings = Settings()
    kind = answerer_of(knowledge_base)
    abandoned, target = roll_back(settings, kind, to=version, by=_promoter(settings))
    serves = target.version if target else str(kind.default)
    print_result(
        asdict(Rollback(kind.name, serves, abandoned.version)),
        json_,
        lambda r: typer.echo(f"answerer {r['version']} serves again; version {r['abandoned']} was taken back"),
    )
