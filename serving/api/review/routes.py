"""The review queue over HTTP: drafts that wait, and what a person decides of one. Open to reviewers."""

import asyncio
from collections.abc import Callable
from dataclasses import asdict
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field

from serving.api.auth import Asker, holder_of
from serving.api.errors import ApiError
from serving.api.people.roles import Right
from serving.api.service import Service
from tasks.index.access import TrainingGroups
from tasks.index.access_tables import load_access
from tasks.index.lance_errors import rows_of
from tasks.index.table import connect
from tasks.model.examples.review import queue
from tasks.model.examples.review.draft import Decision, Draft, Status
from tasks.model.examples.review.golden import golden_writer

MAX_SHOWN = 200


class DecisionBody(BaseModel):
    """What a person decides of a draft."""

    model_config = ConfigDict(extra="forbid")

    verdict: Literal["accept", "drop", "undo"]
    question: str | None = Field(None, max_length=2000, description="In place of the draft's.")
    answer: str | None = Field(None, max_length=4000, description="In place of the draft's; empty: there is none.")
    anchor: str | None = Field(None, max_length=400, description="Words of a passage that hold a golden answer.")

    def decision(self, reviewer: str) -> Decision:
        """Return the decision of a reviewer."""
        statuses: dict[str, Status] = {"accept": "accepted", "drop": "dropped", "undo": "draft"}
        return Decision(statuses[self.verdict], self.question, self.answer, self.anchor, reviewer)


class Drafts(BaseModel):
    """Drafts with one status, and how many there are of each."""

    drafts: list[dict[str, Any]]
    counts: dict[str, int]


def add_review(router: APIRouter, service: Service, asker_of: Callable[[Request], Asker]) -> None:
    """Add the routes of the review queue."""
    Reviewer = Annotated[Asker, Depends(holder_of(Right.REVIEW, asker_of))]  # noqa: N806 - a type

    @router.get("/review", summary="Drafts of training and evaluation, the oldest first")
    async def review(asker: Reviewer, status: Status = "draft") -> Drafts:
        return await asyncio.to_thread(_drafts, service, asker, status)

    @router.post("/review/{identifier}", summary="Accept, correct or drop a draft, or undo that")
    async def decide(identifier: str, body: DecisionBody, asker: Reviewer) -> dict[str, Any]:
        return await asyncio.to_thread(_decide, service, asker, identifier, body)


def _drafts(service: Service, asker: Asker, status: Status) -> Drafts:
    home = service.settings.layout
    waiting = queue.drafts(home, status=status)
    readable = _documents(waiting, service, asker)
    shown = [draft for draft in waiting if draft.document_ids <= readable]
    return Drafts(drafts=[asdict(draft) for draft in shown[:MAX_SHOWN]], counts=queue.counts(home))


def _decide(service: Service, asker: Asker, identifier: str, body: DecisionBody) -> dict[str, Any]:
    home = service.settings.layout
    draft = next((one for one in queue.drafts(home) if one.id == identifier), None)
    if draft is None or not draft.document_ids <= _documents([draft], service, asker):
        raise ApiError(404, f"no draft has the id {identifier[:40]!r}", param="identifier", code="not_found")
    write = golden_writer(service.params)
    after = queue.decide(home, draft.id, body.decision(asker.user), write=write, actor=asker.user)
    return {"draft": asdict(after), "counts": queue.counts(home)}


def _documents(drafts: list[Draft], service: Service, asker: Asker) -> frozenset[str]:
    """Return the documents of the drafts that the reviewer may read now, by what serves; one that is gone is not."""
    from lancedb.expr import col

    wanted = sorted(frozenset().union(*(draft.document_ids for draft in drafts)))
    if not wanted:
        return frozenset()
    access = load_access(connect(service.settings))
    with service.pairs.acquire() as pair:
        table = pair.index.table
        rows = table.search().where(col("document_id").isin(wanted)).select(["document_id", "access_id"])
        found = rows_of(rows.limit(pair.release.num_chunks + 1))
    # A draft may show what is only for training: a reviewer of its group judges it.
    groups = TrainingGroups(asker.groups)
    return frozenset(
        row["document_id"] for row in found if access.may_read(row["document_id"], row["access_id"], groups)
    )
