"""Errors over HTTP, in the form that clients of the OpenAI API know: `{"error": {message, type, param, code}}`.

A message speaks of the request alone. What went wrong inside (paths, addresses, rows) goes to the log.
"""

import logging
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from tasks.errors import AlmanacError, ConfigurationError, FormatError

logger = logging.getLogger(__name__)


class ErrorDetail(BaseModel):
    """What clients of the OpenAI API read of an error."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class ErrorBody(BaseModel):
    """The body of every answer that is no success."""

    error: ErrorDetail


_MEANINGS = {
    400: "The request is not what it must be.",
    401: "No valid key or token.",
    403: "A role is needed that the asker has not.",
    404: "No such thing, or not yours.",
    405: "Another method is needed; see `Allow`.",
    413: "The body is too large.",
    422: "The model wrote nothing of the form that was asked for.",
    429: "Too much waits already; see `Retry-After`.",
    503: "Nothing serves yet, or a time-out.",
}
RESPONSES: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorBody, "description": meaning} for status, meaning in _MEANINGS.items()
}
"""What every endpoint may answer, for the OpenAPI schema."""


class ApiError(Exception):
    """A request that is refused on purpose.

    Attributes:
        status: of HTTP.
        kind: OpenAI's `type`.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str = "invalid_request_error",
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.kind, self.param, self.code = status, kind, param, code
        self.headers = dict(headers or {})

    def body(self) -> dict[str, Any]:
        """Return the JSON body."""
        return {"error": {"message": str(self), "type": self.kind, "param": self.param, "code": self.code}}


def late(what: str, setting: str) -> ApiError:
    """Return the error of what did not come in its time."""
    return ApiError(
        503,
        f"the {what} must come within {setting} and did not; try again later",
        kind="server_error",
        code="timeout",
        headers={"Retry-After": "10"},
    )


def as_api_error(error: AlmanacError) -> ApiError:
    """Return an error of ours as the client may see it: a mistake of the asker in full, else without its reason."""
    if isinstance(error, ConfigurationError):
        return ApiError(400, str(error))
    if isinstance(error, FormatError):
        return ApiError(422, str(error), param="response_format", code="response_format_not_met")
    logger.error("a request failed: %s", error)
    return ApiError(
        503,
        "the assistant must be able to read its index and model, and cannot now; try again, or ask who runs it",
        kind="server_error",
        code="unavailable",
        headers={"Retry-After": "5"},
    )


def too_many(reason: str) -> ApiError:
    """Return the refusal of a request that would have to wait too long."""
    return ApiError(429, reason, kind="rate_limit_error", code="queue_full", headers={"Retry-After": "2"})


def as_event_error(error: Exception) -> ApiError:
    """Return what a stream that has begun says of an error: its status went out with the first byte."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, AlmanacError):
        return as_api_error(error)
    logger.error("a stream failed for a reason that nobody foresaw", exc_info=error)
    return unforeseen()


def unforeseen() -> ApiError:
    """Return the refusal behind a fault of ours."""
    return ApiError(500, "the server failed; its log says why", kind="server_error", code="internal")


def _unrouted(request: Request, error: HTTPException) -> str:
    """Return what is wrong with a path or method, in place of `Not Found`."""
    if error.status_code == 404:
        return f"no such path: {request.url.path[:100]}; `GET /openapi.json` lists those that there are"
    if error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "another method")
        return f"{request.url.path[:100]} must be called by {allowed}, found {request.method}"
    return str(error.detail)


def install_error_handlers(app: FastAPI) -> None:
    """Let every refusal and failure leave in the one form."""

    async def refused(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, ApiError)
        return JSONResponse(error.body(), error.status, error.headers)

    async def failed(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, AlmanacError)
        ours = as_api_error(error)
        return JSONResponse(ours.body(), ours.status, ours.headers)

    async def malformed(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        problem = error.errors()[0]
        where = ".".join(str(part) for part in problem["loc"])
        ours = ApiError(400, f"`{where}`: {problem['msg']}", param=where)
        return JSONResponse(ours.body(), ours.status)

    async def unrouted(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        ours = ApiError(error.status_code, _unrouted(request, error), headers=error.headers)
        return JSONResponse(ours.body(), ours.status, ours.headers)

    async def left(_: Request, __: Exception) -> Response:
        return Response(status_code=400)  # the client is gone: nobody reads it, and nothing is wrong here

    async def unexpected(_: Request, error: Exception) -> JSONResponse:
        logger.error("a request failed for a reason that nobody foresaw", exc_info=error)
        ours = unforeseen()
        return JSONResponse(ours.body(), ours.status)

    app.add_exception_handler(ApiError, refused)
    app.add_exception_handler(AlmanacError, failed)
    app.add_exception_handler(RequestValidationError, malformed)
    app.add_exception_handler(HTTPException, unrouted)
    app.add_exception_handler(ClientDisconnect, left)
    app.add_exception_handler(Exception, unexpected)
