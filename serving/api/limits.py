"""What the server takes in: requests to host names that it has, bodies of a bounded size, so many at a time.

Host names are checked by starlette; the probes alone are answered under any.
"""

import threading
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import JSONResponse

from serving.api.errors import ApiError, too_many

MAX_BODY_BYTES = 1_000_000
_TOO_LARGE = f"a body must have at most {MAX_BODY_BYTES} bytes; shorten the conversation"
PROBES = frozenset({"/healthz", "/readyz", "/metrics"})
"""Asked by machines under whatever name they have; they hold nothing of a user or document."""

SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "font-src 'self'; connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]


class Slots:
    """A bounded number of requests that are being worked on or wait."""

    def __init__(self, size: int, *, what: str) -> None:
        """At most `size` holders at a time; the next is refused."""
        self.size, self._what = size, what
        self._taken = 0
        self._lock = threading.Lock()

    @property
    def taken(self) -> int:
        """How many are held now."""
        return self._taken

    def take(self) -> None:
        """Take one.

        Raises:
            ApiError: 429 where none is free.
        """
        with self._lock:
            if self._taken >= self.size:
                raise too_many(f"at most {self.size} {self._what} may run or wait, and so many do; try again soon")
            self._taken += 1

    def give_back(self) -> None:
        """Free one that was taken."""
        with self._lock:
            self._taken -= 1

    @contextmanager
    def one(self) -> Iterator[None]:
        """Hold one for a while."""
        self.take()
        try:
            yield
        finally:
            self.give_back()


class TrustedHosts:
    """ASGI middleware: only requests to the server's own names pass, so that no other site's name leads a browser here.

    Machines ask the probes under whatever name or address they have.
    """

    def __init__(self, app: Application, *, allowed_hosts: str) -> None:
        """Let `app` see only requests to `allowed_hosts` (names with commas; `*`: all)."""
        self._app = app
        names = [name.strip() for name in allowed_hosts.split(",") if name.strip()]
        self._checked = TrustedHostMiddleware(app, allowed_hosts=names, www_redirect=False)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        await (self._app if scope.get("path") in PROBES else self._checked)(scope, receive, send)


class HeadAsGet:
    """ASGI middleware: HEAD is answered as GET would be, without the body: monitors and front ends probe so."""

    def __init__(self, app: Application) -> None:
        """Stand before `app`."""
        self._app = app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Pass a request on; the server sends no body to HEAD."""
        is_head = scope["type"] == "http" and scope["method"] == "HEAD"
        await self._app({**scope, "method": "GET"} if is_head else scope, receive, send)


class Guard:
    """ASGI middleware: the size of bodies, and the headers that protect a browser."""

    def __init__(self, app: Application) -> None:
        """Stand before `app`."""
        self._app = app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_safely(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = _with_security(message.get("headers", []))
            await send(message)

        refusal = _refusal(scope)
        if refusal is not None:
            await JSONResponse(refusal.body(), refusal.status)(scope, receive, send_safely)
            return
        await _Bounded(self._app)(scope, receive, send_safely)


class _Bounded:
    """Counts the bytes of a body that comes without its length."""

    def __init__(self, app: Application) -> None:
        self._app = app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        size = 0

        async def receive_bounded() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > MAX_BODY_BYTES:
                raise HTTPException(413, _TOO_LARGE)
            return message

        await self._app(scope, receive_bounded, send)


def _refusal(scope: Message) -> ApiError | None:
    length = Headers(scope=scope).get("content-length", "0")
    if not length.isdecimal():
        return ApiError(400, "`Content-Length` must be a number")
    return ApiError(413, _TOO_LARGE) if int(length) > MAX_BODY_BYTES else None


def _with_security(headers: Any) -> list[tuple[bytes, bytes]]:
    present = {name.lower() for name, _ in headers}
    added = [(name.lower().encode(), value.encode()) for name, value in SECURITY_HEADERS.items()]
    return [*headers, *(entry for entry in added if entry[0] not in present)]
