"""Who asks: an API key or a token of an OIDC provider becomes a user and groups.

Only SHA-256 of a key is kept. A slow hash (scrypt) protects secrets that can be guessed; a key here holds 256 random
bits, which nobody guesses at any speed, and a slow hash would let strangers burn the server's time.
"""

import hashlib
import hmac
import json
import os
import secrets
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from serving.api.errors import ApiError
from tasks.errors import ConfigurationError, CorruptionError
from tasks.files import write_json
from tasks.index.access import asker_groups
from tasks.settings import Settings

KEY_PREFIX = "almanac-"
ALGORITHMS = ("RS256", "ES256")
LEEWAY_SECONDS = 30
JWKS_LIFESPAN_SECONDS = 3600.0
JWKS_MIN_REFETCH_SECONDS = 30.0
"""A token that names an unknown key lets the keys be fetched again, but not more often than so."""
JWKS_TIMEOUT_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asks.

    Attributes:
        user: a keyed hash of the identity: the same for the same user, and it names nobody.
        groups: as `almanac ask --as` takes them; `everyone` is added by the search.
        may_push: whether the key may push documents.
        is_anonymous: nobody in particular: many askers share this user.
        may_review: whether the key may decide on drafts of training and evaluation.
    """

    user: str
    groups: tuple[str, ...]
    may_push: bool = False
    is_anonymous: bool = False
    may_review: bool = False


class Identity:
    """Turns the header `Authorization` into an asker. Safe for use by several threads."""

    def __init__(self, settings: Settings, *, anonymous_groups: tuple[str, ...]) -> None:
        """Read keys from `settings.api_keys`, tokens by the provider `settings.oidc_issuer` where one is set.

        Raises:
            ConfigurationError: an issuer without an audience.
        """
        self._keys = KeyFile(settings.api_keys)
        self._tokens = Tokens.of(settings)
        self._pseudonym_key = _pseudonym_key(settings)
        self._anonymous_groups = anonymous_groups

    def asker(self, authorization: str | None) -> Asker:
        """The asker of a request.

        Raises:
            ApiError: 401 without a valid key or token.
        """
        if not authorization:
            if not self._anonymous_groups:
                raise _unauthorized("a request must carry `Authorization: Bearer <key or token>`, found none")
            return Asker(self.pseudonym("anonymous"), self._anonymous_groups, is_anonymous=True)
        scheme, _, credential = authorization.partition(" ")
        if scheme.lower() != "bearer" or not credential.strip():
            raise _unauthorized("`Authorization` must be `Bearer <key or token>`")
        return self._identified(credential.strip())

    def pseudonym(self, *identity: str) -> str:
        """A keyed hash of an identity."""
        return hmac.new(self._pseudonym_key, "\0".join(identity).encode(), hashlib.sha256).hexdigest()[:32]

    def _identified(self, credential: str) -> Asker:
        key = self._keys.find(credential)
        if key is not None:
            return Asker(self.pseudonym("key", key.name), key.groups, may_push=key.may_push, may_review=key.may_review)
        if self._tokens is None or credential.count(".") != 2:
            raise _unauthorized("the key must be one that `almanac keys add` made and that was not removed")
        claims = self._tokens.claims(credential)
        groups = self._tokens.groups(claims)
        return Asker(self.pseudonym("oidc", str(claims["iss"]), str(claims["sub"])), groups)


@dataclass(frozen=True, slots=True)
class Key:
    """What is kept of an API key."""

    name: str
    sha256: str
    groups: tuple[str, ...]
    may_push: bool = False
    may_review: bool = False


class KeyFile:
    """The file of API keys; read anew whenever it changed, so that a removed key ends with the next request."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._state: tuple[int, int, int] | None = None
        self._keys: Mapping[str, Key] = {}

    def find(self, credential: str) -> Key | None:
        """The entry of a key, None where there is none."""
        # A lookup by hash tells by its time at most how a hash begins, and no hash leads back to a key.
        return self._current().get(_digest(credential))

    def entries(self) -> list[Key]:
        """All keys, by name."""
        return sorted(self._current().values(), key=lambda key: key.name)

    def add(self, name: str, groups: tuple[str, ...], *, may_push: bool = False, may_review: bool = False) -> str:
        """Make a key and return it; it cannot be shown again.

        Raises:
            ConfigurationError: the name is taken, or a group's name is empty or too long.
        """
        asker_groups(groups)
        if not name.strip() or any(key.name == name for key in self.entries()):
            raise ConfigurationError(f"a key must have a name of its own, found {name!r}; choose another or remove it")
        credential = KEY_PREFIX + secrets.token_urlsafe(32)
        self._write([*self.entries(), Key(name, _digest(credential), groups, may_push, may_review)])
        return credential

    def remove(self, name: str) -> None:
        """Forget a key.

        Raises:
            ConfigurationError: there is none of that name.
        """
        kept = [key for key in self.entries() if key.name != name]
        if len(kept) == len(self.entries()):
            raise ConfigurationError(f"a key named {name!r} must exist; `almanac keys list` shows those that do")
        self._write(kept)

    def _write(self, keys: list[Key]) -> None:
        rows = [asdict(key) for key in keys]
        write_json(self.path, {"keys": rows})
        self.path.chmod(0o600)

    def _current(self) -> Mapping[str, Key]:
        try:
            status = self.path.stat()
        except FileNotFoundError:
            return {}
        state = (status.st_mtime_ns, status.st_size, status.st_ino)
        if state != self._state:
            self._keys, self._state = self._read(), state
        return self._keys

    def _read(self) -> Mapping[str, Key]:
        try:
            rows = json.loads(self.path.read_text(encoding="utf-8"))["keys"]
            keys = [_key(row) for row in rows]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CorruptionError(
                f"{self.path} must be the file that `almanac keys add` writes, found: {error!r}; restore or delete it"
            ) from error
        return {key.sha256: key for key in keys}


