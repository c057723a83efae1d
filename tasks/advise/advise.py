"""From what is known to an advice: score, explain, look for what would change it, plan the phases.

facts ─▶ scorecard ─▶ recommendation ─▶ reasons ─▶ what would change it ─▶ phases
"""

from collections.abc import Mapping, Sequence

from tasks.advise.advice import Advice, Phase, Reason, Turn, Unknown
from tasks.advise.criteria import BY_NAME, CRITERIA
from tasks.advise.home_facts import Reading
from tasks.advise.measured import measured_out
from tasks.advise.scorecard import (
    Change,
    Fact,
    Level,
    Scorecard,
    changes,
    points_by_card,
    score,
    unready,
    value_of,
)
from tasks.advise.strategy import Strategy
from tasks.params.needs import NeedsParams

_REMEDIES = {
    "change_rate": "two releases two weeks apart show it; or state `needs.change_rate`",
    "documents": "`almanac refresh` counts them; or state `needs.documents`",
    "restricted": "`almanac refresh` reads who may read what; or state `needs.restricted`",
    "writing_gain": "`almanac compare` measures it",
    "retrieval_gain": "`almanac compare` measures it",
    "tuning_gain": "`almanac retrain`, then `almanac compare --challenger` measures it",
    "form_share": "ratings on the chat page show it, from 10 answers rated down on",
}
_TRAINED = (Strategy.FINE_TUNING, Strategy.BOTH)


def advise(reading: Reading, stated: Mapping[str, Fact], needs: NeedsParams, *, questions_per_month: float) -> Advice:
    """Return the advice for a case.

    Args:
        reading: what the home knows; empty where there is none.
        stated: what a person says; it goes before what was read.
        needs: the budget and the examples that nobody reviewed yet, which no criterion holds.
        questions_per_month: the volume at which costs are given.

    Raises:
        ConfigurationError: a fact has a value that its criterion does not know.
    """
    facts = {**reading.facts, **stated}
    values = {name: fact.value for name, fact in facts.items()}
    latency = values.get("latency_seconds")
    out = measured_out(
        reading.measurement,
        latency_seconds=float(latency) if latency is not None else None,
        budget_per_month=needs.budget_per_month,
    )
    card = score(CRITERIA, values, out)
    turning = changes(CRITERIA, values, out)
    unknown = _unknown(card, turning)
    runner_up = next((name for name in card.admissible if name is not card.best), None)
    reasons = _reasons(card, facts)
    measured = reading.measurement
    return Advice(
        strategy=card.best,
        runner_up=runner_up,
        margin=card.totals[card.best] - card.totals[runner_up] if runner_up else 0,
        conflict=not card.admissible,
        settled=not any(entry.would_change for entry in unknown),
        reasons=tuple(entry for entry in reasons if entry.points > 0),
        against=tuple(entry for entry in reversed(reasons) if entry.points < 0),
        ruled_out=card.ruled_out,
        unknown=unknown,
        turns=tuple(_turn(change) for change in turning if change.has_level),
        phases=_phases(card, facts, needs),
        costs=measured.costs if measured else (),
        break_evens=measured.break_evens if measured else (),
        currency=measured.currency if measured else "",
        questions_per_month=questions_per_month,
        card=points_by_card(CRITERIA, card),
        totals=card.totals,
        facts=facts,
        triage=reading.triage,
        notes=tuple(reading.notes),
    )


def open_questions(reading: Reading, stated: Mapping[str, Fact]) -> list[str]:
    """Return the criteria worth asking for, in the order of the steps: not known, able to change the recommendation."""
    values = {name: fact.value for name, fact in {**reading.facts, **stated}.items()}
    turning = {change.criterion for change in changes(CRITERIA, values) if not change.has_level}
    return [entry.name for entry in CRITERIA if entry.name in turning and entry.question]


def _reasons(card: Scorecard, facts: Mapping[str, Fact]) -> list[Reason]:
    """Return what is known by how much it speaks for the recommended strategy, the strongest first."""
    reasons = []
    for name, level in card.levels.items():
        criterion, fact = BY_NAME[name], facts[name]
        own = level.points[card.best.rank] - sum(level.points) / len(level.points)
        says = f"{level.meaning}, {fact.shown}" if fact.shown else level.meaning
        reasons.append(Reason(name, criterion.title, says, level.why, fact.source, round(criterion.weight * own, 2)))
    return sorted(reasons, key=lambda reason: -reason.points)


def _unknown(card: Scorecard, turning: Sequence[Change]) -> tuple[Unknown, ...]:
    missing = [criterion for criterion in CRITERIA if criterion.name not in card.levels]
    return tuple(
        Unknown(
            criterion.name,
            criterion.question or criterion.title,
            _REMEDIES.get(criterion.name, f"state `needs.{criterion.name}`, or answer at the terminal"),
            {change.level.meaning: change.strategy for change in turning if change.criterion == criterion.name},
        )
        for criterion in missing
    )


def _turn(change: Change) -> Turn:
    return Turn(change.criterion, f"{BY_NAME[change.criterion].title}: {change.level.meaning}", change.strategy)


# --- phases: start with what needs no examples, train when the conditions hold ---


def _phases(card: Scorecard, facts: Mapping[str, Fact], needs: NeedsParams) -> tuple[Phase, ...]:
    missing = unready(CRITERIA, card.levels)
    ready = {criterion.name: value_of(goal) for criterion, goal in missing}
    later = score(CRITERIA, {name: fact.value for name, fact in facts.items()} | ready).best
    first = Phase(card.best, _beginning(card.best), ())
    if card.best in _TRAINED:
        return (first, *_after_training(card.best))
    if later is card.best:
        return (
            first,
            Phase(card.best, "stay: with examples, a team and a measured gain it would be the same", ()),
        )
    conditions = [
        f"{entry.title}: {goal.meaning} (now: {_stands(card.levels.get(entry.name), facts.get(entry.name))})"
        for entry, goal in missing
    ]
    if needs.raw_examples:
        conditions.append(
            f"the best of {needs.raw_examples:,} past answers that nobody reviewed are reviewed and loaded"
        )
    return (first, Phase(later, _beginning(later), tuple(conditions)))


def _beginning(strategy: Strategy) -> str:
    return {
        Strategy.NEITHER: "write a prompt and measure it on golden questions before anything is built",
        Strategy.RETRIEVAL: "refresh every week; the best passages answer, cited",
        Strategy.RAG: "refresh every week; a model writes from the passages, each claim checked",
        Strategy.FINE_TUNING: "train on reviewed examples; the model gate and a person decide",
        Strategy.BOTH: "retrieval first (days), then a model trained on reviewed examples writes from passages (weeks)",
    }[strategy]


def _after_training(strategy: Strategy) -> tuple[Phase, ...]:
    if strategy is Strategy.BOTH:
        back = "back to RAG where `almanac compare` no longer shows a gain and the form holds by the prompt alone"
        return (
            Phase(Strategy.RAG, back, ("the interval of fine-tuned against base, both with passages, holds zero",)),
        )
    return (
        Phase(
            Strategy.BOTH,
            "add retrieval; the trained model then writes from passages",
            ("answers need facts of your documents, a source, or what changed since the training",),
        ),
    )


def _stands(level: Level | None, fact: Fact | None) -> str:
    if level is None or fact is None:
        return "not known"
    return fact.shown or level.meaning
