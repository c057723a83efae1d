"""One poll of the aliases, and what comes of it.

poll ─▶ load beside ─▶ smoke ─▶ swap between two requests ─▶ tag and record ─▶ close the old one

A version that cannot be loaded or fails the smoke is refused: the old one serves on, the alias goes back, and the
version's tags say why. A dependency that does not answer refuses nothing: it is asked again later. An alias that is
gone changes nothing, unless the version that serves says that it was rolled back.
"""

import errno
import logging
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from safetensors import SafetensorError

from serving.promotion import aliases as mlflow
from serving.promotion.aliases import Aliases, Target
from serving.promotion.last_known_good import LastKnownGood, recall, remember
from serving.promotion.smoke import smoke_answerer, smoke_index
from serving.promotion.state import Serving, ServingState
from serving.promotion.swap import (
    LoadedAnswerer,
    LoadedIndex,
    Wrap,
    as_last_known_good,
    load_base,
    load_index,
    load_registered,
    recalled_answerer,
    recalled_index,
)
from serving.promotion.verdicts import Verdicts
from tasks.answer.registry import MODEL as ANSWERER
from tasks.errors import AlmanacError, DependencyError
from tasks.index.access_tables import load_access
from tasks.index.registration import MODEL as INDEX
from tasks.index.release import remember_served
from tasks.index.table import connect
from tasks.params import Params
from tasks.settings import Settings

RETRY_SECONDS = 10.0
"""How long what could not be tried, for a dependency that did not answer, is left alone."""
UNFIT = (
    AlmanacError,
    ArithmeticError,
    AttributeError,
    ImportError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    SafetensorError,
)
"""What the libraries make of files that are not what they should be."""
OF_THIS_MACHINE = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EMFILE, errno.ENFILE}
"""Errors of the disk and of open files: no version is to blame."""

T = TypeVar("T")

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Attempt(Generic[T]):
    """A way to a part of the pair; `blamed` is the version that is refused where it leads nowhere."""

    name: str
    load: Callable[[], T]
    blamed: Target | None = None


