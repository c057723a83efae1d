"""The routes: probes, chat, search, models, feedback, documents, and what roles open."""

import asyncio
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BaseModel

from serving.api.administration.operation import add_operation
from serving.api.administration.quarantine import add_quarantine
from serving.api.administration.releases import add_releases
from serving.api.auth import Asker
from serving.api.chat_request import (
    MODEL,
    ChatRequest,
    check_model,
    check_supported,
    form_of,
    knowledge_bases_of,
    max_tokens_of,
    system_of,
    turn_of,
)
from serving.api.chat_response import Completion, completion
from serving.api.documents import PUSH_SCHEMA, DocumentStatus, Inbox
from serving.api.errors import RESPONSES, ApiError, late
from serving.api.feedback import FeedbackRequest
from serving.api.inspection import add_inspection
from serving.api.pending import answered, begin, events
from serving.api.people.quota import Quotas
from serving.api.people.roles import Right, Role
from serving.api.people.sign_in import SIGN_IN
from serving.api.review.routes import add_review
from serving.api.search_body import SearchBody
from serving.api.service import ChatQuestion, Service
from serving.api.text import CleanRoute, encoded
from serving.promotion.status import AnswererStatus


class Me(BaseModel):
    """Who asks.

    Attributes:
        is_signed_in: by the identity provider, on a page.
        sign_in: where a person signs in; null where nobody can.
    """

    name: str
    roles: tuple[Role, ...]
    rights: tuple[Right, ...]
    is_signed_in: bool
    sign_in: str | None


def probes(service: Service) -> APIRouter:
    """Return the routes that machines ask: alive, ready, figures."""
    router = APIRouter()

    @router.get("/healthz", summary="Whether the process is alive")
    async def healthz() -> dict[str, str]:
        return {"status": "alive"}

    @router.get("/readyz", summary="Whether it can answer, and with what", responses={503: {}})
    async def readyz() -> JSONResponse:
        status = service.pairs.status()
        return JSONResponse(status.public_json(), 200 if status.ready else 503)

    @router.get("/metrics", summary="Figures for Prometheus")
    async def metrics() -> Response:
        return Response(service.metrics.text(), media_type="text/plain; version=0.0.4")

    return router


def api(service: Service) -> APIRouter:
    """Return the routes below `/v1`."""
    router = APIRouter(prefix="/v1", responses=RESPONSES, route_class=CleanRoute)

    quotas = Quotas(service.settings.requests_per_minute)

    def asker_of(request: Request) -> Asker:
        asker = service.identity.of_request(request)
        # Who has no key shares a user with all who have none: there the address counts.
        host = request.client.host if request.client else ""
        quotas.take(f"anonymous {host}" if asker.is_anonymous else asker.user)
        return asker

    Caller = Annotated[Asker, Depends(asker_of)]  # noqa: N806 - a type

    @router.get("/me", summary="Who asks, with roles, and where a person signs in")
    def me(request: Request) -> Me:
        try:
            asker: Asker | None = asker_of(request)
        except ApiError:
            if request.headers.get("authorization"):
                raise
            asker = None
        return _me(asker, can_sign_in=service.identity.sign_in is not None)

    @router.get("/models", summary="The model, each of a knowledge base's own, and the versions that serve")
    async def models(asker: Caller) -> dict[str, Any]:
        own = await asyncio.to_thread(service.own_models, asker)
        return {"object": "list", "data": [_model(service), *(_own_model(name, own[name]) for name in sorted(own))]}

    @router.get("/models/{model:path}", summary="The model")
    async def model(model: str, asker: Caller) -> dict[str, Any]:
        check_model(model)
        name = model.partition("/")[2]
        own = (await asyncio.to_thread(service.own_models, asker)).get(name) if name else None
        return _model(service) | {"id": model} if own is None else _own_model(name, own)

    @router.post("/chat/completions", summary="Answer from the documents that the asker may read", response_model=None)
    async def chat(body: ChatRequest, request: Request, asker: Caller) -> Response:
        check_supported(body)
        turn = turn_of(body, max_history_messages=service.params.serving.max_history_messages)
        question = ChatQuestion(
            turn,
            asker.within(knowledge_bases_of(body)),
            asker,
            body.session_id,
            client_system=system_of(body),
            max_tokens=max_tokens_of(body),
            form=form_of(body),
        )
        pending = begin(service, question, is_streamed=bool(body.stream))
        entry = Completion(body.model, is_json=question.form is not None)
        if body.stream:
            usage = bool(body.stream_options and body.stream_options.include_usage)
            return StreamingResponse(events(entry, pending, include_usage=usage), media_type="text/event-stream")
        return Response(encoded(completion(entry, await answered(pending, request))), media_type="application/json")

    @router.get("/search", summary="Passages that the asker may read, best first")
    async def search_get(asker: Caller, body: Annotated[SearchBody, Query()]) -> dict[str, Any]:
        return await _searched(service, body, asker)

    @router.post("/search", summary="Passages that the asker may read, best first")
    async def search_post(asker: Caller, body: SearchBody) -> dict[str, Any]:
        return await _searched(service, body, asker)

    @router.post("/feedback", status_code=202, summary="Rate an answer of one's own")
    async def feedback(body: FeedbackRequest, asker: Caller) -> dict[str, str]:
        await asyncio.to_thread(service.rate, body, asker.user)
        return {"status": "accepted"}

    _add_documents(router, service, asker_of)
    add_inspection(router, service, asker_of)
    add_review(router, service, asker_of)
    add_quarantine(router, service, asker_of)
    add_operation(router, service, asker_of)
    add_releases(router, service, asker_of)
    return router


