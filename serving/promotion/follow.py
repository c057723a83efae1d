"""One poll of the aliases, and what comes of it.

poll ─▶ load beside ─▶ smoke ─▶ swap between two requests ─▶ tag and record ─▶ close the old one

A version that cannot be loaded or fails the smoke is refused: the old one serves on, the alias goes back, and the
version's tags say why. A dependency that does not answer refuses nothing: it is asked again later. An alias that is
gone changes nothing, unless the version that serves says that it was rolled back.
"""

import logging
import math
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace

from serving.promotion.aliases import Aliases, read_aliases
from serving.promotion.another_index import passing
from serving.promotion.attempt import Attempt, T, is_of_this_machine, one_line
from serving.promotion.challengers import Challengers
from serving.promotion.endpoint_adapters import EndpointAdapters
from serving.promotion.own_answerers import OwnAnswerers
from serving.promotion.smoke import smoke_answerer, smoke_index
from serving.promotion.state import Serving, ServingState
from serving.promotion.status import MlflowStatus
from serving.promotion.swap import (
    LoadedAnswerer,
    LoadedIndex,
    Wrap,
    load_default,
    load_index,
    load_registered,
    recall_answerer,
)
from serving.promotion.verdicts import Verdicts
from tasks.errors import ConfigurationError, DependencyError
from tasks.index.access_tables import load_access
from tasks.index.release import tagged_version
from tasks.index.table import connect
from tasks.params import Params
from tasks.releases.approval import Act, follow_approval, require_approval
from tasks.releases.kind import ANSWERER, INDEX, ReleaseKind
from tasks.releases.last_served import last_served, remember_served
from tasks.releases.lifecycle import is_rolled_back, required, versions
from tasks.releases.model_registry import CHAMPION, probe
from tasks.releases.model_registry import now as moment
from tasks.releases.version import ReleaseVersion, require_gate
from tasks.settings import Settings

RETRY_SECONDS = 10.0
"""How long what could not be tried, for a dependency that did not answer, is left alone."""

logger = logging.getLogger(__name__)


