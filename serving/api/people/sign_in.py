"""Sign-in on the pages by OIDC: to the provider, back with a session in a cookie that no script reads, and out again.

The cookie counts for requests of our own pages alone: `SameSite=Lax`, and what the browser says of where a request
comes from. Programs send their keys and tokens as before.
"""

import asyncio
import datetime as dt
from collections.abc import Callable
from html import escape
from typing import Any
from urllib.parse import urlencode, urlsplit

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from serving.api.errors import ApiError
from serving.api.people.provider import Provider, SignInError
from serving.api.people.sessions import BEGIN_SECONDS, Begun, Person, Sessions
from serving.api.people.tokens import ClaimMapping
from tasks.audit.audit import Audit
from tasks.errors import ConfigurationError
from tasks.settings import Settings

SIGN_IN = "auth/sign-in"
BEHIND_THE_PROXY = ("mlflow/", "prefect/")
"""Where `infra/nginx/almanac.conf` has the pages of the other servers, on the same host."""
_SESSION, _BEGUN = "almanac-session", "almanac-sign-in"
_MAX_NEXT = 2000


class SignIn:
    """The sign-in of one server."""

    def __init__(self, settings: Settings, client_id: str) -> None:
        self._settings = settings
        self.provider, self.mapping = Provider(settings, client_id), ClaimMapping.of(settings)
        lifetime = dt.timedelta(hours=settings.session_hours)
        self.sessions, self.lifetime = Sessions(settings.layout.sessions, lifetime), lifetime

    @classmethod
    def of(cls, settings: Settings) -> "SignIn | None":
        """The sign-in of the settings, None where none is set.

        Raises:
            ConfigurationError: a client without an issuer.
        """
        if settings.oidc_client_id is None:
            return None
        if settings.oidc_issuer is None:
            raise ConfigurationError("ALMANAC_OIDC_ISSUER must be set beside ALMANAC_OIDC_CLIENT_ID, found none")
        return cls(settings, settings.oidc_client_id)

    def base(self, request: Request) -> str:
        """The address of the pages as people see it, with a slash at its end."""
        return f"{(self._settings.public_url or str(request.base_url)).rstrip('/')}/"

    def cookie(self, request: Request, name: str = _SESSION) -> str:
        """The name of a cookie; over https one that no other host and no page without https can set."""
        return f"__Host-{name}" if self.is_secure(request) else name

    def is_secure(self, request: Request) -> bool:
        """Whether people reach the pages by https."""
        return self.base(request).startswith("https://")

    def person(self, request: Request, method: str | None = None, *, may_be_led: bool = False) -> Person | None:
        """Who is signed in and sent this request from one of our pages; None where nobody did.

        Args:
            request: with the browser's headers.
            method: of the browser's request, where a proxy asks for it by one of its own.
            may_be_led: whether a page that another site led to counts too: what a person reads, and no site.
        """
        token = request.cookies.get(self.cookie(request))
        counts = self.is_own(request, method) or (may_be_led and is_led(request, method or request.method))
        return self.sessions.find(token) if token and counts else None

    def is_own(self, request: Request, method: str | None = None) -> bool:
        """Whether the browser says that a request comes from our own pages.

        `Sec-Fetch-Site` cannot be set by a page; a browser too old for it says the origin of every POST.
        """
        site = request.headers.get("sec-fetch-site")
        reads = (method or request.method) in ("GET", "HEAD")
        if site is not None:
            return site == "same-origin" or (reads and site == "none")
        origin = request.headers.get("origin")
        return reads if origin is None else origin == _origin(self.base(request))

    def beginning(self, request: Request, next: str) -> str:  # noqa: A002 - a parameter's usual name
        """The address where a sign-in begins that comes back to a page."""
        return f"{self.base(request)}{SIGN_IN}?{urlencode({'next': next})}"


def is_led(request: Request, method: str) -> bool:
    """Whether a browser shows the answer as a page of its own: a link of another site, or the way back from sign-in."""
    headers = request.headers
    is_page = headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"
    return method in ("GET", "HEAD") and is_page


