"""What the stores outside of the home need: packages, time-outs, and a clear word where one of them is missing."""

import os
from collections.abc import Mapping
from importlib.util import find_spec
from types import MappingProxyType
from urllib.parse import urlsplit

from tasks.errors import ConfigurationError

CONNECT_SECONDS = 5
READ_SECONDS = 20
RETRY_SECONDS = 30
_PACKAGES: Mapping[str, tuple[str, tuple[str, ...]]] = MappingProxyType(
    {
        "s3": ("s3", ("boto3", "s3fs", "dvc_s3")),
        "s3a": ("s3", ("boto3", "s3fs", "dvc_s3")),
        "postgresql": ("postgresql", ("psycopg2",)),
        "postgres": ("postgresql", ("psycopg2",)),
    }
)
"""By the scheme of an address: the extra, and what it brings."""


def require_packages(what: str, address: str | None) -> None:
    """Say before the work, not behind it, that an address needs packages that are not installed.

    Args:
        what: the setting or parameter that holds the address; begins the message.
        address: a URL or a folder; None: nothing is set.

    Raises:
        ConfigurationError: it names the extra that brings them.
    """
    scheme = urlsplit(address or "").scheme.partition("+")[0]
    extra, modules = _PACKAGES.get(scheme, ("", ()))
    missing = [module for module in modules if find_spec(module) is None]
    if missing:
        raise ConfigurationError(
            f"{what} names {scheme}://, which must have the packages of the extra `{extra}`, found no "
            f"{', '.join(missing)}; pip install -c constraints.txt '.[{extra}]' in its folder"
        )


def lance_options(address: str) -> dict[str, str] | None:
    """Return how LanceDB reaches an object store: it gives up after seconds, and speaks HTTP where the endpoint does.

    None for a folder.
    """
    if "://" not in address:
        return None
    options = {
        "connect_timeout": f"{CONNECT_SECONDS}s",
        "timeout": f"{READ_SECONDS}s",
        "client_max_retries": "3",
        "client_retry_timeout": str(RETRY_SECONDS),
    }
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if address.startswith("s3") and endpoint:
        options |= {"aws_endpoint": endpoint, "aws_region": _region()}
        options |= {"allow_http": "true"} if endpoint.startswith("http://") else {}
    return options


def _region() -> str:
    return os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1"
