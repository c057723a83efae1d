"""API keys: a file of their hashes with groups, roles and end, and when each was last used.

Only SHA-256 of a key is kept. A slow hash (scrypt) protects secrets that can be guessed; a key here holds 256 random
bits, which nobody guesses at any speed, and a slow hash would let strangers burn the server's time.
"""

import datetime as dt
import hashlib
import json
import logging
import secrets
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from serving.api.people.roles import Right, Role, parse_roles, rights_of
from tasks.errors import AlmanacError, ConfigurationError, CorruptionError
from tasks.files import write_json
from tasks.index.access import asker_groups
from tasks.index.search.request import checked_names

KEY_PREFIX = "almanac-"
NOTED_EVERY_SECONDS = 60.0
"""The last use of a key is told to the minute: a write for each request would cost more than the request."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Key:
    """What is kept of an API key.

    Attributes:
        may_push: a program that pushes documents and has no role beside.
        knowledge_bases: all that it reads comes from these; none: from any.
        expires_at: ISO 8601, UTC; None: it has no end.
        old_sha256: of the key that was here before `rotate`, taken until `old_until`.
    """

    name: str
    sha256: str
    groups: tuple[str, ...]
    roles: tuple[Role, ...] = (Role.READER,)
    may_push: bool = False
    created_at: str | None = None
    expires_at: str | None = None
    old_sha256: str | None = None
    old_until: str | None = None
    knowledge_bases: tuple[str, ...] = ()

    @property
    def rights(self) -> frozenset[Right]:
        """What the holder may do."""
        return rights_of(self.roles) | ({Right.PUSH} if self.may_push else set())

    def is_over(self, sha256: str, now: dt.datetime) -> bool:
        """Say whether this key, or the one before it, has come to its end."""
        ends = [self.expires_at, self.old_until if sha256 == self.old_sha256 else None]
        return any(end is not None and dt.datetime.fromisoformat(end) <= now for end in ends)


class KeyFile:
    """The file of API keys; read anew whenever it changed, so that a removed key ends with the next request."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._state: tuple[int, int, int] | None = None
        self._keys: tuple[Key, ...] = ()
        self._by_hash: Mapping[str, Key] = {}

    def find(self, credential: str) -> Key | None:
        """The entry of a key that is valid now, None where there is none."""
        self._update()
        sha256 = _digest(credential)
        # A lookup by hash tells by its time at most how a hash begins, and no hash leads back to a key.
        key = self._by_hash.get(sha256)
        return None if key is None or key.is_over(sha256, _now()) else key

    def entries(self) -> list[Key]:
        """All keys, by name."""
        self._update()
        return sorted(self._keys, key=lambda key: key.name)

    def add(
        self,
        name: str,
        groups: tuple[str, ...],
        *,
        roles: tuple[Role, ...] = (Role.READER,),
        may_push: bool = False,
        lifetime: dt.timedelta | None = None,
        knowledge_bases: tuple[str, ...] = (),
    ) -> str:
        """Make a key and return it; it cannot be shown again.

        Args:
            name: of its user.
            groups: whose documents it reads.
            roles: what it may do.
            may_push: that it may push documents, whatever its roles.
            lifetime: from now on; None: without end.
            knowledge_bases: which alone it reads; none: any.

        Raises:
            ConfigurationError: the name is taken, a group's name is empty or too long, the lifetime is none, or a key
                that is limited to knowledge bases would be more than a reader's.
        """
        asker_groups(groups)
        _check_limit(knowledge_bases, roles, may_push=may_push)
        if not name.strip() or any(key.name == name for key in self.entries()):
            raise ConfigurationError(f"a key must have a name of its own, found {name!r}; choose another or remove it")
        credential, now = _new_credential(), _now()
        key = Key(name, _digest(credential), groups, roles, may_push, _iso(now), _end(now, lifetime))
        key = replace(key, knowledge_bases=knowledge_bases)
        self._write([*self.entries(), key])
        return credential

    def rotate(self, name: str, *, overlap: dt.timedelta, lifetime: dt.timedelta | None = None) -> str:
        """Put a new key in the place of one and return it; the old one is taken for `overlap` longer.

        The user stays the same: who asks is known by the name.

        Args:
            name: of the key.
            overlap: 0: the old one ends at once.
            lifetime: of the new one; None: as long as the old one was made for.

        Raises:
            ConfigurationError: there is none of that name, or a time is below 0.
        """
        old, now = self._named(name), _now()
        if overlap < dt.timedelta(0):
            raise ConfigurationError(f"an overlap must not be below 0, found {overlap}; 0 ends the old key at once")
        credential = _new_credential()
        new = replace(
            old,
            sha256=_digest(credential),
            created_at=_iso(now),
            expires_at=_end(now, lifetime or _lifetime(old)),
            old_sha256=old.sha256 if overlap else None,
            # An overlap makes no key live longer than it was made for.
            old_until=min(filter(None, (_iso(now + overlap), old.expires_at))) if overlap else None,
        )
        self._write([new if key.name == name else key for key in self.entries()])
        return credential

    def remove(self, name: str) -> None:
        """Forget a key.

        Raises:
            ConfigurationError: there is none of that name.
        """
        gone = self._named(name)
        self._write([key for key in self.entries() if key != gone])

    def _named(self, name: str) -> Key:
        for key in self.entries():
            if key.name == name:
                return key
        raise ConfigurationError(f"a key named {name!r} must exist; `almanac keys list` shows those that do")

    def _write(self, keys: list[Key]) -> None:
        rows = [asdict(key) for key in keys]
        write_json(self.path, {"keys": rows})
        self.path.chmod(0o600)

    def _update(self) -> None:
        try:
            status = self.path.stat()
        except FileNotFoundError:
            self._keys, self._by_hash, self._state = (), {}, None
            return
        state = (status.st_mtime_ns, status.st_size, status.st_ino)
        if state != self._state:
            self._keys = self._read()
            by_old = {key.old_sha256: key for key in self._keys if key.old_sha256}
            self._by_hash, self._state = by_old | {key.sha256: key for key in self._keys}, state

    def _read(self) -> tuple[Key, ...]:
        try:
            rows = json.loads(self.path.read_text(encoding="utf-8"))["keys"]
            return tuple(_key(row) for row in rows)
        except (OSError, ValueError, KeyError, TypeError, ConfigurationError) as error:
            raise CorruptionError(
                f"{self.path} must be the file that `almanac keys add` writes, found: {error!r}; restore or delete it"
            ) from error