def sign_in_router(sign_in: SignIn, audit: Audit, pseudonym: Callable[..., str]) -> APIRouter:
    """Return the routes below `/auth`."""
    router = APIRouter(prefix="/auth", include_in_schema=False)

    def kept(response: Response, request: Request, name: str, value: str, seconds: float) -> None:
        response.set_cookie(
            sign_in.cookie(request, name),
            value,
            max_age=int(seconds),
            path="/",
            secure=sign_in.is_secure(request),
            httponly=True,
            samesite="lax",
        )

    def dropped(response: Response, request: Request, name: str) -> None:
        response.delete_cookie(
            sign_in.cookie(request, name), path="/", secure=sign_in.is_secure(request), httponly=True, samesite="lax"
        )

    @router.get("/sign-in")
    async def begin(request: Request, next: str = "") -> Response:  # noqa: A002 - a parameter's usual name
        request.scope["session"] = {}
        response = await sign_in.provider.redirect(request, f"{sign_in.base(request)}auth/callback")
        begun = Begun(request.scope["session"], _local(next))
        kept(response, request, _BEGUN, await asyncio.to_thread(sign_in.sessions.begin, begun), BEGIN_SECONDS)
        return response

    @router.get("/callback")
    async def finish(request: Request) -> Response:
        cookie = request.cookies.get(sign_in.cookie(request, _BEGUN))
        begun = await asyncio.to_thread(sign_in.sessions.take_begun, cookie)
        request.scope["session"] = dict(begun.session)
        try:
            if not request.query_params.get("state"):
                raise SignInError("the identity provider sent no state")
            signed_in = await sign_in.provider.signed_in(request)
            person = _person(sign_in.mapping, signed_in.claims, signed_in.id_token, pseudonym)
        except (SignInError, ApiError) as error:
            status = error.status if isinstance(error, ApiError) else 400
            return refusal_page("You are not signed in", str(error), sign_in.base(request), status)
        token = await asyncio.to_thread(sign_in.sessions.open, person)
        await asyncio.to_thread(audit.done, "signed in", actor=person.user, roles=person.roles)
        response = RedirectResponse(f"{sign_in.base(request)}{begun.next}", 303)
        kept(response, request, _SESSION, token, sign_in.lifetime.total_seconds())
        dropped(response, request, _BEGUN)
        return response

    @router.post("/sign-out")
    async def sign_out(request: Request, response: Response) -> dict[str, str]:
        if not sign_in.is_own(request):
            raise ApiError(403, "only a page of this server signs out", kind="permission_error", code="other_origin")
        base = sign_in.base(request)
        token = request.cookies.get(sign_in.cookie(request))
        person = await asyncio.to_thread(sign_in.sessions.close, token)
        dropped(response, request, _SESSION)
        if person is None:
            return {"location": base}
        await asyncio.to_thread(audit.done, "signed out", actor=person.user)
        return {"location": await sign_in.provider.sign_out_address(person.id_token, base) or base}

    return router


def _person(mapping: ClaimMapping, claims: Any, id_token: str, pseudonym: Callable[..., str]) -> Person:
    user = pseudonym("oidc", str(claims["iss"]), str(claims["sub"]))
    return Person(user, mapping.name(claims), mapping.groups(claims), mapping.roles(claims), id_token)


def _local(address: str) -> str:
    """Return the page to come back to, relative to the first one, which it is too where the address leads elsewhere."""
    parts = urlsplit(address[:_MAX_NEXT])
    path = parts.path.lstrip("/")
    is_ours = path in ("", "document", "review") or path.startswith(BEHIND_THE_PROXY)
    if parts.scheme or parts.netloc or "\\" in address or not is_ours:
        return ""
    return f"{path}?{parts.query}" if parts.query else path


def _origin(base: str) -> str:
    parts = urlsplit(base)
    return f"{parts.scheme}://{parts.netloc}"


def refusal_page(heading: str, reason: str, base: str, status: int) -> Response:
    """Return a page for who may not see what was asked for; no word of it comes from the request."""
    return HTMLResponse(
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Almanac: {escape(heading)}</title>'
        f'<link rel="stylesheet" href="{escape(base)}page/style.css">'
        f'<main class="refused-sign-in"><h1>{escape(heading)}</h1>'
        f"<p>{escape(reason[:1].upper() + reason[1:])}.</p>"
        f'<p><a href="{escape(base)}">Back to Almanac</a></p></main></html>',
        status,
    )
