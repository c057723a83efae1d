"""Tokens of one OIDC provider: what they say is believed where the provider signed it for this application."""

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from serving.api.errors import ApiError
from serving.api.people.roles import Role, parse_role_mapping, parse_roles
from tasks.errors import ConfigurationError
from tasks.index.access import asker_groups
from tasks.settings import Settings

ALGORITHMS = ("RS256", "ES256")
LEEWAY_SECONDS = 30
JWKS_LIFESPAN_SECONDS = 3600.0
JWKS_MIN_REFETCH_SECONDS = 30.0
"""A token that names an unknown key lets the keys be fetched again, but not more often than so."""
JWKS_TIMEOUT_SECONDS = 5.0


class Tokens:
    """Checks tokens of one OIDC provider: signature, `exp`, `nbf`, `aud` and `iss`."""

    def __init__(self, issuer: str, audience: str) -> None:
        self._issuer, self._audience = issuer, audience
        self._lock = threading.Lock()
        self._keys: dict[str, Any] = {}
        self._fetched = float("-inf")

    @classmethod
    def of(cls, settings: Settings) -> "Tokens | None":
        """The provider of the settings, None where none is set."""
        if settings.oidc_issuer is None:
            return None
        if not settings.oidc_audience and settings.oidc_client_id:
            # People sign in, and no program sends a token.
            return None
        if not settings.oidc_audience:
            raise ConfigurationError(
                "ALMANAC_OIDC_AUDIENCE must be set beside ALMANAC_OIDC_ISSUER: without it, a token that was made for "
                "another application would open this one"
            )
        return cls(settings.oidc_issuer, settings.oidc_audience)

    def claims(self, token: str) -> dict[str, Any]:
        """The claims of a valid token.

        Raises:
            ApiError: 401 for a token that is not valid, 503 where the provider's keys cannot be had.
        """
        import jwt

        try:
            header = jwt.get_unverified_header(token)
            if header.get("alg") not in ALGORITHMS:
                raise unauthorized(f"a token must be signed by {' or '.join(ALGORITHMS)}")
            claims: dict[str, Any] = jwt.decode(
                token,
                self._key(str(header.get("kid", ""))),
                algorithms=list(ALGORITHMS),
                audience=self._audience,
                issuer=self._issuer,
                leeway=LEEWAY_SECONDS,
                options={"require": ["exp", "iss", "aud", "sub"]},
            )
        except jwt.PyJWTError as error:
            raise unauthorized(f"the token must be valid: {type(error).__name__}") from error
        return claims

    def _key(self, kid: str) -> Any:
        with self._lock:
            age = time.monotonic() - self._fetched
            if age > JWKS_LIFESPAN_SECONDS or (kid not in self._keys and age > JWKS_MIN_REFETCH_SECONDS):
                self._keys = self._fetch()
                self._fetched = time.monotonic()
            if kid not in self._keys:
                raise unauthorized("the token must be signed by a key of the provider")
            return self._keys[kid]

    def _fetch(self) -> dict[str, Any]:
        import httpx
        import jwt

        try:
            with httpx.Client(timeout=JWKS_TIMEOUT_SECONDS) as client:
                address = f"{self._issuer.rstrip('/')}/.well-known/openid-configuration"
                document = client.get(address).raise_for_status().json()
                found = jwt.PyJWKSet.from_dict(client.get(document["jwks_uri"]).raise_for_status().json())
        except (httpx.HTTPError, ValueError, KeyError, TypeError, jwt.PyJWTError) as error:
            raise ApiError(
                503,
                "the identity provider must answer and does not; try again",
                kind="server_error",
                code="identity_provider",
                headers={"Retry-After": "5"},
            ) from error
        return {str(key.key_id): key for key in found.keys}


@dataclass(frozen=True, slots=True)
class ClaimMapping:
    """Which claims of a user say groups, and which values of a claim give a role.

    Attributes:
        groups_claim: a list of names of groups.
        roles_claim: a list of names; `realm_access.roles` stands for a list within an object.
        by_value: the role that a value gives; other values give none.
    """

    groups_claim: str
    roles_claim: str
    by_value: Mapping[str, Role]

    @classmethod
    def of(cls, settings: Settings) -> "ClaimMapping":
        """Return the mapping of the settings.

        Raises:
            ConfigurationError: there is no such role.
        """
        return cls(settings.oidc_groups_claim, settings.oidc_roles_claim, parse_role_mapping(settings.oidc_roles))

    def groups(self, claims: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the groups that a token names; none where the claim is absent.

        Raises:
            ApiError: 401 where the claim is no list of names.
        """
        names = _names(claims, self.groups_claim)
        try:
            asker_groups(names)
        except ConfigurationError as error:
            raise unauthorized(str(error)) from error
        return names

    def roles(self, claims: Mapping[str, Any]) -> tuple[Role, ...]:
        """Return the roles that a token gives; reader where it gives none.

        Raises:
            ApiError: 401 where the claim is no list of names.
        """
        if not self.by_value:
            return (Role.READER,)
        names = _names(claims, self.roles_claim)
        return parse_roles(self.by_value[name] for name in names if name in self.by_value)

    def name(self, claims: Mapping[str, Any]) -> str:
        """Return what a person is called, for their own page."""
        wanted = ("name", "preferred_username", "email", "sub")
        return next((str(claims[claim])[:200] for claim in wanted if claims.get(claim)), "")


def _names(claims: Mapping[str, Any], path: str) -> tuple[str, ...]:
    """Return a list of names; a claim of exactly this name comes before a path with dots (names may be URLs)."""
    value: Any = claims.get(path)
    if value is None:
        value = claims
        for part in path.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
    value = [] if value is None else value
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise unauthorized(f"the claim `{path}` must be a list of names")
    return tuple(value)


def unauthorized(message: str) -> ApiError:
    """Return the refusal of who did not show who they are."""
    return ApiError(
        401,
        message,
        kind="authentication_error",
        code="invalid_api_key",
        headers={"WWW-Authenticate": "Bearer"},
    )
