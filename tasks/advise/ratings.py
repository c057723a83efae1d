"""Triage of the answers that people rated down: is information missing, or was it there and said badly?

| What happened | Kind | What helps |
|---|---|---|
| somebody wrote the right answer, and no passage that was shown holds it | missing | sources |
| somebody wrote the right answer, and a passage holds it | form | fine-tuning, a better prompt |
| it was no answer (closest passages, nothing found) | missing | sources |
| at least half of its claims were not found in the passages | missing | sources |
| most of its claims were found, and it was rated down | form | fine-tuning, a better prompt |
| excerpts, rated down without a word why; a correction that there is no answer | undecided | ask for corrections |
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tasks.advise.scorecard import Fact
from tasks.answer.answer import is_refusal
from tasks.answer.draft import without_markers
from tasks.answer.words import terms, vocabulary
from tasks.model.examples.feedback import RatedAnswer
from tasks.model.examples.raft import MIN_SUPPORT

Kind = Literal["missing", "form", "undecided"]
MIN_RATED = 10
"""Answers rated down of which a kind is known, below which their share says nothing."""
_MAX_EXAMPLES = 3


@dataclass(frozen=True, slots=True)
class Triage:
    """Answers rated down, by what was wrong.

    Attributes:
        rated: all answers with a vote or a correction.
        examples: some questions of each kind, the newest first.
    """

    rated: int
    missing: int
    form: int
    undecided: int
    examples: dict[Kind, tuple[str, ...]]

    @property
    def down(self) -> int:
        """Return how many were rated down or corrected."""
        return self.missing + self.form + self.undecided

    def fact(self) -> Fact | None:
        """Return the share whose form was wrong; None: too few to tell."""
        decided = self.missing + self.form
        if decided < MIN_RATED:
            return None
        source = f"ratings: {self.missing} with missing information, {self.form} with a wrong form"
        return Fact(self.form / decided, source, f"{self.form} of {decided}")


def triage(rated: Sequence[RatedAnswer]) -> Triage:
    """Sort the answers that were rated down or corrected."""
    kinds = [(kind_of(answer), answer) for answer in rated if answer.refused or answer.correction is not None]
    counts = Counter(kind for kind, _ in kinds)
    examples: dict[Kind, tuple[str, ...]] = {
        kind: tuple(answer.question for other, answer in reversed(kinds) if other == kind)[:_MAX_EXAMPLES]
        for kind in ("missing", "form", "undecided")
        if counts[kind]
    }
    return Triage(len(rated), counts["missing"], counts["form"], counts["undecided"], examples)


def kind_of(answer: RatedAnswer) -> Kind:
    """Return what was wrong with an answer that was rated down or corrected."""
    if answer.correction is not None:
        if is_refusal(answer.correction):
            return "undecided"
        return "form" if _is_held(answer.correction, answer.shown) else "missing"
    if answer.abstained:
        return "missing"
    if not answer.supported:
        return "undecided"
    return "form" if sum(answer.supported) > len(answer.supported) / 2 else "missing"


def _is_held(correction: str, passages: Sequence[str]) -> bool:
    content = terms(without_markers(correction)).content
    return any(len(content & vocabulary(text)) >= MIN_SUPPORT * len(content) for text in passages) if content else False
