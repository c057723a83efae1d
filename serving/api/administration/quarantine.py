"""Documents that the gates set aside, for reviewers: which, why, and letting one through."""

import asyncio
from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel

from serving.api.auth import Asker, holder_of
from serving.api.errors import ApiError
from serving.api.people.roles import Right
from serving.api.service import Service
from tasks.answer.inspection.reader import may_know
from tasks.corpus import quarantine
from tasks.corpus.quarantine import HeldItem
from tasks.index.access_tables import load_access
from tasks.index.table import connect


class HeldDocument(BaseModel):
    """A document that was set aside; its text is not shown: it may hold a password."""

    id: str
    document_id: str
    title: str
    uri: str
    rule: str
    reason: str
    status: str
    first_seen: str
    last_seen: str


class HeldDocuments(BaseModel):
    """What waits in quarantine."""

    items: list[HeldDocument]


def add_quarantine(router: APIRouter, service: Service, asker_of: Callable[[Request], Asker]) -> None:
    """Add the routes of the quarantine."""
    Reviewer = Annotated[Asker, Depends(holder_of(Right.REVIEW, asker_of))]  # noqa: N806 - a type

    @router.get("/quarantine", summary="Documents that were set aside and that the reviewer's groups could read")
    async def listed(asker: Reviewer) -> HeldDocuments:
        items = await asyncio.to_thread(_known_to, service, asker)
        return HeldDocuments(items=[_shown(item) for item in items])

    @router.post("/quarantine/{identifier}/release", summary="Let a document through at the next refresh")
    async def release(identifier: str, asker: Reviewer) -> HeldDocument:
        return _shown(await asyncio.to_thread(_release, service, asker, identifier))


def _known_to(service: Service, asker: Asker) -> list[HeldItem]:
    """Return what a reviewer may decide on; what could not be parsed names no groups: the operator sees it alone."""
    access = load_access(connect(service.settings))
    return [item for item in quarantine.held(service.settings.home) if may_know(item, access, asker.groups)]


def _release(service: Service, asker: Asker, identifier: str) -> HeldItem:
    item = next((one for one in _known_to(service, asker) if one.id == identifier), None)
    if item is None:
        raise ApiError(404, f"nothing in quarantine has the id {identifier[:40]!r}", code="not_found")
    service.audit.done("released from quarantine", actor=asker.user, documents=[item.document_id], rule=item.rule)
    return quarantine.release(service.settings.home, item.id)


def _shown(item: HeldItem) -> HeldDocument:
    return HeldDocument(**{name: getattr(item, name) for name in HeldDocument.model_fields})
