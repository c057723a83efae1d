"""What the server answers with: a whole pair for each request, and a thread that follows the aliases in MLflow."""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from serving.promotion.follow import Follower
from serving.promotion.index_probe import IndexProbe
from serving.promotion.pair import Pair
from serving.promotion.state import ServingState
from serving.promotion.status import AnswererStatus, IndexStatus, PairStatus
from serving.promotion.swap import LoadedAnswerer, LoadedIndex, Wrap
from serving.promotion.trial import TrialWatch
from tasks.answer.generators.base import Generator
from tasks.errors import DependencyError
from tasks.index.access import AccessMap
from tasks.index.access_tables import load_access
from tasks.index.table import connect
from tasks.params import Params
from tasks.releases.kind import ReleaseKind, answerer_of
from tasks.settings import Settings

logger = logging.getLogger(__name__)


def as_it_is(generator: Generator) -> Generator:
    """Return the generator without wrapping."""
    return generator


class LivePair:
    """An index and an answerer that follow the aliases `champion` and `challenger`."""

    def __init__(self, params: Params, settings: Settings, wrap: Wrap = as_it_is) -> None:
        """Nothing is loaded yet.

        Args:
            params: `serving`, `search` and `generation`.
            settings: where MLflow, the index and the home are.
            wrap: put around each generator that is loaded; if what it returns has `close()`, that is called behind the
                last request of a pair that was taken away.
        """
        self._params = params
        self._db = connect(settings)
        self._state = ServingState(challenger_share=params.serving.challenger_share)
        self._follower = Follower(params, settings, wrap, self._state)
        self._probe = IndexProbe(lambda: load_access(connect(settings)))
        self._following = threading.Lock()
        self._wake = threading.Event()
        self._stopped = threading.Event()
        self._watcher: threading.Thread | None = None
        self._trial = TrialWatch(settings, self._trials)

    @contextmanager
    def acquire(self, user_key: str | None = None, knowledge_base: str | None = None) -> Iterator[Pair]:
        """Yield the pair of one request: whole, and the same to its end.

        Args:
            user_key: who asks; `serving.challenger_share` of all keys get the challenger, always the same ones.
            knowledge_base: which alone is asked; its own answerer answers, where it has one.

        Raises:
            DependencyError: nothing serves yet.
        """
        with self._state.acquire(user_key, knowledge_base) as pair:
            if pair is None:
                reasons = "; ".join(self._follower.reasons()) or "it is being loaded"
                raise DependencyError(f"an index and an answerer must serve, found none yet: {reasons}")
            yield pair

    def access(self) -> AccessMap:
        """Return who may read what, as of now: for every search anew."""
        return load_access(self._db)

    def start(self) -> None:
        """Load what serves, as far as it can be loaded; then follow the aliases in a thread."""
        self.follow()
        self._watcher = threading.Thread(target=self._watch, name="almanac-aliases", daemon=True)
        self._watcher.start()
        if self._params.serving.challenger_share > 0:
            self._trial.start()
        self._probe.start()

    def stop(self) -> None:
        """End the threads; what serves can still be acquired."""
        self._probe.stop()
        self._stopped.set()
        self._wake.set()
        self._trial.stop()
        if self._watcher is not None:
            self._watcher.join()

    def poll_now(self) -> None:
        """Ask MLflow at once; returns before that is done."""
        self._wake.set()

    def follow(self) -> None:
        """Poll once: what the aliases name serves behind it, or was refused."""
        with self._following:
            self._follower.poll()

    def status(self) -> PairStatus:
        """Return what serves since when, and what is not as it should be."""
        now, reasons, verdicts = self._state.now, self._follower.reasons(), self._follower.verdicts
        if self._watcher is not None and not self._watcher.is_alive() and not self._stopped.is_set():
            reasons.append("the thread that follows MLflow has ended; restart the server")
        unreadable = self._probe.problem
        if unreadable:
            reasons.append(unreadable)
        challengers = {name: self._challenger_status(loaded) for name, loaded in now.challengers.items()} if now else {}
        return PairStatus(
            tuple(reasons),
            index=_index_status(now.index) if now else None,
            answerer=_answerer_status(now.answerer) if now else None,
            challenger=challengers.get(None),
            own={name: _answerer_status(loaded) for name, loaded in now.own.items()} if now else {},
            own_challengers={name: status for name, status in challengers.items() if name is not None},
            mlflow=self._follower.mlflow_status(),
            can_read_index=unreadable is None,
            last_swap=verdicts.last_swap,
            last_refusal=verdicts.last_refusal,
        )

    def _challenger_status(self, loaded: LoadedAnswerer) -> AnswererStatus:
        return replace(_answerer_status(loaded), share=self._params.serving.challenger_share)

    def _trials(self) -> list[tuple[ReleaseKind, str]]:
        """Return which kind of answerer has a challenger that answers, and what answers the other users."""
        now = self._state.now
        return [(answerer_of(name), now.champion(name).answerer.version) for name in now.challengers] if now else []

    def _watch(self) -> None:
        while not self._stopped.is_set():
            self._wake.wait(self._params.serving.poll_seconds)
            self._wake.clear()
            if not self._stopped.is_set():
                self.follow()


def _index_status(index: LoadedIndex) -> IndexStatus:
    return IndexStatus(index.version.version, index.release.number, index.release.created_at, index.since)


def _answerer_status(loaded: LoadedAnswerer) -> AnswererStatus:
    return AnswererStatus(loaded.answerer.version, loaded.answerer.identity, loaded.since)
