"""What operators see over HTTP: the state of the whole, and who has a key. Nothing of a document."""

import asyncio
from collections.abc import Callable
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel

from flows.status import system_status
from serving.api.auth import Asker, holder_of
from serving.api.people.keys import KeyFile, LastUse
from serving.api.people.roles import Right, Role
from serving.api.service import Service


class KeyEntry(BaseModel):
    """A key without its hash."""

    name: str
    groups: tuple[str, ...]
    roles: tuple[Role, ...]
    may_push: bool
    created_at: str | None
    expires_at: str | None
    old_until: str | None
    last_used: str | None


class KeyEntries(BaseModel):
    """All keys, by name."""

    keys: list[KeyEntry]


def add_operation(router: APIRouter, service: Service, asker_of: Callable[[Request], Asker]) -> None:
    """Add the routes for operators."""
    Operator = Annotated[Asker, Depends(holder_of(Right.INSPECT, asker_of))]  # noqa: N806 - a type

    @router.get("/status", summary="What serves, last and next runs, problems: the fields of `almanac status --json`")
    async def status(_: Operator) -> dict[str, Any]:
        return await asyncio.to_thread(lambda: asdict(system_status(service.params, service.settings)))

    @router.get("/keys", summary="Who has a key, with roles, end and last use")
    async def keys(_: Operator) -> KeyEntries:
        return await asyncio.to_thread(_keys, service)


def _keys(service: Service) -> KeyEntries:
    used = LastUse(service.settings.layout.keys_used).times()
    names = KeyEntry.model_fields.keys() - {"last_used"}
    entries = KeyFile(service.settings.api_keys).entries()
    return KeyEntries(
        keys=[KeyEntry(**{name: getattr(key, name) for name in names}, last_used=used.get(key.name)) for key in entries]
    )
