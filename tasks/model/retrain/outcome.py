"""What a quarter tried, the embedder and the answerer, and what a person is told of each at its end."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tasks.markdown_table import markdown_table
from tasks.model.embedder.result import HEADLINE, EmbedderResult
from tasks.model.evaluation.model_gate import GateDecision
from tasks.releases.kind import EMBEDDER, answerer_of

Kind = Literal["embedder", "answerer"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one of the two.

    Attributes:
        method: of training.
        gains: what its gate's headline metric says, a line for each answerer or embedder that it must be better than.
        version: MLflow's, of the challenger; None: there is none.
        reasons: why there is none.
        knowledge_base: of an answerer of its own; None: of all.
    """

    kind: Kind
    method: str
    gains: tuple[str, ...]
    version: str | None
    reasons: tuple[str, ...]
    train_seconds: float
    knowledge_base: str | None = None

    @property
    def model(self) -> str:
        """Return its name in MLflow."""
        return EMBEDDER.model if self.kind == "embedder" else answerer_of(self.knowledge_base).model

    @property
    def name(self) -> str:
        """Return what was tried, for a person."""
        return self.kind if self.knowledge_base is None else f"{self.kind} of {self.knowledge_base}"


def embedder_outcome(tuned: EmbedderResult, reasons: Sequence[str], version: str | None) -> Outcome:
    """Return what came of tuning the embedder."""
    gain = tuned.gain[HEADLINE]
    line = (
        f"{HEADLINE} {tuned.after[HEADLINE]:.3f} against {tuned.before[HEADLINE]:.3f} of what serves: {gain.mean:+.3f} "
        f"[{gain.low:+.3f}, {gain.high:+.3f}] on {tuned.num_questions} questions"
    )
    return Outcome("embedder", "embedder", (line,), version, tuple(reasons), round(tuned.seconds, 2))


def untried_embedder(reason: str) -> Outcome:
    """Return that the embedder could not be tuned."""
    return Outcome("embedder", "embedder", (), None, (reason,), 0.0)


def untried_answerer(method: str, knowledge_base: str, reason: str) -> Outcome:
    """Return that a knowledge base's own answerer could not be trained."""
    return Outcome("answerer", method, (), None, (reason,), 0.0, knowledge_base)


def answerer_outcome(
    decision: GateDecision,
    method: str,
    version: str | None,
    train_seconds: float,
    knowledge_base: str | None = None,
) -> Outcome:
    """Return what came of training the answerer."""
    gains = tuple(str(entry) for entry in decision.comparisons if entry.tolerance is None)
    return Outcome("answerer", method, gains, version, decision.reasons, train_seconds, knowledge_base)


def outcome_rows(outcomes: Sequence[Outcome]) -> list[dict[str, str]]:
    """Return a row for each that was tried."""
    return [
        {
            "tried": outcome.name,
            "challenger": f"version {outcome.version}" if outcome.version else "none",
            "its headline metric": "; ".join(outcome.gains) or "not measured",
            "trained": f"{outcome.method}, {outcome.train_seconds:.0f} s",
        }
        for outcome in outcomes
    ]


def outcome_lines(outcomes: Sequence[Outcome]) -> list[str]:
    """Return why there is no challenger, and what to do next, line by line."""
    return [line for outcome in outcomes for line in _lines(outcome)]


def outcome_report(outcomes: Sequence[Outcome]) -> str:
    """Return table and lines in Markdown."""
    rows = outcome_rows(outcomes)
    table = markdown_table(tuple(rows[0]), [tuple(row.values()) for row in rows])
    lines = "\n".join(f"- {line}" for line in outcome_lines(outcomes))
    return f"# What the quarter earned\n\n{table}\n\n{lines}\n"


def _lines(outcome: Outcome) -> list[str]:
    if outcome.version:
        return [f"{outcome.name}, next: {_promotion(outcome)}"]
    reasons = [f"{outcome.name}, refused: {reason}" for reason in outcome.reasons]
    return [*reasons, f"{outcome.name}, next: what serves is unchanged; {_remedy(outcome)}"]


def _promotion(outcome: Outcome) -> str:
    alias = f"set the alias `champion` on version {outcome.version} of {outcome.model} in the MLflow UI"
    if outcome.kind == "answerer":
        return f"read its card, then {alias}"
    return f"{alias}; the next refresh makes an index with it, which the index gate judges before it serves"


def _remedy(outcome: Outcome) -> str:
    if outcome.kind == "embedder":
        return "more questions teach more and show smaller gains: `almanac review`, docs/embedder.md"
    said = " ".join(outcome.reasons)
    if "at least" in said and "held-out questions are needed" in said:
        return "write golden questions: `almanac review fill --golden 40`"
    if "not better with confidence" in said:
        return (
            "`almanac compare` shows how far it is from what serves, and whether a larger base is nearer; "
            "docs/retrain.md, 'What a quarter earns'"
        )
    if "perplexity" in said:
        return "a lower `fine_tuning.trained_share` forgets less"
    return "docs/evaluation.md says what each guard measures"
