"""Small objects that all machines of an installation see: in a folder that they share, or in a bucket.

An object appears whole or not at all, and `create` lets one of several writers win. Ages are told by the store's clock,
since those of two machines differ. Knows nothing of what is kept.
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from tasks.errors import ConfigurationError, DependencyError
from tasks.files import whole_file
from tasks.stores import CONNECT_SECONDS, READ_SECONDS, require_packages


class SharedStore(Protocol):
    """Objects by name; `/` parts a name. Every method raises `DependencyError` where the store does not answer."""

    @property
    def address(self) -> str:
        """Where it lies."""

    def read(self, name: str) -> bytes | None:
        """Return an object; None: there is none."""

    def write(self, name: str, content: bytes) -> None:
        """Write an object, in place of the one that is there."""

    def create(self, name: str, content: bytes) -> bool:
        """Write an object unless there is one; return whether this call wrote it."""

    def delete(self, name: str) -> None:
        """Remove an object, if it is there."""

    def names(self, prefix: str) -> list[str]:
        """Return the names that begin with `prefix`, sorted."""

    def age_seconds(self, name: str) -> float | None:
        """Return how long ago an object was written, by the store's clock; None: there is none."""

    def skew_seconds(self, name: str) -> float:
        """Return the store's clock less that of this machine, by an object that was written a moment ago."""


def open_shared_store(address: str | None) -> SharedStore | None:
    """Return the store of an address; None where nothing is shared.

    Raises:
        ConfigurationError: it is neither a folder nor `s3://`, or a package is missing.
    """
    if address is None:
        return None
    if "://" not in address:
        return FolderStore(Path(address).resolve())
    parts = urlsplit(address)
    if parts.scheme != "s3":
        raise ConfigurationError(
            f"ALMANAC_STORE must be a folder that all machines see or s3://bucket/prefix, found {address}; name one"
        )
    require_packages("ALMANAC_STORE", address)
    return _s3_store(parts.netloc, parts.path.strip("/"), os.environ.get("AWS_ENDPOINT_URL"))


@lru_cache(maxsize=4)
def _s3_store(bucket: str, prefix: str, _endpoint: str | None) -> "S3Store":
    """Make a client once for each store: it costs a third of a second, and threads may share it."""
    return S3Store(bucket, prefix)


