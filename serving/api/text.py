r"""Text as it comes from outside and leaves again: what is no Unicode text becomes U+FFFD, never an error.

JSON can hold half of a surrogate pair (`"\\ud83d"`, a message that a client cut within an emoji); Python reads it, and
nothing can encode it afterwards.
"""

import json
import re
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute

_LONE_SURROGATE = re.compile(r"[\ud800-\udfff]")
_REPLACEMENT = "\ufffd"


def clean(value: Any) -> Any:
    """Return a JSON value whose texts hold no lone surrogate."""
    if isinstance(value, str):
        return _LONE_SURROGATE.sub(_REPLACEMENT, value)
    if isinstance(value, list):
        return [clean(entry) for entry in value]
    if isinstance(value, dict):
        return {clean(name): clean(entry) for name, entry in value.items()}
    return value


def encoded(content: Any) -> bytes:
    """Return a value as JSON in UTF-8; dates and paths as text."""
    return _LONE_SURROGATE.sub(_REPLACEMENT, json.dumps(content, ensure_ascii=False, default=str)).encode()


class CleanRoute(APIRoute):
    """A route whose JSON bodies are clean before they are looked at."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler over a clean request."""
        handler = super().get_route_handler()

        async def cleaned(request: Request) -> Response:
            return await handler(_CleanRequest(request.scope, request.receive))

        return cleaned


class _CleanRequest(Request):
    async def json(self) -> Any:
        return clean(await super().json())