class Tokens:
    """Checks tokens of one OIDC provider: signature, `exp`, `nbf`, `aud` and `iss`."""

    def __init__(self, issuer: str, audience: str, groups_claim: str) -> None:
        self._issuer, self._audience, self._groups_claim = issuer, audience, groups_claim
        self._lock = threading.Lock()
        self._keys: dict[str, Any] = {}
        self._fetched = float("-inf")

    @classmethod
    def of(cls, settings: Settings) -> "Tokens | None":
        """The provider of the settings, None where none is set."""
        if settings.oidc_issuer is None:
            return None
        if not settings.oidc_audience:
            raise ConfigurationError(
                "ALMANAC_OIDC_AUDIENCE must be set beside ALMANAC_OIDC_ISSUER: without it, a token that was made for "
                "another application would open this one"
            )
        return cls(settings.oidc_issuer, settings.oidc_audience, settings.oidc_groups_claim)

    def claims(self, token: str) -> dict[str, Any]:
        """The claims of a valid token.

        Raises:
            ApiError: 401 for a token that is not valid, 503 where the provider's keys cannot be had.
        """
        import jwt

        try:
            header = jwt.get_unverified_header(token)
            if header.get("alg") not in ALGORITHMS:
                raise _unauthorized(f"a token must be signed by {' or '.join(ALGORITHMS)}")
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
            raise _unauthorized(f"the token must be valid: {type(error).__name__}") from error
        return claims

    def groups(self, claims: Mapping[str, Any]) -> tuple[str, ...]:
        """The groups that a token names; none where the claim is absent.

        Raises:
            ApiError: 401 where the claim is no list of names.
        """
        found = claims.get(self._groups_claim, [])
        if not isinstance(found, list) or not all(isinstance(name, str) for name in found):
            raise _unauthorized(f"the claim `{self._groups_claim}` must be a list of names")
        try:
            asker_groups(found)
        except ConfigurationError as error:
            raise _unauthorized(str(error)) from error
        return tuple(found)

    def _key(self, kid: str) -> Any:
        with self._lock:
            age = time.monotonic() - self._fetched
            if age > JWKS_LIFESPAN_SECONDS or (kid not in self._keys and age > JWKS_MIN_REFETCH_SECONDS):
                self._keys = self._fetch()
                self._fetched = time.monotonic()
            if kid not in self._keys:
                raise _unauthorized("the token must be signed by a key of the provider")
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


def _key(row: Mapping[str, Any]) -> Key:
    rights = {name: row.get(name) is True for name in ("may_push", "may_review")}
    return Key(str(row["name"]), str(row["sha256"]), tuple(map(str, row["groups"])), **rights)


def _digest(credential: str) -> str:
    return hashlib.sha256(credential.encode()).hexdigest()


def _unauthorized(message: str) -> ApiError:
    return ApiError(
        401,
        message,
        kind="authentication_error",
        code="invalid_api_key",
        headers={"WWW-Authenticate": "Bearer"},
    )


def _pseudonym_key(settings: Settings) -> bytes:
    """`ALMANAC_PSEUDONYM_KEY`, else a random key that is kept in the home."""
    if settings.pseudonym_key is not None:
        return settings.pseudonym_key.get_secret_value().encode()
    path = settings.home.resolve() / "pseudonym.key"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        beside.touch(mode=0o600)
        beside.write_text(secrets.token_hex(32), encoding="utf-8")
        # A link, not a rename: of two servers that start at once, the first one's key stands.
        with suppress(FileExistsError):
            path.hardlink_to(beside)
        beside.unlink()
    return path.read_text(encoding="utf-8").encode()
