"""Files under a folder or any fsspec URL."""

import errno
import hashlib
import logging
import os
import re
import stat
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote_from_bytes, unquote_to_bytes, urlsplit

from fsspec import AbstractFileSystem

from tasks.corpus.document import Item
from tasks.corpus.sources.globs import path_filter
from tasks.corpus.sources.public_address import client_of
from tasks.corpus.sources.reader import RawItem, SourceReader
from tasks.errors import ConfigurationError, DependencyError, ParseError
from tasks.params.sources import FilesSource
from tasks.stores import require_packages

logger = logging.getLogger(__name__)

_NO_SIGN = "unknown"
_HEADS_AT_ONCE = 16
_NO_FILE = re.compile(r"[?#]|/$|/\.\./|^/?(?:mailto|javascript|tel|data):", re.IGNORECASE)
_SIGNS = (
    *("ETag", "etag", "md5", "Content-MD5", "Digest", "checksum"),
    *("mtime", "LastModified", "Last-Modified", "last_modified", "updated", "created"),
)
"""Names under which file systems give a sign of change, the surest first."""


def open_files(source: FilesSource) -> SourceReader:
    """Return the reader of a local folder or of a remote one.

    Raises:
        ConfigurationError: no file system is known for the URL.
    """
    file_system, path = file_system_of(source.url)
    if "file" in _protocols(file_system):
        return LocalFilesReader(source, Path(path))
    return RemoteFilesReader(source, file_system, path)


def local_folder(source: FilesSource) -> Path:
    """Return the folder of a source of local files."""
    return Path(file_system_of(source.url)[1]).resolve()


def file_system_of(url: str) -> tuple[AbstractFileSystem, str]:
    """Return the fsspec file system of a URL, and the path in it.

    Raises:
        ConfigurationError: the protocol is unknown, or its package is not installed.
    """
    from fsspec.core import url_to_fs

    require_packages("`url` of a source", url)
    try:
        file_system, path = url_to_fs(url, **_guarded(url))
    except (ValueError, ImportError) as error:
        raise ConfigurationError(
            f"`url` of a source must be a folder or an fsspec URL, found {url}: {error}"
        ) from error
    return file_system, str(path)


