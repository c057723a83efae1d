"""The trial of a challenger while the server runs: a thread that has it judged now and then. Knows no formula."""

import logging
import threading
from collections.abc import Callable

from tasks.errors import AlmanacError
from tasks.model.trial.trial import run_trial
from tasks.settings import Settings

PAUSE_SECONDS = 600.0
"""Between two looks: each reads the trial's traces."""

logger = logging.getLogger(__name__)


class TrialWatch:
    """Has the challenger judged; the follower takes away one that lost, at its next poll."""

    def __init__(self, settings: Settings, versions: Callable[[], tuple[str, str] | None]) -> None:
        """Nothing is read yet; `versions` returns what serves and the challenger beside it; None: there is none."""
        self._settings, self._versions = settings, versions
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
        """Have the challenger judged now, where there is one."""
        serving = self._versions()
        if serving is None:
            return
        try:
            trial = run_trial(self._settings, serving[0])
        except AlmanacError as error:
            logger.warning("the trial of the challenger is judged later: %s", error)
            return
        if trial is not None:
            logger.info("the trial of challenger %s: %s", trial.challenger, trial.text)

    def _watch(self) -> None:
        while not self._stopped.wait(PAUSE_SECONDS):
            self.look()
