"""A polite HTTP client for one source: robots.txt, a pause between requests, limits, no way into the own network."""

import logging
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from types import TracebackType
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpx

from tasks.corpus.sources.public_address import is_public
from tasks.corpus.sources.web_page import normal_url
from tasks.errors import DependencyError, ParseError
from tasks.params.sources import WebSource

logger = logging.getLogger(__name__)

USER_AGENT = "almanac-rag"
MAX_PAGE_BYTES = 64_000_000
_MAX_REDIRECTS = 5
_MAX_DELAY_SECONDS = 30.0
_TIMEOUT_SECONDS = 30.0
_MAX_SECONDS = 120.0
_NUM_FAILURES = 5
_REDIRECTS = {301, 302, 303, 307, 308}


class PrivateAddressError(httpx.TransportError):
    """A host stands in the own network, where a page of the web must not lead."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server said.

    Attributes:
        url: where it said so, after redirects.
        headers: with names in small letters.
    """

    url: str
    status: int
    headers: Mapping[str, str]
    data: bytes


class GuardedTransport(httpx.BaseTransport):
    """Connects to the very address that was checked: a name that resolves anew for the connection is no way around."""

    def __init__(self, *, allow_private: bool, resolve: Callable[..., list[Any]] = socket.getaddrinfo) -> None:
        self._allow_private = allow_private
        self._resolve = resolve
        self._transport = httpx.HTTPTransport()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request.

        Raises:
            PrivateAddressError: the host has an address that is not of the public internet.
        """
        host = request.url.host
        if not self._allow_private:
            request.url = request.url.copy_with(host=self._public_address(host, request.url.port))
            request.extensions = {**request.extensions, "sni_hostname": host}
        return self._transport.handle_request(request)

    def _public_address(self, host: str, port: int | None) -> str:
        try:
            resolved = self._resolve(host, port or 443, type=socket.SOCK_STREAM)
        except OSError as error:
            raise httpx.ConnectError(f"the name {host} is not known: {error}") from error
        addresses = [str(entry[4][0]).partition("%")[0] for entry in resolved]
        for address in addresses:
            if not is_public(address):
                raise PrivateAddressError(
                    f"{host} must stand in the public internet, found {address}; "
                    "`allow_private_addresses: true` lets the source in"
                )
        return addresses[0]

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()


class WebClient:
    """Asks the hosts of a source, one request at a time."""

    def __init__(self, source: WebSource) -> None:
        self._source = source
        self._client = httpx.Client(
            transport=GuardedTransport(allow_private=source.allow_private_addresses),
            headers={"User-Agent": USER_AGENT, "Accept": "text/html,application/xhtml+xml,*/*;q=0.5"},
            timeout=_TIMEOUT_SECONDS,
            trust_env=False,
        )
        self._hosts: set[str] = set()
        self._robots: dict[str, Any] = {}
        self._next_at = 0.0
        self._num_failures = 0

    def __enter__(self) -> "WebClient":
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._client.close()

    def enter(self, url: str) -> Answer:
        """Ask for an address that the parameters name; its host, and that to which it leads, are the source's.

        Raises:
            DependencyError: it does not answer with success.
        """
        self._hosts.add(_origin(url))
        try:
            answer = self._follow(url, {}, is_entry=True)
        except (httpx.HTTPError, httpx.InvalidURL, ParseError) as error:
            raise self._unreachable(url, str(error) or type(error).__name__) from error
        if answer is None or answer.status != HTTPStatus.OK:
            why = "robots.txt forbids it" if answer is None else f"status {answer.status}"
            raise self._unreachable(url, why)
        return answer

    def get(self, url: str, headers: Mapping[str, str]) -> Answer | None:
        """Ask for a page; None where it is another host's, or robots.txt forbids it.

        Raises:
            ParseError: `damaged`: this page does not answer, or leads into the own network.
            DependencyError: one page after another does not answer.
        """
        try:
            answer = self._follow(url, headers, is_entry=False)
        except PrivateAddressError as error:
            raise ParseError("damaged", str(error)) from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            self._num_failures += 1
            if self._num_failures >= _NUM_FAILURES:
                raise self._unreachable(url, f"{_NUM_FAILURES} pages without an answer, {error}") from error
            raise ParseError("damaged", f"the page must answer, found: {type(error).__name__} {error}") from error
        self._num_failures = 0
        return answer

    def admit(self, url: str) -> None:
        """Count the host of an address that an earlier scan listed among the source's."""
        self._hosts.add(_origin(url))

    def is_ours(self, url: str) -> bool:
        """Return whether an address is of a host of this source."""
        return _origin(url) in self._hosts

    def _follow(self, url: str, headers: Mapping[str, str], *, is_entry: bool) -> Answer | None:
        for _redirect in range(_MAX_REDIRECTS + 1):
            if not self._may_ask(url):
                return None
            answer = self._ask(url, headers)
            if answer.status not in _REDIRECTS or "location" not in answer.headers:
                return answer
            url = normal_url(urljoin(url, answer.headers["location"]))
            if not url.startswith(("http://", "https://")):
                return None
            if is_entry:
                self._hosts.add(_origin(url))
        raise httpx.TooManyRedirects(f"more than {_MAX_REDIRECTS} redirects")

    def _may_ask(self, url: str) -> bool:
        return self.is_ours(url) and bool(self._robots_of(_origin(url)).can_fetch(url, USER_AGENT))

    def _robots_of(self, origin: str) -> Any:
        """The rules of a host, asked for once: none where it has none; a host in trouble is not asked for more."""
        from protego import Protego

        if origin not in self._robots:
            self._robots[origin] = Protego.parse("")
            answer = self._ask(f"{origin}/robots.txt", {})
            if answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
                raise httpx.TransportError(f"robots.txt answers with status {answer.status}")
            if answer.status == HTTPStatus.OK:
                self._robots[origin] = Protego.parse(answer.data.decode("utf-8", "replace"))
        return self._robots[origin]

    def _ask(self, url: str, headers: Mapping[str, str]) -> Answer:
        self._wait(_origin(url))
        until = time.monotonic() + _MAX_SECONDS
        with self._client.stream("GET", url, headers=dict(headers)) as response:
            data = bytearray()
            for block in response.iter_bytes():
                data += block
                if len(data) > MAX_PAGE_BYTES or time.monotonic() > until:
                    raise ParseError(
                        "too_large",
                        f"a page must have at most {MAX_PAGE_BYTES} bytes and come within {_MAX_SECONDS:g} seconds; "
                        "exclude it",
                    )
        return Answer(url, response.status_code, dict(response.headers), bytes(data))

    def _wait(self, origin: str) -> None:
        time.sleep(max(0.0, self._next_at - time.monotonic()))
        robots = self._robots.get(origin)
        asked = float(robots.crawl_delay(USER_AGENT) or 0) if robots is not None else 0.0
        self._next_at = time.monotonic() + min(max(self._source.delay_seconds, asked), _MAX_DELAY_SECONDS)

    def _unreachable(self, url: str, why: str) -> DependencyError:
        return DependencyError(
            f"the source {self._source.name} must answer at {url}, found: {why}; check the address and the network"
        )


def _origin(url: str) -> str:
    parts = urlsplit(normal_url(url))
    return f"{parts.scheme}://{parts.netloc}"