class Follower:
    """Lets what the aliases name serve; used by one thread at a time."""

    def __init__(self, params: Params, settings: Settings, wrap: Wrap, state: ServingState) -> None:
        """Nothing is read or loaded yet."""
        self._params, self._settings, self._wrap, self._state = params, settings, wrap, state
        self._db = connect(settings)
        self._adapters = EndpointAdapters(params, settings)
        self._later: dict[str, tuple[float, str]] = {}
        self._problems: list[str] = []
        self._notices: tuple[str, ...] = ()
        self._checks: list[str] = []
        self._asked_at: str | None = None
        self._unreachable: str | None = None
        self._started = 0.0
        self.verdicts = Verdicts(settings)
        self._own = OwnAnswerers(self, settings, state)
        self._challengers = Challengers(self, state, share=params.serving.challenger_share)

    def poll(self) -> None:
        """Ask MLflow and follow."""
        self._started, self._problems = time.monotonic(), []
        aliases = self._read()
        try:
            self._follow(aliases)
        except DependencyError as error:
            self._problems.append(str(error))
        self._problems += self._adapters.keep(self._state.answerers_in_use(), aliases.answerers() if aliases else [])
        self._notices = tuple(self._problems)

    def reasons(self) -> list[str]:
        """Return what is not as it should be, in words for those who run the server."""
        down = [self._unreachable] if self._unreachable else []
        return [*down, *dict.fromkeys(self._notices), *self.verdicts.reasons]

    def mlflow_status(self) -> MlflowStatus:
        """Return whether MLflow answered when it was asked last."""
        reachable = None if self._asked_at is None else self._unreachable is None
        return MlflowStatus(reachable, self._asked_at)

    def _read(self) -> Aliases | None:
        unreachable, aliases = None, None
        try:
            if self._unreachable:
                probe(self._settings)
            aliases = read_aliases(self._settings)
        except DependencyError as error:
            unreachable = str(error)
        if unreachable and not self._unreachable:
            logger.warning("what serves serves on, but its aliases cannot be read: %s", unreachable)
        self._unreachable, self._asked_at = unreachable, moment()
        return aliases

    def _follow(self, aliases: Aliases | None) -> None:
        if aliases is not None:
            self.verdicts.forget(aliases.named())
        if self._state.now is None:
            self._begin(aliases)
        elif aliases is not None:
            self._move(aliases, self._state.now)
        self._own.follow(aliases)
        if aliases is None:
            return
        self._challengers.follow(aliases)
        if self.verdicts.report_refusals(self._state.now) and self._state.now is not None:
            # Whoever promoted what was refused may have kept it as what served last.
            self._record(self._state.now.index, self._state.now.answerer)

    def attempt(self, attempt: Attempt[T]) -> T | None:
        """Load; what goes wrong refuses the version that is unfit, else it is left alone for a while."""
        if attempt.unfit is not None and self.verdicts.is_refused(attempt.unfit):
            return None
        until, why = self._later.get(attempt.name, (0.0, ""))
        if time.monotonic() < until:
            self._problems.append(why)
            return None
        try:
            if attempt.needs_promoter:
                self._require_promoter(attempt.unfit)
            return attempt.load()
        # The one boundary of all that is loaded: a damaged file makes a library raise anything; the old pair serves on.
        except Exception as error:  # noqa: BLE001
            why = one_line(error)
            if attempt.unfit is not None and not is_of_this_machine(error):
                # The reason becomes a tag that everybody may read: where the home lies is nobody's business.
                public = why.replace(f"{self._settings.home.resolve()}/", "")
                self.verdicts.refuse(attempt.unfit, public, time.monotonic() - self._started)
                return None
        logger.warning("%s is tried again later: %s", attempt.name, why)
        self._later[attempt.name] = (time.monotonic() + RETRY_SECONDS, why)
        self._problems.append(why)
        return None

    def _require_promoter(self, version: ReleaseVersion | None) -> None:
        """A challenger needs nobody's approval: it came by its gate, and answers a share of the users for a trial."""
        if version is not None and version.alias == CHAMPION:
            require_approval(self._settings, version)

    # The first pair of this process.

    def _begin(self, aliases: Aliases | None) -> None:
        """Let the champions serve; where they cannot be had, what served last."""
        last_index = self.attempt(Attempt("the index that served last", lambda: last_served(self._settings, INDEX)))
        last_answerer = self.attempt(
            Attempt("the answerer that served last", lambda: last_served(self._settings, ANSWERER))
        )
        index = self._first(self._index_attempts(aliases, last_index))
        if index is None:
            if not (self._problems or self._unreachable or self.verdicts.reasons):
                self._problems.append(
                    "an index must be released before it can be asked, found none; run `almanac refresh`"
                )
            return
        answerer = self._first(self._answerer_attempts(aliases, last_answerer, index))
        if answerer is None:
            return
        self._state.exchange(Serving(index, answerer))
        if aliases is not None:
            self.report_first(index, last_index)
            self.report_first(answerer, last_answerer)
        self._record(index, answerer)

    def _first(self, attempts: Iterable[Attempt[T]]) -> T | None:
        return next((loaded for loaded in map(self.attempt, attempts) if loaded is not None), None)

    def _index_attempts(self, aliases: Aliases | None, last: ReleaseVersion | None) -> Iterator[Attempt[LoadedIndex]]:
        """A version that served last on this home is not unfit where it cannot be loaded now."""
        wanted = aliases.index if aliases else None
        served_last = wanted is not None and last is not None and wanted.id == last.id
        if wanted is not None:
            yield Attempt(str(wanted), lambda: self._open(wanted), None if served_last else wanted)
        if last is not None and not served_last:
            yield Attempt("the index that served last", lambda: self._recall_index(last))

    def _answerer_attempts(
        self, aliases: Aliases | None, last: ReleaseVersion | None, index: LoadedIndex
    ) -> Iterator[Attempt[LoadedAnswerer]]:
        wanted = aliases.answerer if aliases else None
        served_last = wanted is not None and last is not None and wanted.id == last.id
        if wanted is not None:
            unfit = None if served_last else wanted
            yield Attempt(str(wanted), lambda: self._smoked(index, self._load(wanted)), unfit)
        if served_last:
            return
        asked = aliases is not None and wanted is None
        if last is None or (asked and self.may_leave(last)):
            yield Attempt("the default answerer", lambda: self._smoked(index, self._default()))
        else:
            yield Attempt("the answerer that served last", lambda: self._smoked(index, self._recall_answerer(last)))

    # A pair behind another.

    def _move(self, aliases: Aliases, now: Serving) -> None:
        """Swap both at once where both aliases moved and the new pair passes; else each alone."""
        index = self._next_index(aliases.index, now)
        answerer = self._next_answerer(aliases.answerer, now)
        if index and answerer and self.attempt(Attempt("the new pair", lambda: self._smoked(index, answerer))):
            self._swap(index, answerer, now)
            return
        beside = now.index
        if index and self.attempt(
            Attempt(str(index.version), lambda: self._smoked(index, now.answerer), index.version)
        ):
            now = self._swap(index, now.answerer, now)
            beside = index
        if answerer is None:
            return
        name = str(answerer.version or "the default answerer")
        if self.attempt(Attempt(name, lambda: self._smoked(beside, answerer), answerer.version)):
            self._swap(beside, answerer, now)
        elif answerer is not now.challenger:
            answerer.close()

    def _next_index(self, wanted: ReleaseVersion | None, now: Serving) -> LoadedIndex | None:
        if wanted is None:
            self._problems.append(
                f"{INDEX.model} has no champion in MLflow; release {now.index.release.number} serves on"
            )
            return None
        if wanted.id == now.index.version.id:
            return self._rewritten_index(wanted, now.index)
        return self.attempt(Attempt(str(wanted), lambda: self._open(wanted), wanted))

    def _rewritten_index(self, wanted: ReleaseVersion, now: LoadedIndex) -> LoadedIndex | None:
        """Open the same release again where an erasure moved its tag: the old version is about to go."""
        attempt = Attempt("the tag of what serves", lambda: tagged_version(self._db, now.release.lance_tag))
        if self.attempt(attempt) in (None, now.index.table.version):
            return None
        return self.attempt(Attempt(f"{wanted} without what was forgotten", lambda: self._recall_index(wanted)))

    def _next_answerer(self, wanted: ReleaseVersion | None, now: Serving) -> LoadedAnswerer | None:
        serving, challenger = now.answerer.version, now.challenger
        if wanted is None:
            return None if serving is None else self._without_champion(serving)
        if wanted.id == now.answerer.id:
            return None
        if challenger is not None and challenger.id == wanted.id and not self.verdicts.is_refused(wanted):

            def promoted() -> LoadedAnswerer:
                challenger.version = wanted
                return challenger

            return self.attempt(Attempt(str(wanted), promoted, wanted))
        return self.attempt(Attempt(str(wanted), lambda: self._load(wanted), wanted))

    def _without_champion(self, serving: ReleaseVersion) -> LoadedAnswerer | None:
        """Load the default answerer where a person rolled back to it; the alias may just be lost."""
        if self.may_leave(serving):
            return self.attempt(Attempt("the default answerer", self._default))
        self._problems.append(f"{ANSWERER.model} has no champion in MLflow; version {serving.version} serves on")
        return None

    def may_leave(self, serving: ReleaseVersion) -> bool:
        """Say whether a person rolled back to the default, and one who may."""
        kind = serving.kind
        if not is_rolled_back(self._settings, kind, serving.version):
            return False
        try:
            current = required(versions(self._settings, kind), kind, serving.version)
            require_approval(self._settings, current, "leave")
        except ConfigurationError as error:
            self._problems.append(str(error))
            return False
        self._follow_approval(current, "leave")
        return True

    def _follow_approval(self, version: ReleaseVersion, act: Act = "serve") -> None:
        try:
            follow_approval(self._settings, version, act)
        except DependencyError as error:
            self._problems.append(f"an older record of a promoter would count again: {error}")

    def _swap(self, index: LoadedIndex, answerer: LoadedAnswerer, before: Serving) -> Serving:
        challengers = {name: loaded for name, loaded in before.challengers.items() if loaded is not answerer}
        serving = replace(before, index=index, answerer=answerer, challengers=challengers)
        self._state.exchange(serving if index is before.index else passing(self, serving))
        if index is not before.index:
            self._report_served(index, before.index.version)
        if answerer is not before.answerer:
            self._report_served(answerer, before.answerer.version)
        # Behind the reports: killed between the two, the next start sees another version than served last, and reports.
        self._record(index, answerer)
        return serving

    # The parts.

    def _open(self, version: ReleaseVersion) -> LoadedIndex:
        require_gate(version)
        return self._recall_index(version)

    def _recall_index(self, version: ReleaseVersion) -> LoadedIndex:
        loaded = load_index(self._db, version, self._params, self._settings)
        self._checks = smoke_index(loaded.release, loaded.index, load_access(self._db))
        return loaded

    def _load(self, version: ReleaseVersion) -> LoadedAnswerer:
        require_gate(version)
        now = self._state.now
        serving = now.answerer.answerer if now else None
        return load_registered(version, self._params, self._settings, self._wrap, serving, self._adapters)

    def _recall_answerer(self, version: ReleaseVersion) -> LoadedAnswerer:
        return recall_answerer(version, self._params, self._settings, self._wrap, self._adapters)

    def load_beside(self, version: ReleaseVersion, *, is_recalled: bool) -> LoadedAnswerer:
        """Load an answerer, if it is no challenger already, and smoke it over the index; recalled: without MLflow."""
        now = self._state.now
        assert now is not None
        load = self._recall_answerer if is_recalled else self._load
        challenger = now.challengers.get(version.kind.knowledge_base)
        loaded = challenger if challenger is not None and challenger.id == version.id else load(version)
        self._smoked(now.index, loaded)
        loaded.version = version
        return loaded

    def _default(self) -> LoadedAnswerer:
        return load_default(self._params, self._settings, self._wrap)

    def smoke(self, index: LoadedIndex, answerer: LoadedAnswerer) -> list[str]:
        """Check an answerer over an index; return what was checked."""
        access = load_access(self._db)
        questions = self._params.serving.smoke_questions
        return smoke_answerer(
            answerer.answerer,
            index.index,
            access,
            questions,
            timeout_seconds=self._settings.request_timeout_seconds if self._state.now else math.inf,
        )

    def _smoked(self, index: LoadedIndex, answerer: LoadedAnswerer) -> LoadedAnswerer:
        checks = self.smoke(index, answerer)
        self._checks = [*checks, *([answerer.parity] if answerer.parity else [])]
        return answerer

    def _record(self, index: LoadedIndex, answerer: LoadedAnswerer) -> None:
        self.remember(INDEX, index.version)
        self.remember(ANSWERER, answerer.version)

    def remember(self, kind: ReleaseKind, version: ReleaseVersion | None) -> None:
        """Keep what serves for a restart without MLflow; a full disk stops no swap."""
        try:
            remember_served(self._settings, kind, version)
            if version is not None:
                self._follow_approval(version)
        except DependencyError as error:
            self._problems.append(f"a restart without MLflow would serve what served before: {error}")

    def report_first(self, loaded: LoadedIndex | LoadedAnswerer, last: ReleaseVersion | None) -> None:
        """Say what serves if it did not serve last; else correct what a command that was killed left said."""
        version = loaded.version
        if version is not None and (last is None or version.id != last.id):
            self._report_served(loaded, last)
        elif version is not None and (version.rolled_back or not version.served):
            self.verdicts.correct(version)

    def report_left(self, version: ReleaseVersion) -> None:
        """Say that the general answerer took the place of a knowledge base's own."""
        self.verdicts.left(version, seconds=round(time.monotonic() - self._started, 2))

    def say(self, problem: str) -> None:
        """Say what is not as it should be, until the next poll."""
        self._problems.append(problem)

    def _report_served(self, loaded: LoadedIndex | LoadedAnswerer, before: ReleaseVersion | None) -> None:
        seconds = round(time.monotonic() - self._started, 2)
        self.verdicts.passed(loaded, before, seconds=seconds, checks=tuple(self._checks))
