"""The trials of challengers while the server runs: a thread that has each judged now and then. Knows no formula."""

import logging
import threading
from collections.abc import Callable, Sequence

from tasks.errors import AlmanacError
from tasks.model.trial.trial import run_trial
from tasks.releases.kind import ReleaseKind
from tasks.settings import Settings

PAUSE_SECONDS = 600.0
"""Between two looks: each reads the trial's traces."""

logger = logging.getLogger(__name__)


class TrialWatch:
    """Has challengers judged; the follower takes away one that lost, at its next poll."""

    def __init__(self, settings: Settings, trials: Callable[[], Sequence[tuple[ReleaseKind, str]]]) -> None:
        """Nothing is read yet; `trials` returns the kinds that have a challenger, and what answers the other users."""
        self._settings, self._trials = settings, trials
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="almanac-trial", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """Look no longer."""
        self._stopped.set()
        if self._thread.ident is not None:
            self._thread.join()

    def look(self) -> None:
        """Have each challenger judged now."""
        for kind, champion in self._trials():
            try:
                trial = run_trial(self._settings, champion, kind)
            except AlmanacError as error:
                logger.warning("the trial of the challenger of %s is judged later: %s", kind.model, error)
                continue
            if trial is not None:
                logger.info("the trial of challenger %s: %s", trial.challenger, trial.text)

    def _watch(self) -> None:
        while not self._stopped.wait(PAUSE_SECONDS):
            self.look()
