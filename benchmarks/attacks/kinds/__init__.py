"""The attacks, one module a kind, ten kinds; every text is our own."""

from benchmarks.attacks.attack import Attack
from benchmarks.attacks.kinds import (
    citations,
    copies,
    encodings,
    hidden,
    instructions,
    markers,
    metadata,
    questions,
    smuggling,
)

ATTACKS: tuple[Attack, ...] = (
    *instructions.ATTACKS,
    *hidden.ATTACKS,
    *copies.ATTACKS,
    *smuggling.ATTACKS,
    *markers.ATTACKS,
    *citations.ATTACKS,
    *encodings.ATTACKS,
    *metadata.ATTACKS,
    *questions.ATTACKS,
)
"""Those on the way from a document or a question to an answer; `kinds.training` has those on what is learnt."""
