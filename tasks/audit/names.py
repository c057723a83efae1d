"""Names of documents beside the log: it holds keyed hashes, this table what they stand for.

A name may itself tell of a person, and a chain cannot lose a record: so `almanac forget` takes the row out of the table
and leaves the log as it is. Whoever knows the name can still ask whether the document was shown, and to whom.
"""

import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from tasks.errors import CorruptionError, DependencyError
from tasks.files import whole_file
from tasks.home import make_private

_KEY_BYTES = 32
_DIGEST_CHARACTERS = 32


class DocumentNames:
    """The table of one log; whoever writes it holds the log's lock."""

    def __init__(self, folder: Path) -> None:
        """Name a table; nothing is touched."""
        self._folder = folder
        self._path = folder / "names.jsonl"
        self._key: bytes | None = None
        self._noted: set[str] | None = None

    def digests(self, document_ids: Iterable[str]) -> list[str]:
        """Return the hashes that stand for documents in the log."""
        return [self._digest(name) for name in document_ids]

    def hold(self, document_ids: Iterable[str]) -> bool:
        """Say whether this process knows that all of them are there."""
        return self._noted is not None and all(digest in self._noted for digest in self.digests(document_ids))

    def note(self, document_ids: Iterable[str]) -> None:
        """Add the names that are not there yet."""
        if self._noted is None:
            self._noted = set(self.by_digest())
        fresh = {digest: name for name in document_ids if (digest := self._digest(name)) not in self._noted}
        if not fresh:
            return
        lines = "".join(json.dumps([digest, name], ensure_ascii=False) + "\n" for digest, name in fresh.items())
        with _readable(self._path):
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
            try:
                size = os.fstat(descriptor).st_size
                # A kill left a row without an end: it ends here, and is passed over by who reads.
                begin = "\n" if size and os.pread(descriptor, 1, size - 1) != b"\n" else ""
                os.write(descriptor, f"{begin}{lines}".encode("utf-8", "surrogatepass"))
            finally:
                os.close(descriptor)
        self._noted |= fresh.keys()

    def by_digest(self) -> Mapping[str, str]:
        """Return the names that are there."""
        names = {}
        with suppress(FileNotFoundError), _readable(self._path):
            for line in self._path.read_bytes().splitlines():
                with suppress(ValueError, TypeError):
                    digest, name = json.loads(line.decode("utf-8", "surrogatepass"))
                    names[digest] = name
        return names

    def forget(self, document_ids: Iterable[str]) -> int:
        """Remove names; return how many were there. Their hashes stay in the log and lead nowhere."""
        before, gone = self.by_digest(), set(self.digests(document_ids))
        kept = {digest: name for digest, name in before.items() if digest not in gone}
        if len(kept) < len(before):
            with whole_file(self._path) as beside:
                beside.touch(mode=0o600)
                rows = (json.dumps([digest, name], ensure_ascii=False) + "\n" for digest, name in kept.items())
                beside.write_bytes("".join(rows).encode("utf-8", "surrogatepass"))
        return len(before) - len(kept)

    def _digest(self, name: str) -> str:
        key = self._key or self._load_key()
        data = name.encode("utf-8", "surrogatepass")
        return hmac.new(key, data, hashlib.sha256).hexdigest()[:_DIGEST_CHARACTERS]

    def _load_key(self) -> bytes:
        path = self._folder / "key"
        with _readable(path):
            make_private(self._folder)
            if not path.exists():
                beside = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}.tmp")
                beside.touch(mode=0o600)
                beside.write_bytes(secrets.token_bytes(_KEY_BYTES))
                # A link, not a rename: of two that begin at once, the first one's key stands.
                with suppress(FileExistsError):
                    path.hardlink_to(beside)
                beside.unlink()
            key = path.read_bytes()
        if len(key) != _KEY_BYTES:  # anybody could compute the hashes of an empty one
            raise CorruptionError(
                f"{path} must hold {_KEY_BYTES} bytes, found {len(key)}; restore it from a backup, or delete it: a new "
                "one is made, and what was logged before is then found by name only while the table has the name"
            )
        self._key = key
        return key


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        raise DependencyError(
            f"{path} must be readable and writable: what is not in the audit log is not done; found: {error.strerror}; "
            "restore it from a backup, or correct its owner"
        ) from error
