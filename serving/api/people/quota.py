"""How many requests one user may send: a token bucket for each, in the memory of one server."""

import math
import threading
import time
from dataclasses import dataclass

from serving.api.errors import ApiError

_MAX_USERS = 10_000
"""Buckets that are full again are forgotten beyond this many."""


@dataclass(slots=True)
class _Bucket:
    tokens: float
    at: float


class Quotas:
    """Buckets that hold a minute's requests and fill up evenly. Safe for use by several threads."""

    def __init__(self, per_minute: int | None) -> None:
        """Give each user so many requests a minute; None: without a bound."""
        self._per_minute = per_minute
        self._buckets: dict[str, _Bucket] = {}
        self._lock = threading.Lock()

    def take(self, user: str) -> None:
        """Count a request of a user.

        Raises:
            ApiError: 429 where the user sent too many; `Retry-After` says when the next one is taken.
        """
        if self._per_minute is None:
            return
        with self._lock:
            bucket = self._filled(user, self._per_minute)
            if bucket.tokens < 1:
                seconds = math.ceil((1 - bucket.tokens) * 60 / self._per_minute)
                raise ApiError(
                    429,
                    f"at most {self._per_minute} requests a minute are taken of one user; wait {seconds} s",
                    kind="rate_limit_error",
                    code="rate_limit_exceeded",
                    headers={"Retry-After": str(seconds)},
                )
            bucket.tokens -= 1

    def _filled(self, user: str, per_minute: int) -> _Bucket:
        now = _now()
        if len(self._buckets) > _MAX_USERS:
            self._buckets = {name: one for name, one in self._buckets.items() if now - one.at < 60}
        bucket = self._buckets.setdefault(user, _Bucket(per_minute, now))
        bucket.tokens = min(per_minute, bucket.tokens + (now - bucket.at) * per_minute / 60)
        bucket.at = now
        return bucket


def _now() -> float:
    return time.monotonic()