class LastUse:
    """When each key was last used, to the minute: a file beside the others of the home, best effort."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._noted: dict[str, float] = {}
        self._lock = threading.Lock()

    def note(self, name: str) -> None:
        """Keep that a key is used now; a disk that refuses costs this note, not the request."""
        now = time.monotonic()
        with self._lock:
            if now - self._noted.get(name, float("-inf")) < NOTED_EVERY_SECONDS:
                return
            self._noted[name] = now
            try:
                write_json(self._path, self.times() | {name: _iso(_now())})
                self._path.chmod(0o600)
            except (AlmanacError, OSError) as error:
                logger.warning("that the key %s was used could not be noted: %s", name, error)

    def times(self) -> dict[str, str]:
        """The moment by the key's name; none where nothing was noted or the file is damaged."""
        try:
            entries = json.loads(self._path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return {str(name): str(moment) for name, moment in entries.items()} if isinstance(entries, dict) else {}


def _key(row: Mapping[str, Any]) -> Key:
    """Read an entry; one that was written before there were roles says `may_review`."""
    roles = tuple(map(str, row.get("roles", ()))) + (("reviewer",) if row.get("may_review") is True else ())
    text = {name: str(row[name]) for name in ("created_at", "expires_at", "old_sha256", "old_until") if row.get(name)}
    for name in text.keys() & {"created_at", "expires_at", "old_until"}:
        dt.datetime.fromisoformat(text[name])
    groups = tuple(map(str, row["groups"]))
    return Key(
        str(row["name"]),
        str(row["sha256"]),
        groups,
        parse_roles(roles),
        row.get("may_push") is True,
        created_at=text.get("created_at"),
        expires_at=text.get("expires_at"),
        old_sha256=text.get("old_sha256"),
        old_until=text.get("old_until"),
        knowledge_bases=tuple(map(str, row.get("knowledge_bases", ()))),
    )


def _check_limit(knowledge_bases: tuple[str, ...], roles: tuple[Role, ...], *, may_push: bool) -> None:
    checked_names("knowledge_base", knowledge_bases)
    if knowledge_bases and (may_push or roles != (Role.READER,)):
        raise ConfigurationError(
            "a key that is limited to knowledge bases must be a reader's, since drafts, quarantine, pushed documents "
            "and releases are those of all; make a second key for the other role"
        )


def _new_credential() -> str:
    return KEY_PREFIX + secrets.token_urlsafe(32)


def _digest(credential: str) -> str:
    return hashlib.sha256(credential.encode()).hexdigest()


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


def _iso(moment: dt.datetime) -> str:
    return moment.isoformat(timespec="seconds")


def _end(now: dt.datetime, lifetime: dt.timedelta | None) -> str | None:
    if lifetime is not None and lifetime <= dt.timedelta(0):
        raise ConfigurationError(f"a key must live longer than 0, found {lifetime}; leave it out for a key without end")
    return None if lifetime is None else _iso(now + lifetime)


def _lifetime(key: Key) -> dt.timedelta | None:
    if key.expires_at is None or key.created_at is None:
        return None
    return dt.datetime.fromisoformat(key.expires_at) - dt.datetime.fromisoformat(key.created_at)
