"""`almanac serve`: the app behind uvicorn."""

import logging

import uvicorn

from serving.api.app import create_app
from tasks.errors import DependencyError
from tasks.params import Params
from tasks.settings import Settings

GRACE_SECONDS = 10
"""How long running requests may go on once the server is told to stop."""
KEEP_ALIVE_SECONDS = 75
"""Longer than the proxies in front keep theirs: who closes first decides who sees a reset."""

logger = logging.getLogger(__name__)


def serve(params: Params, settings: Settings, *, host: str, port: int) -> None:
    """Answer over HTTP until Ctrl-C or SIGTERM.

    Raises:
        ConfigurationError: the identity provider is set by halves.
        DependencyError: it could not start; the log says why.
    """
    app = create_app(params, settings)
    # The access log would hold questions, which are in the query of a search.
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        access_log=False,
        server_header=False,
        log_level="warning",
        timeout_graceful_shutdown=GRACE_SECONDS,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
    )
    server = uvicorn.Server(config)
    server.run()
    if not server.started:
        raise DependencyError(f"the server must be able to listen on {host}:{port} and load what serves; see above")