def _add_documents(router: APIRouter, service: Service, asker_of: Callable[[Request], Asker]) -> None:
    """Add the routes by which programs push documents."""
    documents = Inbox(service.params, service.settings)
    Caller = Annotated[Asker, Depends(asker_of)]  # noqa: N806 - a type
    Key = Annotated[str | None, Header(alias="Idempotency-Key", max_length=200)]  # noqa: N806 - a type

    @router.post("/documents", status_code=202, summary="Push a document", openapi_extra=PUSH_SCHEMA)
    async def push(request: Request, asker: Caller, key: Key = None) -> DocumentStatus:
        return await asyncio.to_thread(documents.push, await request.body(), asker, key)

    @router.get("/documents/{identifier:path}", summary="What became of a pushed document")
    async def status(identifier: str, asker: Caller, source: str | None = None) -> DocumentStatus:
        return await asyncio.to_thread(documents.status, identifier, source, asker)

    @router.delete("/documents/{identifier:path}", summary="Take a pushed document back")
    async def take_back(identifier: str, asker: Caller, source: str | None = None, key: Key = None) -> dict[str, str]:
        return await asyncio.to_thread(documents.take_back, identifier, source, asker, key)


async def _searched(service: Service, body: SearchBody, asker: Asker) -> dict[str, Any]:
    request = body.request(asker.groups)
    request = replace(request, knowledge_bases=asker.within(tuple(request.knowledge_bases)))
    with service.searches.one():
        loop = asyncio.get_running_loop()
        searching = loop.run_in_executor(service.search_threads, service.search, request, asker.user)
        done, _ = await asyncio.wait({searching}, timeout=service.settings.search_timeout_seconds)
    if not done:
        # The thread ends when the store does: what it raises then is nobody's any more.
        searching.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
        raise late("search", "ALMANAC_SEARCH_TIMEOUT_SECONDS")
    return asdict(searching.result())


def _me(asker: Asker | None, *, can_sign_in: bool) -> Me:
    sign_in = SIGN_IN if can_sign_in else None
    if asker is None:
        return Me(name="", roles=(), rights=(), is_signed_in=False, sign_in=sign_in)
    rights = tuple(right for right in Right if right in asker.rights)
    return Me(name=asker.name, roles=asker.roles, rights=rights, is_signed_in=asker.is_signed_in, sign_in=sign_in)


def _model(service: Service) -> dict[str, Any]:
    return {
        "id": MODEL,
        "object": "model",
        "created": 0,
        "owned_by": MODEL,
        "almanac": service.pairs.status().public_json() | {"questions": service.params.serving.smoke_questions},
    }


def _own_model(name: str, serving: AnswererStatus) -> dict[str, Any]:
    answerer = {"version": serving.version, "since": serving.since}
    own = {"id": f"{MODEL}/{name}", "object": "model", "created": 0, "owned_by": MODEL}
    return own | {"almanac": {"knowledge_base": name, "answerer": answerer}}
