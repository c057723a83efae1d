"""What the server says of versions, in MLflow and beside it: which serves, which came back, which was refused."""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from serving.promotion.record import Promotion, record_promotion
from serving.promotion.state import Serving
from serving.promotion.swap import LoadedAnswerer, LoadedIndex
from tasks.audit.audit import open_audit
from tasks.errors import DependencyError
from tasks.releases.kind import ANSWERER, ReleaseKind
from tasks.releases.lifecycle import note_champion, note_rolled_back, reject
from tasks.releases.model_registry import CHALLENGER
from tasks.releases.version import ReleaseVersion
from tasks.settings import Settings

RETRY_REFUSED_SECONDS = 60.0
"""How long a refused version is left alone whose alias had to stay; else it is tried when an alias names it again."""

logger = logging.getLogger(__name__)

Slot = tuple[str, str]
"""A registered model and an alias of it."""


@dataclass(slots=True)
class Refusal:
    """A version that does not serve though an alias names it.

    Attributes:
        reported: MLflow knows.
    """

    version: ReleaseVersion
    why: str
    seconds: float
    since: float
    reported: bool = False

    def is_over(self, named: ReleaseVersion | None) -> bool:
        """Say whether its alias names another version, or it is to be tried again."""
        if named is None or named.id != self.version.id:
            return True
        return self.reported and time.monotonic() - self.since > RETRY_REFUSED_SECONDS


class Verdicts:
    """Remembers refusals until MLflow knows and the alias moved; used by one thread at a time."""

    def __init__(self, settings: Settings) -> None:
        """Nothing was said yet."""
        self._settings = settings
        self._refused: dict[Slot, Refusal] = {}
        self.last_swap: Promotion | None = None
        self.last_refusal: Promotion | None = None

    @property
    def reasons(self) -> list[str]:
        """Refused versions that an alias still names."""
        return [f"{refusal.version} was refused: {refusal.why}" for refusal in list(self._refused.values())]

    def forget(self, named: Sequence[ReleaseVersion]) -> None:
        """Drop what is over, by what the aliases name now."""
        by_slot = {_slot(version): version for version in named}
        self._refused = {
            slot: refusal for slot, refusal in self._refused.items() if not refusal.is_over(by_slot.get(slot))
        }

    def is_refused(self, version: ReleaseVersion) -> bool:
        """Say whether this version need not be tried."""
        refusal = self._refused.get(_slot(version))
        return refusal is not None and refusal.version.id == version.id

    def refuse(self, version: ReleaseVersion, why: str, seconds: float) -> None:
        """Keep why a version does not serve."""
        self._refused = {**self._refused, _slot(version): Refusal(version, why, seconds, time.monotonic())}

    def report_refusals(self, serving: Serving | None) -> bool:
        """Tag what was refused and put its alias back; return whether there was anything to report.

        Raises:
            DependencyError: MLflow does not answer; it is asked again at the next poll.
        """
        waiting = [(slot, refusal) for slot, refusal in self._refused.items() if not refusal.reported]
        for slot, refusal in waiting:
            kind, current = refusal.version.kind, _serving_version(serving, refusal.version.kind)
            outcome = reject(
                self._settings,
                refusal.version,
                refusal.why,
                serves=current.version if current else None,
                default_serves=serving is not None and kind.default is not None and current is None,
            )
            refusal.reported = True
            if not outcome.stays:
                self._refused = {name: entry for name, entry in self._refused.items() if name != slot}
            before = current.version if current else "default" if serving else "none"
            self._record_refusal(refusal, outcome.text, before)
        return bool(waiting)

    def _record_refusal(self, refusal: Refusal, alias: str, before: str) -> None:
        """Record a refusal; what is refused again and again for the same reason is recorded once."""
        version, seconds, before_that = refusal.version, round(refusal.seconds, 2), self.last_refusal
        promotion = Promotion(
            "refused", version.kind.model, version.version, before=before, seconds=seconds, why=refusal.why, alias=alias
        )
        self.last_refusal = promotion
        if before_that is None or promotion != replace(before_that, seconds=seconds, at=promotion.at):
            record_promotion(promotion)
            self._note(promotion)

    def _note(self, promotion: Promotion) -> None:
        """Note what this server serves from now on; MLflow does not say who moved the alias."""
        try:
            open_audit(self._settings.layout).done(
                f"server {promotion.kind.replace('_', ' ')}",
                actor="alias in MLflow",
                model=promotion.model,
                version=promotion.version,
                before=promotion.before,
                why=promotion.why,
            )
        except DependencyError as error:
            logger.warning("%s %s could not be noted: %s", promotion.model, promotion.version, error)

    def passed(
        self,
        loaded: LoadedIndex | LoadedAnswerer,
        before: ReleaseVersion | None,
        *,
        seconds: float,
        checks: tuple[str, ...],
    ) -> None:
        """Tag a version that answers from now on, and the one that was taken back for it."""
        version = loaded.version
        kind = version.kind if version is not None else ANSWERER
        back = before is not None and (version is None or int(version.version) < int(before.version))
        challenger = version is not None and version.alias == CHALLENGER
        promotion = Promotion(
            "challenger" if challenger else "rolled_back" if back else "promoted",
            kind.model,
            loaded.version.version if loaded.version is not None else loaded.answerer.version,
            before=before.version if before else "default" if kind.default else "none",
            seconds=seconds,
            checks=checks,
        )
        self.last_swap = promotion
        record_promotion(promotion)
        self._note(promotion)
        try:
            if version is not None:
                note_champion(self._settings, version, promotion.note())
            if back and before is not None and not challenger:
                note_rolled_back(self._settings, kind, before.version)
        except DependencyError as error:
            logger.warning("%s %s serves, but could not be tagged: %s", kind.model, promotion.version, error)

    def left(self, version: ReleaseVersion, *, seconds: float) -> None:
        """Say that a knowledge base's own answerer was taken back for the general one; its tags say so already."""
        default = str(version.kind.default)
        promotion = Promotion("rolled_back", version.kind.model, default, before=version.version, seconds=seconds)
        self.last_swap = promotion
        record_promotion(promotion)
        self._note(promotion)

    def correct(self, version: ReleaseVersion) -> None:
        """Let the tags of what an alias names say that it serves."""
        try:
            note_champion(self._settings, version)
        except DependencyError as error:
            logger.warning("%s serves, but could not be tagged: %s", version, error)


def _slot(version: ReleaseVersion) -> Slot:
    return (version.kind.model, version.alias)


def _serving_version(serving: Serving | None, kind: ReleaseKind) -> ReleaseVersion | None:
    if serving is None:
        return None
    if kind.knowledge_base is not None:
        own = serving.own.get(kind.knowledge_base)
        return None if own is None else own.version
    return serving.answerer.version if kind == ANSWERER else serving.index.version
