"""What a retrain found: the fields of `almanac retrain --json`, kept so that the same retrain is not done twice."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tasks.answer.answerer import BASE
from tasks.model.answerer.candidate import CANDIDATE, CHAMPION, TrainedCandidate
from tasks.model.answerer.card import card_metrics
from tasks.model.embedder.result import EmbedderResult
from tasks.model.evaluation.evaluate import Evaluation
from tasks.model.evaluation.model_gate import GateDecision
from tasks.model.examples.training_set import TrainingSet
from tasks.model.retrain.outcome import Outcome, answerer_outcome, embedder_outcome
from tasks.params import ModelGateParams
from tasks.releases.tags import GATE_PASSED, GATE_REFUSED, METRIC


@dataclass(frozen=True, slots=True)
class RetrainResult:
    """What a retrain found.

    Attributes:
        examples: of both splits; `quarantined` were set aside by the example gate.
        training_set: its tag in the data registry.
        metrics: of the candidate on the held-out questions; `baseline` of the base, `champion` where one serves.
        gate: `passed` or `refused`, with the `reasons` and the `notes` of the gate.
        version: MLflow's, where it was `registered`.
        shown: names of the metrics that a person reads first.
        run_id: of MLflow; None for an embedder.
        outcomes: of all that was tried, the embedder before the answerer; the other fields are the last one's.
    """

    method: str
    profile: str | None
    examples: int
    quarantined: int
    training_set: str
    corpus: str
    train_seconds: float
    metrics: Mapping[str, float]
    baseline: Mapping[str, float]
    champion: Mapping[str, float] | None
    gate: str
    registered: bool
    version: str | None
    reasons: tuple[str, ...]
    notes: tuple[str, ...]
    shown: tuple[str, ...]
    run_id: str | None
    outcomes: tuple[Outcome, ...]
    seconds: float = 0.0

    @property
    def earned(self) -> bool:
        """Whether anything that was tried is a challenger."""
        return any(outcome.version for outcome in self.outcomes)

    def as_json(self) -> dict[str, Any]:
        """Return the fields of `almanac retrain --json`."""
        lists = {"reasons": list(self.reasons), "notes": list(self.notes), "shown": list(self.shown)}
        return asdict(self) | lists | {"outcomes": [asdict(outcome) for outcome in self.outcomes]}


def answerer_result(
    trained: TrainedCandidate,
    evaluations: Mapping[str, Evaluation],
    decision: GateDecision,
    gate: ModelGateParams,
    training_set: TrainingSet,
    *,
    tag: str,
    profile: str | None,
    version: str | None,
    run_id: str,
    knowledge_base: str | None = None,
) -> RetrainResult:
    """Return what the retrain of an answerer found.

    Args:
        trained: the candidate.
        evaluations: of base, champion and candidate.
        decision: of the model gate.
        gate: its parameters.
        training_set: what was learnt.
        tag: of the training set in the data registry.
        profile: of `params.yaml`.
        version: MLflow's; None: nothing was registered.
        run_id: of the retrain in MLflow.
        knowledge_base: whose own answerer it is; None: the general one.
    """
    method, seconds = trained.result.method, round(trained.result.seconds, 2)
    return RetrainResult(
        method=trained.result.method,
        profile=profile,
        examples=training_set.num_train + training_set.num_validation,
        quarantined=training_set.quarantined,
        training_set=tag,
        corpus=training_set.corpus,
        train_seconds=round(trained.result.seconds, 2),
        metrics=evaluations[CANDIDATE].metrics(),
        baseline=evaluations[BASE].metrics(),
        champion=evaluations[CHAMPION].metrics() if CHAMPION in evaluations else None,
        gate=GATE_PASSED if decision.passed else GATE_REFUSED,
        registered=version is not None,
        version=version,
        reasons=tuple(decision.reasons),
        notes=tuple(decision.notes),
        shown=tuple(card_metrics(gate)),
        run_id=run_id,
        outcomes=(answerer_outcome(decision, method, version, seconds, knowledge_base),),
    )


def embedder_result(
    tuned: EmbedderResult,
    reasons: tuple[str, ...],
    training_set: TrainingSet,
    *,
    tag: str,
    profile: str | None,
    version: str | None,
) -> RetrainResult:
    """Return what the tuning of the embedder found."""
    return RetrainResult(
        method="embedder",
        profile=profile,
        examples=training_set.num_train + training_set.num_validation,
        quarantined=training_set.quarantined,
        training_set=tag,
        corpus=training_set.corpus,
        train_seconds=round(tuned.seconds, 2),
        metrics=dict(tuned.after),
        baseline=dict(tuned.before),
        champion=None,
        gate=GATE_REFUSED if reasons else GATE_PASSED,
        registered=version is not None,
        version=version,
        reasons=reasons,
        notes=(),
        shown=tuple(tuned.after),
        run_id=None,
        outcomes=(embedder_outcome(tuned, reasons, version),),
    )


def metric_tags(metrics: Mapping[str, float], gate: ModelGateParams) -> dict[str, str]:
    """Return the gate's metrics as tags of a version."""
    names = dict.fromkeys((gate.headline, *gate.guarded))
    return {f"{METRIC}{name}": f"{metrics[name]:.4f}" for name in names if name in metrics}


def read_result(path: Path) -> RetrainResult | None:
    """Return what a finished retrain found; None: none finished under this name."""
    if not path.is_file():
        return None
    fields = json.loads(path.read_text(encoding="utf-8"))
    lists = {name: tuple(fields[name]) for name in ("reasons", "notes", "shown")}
    return RetrainResult(**fields | lists | {"outcomes": tuple(map(_outcome, fields["outcomes"]))})


def _outcome(fields: dict[str, Any]) -> Outcome:
    return Outcome(**fields | {name: tuple(fields[name]) for name in ("gains", "reasons")})
