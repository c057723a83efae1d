"""What the server says of versions, in MLflow and beside it: which serves, which came back, which was refused."""

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from serving.promotion import aliases as mlflow
from serving.promotion.aliases import Target
from serving.promotion.record import Promotion, record_promotion
from serving.promotion.state import Serving
from serving.promotion.swap import LoadedAnswerer, LoadedIndex
from tasks.answer.answerer import BASE
from tasks.answer.registry import MODEL as ANSWERER
from tasks.errors import DependencyError
from tasks.releases.model_registry import CHALLENGER
from tasks.settings import Settings

RETRY_REFUSED_SECONDS = 60.0
"""How long a refused version is left alone whose alias had to stay; else it is tried when an alias names it again."""

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Refusal:
    """A version that does not serve though an alias names it.

    Attributes:
        told: MLflow knows.
    """

    target: Target
    why: str
    seconds: float
    since: float
    told: bool = False

    def is_over(self, named: Target | None) -> bool:
        """Whether its alias names another version, or it is to be tried again."""
        if named is None or named.key != self.target.key:
            return True
        return self.told and time.monotonic() - self.since > RETRY_REFUSED_SECONDS


class Verdicts:
    """Remembers refusals until MLflow was told and the alias moved; used by one thread at a time."""

    def __init__(self, settings: Settings) -> None:
        """Nothing was said yet."""
        self._settings = settings
        self._refused: dict[tuple[str, str], Refusal] = {}
        self.last_swap: dict[str, Any] | None = None
        self.last_refusal: dict[str, Any] | None = None

    @property
    def reasons(self) -> list[str]:
        """Refused versions that an alias still names."""
        return [f"{entry.target} was refused: {entry.why}" for entry in list(self._refused.values())]

    def forget(self, named: Mapping[tuple[str, str], Target]) -> None:
        """Drop what is over, by what the aliases name now."""
        self._refused = {slot: entry for slot, entry in self._refused.items() if not entry.is_over(named.get(slot))}

    def is_refused(self, target: Target) -> bool:
        """Whether this version need not be tried."""
        known = self._refused.get(target.slot)
        return known is not None and known.target.key == target.key

    def refuse(self, target: Target, why: str, seconds: float) -> None:
        """Keep why a version does not serve."""
        self._refused = {**self._refused, target.slot: Refusal(target, why, seconds, time.monotonic())}

    def tell_refusals(self, serving: Serving | None) -> None:
        """Tag what was refused and put its alias back.

        Raises:
            DependencyError: MLflow does not answer; it is told at the next poll.
        """
        for slot, refusal in list(self._refused.items()):
            if refusal.told:
                continue
            target, current = refusal.target, _target_of(serving, refusal.target.model)
            alias = mlflow.note_refused(
                self._settings,
                target,
                refusal.why,
                serves=current.version if current else None,
                base_serves=serving is not None and target.model == ANSWERER and current is None,
            )
            refusal.told = True
            if not alias.stays:
                self._refused = {name: entry for name, entry in self._refused.items() if name != slot}
            self._announce_refusal(refusal, alias.text, current.version if current else BASE if serving else "none")

    def _announce_refusal(self, refusal: Refusal, alias: str, before: str) -> None:
        """What is refused again and again for the same reason is told once."""
        told = {"model": refusal.target.model, "version": refusal.target.version, "why": refusal.why}
        known = self.last_refusal or {}
        repeated = told.items() <= known.items() and known["alias"] == alias
        self.last_refusal = told | {"alias": alias, "at": mlflow.moment()}
        if not repeated:
            record_promotion(
                Promotion(
                    "refused",
                    refusal.target.model,
                    refusal.target.version,
                    before=before,
                    seconds=round(refusal.seconds, 2),
                    why=refusal.why,
                    alias=alias,
                )
            )

    def passed(
        self, half: LoadedIndex | LoadedAnswerer, before: Target | None, *, seconds: float, checks: tuple[str, ...]
    ) -> None:
        """Tag a version that answers from now on, and the one that was taken back for it."""
        target = half.target
        back = before is not None and (target is None or int(target.version) < int(before.version))
        challenger = target is not None and target.alias == CHALLENGER
        model = target.model if target else ANSWERER
        promotion = Promotion(
            "challenger" if challenger else "rolled_back" if back else "promoted",
            model,
            target.version if target else BASE,
            before=before.version if before else BASE if model == ANSWERER else "none",
            seconds=seconds,
            checks=checks,
        )
        self.last_swap = {"kind": promotion.kind, "model": model, "version": promotion.version, "seconds": seconds}
        self.last_swap |= {"before": promotion.before, "at": mlflow.moment()}
        record_promotion(promotion)
        try:
            if target is not None:
                mlflow.note_passed(self._settings, target, promotion.note())
            if back and before is not None and not challenger:
                mlflow.note_taken_back(self._settings, model, before.version)
        except DependencyError as error:
            logger.warning("version %s of %s serves, but could not be tagged: %s", promotion.version, model, error)


def _target_of(serving: Serving | None, model: str) -> Target | None:
    if serving is None:
        return None
    return serving.answerer.target if model == ANSWERER else serving.index.target
