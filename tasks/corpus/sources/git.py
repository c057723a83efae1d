"""A folder of a git repository at a ref, read from a bare mirror in the cache."""

import fcntl
import hashlib
import logging
import os
import shutil
import subprocess
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote, urlsplit, urlunsplit

from tasks.corpus.document import Item
from tasks.corpus.sources.globs import path_filter
from tasks.corpus.sources.reader import RawItem
from tasks.errors import ConfigurationError, DependencyError, ParseError
from tasks.params.sources import GitSource

logger = logging.getLogger(__name__)

_TIMEOUT_SECONDS = 600
_FILE_MODES = {"100644", "100755"}
_TRANSPORTS = "file:git:http:https:ssh"


class GitReader:
    """Lists the files of a tree; the blob id is fingerprint and hash, so that a listing reads no file."""

    def __init__(self, source: GitSource, *, cache: Path) -> None:
        for name, value in (("url", source.url), ("ref", source.ref), ("folder", source.folder)):
            if value.startswith("-") or "\0" in value or "::" in value:
                raise ConfigurationError(f"`{name}` of the source {source.name} must not be an option, found {value!r}")
        self._source = source
        self._cache = cache
        # One mirror an address: a changed `url` must not fetch into the old repository.
        self._mirror = cache / f"{hashlib.sha256(source.url.encode()).hexdigest()[:16]}.git"
        self._blobs: subprocess.Popen[bytes] | None = None

    def scan(self) -> Iterator[Item]:
        """List the regular files of the folder at the ref.

        Raises:
            DependencyError: the repository can't be fetched.
            ConfigurationError: it has no such ref or folder.
        """
        self._update()
        commit = self._commit()
        takes = path_filter(self._source.include, self._source.exclude)
        folder = self._source.folder.strip("/")
        listing = self._git(
            "ls-tree", "-r", "-z", "-l", "--full-tree", commit, "--", *([f"{folder}/"] if folder else [])
        )
        if folder and not listing:
            raise ConfigurationError(
                f"`folder` of the source {self._source.name} must exist at {self._source.ref}: {folder}"
            )
        for entry in listing.split(b"\0")[:-1]:
            details, _, name = entry.partition(b"\t")
            mode, _kind, blob, size = details.decode().split()
            path = name.decode("utf-8", "backslashreplace")
            key = path.removeprefix(f"{folder}/") if folder else path
            if not takes(key):
                continue
            if mode in _FILE_MODES:
                yield Item(self._source.name, key, blob, int(size), self._uri(path), locator=blob)
            else:
                logger.warning("source %s: %r is left out: a link or a submodule", self._source.name, path)

    def raw_hash(self, item: Item) -> str:
        """Return the blob id: git's own content hash."""
        return item.locator

    def fetch(self, item: Item) -> RawItem:
        """Return the file's bytes.

        Raises:
            ParseError: the blob is missing from the mirror.
        """
        return RawItem(self._blob(item.locator), item.key.rpartition("/")[2], raw_hash=item.locator)

    def _uri(self, path: str) -> str:
        parts = urlsplit(self._source.url)
        if parts.scheme in {"http", "https"}:
            address = urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
            return f"{address.rstrip('/').removesuffix('.git')}/blob/{quote(self._source.ref)}/{quote(path)}"
        return f"{self._source.url}#{quote(path)}"

    def _update(self) -> None:
        self._cache.mkdir(parents=True, exist_ok=True)
        with _locked(self._cache / "git.lock"):
            try:
                if self._mirror.exists():
                    self._git("fetch", "--quiet", "--prune", "--force", "--", "origin")
                else:
                    self._clone()
            except (subprocess.SubprocessError, OSError) as error:
                raise DependencyError(
                    f"the repository {_without_secret(self._source.url)} of the source {self._source.name} must be "
                    f"reachable, found: {_reason(error, self._source.url)}; "
                    "check `url`, the network and the credentials"
                ) from error

    def _clone(self) -> None:
        beside = self._mirror.with_suffix(".tmp")
        shutil.rmtree(beside, ignore_errors=True)
        _run(["git", "clone", "--quiet", "--mirror", "--", self._source.url, str(beside)])
        beside.replace(self._mirror)

    def _commit(self) -> str:
        """The commit of the branch, else of the tag or commit of that name: a tag must not hide a branch."""
        for name in (f"refs/heads/{self._source.ref}", self._source.ref):
            try:
                commit = self._git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")
            except subprocess.CalledProcessError:
                continue
            return commit.decode().strip()
        raise ConfigurationError(
            f"`ref` of the source {self._source.name} must be a branch, tag or commit of its repository, found "
            f"{self._source.ref!r}; correct it in params.yaml"
        )

    def _git(self, *arguments: str) -> bytes:
        return _run(["git", f"--git-dir={self._mirror}", *arguments])

    def _blob(self, blob: str) -> bytes:
        process = self._blobs or self._open_blobs()
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(blob.encode() + b"\n")
        process.stdin.flush()
        header = process.stdout.readline().split()
        if len(header) != 3:
            raise ParseError("damaged", f"the blob {blob} must be in the mirror, found it missing; refresh again")
        return process.stdout.read(int(header[2]) + 1)[:-1]

    def _open_blobs(self) -> subprocess.Popen[bytes]:
        if not self._mirror.exists():
            self._update()
        command = ["git", f"--git-dir={self._mirror}", "cat-file", "--batch"]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=_environment())
        weakref.finalize(self, _close, process)
        self._blobs = process
        return process


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _close(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.communicate()


def _run(command: list[str]) -> bytes:
    return subprocess.run(
        command, check=True, capture_output=True, env=_environment(), stdin=subprocess.DEVNULL, timeout=_TIMEOUT_SECONDS
    ).stdout


def _environment() -> dict[str, str]:
    """Git must not ask for a password, run a command of a URL, nor work in the repository that we stand in."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("GIT_DIR")}
    return inherited | {"GIT_TERMINAL_PROMPT": "0", "GIT_ALLOW_PROTOCOL": _TRANSPORTS, "LC_ALL": "C"}


def _reason(error: Exception, url: str) -> str:
    said = error.stderr.decode("utf-8", "replace") if isinstance(error, subprocess.CalledProcessError) else str(error)
    return " ".join(said.replace(url, _without_secret(url)).split())[:300]


def _without_secret(url: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])) if parts.scheme else url
