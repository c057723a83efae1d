"""What serves, for promoters: the list, promote, roll back, reject; each signed with who asks."""

import asyncio
from collections.abc import Callable
from dataclasses import asdict
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field

from serving.api.auth import Asker, holder_of
from serving.api.people.roles import Right
from serving.api.service import Service
from tasks.index.history import list_releases, promote_index, roll_back_index, version_of
from tasks.params.sources import Name
from tasks.releases.answerers import answerer_kinds
from tasks.releases.approval import Approver
from tasks.releases.decline import decline
from tasks.releases.kind import INDEX, answerer_of
from tasks.releases.lifecycle import promote, roll_back, versions
from tasks.releases.version import entry_of

Kind = Literal["index", "answerer"]
Decision = Literal["promoted", "rolled back", "rejected"]
Version = Annotated[str, Field(pattern=r"^\d{1,9}$", description="As the list has it: of an index its release.")]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")

    knowledge_base: Name | None = Field(None, description="Of an answerer: the one whose own it is.")


class PromoteBody(_Body):
    """Which version is to serve."""

    version: Version


class RollBackBody(_Body):
    """Where to go back to."""

    version: Version | Literal["base", "general"] | None = Field(
        None, description="Default: the one that served before."
    )


class RejectBody(_Body):
    """Which version is not wanted, and why."""

    version: Version
    why: str = Field(min_length=1, max_length=300)


class Decided(BaseModel):
    """What was decided; the server follows within seconds, or refuses and says so on the version."""

    kind: Kind
    version: str
    decision: Decision


def add_releases(router: APIRouter, service: Service, asker_of: Callable[[Request], Asker]) -> None:
    """Add the routes by which promoters decide what serves."""
    Promoter = Annotated[Asker, Depends(holder_of(Right.PROMOTE, asker_of))]  # noqa: N806 - a type

    async def decided(kind: Kind, decision: Decision, act: Callable[[], str]) -> Decided:
        version = await asyncio.to_thread(act)
        service.pairs.poll_now()
        return Decided(kind=kind, version=version, decision=decision)

    @router.get("/releases", summary="Releases of the index and the answerer, newest first, as `almanac releases`")
    async def releases(_: Promoter) -> dict[str, list[dict[str, Any]]]:
        return {"releases": await asyncio.to_thread(_listed, service)}

    @router.post("/releases/{kind}/promote", summary="Let a version serve")
    async def promote_(kind: Kind, body: PromoteBody, asker: Promoter) -> Decided:
        return await decided(kind, "promoted", lambda: _promote(service, kind, body, _approver(asker)))

    @router.post("/releases/{kind}/rollback", summary="Let an earlier version serve again")
    async def roll_back_(kind: Kind, body: RollBackBody, asker: Promoter) -> Decided:
        return await decided(kind, "rolled back", lambda: _roll_back(service, kind, body, _approver(asker)))

    @router.post("/releases/{kind}/reject", summary="Say that a version is not wanted; it is the challenger no longer")
    async def reject(kind: Kind, body: RejectBody, asker: Promoter) -> Decided:
        return await decided(kind, "rejected", lambda: _reject(service, kind, body, _approver(asker)))


def _approver(asker: Asker) -> Approver:
    return Approver(asker.name, asker.user)


def _listed(service: Service) -> list[dict[str, Any]]:
    answerers = [
        entry_of(version)
        for kind in answerer_kinds(service.settings)
        for version in reversed(versions(service.settings, kind))
    ]
    return [asdict(entry) for entry in [*list_releases(service.settings), *answerers]]


def _promote(service: Service, kind: Kind, body: PromoteBody, by: Approver) -> str:
    if kind == "index":
        return str(promote_index(service.settings, int(body.version), by).release)
    return promote(service.settings, answerer_of(body.knowledge_base), body.version, by).version


def _roll_back(service: Service, kind: Kind, body: RollBackBody, by: Approver) -> str:
    if kind == "index":
        return str(roll_back_index(service.settings, int(body.version) if body.version else None, by).version)
    own = answerer_of(body.knowledge_base)
    _, target = roll_back(service.settings, own, to=body.version, by=by)
    return target.version if target else str(own.default)


def _reject(service: Service, kind: Kind, body: RejectBody, by: Approver) -> str:
    settings = service.settings
    if kind == "index":
        decline(settings, INDEX, version_of(settings, int(body.version)), body.why, by)
    else:
        decline(settings, answerer_of(body.knowledge_base), body.version, body.why, by)
    return body.version
