"""What answers now: one immutable record, exchanged in one step; requests hold what they began with to their end."""

import hashlib
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from serving.promotion.pair import Pair
from serving.promotion.swap import LoadedAnswerer, LoadedIndex
from tasks.releases.version import ReleaseVersion


@dataclass(frozen=True, slots=True)
class Serving:
    """An index with the answerer of most users, and with those of the others.

    Attributes:
        own: by knowledge base, for who asks it alone.
    """

    index: LoadedIndex
    answerer: LoadedAnswerer
    challenger: LoadedAnswerer | None = None
    own: Mapping[str, LoadedAnswerer] = field(default_factory=dict)

    def answerers(self) -> list[LoadedAnswerer]:
        """Return all loaded answerers."""
        return [answerer for answerer in (self.answerer, self.challenger, *self.own.values()) if answerer is not None]


class ServingState:
    """Hands pairs out and exchanges them; safe for use by several threads."""

    def __init__(self, *, challenger_share: float) -> None:
        """Nothing serves yet."""
        self._challenger_share = challenger_share
        self._lock = threading.Lock()
        self._leaving: list[LoadedAnswerer] = []
        self.now: Serving | None = None

    @contextmanager
    def acquire(self, user_key: str | None, knowledge_base: str | None = None) -> Iterator[Pair | None]:
        """Yield the pair of one request, which may ask one knowledge base alone; None while nothing serves."""
        with self._lock:
            now = self.now
            answerer = self._answerer_of(now, user_key, knowledge_base) if now else None
            if answerer is not None:
                answerer.num_users += 1
        if now is None or answerer is None:
            yield None
            return
        try:
            yield Pair(now.index.release, now.index.index, answerer.answerer)
        finally:
            self._give_back(answerer)

    def exchange(self, serving: Serving) -> None:
        """Let `serving` answer from the next request on; what it no longer holds is closed behind its last request."""
        with self._lock:
            before, self.now = self.now, serving
            gone = (
                [answerer for answerer in before.answerers() if answerer not in serving.answerers()] if before else []
            )
            for answerer in gone:
                answerer.retired = True
            idle = [answerer for answerer in gone if answerer.num_users == 0]
            self._leaving += [answerer for answerer in gone if answerer.num_users > 0]
        for answerer in idle:
            answerer.close()

    def set_challenger(self, answerer: LoadedAnswerer | None) -> None:
        """Give the share of users this answerer; None: the champion's."""
        if self.now is not None and self.now.challenger is not answerer:
            self.exchange(replace(self.now, challenger=answerer))

    def set_own(self, knowledge_base: str, answerer: LoadedAnswerer | None) -> None:
        """Give who asks a knowledge base alone this answerer; None: the general one."""
        if self.now is not None:
            others = {name: loaded for name, loaded in self.now.own.items() if name != knowledge_base}
            own = others if answerer is None else others | {knowledge_base: answerer}
            self.exchange(replace(self.now, own=own))

    def answerers_in_use(self) -> list[ReleaseVersion]:
        """Return the versions that answer, and those that were taken away and have requests to end."""
        with self._lock:
            loaded = [*(self.now.answerers() if self.now else ()), *self._leaving]
        return [answerer.version for answerer in loaded if answerer.version is not None]

    def _answerer_of(self, now: Serving, user_key: str | None, knowledge_base: str | None) -> LoadedAnswerer:
        if knowledge_base is not None and (own := now.own.get(knowledge_base)) is not None:
            return own
        if now.challenger is None or user_key is None or place(user_key) >= self._challenger_share:
            return now.answerer
        return now.challenger

    def _give_back(self, answerer: LoadedAnswerer) -> None:
        with self._lock:
            answerer.num_users -= 1
            over = answerer.retired and answerer.num_users == 0
            if over:
                self._leaving = [other for other in self._leaving if other is not answerer]
        if over:
            answerer.close()


def place(user_key: str) -> float:
    """Return where a user stands in [0, 1): always at the same place, and all places equally likely."""
    return int(hashlib.sha256(user_key.encode()).hexdigest()[:8], 16) / 2**32
