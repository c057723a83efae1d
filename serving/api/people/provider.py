"""The identity provider of the sign-in: authorisation code with PKCE, state and nonce, all of it by Authlib.

Authlib makes and checks state, nonce, code verifier and the ID token's signature, issuer, audience and times. Here
stands what it leaves open: which algorithms are taken, and what the claims mean.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fastapi import Request, Response

from serving.api.errors import ApiError
from serving.api.people.tokens import ALGORITHMS, LEEWAY_SECONDS, ClaimMapping
from tasks.settings import Settings

NAME = "almanac"


class SignInError(Exception):
    """A sign-in that did not succeed; the message is for the person, without a word of the provider's."""


@dataclass(frozen=True, slots=True)
class SignedIn:
    """What the provider says of who signed in."""

    claims: Mapping[str, Any]
    id_token: str


class Provider:
    """One OIDC provider, found by its discovery document, which is read once."""

    def __init__(self, settings: Settings, client_id: str) -> None:
        """Ask nothing yet: the provider may be down while the server starts."""
        from authlib.integrations.starlette_client import OAuth

        secret = settings.oidc_client_secret
        self._issuer, self._client_id = str(settings.oidc_issuer), client_id
        self._mapping = ClaimMapping.of(settings)
        self._client = OAuth().register(
            NAME,
            client_id=client_id,
            client_secret=secret.get_secret_value() if secret else None,
            server_metadata_url=f"{self._issuer.rstrip('/')}/.well-known/openid-configuration",
            client_kwargs={"scope": settings.oidc_scopes, "code_challenge_method": "S256"}
            | ({} if secret else {"token_endpoint_auth_method": "none"}),
        )

    async def redirect(self, request: Request, redirect_uri: str) -> Response:
        """Return the way to the provider; what must be found again lies in `request.scope["session"]`.

        Raises:
            ApiError: 503 where the provider does not answer.
        """
        try:
            response: Response = await self._client.authorize_redirect(request, redirect_uri)
        # Discovery: httpx raises, and Authlib what it does not find in the document.
        except Exception as error:
            raise _silent() from error
        return response

    async def signed_in(self, request: Request) -> SignedIn:
        """Exchange the code for an ID token, and check it.

        Raises:
            SignInError: the state, the code or the token is not what it must be, or the person declined.
            ApiError: 503 where the provider does not answer.
        """
        import httpx
        import jwt
        from authlib.integrations.base_client.errors import MismatchingStateError
        from authlib.integrations.starlette_client import OAuthError
        from joserfc.errors import JoseError

        issuers = sorted({self._issuer, self._issuer.rstrip("/"), f"{self._issuer.rstrip('/')}/"})
        options = {"iss": {"essential": True, "values": issuers}}
        try:
            token = await self._client.authorize_access_token(request, claims_options=options, leeway=LEEWAY_SECONDS)
            id_token = str(token.get("id_token", ""))
            if not token.get("userinfo") or jwt.get_unverified_header(id_token).get("alg") not in ALGORITHMS:
                raise SignInError("the identity provider sent no signed proof of who you are")
            return SignedIn(await self._with_userinfo(token), id_token)
        except httpx.HTTPError as error:
            raise _silent() from error
        except MismatchingStateError as error:
            raise SignInError("this sign-in was not begun in this browser, or took too long") from error
        except OAuthError as error:
            raise SignInError("the identity provider did not confirm it") from error
        except (JoseError, jwt.PyJWTError, ValueError) as error:
            raise SignInError("the proof of the identity provider is not valid") from error

    async def sign_out_address(self, person_token: str, back: str) -> str | None:
        """Return where the provider ends its own session; None where it offers that nowhere, or does not answer."""
        try:
            address = await self._client.create_logout_url(
                post_logout_redirect_uri=back, id_token_hint=person_token or None, client_id=self._client_id
            )
        # Signed out here is what counts: a provider that is down or has no such address must not prevent it.
        except Exception:  # noqa: BLE001
            return None
        return str(address["url"])

    async def _with_userinfo(self, token: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the claims; many providers tell groups at their second address only."""
        claims = dict(token["userinfo"])
        wanted = {self._mapping.groups_claim, self._mapping.roles_claim if self._mapping.by_value else ""} - {""}
        metadata = await self._client.load_server_metadata()
        if all(name.split(".")[0] in claims for name in wanted) or "userinfo_endpoint" not in metadata:
            return claims
        more = await self._client.userinfo(token=token)
        if more.get("sub") != claims.get("sub"):
            raise SignInError("the identity provider speaks of two people")
        return {**more, **claims}


def _silent() -> ApiError:
    return ApiError(
        503,
        "the identity provider must answer and does not; try again",
        kind="server_error",
        code="identity_provider",
        headers={"Retry-After": "5"},
    )
