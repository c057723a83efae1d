"""A real OIDC provider for tests: `oidc-provider-mock` (discovery, codes, ID tokens, end of sessions)."""

import base64
import hashlib
import io
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

import httpx
import pytest


@dataclass
class Provider:
    """A provider that runs; it lets in whoever says a name, with the claims that were set for it.

    Attributes:
        challenges: by authorisation code's request, what PKCE promised.
        verifiers: what was shown for it at the exchange.
    """

    issuer: str
    challenges: list[str] = field(default_factory=list)
    verifiers: list[str] = field(default_factory=list)

    def know(self, subject: str, **claims: Any) -> None:
        httpx.put(f"{self.issuer}/users/{subject}", json=claims).raise_for_status()

    def checks_pkce(self) -> bool:
        """Whether each verifier at the exchange was the one promised at the beginning."""
        hashed = [hashlib.sha256(one.encode()).digest() for one in self.verifiers]
        shown = {base64.urlsafe_b64encode(one).rstrip(b"=").decode() for one in hashed}
        return bool(shown) and shown <= set(self.challenges)


@contextmanager
def running_provider() -> Iterator[Provider]:
    """The provider in a thread, on a free port."""
    from oidc_provider_mock import run_server_in_thread

    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("AUTHLIB_INSECURE_TRANSPORT", "1")
        with run_server_in_thread() as server:
            provider = Provider(f"http://localhost:{server.server_port}")
            server.app = _recorded(server.app, provider)
            yield provider


def _recorded(app: Any, provider: Provider) -> Any:
    """The app, which does not check PKCE itself, with what it was sent written down."""

    def called(environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        asked = parse_qs(environ.get("QUERY_STRING", ""))
        provider.challenges += asked.get("code_challenge", []) if asked.get("code_challenge_method") == ["S256"] else []
        if environ["PATH_INFO"] == "/oauth2/token":
            body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
            environ["wsgi.input"] = io.BytesIO(body)
            provider.verifiers += parse_qs(body.decode()).get("code_verifier", [])
        return app(environ, start)  # type: ignore[no-any-return]

    return called
