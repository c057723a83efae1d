"""The HTTP API: routes, and the way of a request from its slot through a thread to its answer.

What answers is one `Pair`, taken at the start of a request and kept to its end. Whatever blocks (search, generation,
MLflow) runs in threads: `/healthz` waits behind nothing.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import AbstractContextManager, asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Protocol

from fastapi import APIRouter, Depends, FastAPI, Query, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel, ConfigDict

from serving.api.auth import Asker, Identity
from serving.api.batching import TICKET, Batcher, Ticket
from serving.api.chat import (
    MODEL,
    ChatRequest,
    Completion,
    check_model,
    check_supported,
    chunks,
    completion,
    event,
    first_chunk,
    knowledge_bases_of,
    turn_of,
)
from serving.api.errors import RESPONSES, ApiError, as_api_error, install_error_handlers
from serving.api.feedback import FeedbackRequest, FeedbackSpool
from serving.api.limits import Application, Guard, Message, Receive, Send, Slots
from serving.api.metrics import Metrics
from serving.promotion.pair import Pair
from serving.promotion.webhook import webhook_router
from tasks.answer.assistant import Reply, ask
from tasks.answer.generate import Generator
from tasks.answer.history import Turn
from tasks.errors import AlmanacError
from tasks.index.access import load_access
from tasks.index.passage import Passage
from tasks.index.search import Request as SearchRequest
from tasks.index.search import checked_mode
from tasks.index.table import connect
from tasks.params import Params
from tasks.settings import Settings

PAGE = Path(__file__).parents[1] / "page"
KEEP_ALIVE_SECONDS = 5.0
DISCONNECT_POLL_SECONDS = 0.2
SEARCH_THREADS = 4
"""The embedder and LanceDB use all cores by themselves: more threads only wait for each other."""

_PUBLIC = {
    "index": ("version", "release", "created_at", "since"),
    "answerer": ("version", "since"),
    "challenger": ("version", "since", "share"),
    "mlflow": ("reachable", "asked_at"),
}

logger = logging.getLogger(__name__)


class Pairs(Protocol):
    """What serves; `serving.promotion.live.LivePair` follows the aliases."""

    def start(self) -> None:
        """Load what serves and begin to follow."""

    def stop(self) -> None:
        """Follow no longer."""

    def acquire(self, user_key: str | None = None) -> AbstractContextManager[Pair]:
        """The pair of one request, held to its end; a share of users gets the challenger."""

    def poll_now(self) -> None:
        """Look at the aliases at once; returns before that is done."""

    def status(self) -> dict[str, Any]:
        """What serves and since when; `ready` says whether it can answer, `reasons` are for the log."""


OpenPairs = Callable[[Params, Settings, Callable[[Generator], Generator]], Pairs]


class SearchBody(BaseModel):
    """A search as JSON."""

    model_config = ConfigDict(extra="forbid")

    query: str
    kb: list[str] = []
    top_k: int | None = None
    mode: str | None = None


@dataclass(frozen=True, slots=True)
class ChatQuestion:
    """A question with who asks it, and where."""

    turn: Turn
    knowledge_bases: tuple[str, ...]
    asker: Asker
    session: str | None


class Service:
    """What the routes share: the pairs, the queue of drafts, slots and threads, identity, figures, ratings."""

    def __init__(self, params: Params, settings: Settings, open_pairs: OpenPairs) -> None:
        self.params, self.settings = params, settings
        self.metrics = Metrics()
        self.identity = Identity(settings, anonymous_groups=params.serving.anonymous_groups)
        self.batcher = Batcher(max_batch=params.serving.max_batch, observe=self.metrics.batch)
        self.pairs = open_pairs(params, settings, self.batcher.wrap)
        self.feedback = FeedbackSpool(settings, self.metrics.feedback)
        size = params.serving.max_queue + params.serving.max_batch
        self.answers = Slots(size, what="questions")
        self.searches = Slots(size, what="searches")
        self.answer_threads = ThreadPoolExecutor(size, thread_name_prefix="almanac-answer")
        self.search_threads = ThreadPoolExecutor(SEARCH_THREADS, thread_name_prefix="almanac-search")
        self._db = connect(settings)
        self.metrics.gauge("queue_depth", "Questions that run or wait.", lambda: self.answers.taken)
        self.metrics.gauge("queue_size", "Questions that may run or wait.", lambda: self.answers.size)
        self.metrics.gauge("feedback_spool", "Ratings that wait for MLflow.", lambda: self.feedback.num_waiting)

    def start(self) -> None:
        """Load what serves; ratings that wait are delivered meanwhile."""
        self.batcher.start()
        self.feedback.start()
        self.pairs.start()

    def stop(self) -> None:
        """Let nothing run on."""
        self.feedback.stop()
        self.pairs.stop()
        self.batcher.stop()
        self.answer_threads.shutdown(cancel_futures=True)
        self.search_threads.shutdown(cancel_futures=True)

    def find(self, pair: Pair, request: SearchRequest) -> Sequence[Passage]:
        """What the asker may read, by the access of now."""
        return pair.index.search(request, load_access(self._db))

    def answer(self, asked: ChatQuestion, ticket: Ticket) -> Reply:
        """Answer in this thread, with one pair from beginning to end; gives the slot back."""
        user, session = asked.asker.user, asked.session
        request = SearchRequest(asked.turn.searched(), asked.asker.groups, asked.knowledge_bases)
        token = TICKET.set(ticket)
        try:
            with self.pairs.acquire(user) as pair:
                reply = ask(
                    request,
                    lambda wanted: self.find(pair, wanted),
                    pair.answerer,
                    index_version=pair.index_version,
                    settings=self.settings,
                    turn=asked.turn,
                    user=user,
                    session=None if session is None else self.identity.pseudonym("session", user, session),
                )
        finally:
            TICKET.reset(token)
            self.answers.give_back()
        self.metrics.answer(reply)
        if reply.trace_id is not None:
            self.feedback.remember(reply.trace_id, user)
        return reply

    def search(self, request: SearchRequest) -> dict[str, Any]:
        """Search in this thread: the fields of `almanac search --json`."""
        with self.pairs.acquire() as pair:
            found = self.find(pair, request)
            return {"results": [asdict(passage) for passage in found], "release": pair.release.number}


@dataclass(frozen=True, slots=True)
class Pending:
    """An answer on its way."""

    future: "asyncio.Future[Reply]"
    ticket: Ticket
    deadline: float

    async def wait(self, seconds: float) -> bool:
        """Wait for a while; whether it is there.

        Raises:
            ApiError: 503 behind the deadline.
        """
        await asyncio.wait({self.future}, timeout=seconds)
        if not self.future.done() and time.monotonic() > self.deadline:
            raise ApiError(
                503,
                "the answer must come within ALMANAC_REQUEST_TIMEOUT_SECONDS and did not; try again later",
                kind="server_error",
                code="timeout",
                headers={"Retry-After": "10"},
            )
        return self.future.done()

    def reply(self) -> Reply:
        """The answer that is there.

        Raises:
            ApiError: the server stops.
        """
        try:
            return self.future.result()
        except (CancelledError, asyncio.CancelledError) as error:
            raise ApiError(503, "the server stops; ask again", kind="server_error", code="stopping") from error


def create_app(params: Params, settings: Settings, open_pairs: OpenPairs | None = None) -> FastAPI:
    """The server.

    Args:
        params: `serving` and `search`.
        settings: addresses, keys, identity provider.
        open_pairs: makes what serves; default: `serving.promotion.live.LivePair`.
    """
    service = Service(params, settings, open_pairs or _live_pairs)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        # A model takes its time to load: meanwhile the process is alive, and `/readyz` says that it cannot answer.
        loading = asyncio.create_task(asyncio.to_thread(service.start))
        loading.add_done_callback(_loaded)
        try:
            yield
        finally:
            await asyncio.wait({loading})
            await asyncio.to_thread(service.stop)

    # The interactive pages of FastAPI load scripts from elsewhere; the schema itself stays at /openapi.json.
    app = FastAPI(title="Almanac", version="1", lifespan=lifespan, docs_url=None, redoc_url=None)
    app.state.service = service
    install_error_handlers(app)
    app.include_router(_probes(service))
    app.include_router(_api(service))
    app.include_router(webhook_router(settings, service.pairs.poll_now))
    if PAGE.is_dir():
        app.mount("/", StaticFiles(directory=PAGE, html=True), name="page")
    app.add_middleware(Measured, metrics=service.metrics)
    app.add_middleware(Guard, allowed_hosts=settings.allowed_hosts)
    return app


def _loaded(loading: "asyncio.Task[None]") -> None:
    if not loading.cancelled() and (error := loading.exception()):
        logger.critical("the server cannot answer: loading what serves failed", exc_info=error)


def _live_pairs(params: Params, settings: Settings, wrap: Callable[[Generator], Generator]) -> Pairs:
    from serving.promotion.live import LivePair

    return LivePair(params, settings, wrap=wrap)


def _probes(service: Service) -> APIRouter:
    router = APIRouter()

    @router.get("/healthz", summary="Whether the process is alive")
    async def healthz() -> dict[str, str]:
        return {"status": "alive"}

    @router.get("/readyz", summary="Whether it can answer, and with what", responses={503: {}})
    async def readyz() -> JSONResponse:
        status = public_status(service.pairs.status())
        return JSONResponse(status, 200 if status["ready"] else 503)

    @router.get("/metrics", summary="Figures for Prometheus")
    async def metrics() -> Response:
        return Response(service.metrics.text(), media_type="text/plain; version=0.0.4")

    return router


def _api(service: Service) -> APIRouter:
    router = APIRouter(prefix="/v1", responses=RESPONSES)

    def asker_of(request: Request) -> Asker:
        return service.identity.asker(request.headers.get("authorization"))

    Caller = Annotated[Asker, Depends(asker_of)]  # noqa: N806 - a type

    @router.get("/models", summary="The one model, and the versions that serve")
    async def models(_: Caller) -> dict[str, Any]:
        return {"object": "list", "data": [_model(service)]}

    @router.get("/models/{model:path}", summary="The model")
    async def model(model: str, _: Caller) -> dict[str, Any]:
        check_model(model)
        return _model(service) | {"id": model}

    @router.post("/chat/completions", summary="Answer from the documents that the asker may read", response_model=None)
    async def chat(body: ChatRequest, request: Request, asker: Caller) -> Response:
        check_supported(body)
        turn = turn_of(body, max_history_messages=service.params.serving.max_history_messages)
        pending = _begin(service, ChatQuestion(turn, knowledge_bases_of(body), asker, body.session_id))
        entry = Completion(body.model)
        if body.stream:
            usage = bool(body.stream_options and body.stream_options.include_usage)
            return StreamingResponse(_events(entry, pending, include_usage=usage), media_type="text/event-stream")
        return JSONResponse(completion(entry, await _answered(pending, request)))

    @router.get("/search", summary="Passages that the asker may read, best first")
    async def search_get(
        asker: Caller,
        query: str,
        kb: Annotated[list[str], Query()] = [],  # noqa: B006 - FastAPI copies it
        top_k: int | None = None,
        mode: str | None = None,
    ) -> dict[str, Any]:
        return await _searched(service, SearchBody(query=query, kb=kb, top_k=top_k, mode=mode), asker)

    @router.post("/search", summary="Passages that the asker may read, best first")
    async def search_post(asker: Caller, body: SearchBody) -> dict[str, Any]:
        return await _searched(service, body, asker)

    @router.post("/feedback", status_code=202, summary="Rate an answer of one's own")
    async def feedback(body: FeedbackRequest, asker: Caller) -> dict[str, str]:
        await asyncio.to_thread(service.feedback.accept, body, asker.user)
        return {"status": "accepted"}

    return router


def _begin(service: Service, asked: ChatQuestion) -> Pending:
    service.answers.take()
    ticket = Ticket()
    loop = asyncio.get_running_loop()
    future = loop.run_in_executor(service.answer_threads, service.answer, asked, ticket)
    future.add_done_callback(_heard)
    return Pending(future, ticket, time.monotonic() + service.settings.request_timeout_seconds)


def _heard(future: "asyncio.Future[Reply]") -> None:
    """Nobody asks for the failure of a request whose client has left; asyncio would complain."""
    if not future.cancelled():
        future.exception()


async def _answered(pending: Pending, request: Request) -> Reply:
    """Wait for the answer, as long as somebody wants it."""
    try:
        while not await pending.wait(DISCONNECT_POLL_SECONDS):
            if await request.is_disconnected():
                break
    finally:
        pending.ticket.cancel()
    if not pending.future.done():
        raise ApiError(400, "the client left")
    return pending.reply()


async def _events(entry: Completion, pending: Pending, *, include_usage: bool) -> AsyncIterator[str]:
    """The stream: the role at once, comments while the answer is made and checked, then its text."""
    try:
        yield first_chunk(entry)
        while not await pending.wait(KEEP_ALIVE_SECONDS):
            yield ": the answer is being written and checked\n\n"
        for chunk in chunks(entry, pending.reply(), include_usage=include_usage):
            yield chunk
    except (ApiError, AlmanacError) as error:
        yield event((error if isinstance(error, ApiError) else as_api_error(error)).body())
    finally:
        pending.ticket.cancel()


async def _searched(service: Service, body: SearchBody, asker: Asker) -> dict[str, Any]:
    request = SearchRequest(body.query, asker.groups, body.kb, mode=checked_mode(body.mode), top_k=body.top_k)
    with service.searches.one():
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(service.search_threads, service.search, request)


def _model(service: Service) -> dict[str, Any]:
    return {
        "id": MODEL,
        "object": "model",
        "created": 0,
        "owned_by": MODEL,
        "almanac": public_status(service.pairs.status()) | {"questions": service.params.serving.smoke_questions},
    }


def public_status(status: Mapping[str, Any]) -> dict[str, Any]:
    """What anybody may know of what serves: versions and times, no reason (paths and addresses stand in those)."""
    blocks = {
        name: {field: value for field, value in (status.get(name) or {}).items() if field in fields} or None
        for name, fields in _PUBLIC.items()
    }
    return {"ready": bool(status["ready"]), "degraded": bool(status.get("degraded"))} | blocks


class Measured:
    """ASGI middleware: counts requests and their seconds by the template of their route."""

    def __init__(self, app: Application, *, metrics: Metrics) -> None:
        """Count what `app` answers."""
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Pass a request on and time it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = time.monotonic(), 500

        async def send_noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, send_noting)
        finally:
            route = getattr(scope.get("route"), "path", "other")
            self._metrics.request(route, status, time.monotonic() - started)
