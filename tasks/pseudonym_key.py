"""The secret of one installation: pseudonyms and the signatures of promotions are made with it."""

import hashlib
import hmac
import os
import secrets
from contextlib import suppress

from tasks.settings import Settings


def pseudonym_key(settings: Settings) -> bytes:
    """Return `ALMANAC_PSEUDONYM_KEY`, else a random key that is kept in the home."""
    if settings.pseudonym_key is not None:
        return settings.pseudonym_key.get_secret_value().encode()
    path = settings.home.resolve() / "pseudonym.key"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        beside.touch(mode=0o600)
        beside.write_text(secrets.token_hex(32), encoding="utf-8")
        # A link, not a rename: of two servers that start at once, the first one's key stands.
        with suppress(FileExistsError):
            path.hardlink_to(beside)
        beside.unlink()
    return path.read_text(encoding="utf-8").encode()


def signature(settings: Settings, purpose: str, *parts: str) -> str:
    """Return an HMAC-SHA256 of the parts, in hex; one of another purpose never fits."""
    key = hmac.digest(pseudonym_key(settings), f"almanac {purpose}".encode(), hashlib.sha256)
    return hmac.new(key, "\0".join(parts).encode(), hashlib.sha256).hexdigest()