class Follower:
    """Brings the stage to what the aliases name; used by one thread at a time."""

    def __init__(self, params: Params, settings: Settings, wrap: Wrap, stage: ServingState) -> None:
        """Nothing is read or loaded yet."""
        self._params, self._settings, self._wrap, self._stage = params, settings, wrap, stage
        self._db = connect(settings)
        self._later: dict[str, tuple[float, str]] = {}
        self._found: list[str] = []
        self._notices: tuple[str, ...] = ()
        self._checks: list[str] = []
        self._asked_at: str | None = None
        self._unreachable: str | None = None
        self._started = 0.0
        self.verdicts = Verdicts(settings)

    def poll(self) -> None:
        """Ask MLflow and follow."""
        self._started, self._found = time.monotonic(), []
        aliases = self._read()
        try:
            self._follow(aliases)
        except DependencyError as error:
            self._found.append(str(error))
        self._notices = tuple(self._found)

    def reasons(self) -> list[str]:
        """What is not as it should be, in words for those who run the server."""
        down = [self._unreachable] if self._unreachable else []
        return [*down, *dict.fromkeys(self._notices), *self.verdicts.reasons]

    def mlflow_status(self) -> dict[str, Any]:
        """Whether MLflow answered when it was asked last."""
        reachable = None if self._asked_at is None else self._unreachable is None
        return {"reachable": reachable, "asked_at": self._asked_at}

    def _read(self) -> Aliases | None:
        unreachable, found = None, None
        try:
            if self._unreachable:
                mlflow.probe(self._settings)
            found = mlflow.read_aliases(self._settings)
        except DependencyError as error:
            unreachable = str(error)
        if unreachable and not self._unreachable:
            logger.warning("what serves serves on, but its aliases cannot be read: %s", unreachable)
        self._unreachable, self._asked_at = unreachable, mlflow.moment()
        return found

    def _follow(self, aliases: Aliases | None) -> None:
        if aliases is not None:
            self.verdicts.forget({target.slot: target for target in aliases.named()})
        if self._stage.now is None:
            self._begin(aliases)
        elif aliases is not None:
            self._move(aliases, self._stage.now)
        if aliases is None:
            return
        if self._stage.now is not None:
            self._challenge(aliases.challenger, self._stage.now)
        self.verdicts.tell_refusals(self._stage.now)

    def _attempt(self, way: _Attempt[T]) -> T | None:
        """Try a way; what it raises refuses the version that is to blame, else it is left alone for a while."""
        if way.blamed is not None and self.verdicts.is_refused(way.blamed):
            return None
        until, why = self._later.get(way.name, (0.0, ""))
        if time.monotonic() < until:
            self._found.append(why)
            return None
        try:
            return way.load()
        except DependencyError as error:
            why = one_line(error)
        except UNFIT as error:
            why = one_line(error)
            if way.blamed is not None and getattr(error, "errno", None) not in OF_THIS_MACHINE:
                # The reason becomes a tag that everybody may read: where the home lies is nobody's business.
                public = why.replace(f"{self._settings.home.resolve()}/", "")
                self.verdicts.refuse(way.blamed, public, time.monotonic() - self._started)
                return None
        logger.warning("%s is tried again later: %s", way.name, why)
        self._later[way.name] = (time.monotonic() + RETRY_SECONDS, why)
        self._found.append(why)
        return None

    # The first pair of this process.

    def _begin(self, aliases: Aliases | None) -> None:
        """The champions; where they cannot be had, the pair that served last."""
        kept = self._attempt(_Attempt("the pair that served last", lambda: recall(self._settings)))
        index = self._first(self._ways_to_index(aliases, kept))
        if index is None:
            if not (self._found or self._unreachable or self.verdicts.reasons):
                self._found.append(
                    "an index must be released before it can be asked, found none; run `almanac refresh`"
                )
            return
        answerer = self._first(self._ways_to_answerer(aliases, kept, index))
        if answerer is None:
            return
        self._stage.exchange(Serving(index, answerer))
        self._record(index, answerer)
        if aliases is not None:
            if index.key != (kept.index_key if kept else None):
                self._say(index, None)
            if answerer.target is not None and answerer.key != (kept.answerer_key if kept else None):
                self._say(answerer, None)

    def _first(self, ways: Iterable[_Attempt[T]]) -> T | None:
        return next((half for half in map(self._attempt, ways) if half is not None), None)

    def _ways_to_index(self, aliases: Aliases | None, kept: LastKnownGood | None) -> Iterator[_Attempt[LoadedIndex]]:
        """A version that served last on this home is not to blame where it cannot be loaded now."""
        wanted = aliases.index if aliases else None
        served_last = kept is not None and wanted is not None and wanted.key == kept.index_key
        if wanted is not None:
            yield _Attempt(str(wanted), lambda: self._opened(wanted), None if served_last else wanted)
        if kept is not None and not served_last:
            yield _Attempt("the index that served last", lambda: self._recalled_index(kept))

    def _ways_to_answerer(
        self, aliases: Aliases | None, kept: LastKnownGood | None, index: LoadedIndex
    ) -> Iterator[_Attempt[LoadedAnswerer]]:
        wanted = aliases.answerer if aliases else None
        served_last = kept is not None and wanted is not None and wanted.key == kept.answerer_key
        if wanted is not None:
            blamed = None if served_last else wanted
            yield _Attempt(str(wanted), lambda: self._smoked(index, self._loaded(wanted)), blamed)
        if served_last:
            return
        taken_back = kept is not None and aliases is not None and wanted is None and self._is_taken_back(kept)
        if kept is None or kept.is_base or taken_back:
            yield _Attempt("the base model", lambda: self._smoked(index, self._base()))
        else:
            yield _Attempt("the answerer that served last", lambda: self._smoked(index, self._recalled_answerer(kept)))

    # A pair behind another.

    def _move(self, aliases: Aliases, now: Serving) -> None:
        """Both at once where both aliases moved and the new pair passes; else each alone."""
        index = self._next_index(aliases.index, now)
        answerer = self._next_answerer(aliases.answerer, now)
        if index and answerer and self._attempt(_Attempt("the new pair", lambda: self._smoked(index, answerer))):
            self._swap(index, answerer, now)
            return
        beside = now.index
        if index and self._attempt(
            _Attempt(str(index.target), lambda: self._smoked(index, now.answerer), index.target)
        ):
            now = self._swap(index, now.answerer, now)
            beside = index
        if answerer is None:
            return
        name = str(answerer.target or "the base model")
        if self._attempt(_Attempt(name, lambda: self._smoked(beside, answerer), answerer.target)):
            self._swap(beside, answerer, now)
        elif answerer is not now.challenger:
            answerer.close()

    def _next_index(self, wanted: Target | None, now: Serving) -> LoadedIndex | None:
        if wanted is None:
            self._found.append(f"{INDEX} has no champion in MLflow; release {now.index.release.number} serves on")
            return None
        if wanted.key == now.index.key:
            return None
        return self._attempt(_Attempt(str(wanted), lambda: self._opened(wanted), wanted))

    def _next_answerer(self, wanted: Target | None, now: Serving) -> LoadedAnswerer | None:
        serving, challenger = now.answerer.target, now.challenger
        if wanted is None:
            return None if serving is None else self._without_champion(serving)
        if wanted.key == now.answerer.key:
            return None
        if challenger is not None and challenger.key == wanted.key and not self.verdicts.is_refused(wanted):
            challenger.target = wanted
            return challenger
        return self._attempt(_Attempt(str(wanted), lambda: self._loaded(wanted), wanted))

    def _without_champion(self, serving: Target) -> LoadedAnswerer | None:
        """Rolled back to the base model; or the alias was lost."""
        if mlflow.was_taken_back(self._settings, ANSWERER, serving.version):
            return self._attempt(_Attempt("the base model", self._base))
        self._found.append(f"{ANSWERER} has no champion in MLflow; version {serving.version} serves on")
        return None

    def _swap(self, index: LoadedIndex, answerer: LoadedAnswerer, before: Serving) -> Serving:
        challenger = None if before.challenger is answerer else before.challenger
        serving = Serving(index, answerer, challenger)
        self._stage.exchange(serving)
        self._record(index, answerer)
        if index is not before.index:
            self._say(index, before.index.target)
        if answerer is not before.answerer:
            self._say(answerer, before.answerer.target)
        return serving

    def _challenge(self, wanted: Target | None, now: Serving) -> None:
        """Load what a share of the users is answered by."""
        if self._params.serving.challenger_share <= 0 or wanted is None or wanted.key == now.answerer.key:
            self._stage.set_challenger(None)
            return
        if now.challenger is not None and now.challenger.key == wanted.key:
            return
        self._stage.set_challenger(None)
        half = self._attempt(_Attempt(str(wanted), lambda: self._smoked(now.index, self._loaded(wanted)), wanted))
        if half is not None:
            self._stage.set_challenger(half)
            self._say(half, now.answerer.target)

    # The parts.

    def _opened(self, target: Target) -> LoadedIndex:
        return self._checked(load_index(self._db, target, self._params, self._settings))

    def _recalled_index(self, kept: LastKnownGood) -> LoadedIndex:
        return self._checked(recalled_index(self._db, kept, self._params, self._settings))

    def _checked(self, half: LoadedIndex) -> LoadedIndex:
        self._checks = smoke_index(half.release, half.index, load_access(self._db))
        return half

    def _loaded(self, target: Target) -> LoadedAnswerer:
        return load_registered(target, self._params, self._settings, self._wrap)

    def _recalled_answerer(self, kept: LastKnownGood) -> LoadedAnswerer:
        return recalled_answerer(kept, self._params, self._settings, self._wrap)

    def _base(self) -> LoadedAnswerer:
        return load_base(self._params, self._settings, self._wrap)

    def _smoked(self, index: LoadedIndex, answerer: LoadedAnswerer) -> LoadedAnswerer:
        access = load_access(self._db)
        questions = self._params.serving.smoke_questions
        self._checks = smoke_answerer(answerer.answerer, index.index, access, questions)
        return answerer

    def _is_taken_back(self, kept: LastKnownGood) -> bool:
        return mlflow.was_taken_back(self._settings, ANSWERER, kept.answerer_version)

    def _record(self, index: LoadedIndex, answerer: LoadedAnswerer) -> None:
        """For a restart without MLflow; a full disk stops no swap."""
        try:
            remember(self._settings, as_last_known_good(self._settings, index, answerer))
            remember_served(self._settings, index.release.number)
        except DependencyError as error:
            self._found.append(f"a restart without MLflow would serve what served before: {error}")

    def _say(self, half: LoadedIndex | LoadedAnswerer, before: Target | None) -> None:
        seconds = round(time.monotonic() - self._started, 2)
        self.verdicts.passed(half, before, seconds=seconds, checks=tuple(self._checks))


def one_line(error: BaseException) -> str:
    """What went wrong, in one line."""
    text = " ".join(str(error).split())[:400] or type(error).__name__
    return text if isinstance(error, AlmanacError) else f"{type(error).__name__}: {text}"
