"""Whether the index can be read now: asked in a thread of its own, since a store that hangs answers nobody."""

import logging
import threading
import time
from collections.abc import Callable

logger = logging.getLogger(__name__)

PROBE_SECONDS = 5.0
HANGS_SECONDS = 10.0
"""The probe reads two small tables: a store that takes longer answers no question within its time."""


class IndexProbe:
    """Reads again and again what every search reads."""

    def __init__(self, read: Callable[[], object], *, clock: Callable[[], float] = time.monotonic) -> None:
        """Nothing is read yet.

        Args:
            read: raises where the index cannot be read.
            clock: in seconds.
        """
        self._read, self._clock = read, clock
        self._asked_at: float | None = None
        self._error: str | None = None
        self._stopped = threading.Event()

    def start(self) -> None:
        """Probe until `stop`."""
        threading.Thread(target=self._run, name="almanac-index-probe", daemon=True).start()

    def stop(self) -> None:
        """Probe no more; one that hangs is not waited for."""
        self._stopped.set()

    def probe(self) -> None:
        """Read once."""
        self._asked_at = self._clock()
        try:
            self._read()
            error = None
        except Exception as failure:  # noqa: BLE001 - whatever a library raises here, a search would raise
            error = " ".join(str(failure).split())[:300] or type(failure).__name__
        if error and not self._error:
            logger.warning("the index cannot be read: %s", error)
        self._error, self._asked_at = error, None

    @property
    def problem(self) -> str | None:
        """Why no search can be answered now; None: it can."""
        asked_at = self._asked_at
        if asked_at is not None and (seconds := self._clock() - asked_at) > HANGS_SECONDS:
            return f"the index must be read within {HANGS_SECONDS:.0f} seconds, found no answer for {seconds:.0f}"
        return self._error and f"the index must be readable, found: {self._error}"

    def _run(self) -> None:
        while not self._stopped.wait(PROBE_SECONDS):
            self.probe()
