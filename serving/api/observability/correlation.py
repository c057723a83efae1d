"""The id of a request: in its response as `X-Request-Id`, in log lines, and of its spans where they are taken."""

from starlette.datastructures import Headers

from serving.api.limits import PROBES, Application, Message, Receive, Send
from tasks.telemetry import note, trace


class Correlated:
    """ASGI middleware: each request but the probes is a trace, or a part of its caller's."""

    def __init__(self, app: Application) -> None:
        """Stand before `app`."""
        self._app = app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Pass a request on within its trace."""
        if scope["type"] != "http" or scope["path"] in PROBES:
            await self._app(scope, receive, send)
            return
        with trace("request", traceparent=Headers(scope=scope).get("traceparent"), method=scope["method"]) as identity:

            async def send_named(message: Message) -> None:
                if message["type"] == "http.response.start":
                    note(status=message["status"], route=getattr(scope.get("route"), "path", "other"))
                    message["headers"] = [*message.get("headers", []), (b"x-request-id", identity.encode())]
                await send(message)

            await self._app(scope, receive, send_named)
