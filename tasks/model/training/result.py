"""What a training did, as `training.json` beside its weights keeps it."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tasks.files import write_json
from tasks.model.training.calibrate import Calibration

TRAINING = "training.json"


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """What a training did.

    Attributes:
        num_steps: steps that were planned; `steps`: that were done.
        num_tokens: tokens computed in them, replay left out; `num_learnt`: those that bore the loss.
        seconds: of all processes' common time; `cpu_seconds` of the first process alone.
        train_loss: (step, loss); `validation_loss` likewise, from step 0.
        best_step: whose weights the answerer has.
        resumed_from: step of the checkpoint that this call went on from.
        calibration: on the validation examples; None where the method gives no refusals to calibrate.
    """

    method: str
    num_steps: int
    steps: int
    num_tokens: int
    num_learnt: int
    seconds: float
    cpu_seconds: float
    train_loss: tuple[tuple[int, float], ...]
    validation_loss: tuple[tuple[int, float], ...]
    best_step: int
    stopped_early: bool
    resumed_from: int | None
    calibration: Calibration | None

    @property
    def refusal_bias(self) -> float:
        """See `TransformersGenerator`."""
        return self.calibration.refusal_bias if self.calibration else 0.0


def write_result(folder: Path, result: TrainingResult, *, key: str, lineage: Mapping[str, Any]) -> None:
    """Write `training.json`."""
    write_json(folder / TRAINING, {"key": key, "result": asdict(result), "lineage": dict(lineage)})


def read_result(folder: Path, key: str | None = None) -> TrainingResult | None:
    """Return the result that a folder holds; None where there is none, or one of another key."""
    path = folder / TRAINING
    if not path.is_file():
        return None
    raw = json.loads(path.read_text(encoding="utf-8"))
    if key is not None and raw["key"] != key:
        return None
    result = raw["result"]
    curves = {name: tuple((int(s), float(x)) for s, x in result[name]) for name in ("train_loss", "validation_loss")}
    calibration = Calibration(**result["calibration"]) if result["calibration"] else None
    return TrainingResult(**result | curves | {"calibration": calibration})