def _guarded(url: str) -> dict[str, Any]:
    """What a web server answers must not lead into the own network, but for the host that is named."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return {}
    return {"get_client": client_of(parts.hostname), "skip_instance_cache": True}


def _protocols(file_system: AbstractFileSystem) -> tuple[str, ...]:
    protocol: str | tuple[str, ...] = file_system.protocol
    return (protocol,) if isinstance(protocol, str) else protocol


class LocalFilesReader:
    """Regular files under a local folder; nothing outside of it is ever read."""

    def __init__(self, source: FilesSource, root: Path) -> None:
        self._source = source
        self._root = root.resolve()

    def scan(self) -> Iterator[Item]:
        """List the files in name order.

        Raises:
            DependencyError: the root or a folder in it is missing or unreadable.
        """
        takes = path_filter(self._source.include, self._source.exclude)
        if self._root.is_file():
            yield self._item(self._root.name, os.fspath(self._root), self._root.stat())
            return
        for relative, path, status in self._walk("", takes):
            yield self._item(relative, path, status)

    def _walk(self, folder: str, takes: Callable[[str], bool]) -> Iterator[tuple[str, str, os.stat_result]]:
        pending = [folder]
        while pending:
            folder = pending.pop()
            folders = []
            for entry in self._entries(folder):
                relative = f"{folder}{entry.name}"
                if entry.is_dir(follow_symlinks=False):
                    folders.append(f"{relative}/")
                elif takes(relative) and (status := self._regular(entry)):
                    yield relative, entry.path, status
            pending.extend(reversed(folders))

    def _entries(self, folder: str) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(self._root / folder) as entries:
                return sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            raise DependencyError(
                f"the source {self._source.name} must be a readable folder, found {error.strerror}: "
                f"{self._root / folder}; mount it, correct `url`, or exclude it"
            ) from error

    def _regular(self, entry: os.DirEntry[str]) -> os.stat_result | None:
        """Status of a regular file; a link counts only if it leads to a regular file under the root."""
        try:
            status = entry.stat()
            inside = not entry.is_symlink() or Path(entry.path).resolve().is_relative_to(self._root)
        except OSError as error:  # a loop, a dangling link, a file that vanished meanwhile
            logger.warning("source %s: %r is left out: %s", self._source.name, entry.path, error.strerror)
            return None
        if stat.S_ISREG(status.st_mode) and inside:
            return status
        if not stat.S_ISDIR(status.st_mode) or not inside:  # a linked folder inside is listed by its own name
            logger.warning("source %s: %r is left out: not a regular file in the root", self._source.name, entry.path)
        return None

    def _item(self, relative: str, path: str, status: os.stat_result) -> Item:
        key, locator = relative, ""
        if not _is_unicode(relative):
            key = os.fsencode(relative).decode("utf-8", "backslashreplace")
            locator = quote_from_bytes(os.fsencode(path))
        return Item(
            source=self._source.name,
            key=key,
            fingerprint=f"{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}",
            size_bytes=status.st_size,
            uri="file://" + quote_from_bytes(os.fsencode(path)),
            locator=locator,
        )

    def raw_hash(self, item: Item) -> str:
        """Return sha256 of the file.

        Raises:
            ParseError: the file can't be read.
        """
        return hashlib.sha256(self._read(item)).hexdigest()

    def fetch(self, item: Item) -> RawItem:
        """Return the file's bytes.

        Raises:
            ParseError: the file can't be read.
        """
        data = self._read(item)
        return RawItem(data, item.key.rpartition("/")[2], raw_hash=hashlib.sha256(data).hexdigest())

    def _read(self, item: Item) -> bytes:
        try:
            path = self._path(item).resolve(strict=True)
            if not path.is_relative_to(self._root):
                raise OSError(errno.EXDEV, "a link out of the source's folder")
            # Between the listing and now the file may have become a pipe or a link: neither is opened.
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            with open(descriptor, "rb") as file:  # noqa: PTH123 (a descriptor)
                if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                    raise OSError(errno.EINVAL, "no regular file")
                return file.read()
        except (OSError, RuntimeError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise ParseError(
                "damaged", f"the file must be readable, found: {reason}; restore it or exclude it"
            ) from error

    def _path(self, item: Item) -> Path:
        if item.locator:
            return Path(os.fsdecode(unquote_to_bytes(item.locator)))
        return self._root if self._root.is_file() else self._root / item.key


def _is_unicode(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


class RemoteFilesReader:
    """Files of a bucket or a web server."""

    def __init__(self, source: FilesSource, file_system: AbstractFileSystem, root: str) -> None:
        self._source = source
        self._file_system = file_system
        self._root = root.rstrip("/")
        # Not every web server leads from `/docs` to the listing at `/docs/`.
        self._folder = root if "://" in root else self._root

    def scan(self) -> Iterator[Item]:
        """List the files in name order.

        Raises:
            DependencyError: the URL does not answer or does not exist.
        """
        takes = path_filter(self._source.include, self._source.exclude)
        for path, info in sorted(self._listed().items()):
            key = path.removeprefix(self._root).lstrip("/") or path.rpartition("/")[2]
            if key and not self._is_no_file(path) and takes(key):
                yield self._item(key, path, info)

    def _is_no_file(self, path: str) -> bool:
        """A web server's listing also links to itself in other orders (`?C=N;O=D`), to a place, to somebody's mail."""
        return "://" in path and bool(_NO_FILE.search(path.removeprefix(self._root)))

    def _listed(self) -> dict[str, dict[str, Any]]:
        try:
            self._file_system.invalidate_cache()
            if not self._source.url.endswith("/") and self._file_system.isfile(self._root):
                return {self._root: self._file_system.info(self._root)}
            if not self._file_system.exists(self._folder):
                raise FileNotFoundError(self._folder)
            listing: dict[str, dict[str, Any]] = self._file_system.find(self._folder, detail=True)
            if "http" in _protocols(self._file_system):
                paths = dict.fromkeys(path.replace("/./", "/") for path in listing if not self._is_no_file(path))
                listing = self._with_signs(list(paths))
        except (OSError, TimeoutError) as error:
            raise self._unreachable(error) from error
        return listing

    def _with_signs(self, paths: list[str]) -> dict[str, dict[str, Any]]:
        """What the server says of each page without sending it (HEAD): a listing tells neither ETag nor time.

        A page that does not answer stays: reading it gives the reason.
        """

        def info(path: str) -> dict[str, Any]:
            with suppress(FileNotFoundError, PermissionError):
                return dict(self._file_system.info(path))
            return {}

        with ThreadPoolExecutor(_HEADS_AT_ONCE) as pool:
            return dict(zip(paths, pool.map(info, paths), strict=True))

    def _item(self, key: str, path: str, info: dict[str, Any]) -> Item:
        return Item(
            source=self._source.name,
            key=key,
            fingerprint=remote_fingerprint(info),
            size_bytes=int(info.get("size") or 0),
            uri=path if "://" in path else f"{_protocols(self._file_system)[0]}://{path}",
            locator=path,
        )

    def raw_hash(self, item: Item) -> str:
        """Return sha256 of the file."""
        return self.fetch(item).raw_hash

    def fetch(self, item: Item) -> RawItem:
        """Return the file's bytes.

        Raises:
            ParseError: the file is gone or forbidden.
            DependencyError: the server does not answer.
        """
        try:
            data = bytes(self._file_system.cat_file(item.locator))
        except (FileNotFoundError, PermissionError) as error:
            raise ParseError(
                "damaged", f"the file must be readable, found: {error}; restore it or exclude it"
            ) from error
        except OSError as error:
            raise self._unreachable(error) from error
        return RawItem(data, item.key.rpartition("/")[2], raw_hash=hashlib.sha256(data).hexdigest())

    def _unreachable(self, error: OSError) -> DependencyError:
        return DependencyError(
            f"the source {self._source.name} must be reachable at {self._source.url}, found: "
            f"{type(error).__name__} {error}; check the address, the network and the credentials"
        )


def remote_fingerprint(info: dict[str, Any]) -> str:
    """Size and the server's sign of change; without any sign a value that differs at each scan, so that it is read."""
    for name in _SIGNS:
        if info.get(name):
            return f"{info.get('size')} {info[name]}"
    return f"{_NO_SIGN} {time.time_ns()}"
