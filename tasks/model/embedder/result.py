"""What a tuning of the embedder gave."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tasks.bootstrap import Interval

HEADLINE = "mrr_at_10"


@dataclass(frozen=True, slots=True)
class EmbedderResult:
    """What a tuning gave; metrics are means over questions that chose neither steps nor weights.

    Attributes:
        best_step: whose weights were kept; 0: no step was better than the model as it was.
        before: metrics of the model as it was.
        after: metrics of what stands in `folder`.
        gain: `after - before` with its interval.
        selection: loss by step, of the questions that chose it.
        pool: chunks that the questions were ranked over.
        golden: `after - before` on golden questions, ranked over the same chunks; nothing without them.
        resumed_from: step of the checkpoint that the call went on from; None without one.
    """

    folder: Path
    num_pairs: int
    num_questions: int
    pool: int
    num_steps: int
    best_step: int
    before: Mapping[str, float]
    after: Mapping[str, float]
    gain: Mapping[str, Interval]
    selection: Mapping[int, float]
    resumed_from: int | None
    seconds: float
    cpu_seconds: float
    num_golden: int = 0
    golden: Mapping[str, Interval] = field(default_factory=dict)

    @property
    def improved(self) -> bool:
        """Whether the headline's interval lies above 0."""
        return self.gain[HEADLINE].low > 0