class FolderStore:
    """A folder on a filesystem that every machine mounts at the same path."""

    def __init__(self, root: Path) -> None:
        """Touch nothing yet."""
        self._root = root

    @property
    def address(self) -> str:
        """The folder."""
        return str(self._root)

    def read(self, name: str) -> bytes | None:
        """Return a file; None: there is none."""
        with _answers(self.address):
            try:
                return (self._root / name).read_bytes()
            except FileNotFoundError:
                return None

    def write(self, name: str, content: bytes) -> None:
        """Write a file beside, then rename it."""
        with whole_file(self._root / name) as beside:
            beside.write_bytes(content)

    def create(self, name: str, content: bytes) -> bool:
        """Write a file beside, then link it to its name: the one step that fails where the name is taken."""
        target = self._root / name
        beside = target.with_name(f".{target.name}.{os.getpid()}.{os.urandom(4).hex()}.tmp")
        with _answers(self.address):
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                with beside.open("xb") as stream:
                    stream.write(content)
                    stream.flush()
                    os.fsync(stream.fileno())
                os.link(beside, target)
            except FileExistsError:
                return False
            finally:
                beside.unlink(missing_ok=True)
        return True

    def delete(self, name: str) -> None:
        """Remove a file."""
        with _answers(self.address):
            (self._root / name).unlink(missing_ok=True)

    def names(self, prefix: str) -> list[str]:
        """Return the names of files, without those that are being written."""
        folder = (self._root / prefix).parent if not prefix.endswith("/") else self._root / prefix
        with _answers(self.address):
            paths = [path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")]
        return sorted(name for path in paths if (name := path.relative_to(self._root).as_posix()).startswith(prefix))

    def age_seconds(self, name: str) -> float | None:
        """Compare with a file that is written now."""
        now = self._root / f".clock.{os.getpid()}.{os.urandom(4).hex()}"
        with _answers(self.address):
            try:
                now.touch()
                return max(0.0, now.stat().st_mtime - (self._root / name).stat().st_mtime)
            except FileNotFoundError:
                return None
            finally:
                now.unlink(missing_ok=True)

    def skew_seconds(self, name: str) -> float:
        """Compare the file's time with that of this machine."""
        with _answers(self.address):
            return (self._root / name).stat().st_mtime - time.time()


class S3Store:
    """A prefix of a bucket; `create` is a conditional write (`If-None-Match: *`)."""

    def __init__(self, bucket: str, prefix: str) -> None:
        """Connect to nothing yet."""
        import boto3
        from botocore.config import Config

        self._bucket, self._prefix = bucket, prefix
        retries: dict[str, Any] = {"max_attempts": 3, "mode": "standard"}
        config = Config(connect_timeout=CONNECT_SECONDS, read_timeout=READ_SECONDS, retries=retries)
        # A client of a session of its own: the default session is not safe for threads.
        self._client: Any = boto3.session.Session().client("s3", config=config)

    @property
    def address(self) -> str:
        """As in the settings."""
        return f"s3://{self._bucket}/{self._prefix}"

    def read(self, name: str) -> bytes | None:
        """Return an object; None: there is none."""
        with self._calls():
            try:
                content: bytes = self._client.get_object(**self._at(name))["Body"].read()
            except self._client.exceptions.NoSuchKey:
                return None
        return content

    def write(self, name: str, content: bytes) -> None:
        """Put an object."""
        with self._calls():
            self._client.put_object(**self._at(name), Body=content)

    def create(self, name: str, content: bytes) -> bool:
        """Put an object on the condition that there is none.

        Whoever wrote what is read behind it has won: the answer to the first try of a put may be lost, and a server
        that does not know conditions lets the last of two writers win.
        """
        from botocore.exceptions import ClientError

        with self._calls():
            try:
                self._client.put_object(**self._at(name), Body=content, IfNoneMatch="*")
            except ClientError as error:
                if error.response["Error"]["Code"] not in ("PreconditionFailed", "ConditionalRequestConflict", "412"):
                    raise
        return self.read(name) == content

    def delete(self, name: str) -> None:
        """Delete an object."""
        with self._calls():
            self._client.delete_object(**self._at(name))

    def names(self, prefix: str) -> list[str]:
        """List a prefix."""
        begin = len(self._prefix) + 1 if self._prefix else 0
        with self._calls():
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=self._at(prefix)["Key"]
            )
            return sorted(entry["Key"][begin:] for page in pages for entry in page.get("Contents", []))

    def age_seconds(self, name: str) -> float | None:
        """Compare the object's time with that of the answer."""
        from email.utils import parsedate_to_datetime

        from botocore.exceptions import ClientError

        with self._calls():
            try:
                answer = self._client.head_object(**self._at(name))
            except ClientError as error:
                if error.response["Error"]["Code"] in ("404", "NoSuchKey"):
                    return None
                raise
        date = answer["ResponseMetadata"]["HTTPHeaders"].get("date")
        now = parsedate_to_datetime(date).timestamp() if date else time.time()
        modified: float = answer["LastModified"].timestamp()
        return max(0.0, now - modified)

    def skew_seconds(self, name: str) -> float:
        """Compare the object's time, in whole seconds, with that of this machine."""
        with self._calls():
            modified: float = self._client.head_object(**self._at(name))["LastModified"].timestamp()
        return modified - time.time()

    def _at(self, name: str) -> dict[str, str]:
        return {"Bucket": self._bucket, "Key": f"{self._prefix}/{name}" if self._prefix else name}

    @contextmanager
    def _calls(self) -> Iterator[None]:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            yield
        except (BotoCoreError, ClientError) as error:
            raise _down(self.address, error) from error


@contextmanager
def _answers(address: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _down(address, error) from error


def _down(address: str, error: Exception) -> DependencyError:
    return DependencyError(
        f"the shared store {address} must answer, found: {' '.join(str(error).split())[:300]}; check the address and "
        "the rights (almanac doctor --stores), and run again"
    )
