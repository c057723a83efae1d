"""`almanac serve`: the app behind uvicorn."""

import datetime as dt
import logging
from collections.abc import Callable
from socket import socket

import uvicorn

from serving.api.app import create_app
from serving.api.operator import local_router
from serving.local.record import claimed, record_of, remove_record, write_record
from tasks.errors import DependencyError
from tasks.params import Params
from tasks.settings import Settings
from tasks.tenant_claim import check_home, check_store

GRACE_SECONDS = 10
"""How long running requests may go on once the server is told to stop."""
KEEP_ALIVE_SECONDS = 75
"""Longer than the proxies in front keep theirs: who closes first decides who sees a reset."""

logger = logging.getLogger(__name__)


class _Server(uvicorn.Server):
    """A server that tells where it listens, once it does, and when it stops: port 0 is chosen by the system."""

    def __init__(self, config: uvicorn.Config, listening: Callable[[int], None], stopping: Callable[[], None]) -> None:
        super().__init__(config)
        self._listening, self._stopping = listening, stopping

    async def startup(self, sockets: list[socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._listening(self.servers[0].sockets[0].getsockname()[1])

    async def shutdown(self, sockets: list[socket] | None = None) -> None:
        # Not behind `run`: it raises the signal that ended it once more, and SIGTERM then ends the process.
        self._stopping()
        await super().shutdown(sockets)


def serve(params: Params, settings: Settings, *, host: str, port: int) -> None:
    """Answer over HTTP until Ctrl-C or SIGTERM; the operator's commands too, unless another server does.

    Raises:
        ConfigurationError: the identity provider is set by halves, or home or store are another tenant's.
        DependencyError: it could not start; the log says why.
    """
    _check_tenant(settings)
    app = create_app(params, settings)
    # The access log would hold questions, which are in the query of a search.
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        access_log=False,
        server_header=False,
        log_config=None,  # its lines go where ours go, without secrets
        log_level="warning",
        timeout_graceful_shutdown=GRACE_SECONDS,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
    )
    with claimed(settings) as is_first:

        def listening(bound: int) -> None:
            record = record_of(params, settings, host, bound, dt.datetime.now(dt.UTC).isoformat())
            if is_first and record is not None:
                app.include_router(local_router(app.state.service, record.key))
                write_record(settings, record)

        def stopping() -> None:
            if is_first:
                remove_record(settings)

        server = _Server(config, listening, stopping)
        server.run()
    if not server.started:
        raise DependencyError(f"the server must be able to listen on {host}:{port} and load what serves; see above")


def _check_tenant(settings: Settings) -> None:
    check_home(settings)
    try:
        check_store(settings)
    except DependencyError as error:
        # A store that is down is waited for, and `/readyz` says so.
        logger.warning("whose the store is could not be read: %s", error)
