"""The answerers that knowledge bases have of their own, beside the general one: each follows the alias of its model.

load on the shared base ─▶ smoke ─▶ swap ─▶ tag and record, as of the general one and with the same refusals

What is wrong with one leaves the general answerer and the others as they are. Whoever asks a knowledge base without one
that serves gets the general answerer.
"""

from collections.abc import Iterator
from typing import Protocol

from serving.promotion.aliases import Aliases
from serving.promotion.attempt import Attempt, T
from serving.promotion.state import ServingState
from serving.promotion.swap import LoadedAnswerer, LoadedIndex
from serving.promotion.verdicts import Verdicts
from tasks.releases.kind import ReleaseKind, answerer_of
from tasks.releases.last_served import last_served, own_that_served
from tasks.releases.version import ReleaseVersion
from tasks.settings import Settings


class Follows(Protocol):
    """What is done alike for every answerer: `serving.promotion.follow.Follower`."""

    verdicts: Verdicts

    def attempt(self, attempt: Attempt[T]) -> T | None:
        """Load; what goes wrong refuses the version that is unfit, else it is left alone for a while."""

    def load_beside(self, version: ReleaseVersion, *, is_recalled: bool) -> LoadedAnswerer:
        """Load an answerer, if it is no challenger already, and smoke it over the index; recalled: without MLflow."""

    def smoke(self, index: LoadedIndex, answerer: LoadedAnswerer) -> list[str]:
        """Check an answerer over an index; return what was checked."""

    def may_leave(self, serving: ReleaseVersion) -> bool:
        """Say whether a person rolled back to the default, and one who may."""

    def report_first(self, loaded: LoadedAnswerer, last: ReleaseVersion | None) -> None:
        """Say what serves if it did not serve last."""

    def report_left(self, version: ReleaseVersion) -> None:
        """Say that the general answerer took the place of a version."""

    def remember(self, kind: ReleaseKind, version: ReleaseVersion | None) -> None:
        """Keep what serves for a restart without MLflow."""

    def say(self, problem: str) -> None:
        """Say what is not as it should be."""


class OwnAnswerers:
    """Lets what the aliases of knowledge bases name serve; used by one thread at a time."""

    def __init__(self, follower: Follows, settings: Settings, state: ServingState) -> None:
        """Nothing is read or loaded yet."""
        self._follower, self._settings, self._state = follower, settings, state
        self._waiting: set[str] | None = None
        """Knowledge bases whose own answerer served last on this home, until it serves here or has left."""

    def follow(self, aliases: Aliases | None) -> None:
        """Follow once; None: MLflow was not asked, or did not answer.

        Raises:
            DependencyError: MLflow does not answer; it is asked again at the next poll.
        """
        if self._state.now is None:
            return
        if self._waiting is None:
            self._waiting = set(own_that_served(self._settings))
        if aliases is None:
            names, wanted = self._waiting, {}
        else:
            names, wanted = {*aliases.own, *self._state.now.own, *self._waiting}, dict(aliases.own)
        for name in sorted(names):
            self._follow_one(name, wanted.get(name), is_known=aliases is not None)

    def _follow_one(self, name: str, wanted: ReleaseVersion | None, *, is_known: bool) -> None:
        assert self._state.now is not None
        kind, serving = answerer_of(name), self._state.now.own.get(name)
        if serving is not None and wanted is not None and serving.id == wanted.id:
            return
        last = None if serving is not None else self._last(kind)
        before = serving.version if serving is not None else last
        if wanted is None and (before is None or (is_known and self._follower.may_leave(before))):
            self._leave(kind, before, was_serving=serving is not None)
            return
        if wanted is None and before is not None and serving is not None:
            self._follower.say(f"{kind.model} has no champion in MLflow; version {before.version} serves on")
            return
        loaded = next(filter(None, map(self._follower.attempt, self._attempts(wanted, last))), None)
        if loaded is None:
            return
        self._state.set_own(name, loaded)
        self._done(name)
        if is_known:
            self._follower.report_first(loaded, before)
        self._follower.remember(kind, loaded.version)

    def _attempts(
        self, wanted: ReleaseVersion | None, last: ReleaseVersion | None
    ) -> Iterator[Attempt[LoadedAnswerer]]:
        """A version that served last on this home is not unfit where it cannot be loaded now."""
        served_last = wanted is not None and last is not None and wanted.id == last.id
        if wanted is not None:
            unfit = None if served_last else wanted
            yield Attempt(str(wanted), lambda: self._follower.load_beside(wanted, is_recalled=False), unfit)
        if last is not None and not served_last:
            name = f"{last}, which served last"
            yield Attempt(name, lambda: self._follower.load_beside(last, is_recalled=True))

    def _last(self, kind: ReleaseKind) -> ReleaseVersion | None:
        read = Attempt(f"what served last of {kind.model}", lambda: last_served(self._settings, kind))
        return self._follower.attempt(read)

    def _leave(self, kind: ReleaseKind, before: ReleaseVersion | None, *, was_serving: bool) -> None:
        name = str(kind.knowledge_base)
        self._done(name)
        if before is None:
            return
        self._state.set_own(name, None)
        self._follower.remember(kind, None)
        if was_serving:
            self._follower.report_left(before)

    def _done(self, name: str) -> None:
        self._waiting = (self._waiting or set()) - {name}
