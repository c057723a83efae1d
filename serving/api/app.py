"""The server as one ASGI app: its routes, the chat page, and what stands around them.

Whatever blocks (search, generation, MLflow) runs in threads: `/healthz` waits behind nothing.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles

from serving.api.errors import install_error_handlers
from serving.api.limits import Guard
from serving.api.metrics import Measured
from serving.api.routes import api, probes
from serving.api.service import OpenPairs, Pairs, Service
from serving.promotion.webhook import webhook_router
from tasks.answer.generate import Generator
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
