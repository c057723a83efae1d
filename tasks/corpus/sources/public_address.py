"""Which addresses are of the public internet, and a connection to a web server that leads nowhere else.

Who writes `params.yaml` names hosts, and an intranet is named on purpose. What a named host answers is not his word: a
redirect, or a name that resolves anew, must not lead from it into the own network, where a cloud's metadata and
services without a password listen.
"""

import ipaddress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import aiohttp


def is_public(address: str) -> bool:
    """Say whether an address is of the public internet; one of IPv4 may hide in one of IPv6."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo or (None, None))[1]
        if inner is not None:
            return inner.is_global and ip.is_global
        if ip in ipaddress.ip_network("64:ff9b::/96"):
            return ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF).is_global
    return ip.is_global and not ip.is_multicast


def client_of(named_host: str) -> Any:
    """Return what makes the HTTP client of an fsspec file system: it connects to the named host, or to the internet."""
    import aiohttp

    class GuardedConnector(aiohttp.TCPConnector):
        """Checks the very addresses that are connected to, behind every redirect too."""

        async def _resolve_host(self, host: str, port: int, traces: Any = None) -> Any:
            try:
                entries = await super()._resolve_host(host, port, traces=traces)
            except aiohttp.InvalidURL as error:  # an address written as one number, which is a disguise
                raise OSError(f"{named_host} leads to {host}, which is no address") from error
            for entry in entries:
                if host.casefold() != named_host.casefold() and not is_public(entry["host"]):
                    raise OSError(
                        f"{named_host} leads to {host} at {entry['host']}, which is in the own network; name that host "
                        "as the source's own if it is meant"
                    )
            return entries

    async def get_client(**options: Any) -> "aiohttp.ClientSession":
        return aiohttp.ClientSession(connector=GuardedConnector(), **options)

    return get_client
