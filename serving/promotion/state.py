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
        challengers: for a share of the users: by knowledge base, of those who ask it alone; None: of the others.
    """

    index: LoadedIndex
    answerer: LoadedAnswerer
    own: Mapping[str, LoadedAnswerer] = field(default_factory=dict)
    challengers: Mapping[str | None, LoadedAnswerer] = field(default_factory=dict)

    @property
    def challenger(self) -> LoadedAnswerer | None:
        """Return the challenger of the general answerer."""
        return self.challengers.get(None)

    def champion(self, knowledge_base: str | None) -> LoadedAnswerer:
        """Return what answers those who ask a knowledge base alone, without the challengers; None: several, or all."""
        return self.answerer if knowledge_base is None else self.own.get(knowledge_base, self.answerer)

    def answerers(self) -> list[LoadedAnswerer]:
        """Return all loaded answerers, each once: a challenger that is promoted is both for a moment."""
        return list(dict.fromkeys((self.answerer, *self.own.values(), *self.challengers.values())))


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

    def set_challenger(self, knowledge_base: str | None, answerer: LoadedAnswerer | None) -> None:
        """Give the share of users this answerer; None: the champion's."""
        if self.now is not None and self.now.challengers.get(knowledge_base) is not answerer:
            others = {name: loaded for name, loaded in self.now.challengers.items() if name != knowledge_base}
            challengers = others if answerer is None else others | {knowledge_base: answerer}
            self.exchange(replace(self.now, challengers=challengers))

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
        # What a knowledge base has of its own comes first; what it lacks is answered as if it had nothing.
        for asked in dict.fromkeys((knowledge_base, None)):
            challenger = now.challengers.get(asked)
            if challenger is not None and user_key is not None and place(user_key, asked) < self._challenger_share:
                return challenger
            if asked is not None and asked in now.own:
                return now.own[asked]
        return now.answerer

    def _give_back(self, answerer: LoadedAnswerer) -> None:
        with self._lock:
            answerer.num_users -= 1
            over = answerer.retired and answerer.num_users == 0
            if over:
                self._leaving = [other for other in self._leaving if other is not answerer]
        if over:
            answerer.close()


def place(user_key: str, knowledge_base: str | None = None) -> float:
    """Return where a user stands in [0, 1): always at the same place, and all places equally likely.

    In each trial at another place: were it the same users in all, one trial would show in the figures of the next.
    """
    drawn = user_key if knowledge_base is None else f"{knowledge_base}/{user_key}"
    return int(hashlib.sha256(drawn.encode()).hexdigest()[:8], 16) / 2**32
