"""The routes of the document page: what became of a document, for those who may read it."""

import asyncio
from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response

from serving.api.auth import Asker
from serving.api.errors import ApiError
from serving.api.service import Service
from serving.api.text import encoded
from tasks.answer.inspection.reader import Reading
from tasks.index.access_tables import load_access
from tasks.index.table import connect

_NOT_THERE = "no document has this id, or none that you may read"
"""The same words for both: who may not read a document learns nothing of it."""


def add_inspection(router: APIRouter, service: Service, asker_of: Callable[[Request], Asker]) -> None:
    """Add the routes by which the page names and shows documents."""
    Caller = Annotated[Asker, Depends(asker_of)]  # noqa: N806 - a type
    Text = Annotated[str, Query(max_length=2000)]  # noqa: N806 - a type

    @router.get("/inspection", summary="What became of a document that the asker may read", response_model=None)
    async def inspection(document: Text, asker: Caller) -> Response:
        view = await _in_thread(service, lambda: _view(service, document, asker))
        return Response(encoded(view), media_type="application/json")

    @router.get("/inspection/names", summary="Documents that a name, a path or an address may mean")
    async def names(wanted: Text, asker: Caller) -> Response:
        names = await _in_thread(service, lambda: _names(service, wanted, asker))
        return Response(encoded({"documents": names}), media_type="application/json")


async def _in_thread(service: Service, work: Callable[[], Any]) -> Any:
    with service.searches.one():
        return await asyncio.get_running_loop().run_in_executor(service.search_threads, work)


def _view(service: Service, document: str, asker: Asker) -> dict[str, Any]:
    view = _reading(service, asker).view(document, None if asker.is_anonymous else asker.user)
    if view is None:
        raise ApiError(404, _NOT_THERE, param="document", code="not_found")
    return view.as_json()


def _names(service: Service, wanted: str, asker: Asker) -> list[dict[str, str]]:
    names = _reading(service, asker).find(wanted)
    return [{"document_id": name.document_id, "title": name.title, "uri": name.uri} for name in names]


def _reading(service: Service, asker: Asker) -> Reading:
    with service.pairs.acquire(asker.user) as pair:
        release = pair.release
    return Reading(
        release, load_access(connect(service.settings)), asker.groups, service.settings, asker.knowledge_bases
    )
