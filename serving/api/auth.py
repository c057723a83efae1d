"""Who asks: a key, a token or a sign-in becomes a user with groups and rights."""

import hashlib
import hmac
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Annotated

from fastapi import Depends, Request

from serving.api.errors import ApiError
from serving.api.people.keys import KeyFile, LastUse
from serving.api.people.roles import RIGHTS, Right, Role, rights_of, roles_with
from serving.api.people.sessions import Person
from serving.api.people.sign_in import SignIn
from serving.api.people.tokens import ClaimMapping, Tokens, unauthorized
from tasks.pseudonym_key import pseudonym_key
from tasks.settings import Settings


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asks.

    Attributes:
        user: a keyed hash of the identity: the same for the same user, and it names nobody.
        groups: as `almanac ask --as` takes them; `everyone` is added by the search.
        is_anonymous: nobody in particular: many askers share this user.
        rights: what the asker may do.
        name: as the key or the token has it, for the asker's own eyes.
        roles: as the key or the token has them, for the asker's own eyes.
        is_signed_in: on the page, by the identity provider.
        knowledge_bases: all that the asker reads comes from these; none: from any.
    """

    user: str
    groups: tuple[str, ...]
    is_anonymous: bool = False
    rights: frozenset[Right] = RIGHTS[Role.READER]
    name: str = ""
    roles: tuple[Role, ...] = (Role.READER,)
    is_signed_in: bool = False
    knowledge_bases: tuple[str, ...] = ()

    def require(self, right: Right) -> None:
        """Refuse whoever lacks a right.

        Raises:
            ApiError: 403.
        """
        if right not in self.rights:
            roles, own = roles_with(right), ", ".join(self.roles)
            option = "--may-push" if right is Right.PUSH else f"--role {roles[0]}"
            raise ApiError(
                403,
                f"this needs the role {' or '.join(roles)}, found {own}; who runs the server gives it: "
                f"`almanac keys add NAME {option}`, or ALMANAC_OIDC_ROLES for who signs in",
                kind="permission_error",
                code=f"may_not_{right}",
            )

    def within(self, wanted: Sequence[str]) -> tuple[str, ...]:
        """Return the knowledge bases to search: those that are wanted, of those that the asker may read.

        Raises:
            ApiError: 403 where none of the wanted ones is.
        """
        if not self.knowledge_bases or not wanted:
            return self.knowledge_bases or tuple(wanted)
        # Never empty: that would mean all of them.
        allowed = tuple(name for name in wanted if name in self.knowledge_bases)
        if not allowed:
            raise ApiError(
                403,
                f"this key reads the knowledge bases {', '.join(self.knowledge_bases)} alone; ask for one of them",
                kind="permission_error",
                code="other_knowledge_base",
            )
        return allowed


def holder_of(right: Right, asker_of: Callable[[Request], Asker]) -> Callable[[Asker], Asker]:
    """Return the dependency of a route that only holders of a right may call: who asks.

    Raises:
        ApiError: 403 where the asker lacks it, once it is called.
    """

    def holder(asker: Annotated[Asker, Depends(asker_of)]) -> Asker:
        asker.require(right)
        return asker

    return holder


def _signed_in(person: Person) -> Asker:
    rights = rights_of(person.roles)
    return Asker(person.user, person.groups, rights=rights, name=person.name, roles=person.roles, is_signed_in=True)


class Identity:
    """Turns the header `Authorization` into an asker. Safe for use by several threads."""

    def __init__(self, settings: Settings, *, anonymous_groups: tuple[str, ...]) -> None:
        """Read keys from `settings.api_keys`, tokens by the provider `settings.oidc_issuer` where one is set.

        Raises:
            ConfigurationError: an issuer without an audience, or a role that there is not.
        """
        self._keys = KeyFile(settings.api_keys)
        self._last_use = LastUse(settings.layout.keys_used)
        self._tokens, self._mapping = Tokens.of(settings), ClaimMapping.of(settings)
        self.sign_in = SignIn.of(settings)
        self._pseudonym_key = pseudonym_key(settings)
        # Tenants that share the key by mistake share no user.
        self._tenant = () if settings.tenant is None else (settings.tenant,)
        self._anonymous_groups = anonymous_groups

    def of_request(self, request: Request) -> Asker:
        """The asker of a request, by its header or by who is signed in on the page that sent it.

        Raises:
            ApiError: 401 without a valid key, token or session.
        """
        authorization = request.headers.get("authorization")
        person = None if authorization or self.sign_in is None else self.sign_in.person(request)
        return self.asker(authorization) if person is None else _signed_in(person)

    def of_held(self, request: Request, method: str) -> Asker:
        """The asker of a request by this method that a proxy holds back while it asks; nobody is anonymous here.

        Raises:
            ApiError: 401 without a valid key, token or session.
        """
        authorization = request.headers.get("authorization")
        if authorization:
            return self.asker(authorization)
        person = None if self.sign_in is None else self.sign_in.person(request, method, may_be_led=True)
        if person is None:
            raise unauthorized("this needs a sign-in, or `Authorization: Bearer <key or token>`; found neither")
        return _signed_in(person)

    def asker(self, authorization: str | None) -> Asker:
        """The asker of a request.

        Raises:
            ApiError: 401 without a valid key or token.
        """
        if not authorization:
            if not self._anonymous_groups:
                raise unauthorized("a request must carry `Authorization: Bearer <key or token>`, found none")
            return Asker(self.pseudonym("anonymous"), self._anonymous_groups, is_anonymous=True)
        scheme, _, credential = authorization.partition(" ")
        if scheme.lower() != "bearer" or not credential.strip():
            raise unauthorized("`Authorization` must be `Bearer <key or token>`")
        return self._identified(credential.strip())

    def pseudonym(self, *identity: str) -> str:
        """A keyed hash of an identity."""
        return hmac.new(
            self._pseudonym_key, "\0".join((*self._tenant, *identity)).encode(), hashlib.sha256
        ).hexdigest()[:32]

    def _identified(self, credential: str) -> Asker:
        key = self._keys.find(credential)
        if key is not None:
            self._last_use.note(key.name)
            user = self.pseudonym("key", key.name)
            own = Asker(user, key.groups, rights=key.rights, name=key.name, roles=key.roles)
            return replace(own, knowledge_bases=key.knowledge_bases)
        if self._tokens is None or credential.count(".") != 2:
            raise unauthorized(
                "the key must be one that `almanac keys add` made, that was not removed and has not come to its end"
            )
        claims = self._tokens.claims(credential)
        groups, roles = self._mapping.groups(claims), self._mapping.roles(claims)
        user = self.pseudonym("oidc", str(claims["iss"]), str(claims["sub"]))
        return Asker(user, groups, rights=rights_of(roles), name=self._mapping.name(claims), roles=roles)
