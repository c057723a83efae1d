"""What serves since when, and what is not as it should be: for those who run the server, and in part for anybody."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from serving.promotion.record import Promotion


@dataclass(frozen=True, slots=True)
class IndexStatus:
    """The index that serves.

    Attributes:
        since: when it began to serve here.
    """

    version: str
    release: int
    created_at: str
    since: str


@dataclass(frozen=True, slots=True)
class AnswererStatus:
    """An answerer that serves.

    Attributes:
        identity: of its model.
        share: of the users that it answers, where it is the challenger.
    """

    version: str
    identity: str
    since: str
    share: float | None = None


@dataclass(frozen=True, slots=True)
class MlflowStatus:
    """Whether MLflow answered when it was asked last; None: it was not asked yet."""

    reachable: bool | None = None
    asked_at: str | None = None


@dataclass(frozen=True, slots=True)
class PairStatus:
    """What serves, and what happened last.

    Attributes:
        own, own_challengers: of single knowledge bases; who may know of one is not said here.
        can_read_index: whether what every search reads came within seconds when it was asked last.
        reasons: what is not as it should be; they name paths and addresses.
    """

    reasons: tuple[str, ...] = ()
    index: IndexStatus | None = None
    answerer: AnswererStatus | None = None
    challenger: AnswererStatus | None = None
    own: Mapping[str, AnswererStatus] = field(default_factory=dict)
    own_challengers: Mapping[str, AnswererStatus] = field(default_factory=dict)
    mlflow: MlflowStatus = MlflowStatus()
    can_read_index: bool = True
    last_swap: Promotion | None = None
    last_refusal: Promotion | None = None

    @property
    def ready(self) -> bool:
        """Whether questions can be answered."""
        return self.index is not None and self.answerer is not None and self.can_read_index

    @property
    def degraded(self) -> bool:
        """Whether anything is not as it should be."""
        return bool(self.reasons)

    def public_json(self) -> dict[str, Any]:
        """Return what anybody may know, as `/readyz` says it: versions and times, no reason and no model's path."""
        return {
            "ready": self.ready,
            "degraded": self.degraded,
            "index": asdict(self.index) if self.index else None,
            "answerer": _public(self.answerer, "version", "since"),
            "challenger": _public(self.challenger, "version", "since", "share"),
            "mlflow": asdict(self.mlflow),
            "can_read_index": self.can_read_index,
        }


def _public(answerer: AnswererStatus | None, *fields: str) -> dict[str, Any] | None:
    return None if answerer is None else {name: getattr(answerer, name) for name in fields}
