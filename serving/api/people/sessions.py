"""Who is signed in on the pages: sessions of the home, named by a random cookie of which only the hash is kept.

A small private file (`sessions/sessions.db`), so that a restart signs nobody out and two servers of one home agree.
"""

import datetime as dt
import hashlib
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serving.api.people.roles import Role, parse_roles
from tasks.corpus.private_database import opened

BEGIN_SECONDS = 600.0
"""How long a person may take at the provider."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS sessions (sha256 TEXT PRIMARY KEY, person TEXT NOT NULL, ends_at REAL NOT NULL);
CREATE TABLE IF NOT EXISTS begun (sha256 TEXT PRIMARY KEY, state TEXT NOT NULL, ends_at REAL NOT NULL);
"""


@dataclass(frozen=True, slots=True)
class Person:
    """Who signed in, as the provider said at that moment.

    Attributes:
        user: the pseudonym.
        id_token: given back to the provider at the sign-out, so that it need not ask who leaves.
    """

    user: str
    name: str
    groups: tuple[str, ...]
    roles: tuple[Role, ...]
    id_token: str


@dataclass(frozen=True, slots=True)
class Begun:
    """A sign-in that is on its way.

    Attributes:
        session: what Authlib must find again: state, nonce, code verifier.
        next: the page to come back to.
    """

    session: Mapping[str, Any]
    next: str = ""


class Sessions:
    """The sessions of a home. Safe for use by several threads and processes."""

    def __init__(self, folder: Path, lifetime: dt.timedelta) -> None:
        """Name the file; nothing is touched.

        Args:
            folder: of the file.
            lifetime: of a session, from the sign-in on, however much it is used.
        """
        self._path, self._lifetime = folder / "sessions.db", lifetime

    def begin(self, begun: Begun) -> str:
        """Keep what a sign-in that begins must find again; return the value of its cookie."""
        token, ends_at = secrets.token_urlsafe(32), _now() + BEGIN_SECONDS
        with opened(self._path, _SCHEMA) as database:
            database.execute("DELETE FROM begun WHERE ends_at <= ?", (_now(),))
            database.execute(
                "INSERT INTO begun VALUES (?, ?, ?)",
                (_digest(token), json.dumps({"session": begun.session, "next": begun.next}), ends_at),
            )
        return token

    def take_begun(self, token: str | None) -> Begun:
        """Return what was kept at the beginning of a sign-in, once; an empty one where there is none, or it is old."""
        if not token or not self._path.exists():
            return Begun({})
        with opened(self._path, _SCHEMA) as database:
            statement = "DELETE FROM begun WHERE sha256 = ? RETURNING state, ends_at"
            row = database.execute(statement, (_digest(token),)).fetchone()
        return Begun(**json.loads(row[0])) if row and row[1] > _now() else Begun({})

    def open(self, person: Person) -> str:
        """Begin a session; return the value of its cookie."""
        token, ends_at = secrets.token_urlsafe(32), _now() + self._lifetime.total_seconds()
        fields = {name: getattr(person, name) for name in Person.__dataclass_fields__}
        with opened(self._path, _SCHEMA) as database:
            database.execute("DELETE FROM sessions WHERE ends_at <= ?", (_now(),))
            database.execute("INSERT INTO sessions VALUES (?, ?, ?)", (_digest(token), json.dumps(fields), ends_at))
        return token

    def find(self, token: str | None) -> Person | None:
        """Return who is signed in with this cookie; None where nobody is, or no longer."""
        if not token or not self._path.exists():
            return None
        with opened(self._path, _SCHEMA) as database:
            statement = "SELECT person FROM sessions WHERE sha256 = ? AND ends_at > ?"
            row = database.execute(statement, (_digest(token), _now())).fetchone()
        return _person(row[0]) if row else None

    def close(self, token: str | None) -> Person | None:
        """End a session; return whose it was."""
        person = self.find(token)
        if token and person:
            with opened(self._path, _SCHEMA) as database:
                database.execute("DELETE FROM sessions WHERE sha256 = ?", (_digest(token),))
        return person


def _person(text: str) -> Person:
    fields = json.loads(text)
    return Person(
        fields["user"], fields["name"], tuple(fields["groups"]), parse_roles(fields["roles"]), fields["id_token"]
    )


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _now() -> float:
    return dt.datetime.now(dt.UTC).timestamp()
