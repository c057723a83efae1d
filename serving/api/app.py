"""The server as one ASGI app: its routes, the chat page, and what stands around them.

Whatever blocks (search, generation, MLflow) runs in threads: `/healthz` waits behind nothing.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles

from serving.api.administration.forward_auth import forward_auth_router
from serving.api.errors import install_error_handlers
from serving.api.limits import Guard, HeadAsGet, TrustedHosts
from serving.api.observability.metrics import Correlated, Measured, Metrics
from serving.api.people.sign_in import sign_in_router
from serving.api.routes import api, probes
from serving.api.service import OpenPairs, Pairs, Service
from serving.promotion.webhook import webhook_router
from tasks.answer.generators.base import Generator
from tasks.params import Params
from tasks.settings import Settings

PAGE = Path(__file__).parents[1] / "page"

logger = logging.getLogger(__name__)


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
    app.include_router(probes(service))
    app.include_router(api(service))
    if service.identity.sign_in is not None:
        app.include_router(sign_in_router(service.identity.sign_in, service.audit, service.identity.pseudonym))
    app.include_router(forward_auth_router(service.identity))
    app.include_router(webhook_router(settings, service.pairs.poll_now))
    _add_page(app)
    _add_middleware(app, service.metrics, settings)
    return app


def _add_page(app: FastAPI) -> None:
    """The pages; their files lie below a name of their own: a mount at `/` would answer for every unknown path."""

    def page(name: str) -> Callable[[Request], Awaitable[FileResponse]]:
        async def answered(_: Request) -> FileResponse:
            return FileResponse(PAGE / name)

        return answered

    for path, name in (("/", "index.html"), ("/document", "document.html"), ("/review", "review.html")):
        app.add_route(path, page(name), methods=["GET", "HEAD"], include_in_schema=False)
    app.mount("/page", StaticFiles(directory=PAGE), name="page")


def _add_middleware(app: FastAPI, metrics: Metrics, settings: Settings) -> None:
    """From the inside to the outside: figures, size and headers, other origins, host names, the request's id."""
    app.add_middleware(HeadAsGet)
    app.add_middleware(Measured, metrics=metrics)
    app.add_middleware(Guard)
    origins = [origin.strip().rstrip("/") for origin in settings.cors_origins.split(",") if origin.strip()]
    if origins:
        # Cookies are not allowed across origins: a page elsewhere must hold a key of its own.
        app.add_middleware(
            CORSMiddleware,
            allow_origins=origins,
            allow_methods=["GET", "POST"],
            allow_headers=["*"],
            expose_headers=["Retry-After", "X-Request-Id"],
        )
    app.add_middleware(TrustedHosts, allowed_hosts=settings.allowed_hosts)
    app.add_middleware(Correlated)


def _loaded(loading: "asyncio.Task[None]") -> None:
    if not loading.cancelled() and (error := loading.exception()):
        logger.critical("the server cannot answer: loading what serves failed", exc_info=error)


def _live_pairs(params: Params, settings: Settings, wrap: Callable[[Generator], Generator]) -> Pairs:
    from serving.promotion.live import LivePair

    return LivePair(params, settings, wrap=wrap)
