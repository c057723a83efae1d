"""Documents that were taken back: keyed hashes of their names and texts, by which no refresh brings them in again.

The key is made at the first erasure and never leaves the home, or what the home shares with other machines: from the
hashes alone nobody can tell, by hashing names that he guesses, what was forgotten.
"""

import hashlib
import hmac
import json
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tasks.errors import ConfigurationError, CorruptionError
from tasks.files import write_json
from tasks.home import make_private
from tasks.settings import Settings
from tasks.shared_store import open_shared_store

_KEY_BYTES = 32
_SHARED = "forgotten/tombstones.json"


@dataclass(frozen=True, slots=True)
class Tombstones:
    """What may not come back.

    Attributes:
        key: of the hashes; empty where nothing was forgotten yet.
        hashes: of document ids and of contents.
    """

    key: bytes
    hashes: frozenset[str]

    def holds(self, document_id: str) -> bool:
        """Say whether a document of this id was forgotten."""
        return bool(self.hashes) and keyed_hash(self.key, "id", document_id) in self.hashes

    def holds_content(self, content_hash: str) -> bool:
        """Say whether the same title and text were forgotten under any id: a copy, or a file that was moved."""
        return bool(self.hashes) and keyed_hash(self.key, "content", content_hash) in self.hashes


NOTHING_FORGOTTEN = Tombstones(b"", frozenset())


def keyed_hash(key: bytes, kind: str, text: str) -> str:
    """Return the HMAC-SHA256 of a name or a content hash, in hex."""
    return hmac.new(key, f"{kind}\0{text}".encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()


def load_tombstones(settings: Settings) -> Tombstones:
    """Read what was forgotten, here or by another machine of the same store; nothing where nothing was.

    Raises:
        CorruptionError: the file is damaged: a refresh without it might bring back what was taken back.
        DependencyError: the shared store does not answer.
    """
    path = _path(settings)
    here = _parsed(path.read_bytes() if path.exists() else None, str(path))
    store = open_shared_store(settings.shared_state)
    if store is None:
        return here
    shared = _parsed(store.read(_SHARED), f"{store.address}/{_SHARED}")
    if here.key and shared.key and here.key != shared.key:
        raise CorruptionError(
            f"{path} and {store.address} must have one key, found two: both forgot documents before they were joined; "
            "forget those of this home again, then remove its file"
        )
    return Tombstones(here.key or shared.key, here.hashes | shared.hashes)


def _parsed(content: bytes | None, path: str) -> Tombstones:
    if content is None:
        return NOTHING_FORGOTTEN
    try:
        raw = json.loads(content)
        return Tombstones(bytes.fromhex(raw["key"]), frozenset(raw["hashes"]))
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptionError(
            f"{path} must hold the hashes of forgotten documents, found: {error!r}; restore it from a backup: a "
            "refresh without it would bring them back"
        ) from error


def add_tombstones(settings: Settings, document_ids: Iterable[str], content_hashes: Iterable[str]) -> Tombstones:
    """Keep that these may not come back; call under the lease."""
    before = load_tombstones(settings)
    key = before.key or secrets.token_bytes(_KEY_BYTES)
    fresh = {keyed_hash(key, "id", name) for name in document_ids}
    fresh |= {keyed_hash(key, "content", content) for content in content_hashes}
    return _keep(settings, Tombstones(key, before.hashes | fresh))


def _keep(settings: Settings, after: Tombstones) -> Tombstones:
    path, content = _path(settings), {"key": after.key.hex(), "hashes": sorted(after.hashes)}
    if store := open_shared_store(settings.shared_state):
        store.write(_SHARED, json.dumps(content).encode())
    make_private(path.parent)
    write_json(path, content)
    path.chmod(0o600)
    return after


def merge_tombstones(settings: Settings, path: Path) -> Tombstones:
    """Take over what another copy of this home forgot, from its `tombstones.json`; call under the lease.

    Raises:
        ConfigurationError: there is no such file, or its hashes were made with another key.
        CorruptionError: the file is damaged.
    """
    if not path.is_file():
        raise ConfigurationError(f"{path} must be the `tombstones.json` of a home, found no file; correct the path")
    before, theirs = load_tombstones(settings), _parsed(path.read_bytes(), str(path))
    if before.key and theirs.key and before.key != theirs.key:
        raise ConfigurationError(
            f"{path} must be of a copy of this home, found hashes of another key; forget its documents by name"
        )
    return _keep(settings, Tombstones(before.key or theirs.key, before.hashes | theirs.hashes))


def erasure_is_unfinished(settings: Settings) -> bool:
    """Say whether an erasure was killed: whoever writes next finishes it first."""
    return unfinished_path(settings).exists()


def unfinished_path(settings: Settings) -> Path:
    """Return the file that says what an erasure has left to do."""
    return settings.layout.forgotten / "unfinished.json"


def _path(settings: Settings) -> Path:
    return settings.layout.forgotten / "tombstones.json"
