"""What happened to a version: written to the log, and reported to Prefect where there is one."""

import json
import logging
import subprocess
import sys
import threading
from dataclasses import asdict, dataclass, field
from typing import Literal

from tasks.releases.model_registry import now
from tasks.settings import Settings

REPORT_SECONDS = 120.0

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Promotion:
    """A version that came to serve, came back, or was refused.

    Attributes:
        before: the version that served before; it serves on where this one was refused.
        why: of a refusal, one line; empty otherwise.
        checks: what the smoke saw.
        seconds: from the poll that saw the alias to the swap or the refusal.
        alias: what became of the alias of a refused version.
    """

    kind: Literal["promoted", "rolled_back", "refused", "challenger"]
    model: str
    version: str
    before: str
    seconds: float
    why: str = ""
    checks: tuple[str, ...] = ()
    alias: str = ""
    at: str = field(default_factory=now)

    def note(self) -> str:
        """Return one line for the tag `promotion`."""
        verb = {"rolled_back": "serves again", "challenger": "answers a share of the users"}.get(self.kind, "serves")
        return f"{self.at}: {verb}; before: {self.before}; {self.seconds:.1f} s; {', '.join(self.checks)}"


def record_promotion(promotion: Promotion) -> None:
    """Log it, and report it to Prefect from a process of its own: nobody who asks waits for that."""
    if promotion.kind == "refused":
        logger.warning("%s %s was refused: %s (%s)", promotion.model, promotion.version, promotion.why, promotion.alias)
    else:
        logger.info("%s %s: %s", promotion.model, promotion.version, promotion.note())
    if Settings().prefect_api_url:
        threading.Thread(target=_report, args=(promotion,), name="almanac-promotion", daemon=True).start()


def _report(promotion: Promotion) -> None:
    command = [sys.executable, "-m", "flows.promote"]
    try:
        report = json.dumps(asdict(promotion))
        done = subprocess.run(
            command, input=report, text=True, capture_output=True, timeout=REPORT_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        logger.warning("Prefect was not told of a promotion: %s", error)
        return
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        logger.warning("Prefect was not told of a promotion: %s", reason)
