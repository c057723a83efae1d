"""Forward auth: whether a request that a proxy holds back may go on to MLflow or Prefect, by who is signed in here.

The proxy asks before each request and says which it holds: `X-Forwarded-Method` and `X-Forwarded-Uri` (Traefik, Caddy,
`infra/nginx/almanac.conf`), or `X-Original-Method` and `X-Original-URL` (ingress-nginx). 202 lets it pass; 401 and 403
do not, as nginx's `auth_request` knows them.
"""

import asyncio
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse, RedirectResponse

from serving.api.auth import Identity
from serving.api.errors import ApiError
from serving.api.people.roles import Right
from serving.api.people.sign_in import is_led, refusal_page

_PLAIN_PATH = re.compile(r"(?:/[\w.:~@+=,-]+)*/?", re.ASCII)
_CALL = re.compile(r"(?:/mlflow)?/(?:ajax-)?api/\d\.0/mlflow/(?P<name>.+)")
_GRAPHQL = re.compile(r"(?:/mlflow)?/graphql")
_READS = re.compile(
    r"(?:[a-z-]+/)+search(?:-datasets)?"
    r"|traces/(?:batchGetInfos|metrics|calculate-filter-correlation)|registered-models/get-latest-versions"
)
"""Calls of MLflow that read though they are sent by POST."""
_REGISTRY = re.compile(r"(?:registered-models|model-versions)/.+")
_ASSESSMENTS = re.compile(r"traces/[^/]+/assessments(?:/[^/]+)?")
_NEVER = re.compile(r".*/(?:assistant|gateway|gateway-proxy)(?:/.*)?")
"""Parts of MLflow that run programs on its machine, or send with its keys: not for who comes through a proxy."""


class Application(StrEnum):
    """A server behind the proxy."""

    MLFLOW = "mlflow"
    PREFECT = "prefect"


@dataclass(frozen=True, slots=True)
class Held:
    """The request that the proxy holds back."""

    method: str
    path: str
    query: str = ""

    @classmethod
    def of(cls, request: Request) -> "Held":
        """Read it from the proxy's headers.

        Raises:
            ApiError: 403 where they are missing, or a client's own contradict the proxy's.
        """
        method = _the_one(request, "x-forwarded-method", "x-original-method").upper()
        address = _the_one(request, "x-forwarded-uri", "x-original-uri", "x-original-url")
        return cls(method, *address.partition("?")[::2])

    def required_right(self, application: Application) -> Right:
        """Return what the sender must hold.

        Raises:
            ApiError: 403: nobody may.
        """
        # The server behind would decode and shorten what is no plain path, and take it for another.
        is_plain = _PLAIN_PATH.fullmatch(self.path) and not {".", ".."} & set(self.path.split("/"))
        if not is_plain or (application is Application.MLFLOW and _NEVER.fullmatch(self.path)):
            raise _refused("this part of MLflow and Prefect is not reached from outside")
        return Right.OPERATE if application is Application.PREFECT else self._right_in_mlflow()

    def _right_in_mlflow(self) -> Right:
        """Return what MLflow's call needs; one that is not listed as reading writes."""
        call = _CALL.fullmatch(self.path)
        name = call["name"] if call else ""
        if self.method in ("GET", "HEAD") or _GRAPHQL.fullmatch(self.path) or _READS.fullmatch(name):
            return Right.READ_RUNS
        if _REGISTRY.fullmatch(name):
            return Right.PROMOTE
        return Right.REVIEW if _ASSESSMENTS.fullmatch(name) else Right.OPERATE


def forward_auth_router(identity: Identity) -> APIRouter:
    """Return the route that proxies ask."""
    router = APIRouter(prefix="/auth", include_in_schema=False)

    @router.get("/allowed")
    async def allowed(
        request: Request, application: Annotated[Application, Query(alias="for")], page: bool = False
    ) -> Response:
        """Say whether the held request may pass; `page`: a person reads the refusal, and is led to the sign-in."""
        held = None
        try:
            held = Held.of(request)
            asker = await asyncio.to_thread(identity.of_held, request, held.method)
            asker.require(held.required_right(application))
        except ApiError as error:
            is_read = page and held is not None and is_led(request, held.method)
            return _answer(identity, request, error, held if is_read else None)
        return Response(status_code=202)

    return router


def _answer(identity: Identity, request: Request, error: ApiError, led: Held | None) -> Response:
    """Return a refusal: for a person who was led to a page, the way to the sign-in or a page; else JSON."""
    sign_in = identity.sign_in
    if led and sign_in and error.status == 401:
        next_page = f"{led.path}?{led.query}" if led.query else led.path
        return RedirectResponse(sign_in.beginning(request, next_page), 302)
    if led and sign_in and error.status == 403:
        return refusal_page("This is not for you", str(error), sign_in.base(request), 403)
    # The two names beside ours are those that MLflow's pages and client show.
    body = error.body() | {"error_code": "PERMISSION_DENIED", "message": str(error)}
    return JSONResponse(body, error.status, error.headers)


def _the_one(request: Request, *names: str) -> str:
    values = {_without_host(value) for name in names for value in request.headers.getlist(name)}
    if len(values) != 1:
        raise _refused(f"the proxy must say what it holds back by one of {', '.join(names)}, found {len(values)}")
    return values.pop()


def _without_host(address: str) -> str:
    parts = urlsplit(address) if address.startswith(("http://", "https://")) else None
    return address if parts is None else f"{parts.path}?{parts.query}" if parts.query else parts.path


def _refused(reason: str) -> ApiError:
    return ApiError(403, reason, kind="permission_error", code="not_from_outside")
