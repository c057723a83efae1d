"""The advice as a Markdown page, from the recommendation down to the scorecard and what was taken as known."""

from collections.abc import Iterable, Iterator, Sequence

from tasks.advise.advice import Advice, Reason, Unknown
from tasks.advise.criteria import BY_NAME
from tasks.advise.measured import MonthlyCost
from tasks.advise.strategy import Strategy

_SHORT = {
    Strategy.NEITHER: "neither",
    Strategy.RETRIEVAL: "retrieval alone",
    Strategy.RAG: "RAG",
    Strategy.FINE_TUNING: "fine-tuning",
    Strategy.BOTH: "both",
}


def brief(advice: Advice) -> str:
    """Return the page without costs, scorecard and facts."""
    unknown = [entry for entry in advice.unknown if entry.would_change]
    parts = (
        *_grounds(advice),
        _section("What is not known and would change it", list(_unknown(unknown))),
        _section("What would change it", _turns(advice)),
        _phases(advice),
    )
    return "\n".join(part for part in parts if part)


def markdown(advice: Advice) -> str:
    """Return the whole page."""
    parts = (
        *_grounds(advice),
        _section("What it costs", list(_costs(advice))),
        _section("What is not known", list(_unknown(advice.unknown))),
        _section("What would change it", _turns(advice)),
        _phases(advice),
        _section("Answers rated down", list(_triage(advice))),
        _section("Notes", list(advice.notes)),
        _scorecard(advice),
        _facts(advice),
    )
    return "\n".join(part for part in parts if part)


def _grounds(advice: Advice) -> tuple[str, ...]:
    return (
        _head(advice),
        _section("Why", [_reason(entry) for entry in advice.reasons] or ["nothing is known that speaks for it"]),
        _section("What speaks against it", [_reason(entry) for entry in advice.against]),
        _section("Ruled out", [f"**{_SHORT[name]}**: {'; '.join(why)}" for name, why in advice.ruled_out.items()]),
    )


def _turns(advice: Advice) -> list[str]:
    return [f"{turn.says} → **{_SHORT[turn.strategy]}**" for turn in advice.turns]


def _head(advice: Advice) -> str:
    lines = [f"# Now: {advice.strategy.label}", ""]
    if advice.conflict:
        lines.append(
            "No strategy meets all needs: each is ruled out below. This is the least, until one of the needs gives way."
        )
    elif advice.runner_up is None:
        lines.append("Every other strategy is ruled out below.")
    else:
        lines.append(f"{advice.margin} points before {_SHORT[advice.runner_up]}, the next best that nothing rules out.")
    if not advice.settled:
        lines.append("**Preliminary**: something that is not known would change it (below).")
    return "\n".join(lines) + "\n"


def _section(title: str, lines: Sequence[str]) -> str:
    return "\n".join([f"## {title}", "", *(f"- {line}" for line in lines), ""]) if lines else ""


def _reason(reason: Reason) -> str:
    why = f": {reason.why}" if reason.why else ""
    return f"{reason.title}: {reason.says}{why} ({reason.source}; {reason.points:+.1f})"


def _costs(advice: Advice) -> Iterator[str]:
    if not advice.costs:
        yield "not known: `almanac compare` measures each strategy on your questions and your machine"
        return
    yield f"a month at {advice.questions_per_month:,.0f} questions, in {advice.currency}:"
    for cost in advice.costs:
        yield f"{_SHORT[cost.strategy]}: {_amount(cost)}"
    for point in advice.break_evens:
        names = f"{_SHORT[point.first]} and {_SHORT[point.second]}"
        yield f"{names} cost the same at {point.questions_per_month:,.0f} questions a month"


def _amount(cost: MonthlyCost) -> str:
    training = "training not known" if cost.training is None else f"training {cost.training:.3g}"
    standing = "" if cost.standing is None else f"; {cost.standing:.3g} on a machine that stands ready all month"
    return f"{cost.total:.3g} (answering {cost.answering:.3g}, {training}, refresh {cost.refresh:.3g}){standing}"


def _unknown(entries: Sequence[Unknown]) -> Iterator[str]:
    for entry in entries:
        if entry.would_change:
            would = "; ".join(f"{meaning} → **{_SHORT[strategy]}**" for meaning, strategy in entry.would_change.items())
            yield f"{entry.question} It would change to: {would} ({entry.remedy})"
    idle = [BY_NAME[entry.criterion].title for entry in entries if not entry.would_change]
    if idle:
        yield f"whatever they are, these alone would change nothing: {'; '.join(idle)}"


def _phases(advice: Advice) -> str:
    lines = ["## Phases", ""]
    for number, phase in enumerate(advice.phases, start=1):
        lines.append(f"{number}. **{_SHORT[phase.strategy]}**{' when' if phase.when else ''}: {phase.says}")
        lines += [f"   - {condition}" for condition in phase.when]
    return "\n".join([*lines, ""])


def _triage(advice: Advice) -> Iterator[str]:
    counted = advice.triage
    if counted is None or not counted.down:
        return
    yield f"of {counted.rated} rated answers {counted.down} were rated down or corrected"
    yield f"missing information (add sources): {counted.missing}{_examples(counted.examples.get('missing', ()))}"
    form = _examples(counted.examples.get("form", ()))
    yield f"form (examples to train on; `style` in params.yaml measures it: docs/style.md): {counted.form}{form}"
    yield f"undecided (ask for corrections): {counted.undecided}{_examples(counted.examples.get('undecided', ()))}"


def _examples(questions: Iterable[str]) -> str:
    quoted = ", ".join(f"“{' '.join(question.split())[:80]}”" for question in questions)
    return f", as {quoted}" if quoted else ""


def _scorecard(advice: Advice) -> str:
    rows = [
        f"| {card} | " + " | ".join(f"{line[strategy]:+d}" for strategy in Strategy) + " |"
        for card, line in advice.card.items()
    ]
    totals = " | ".join(_total(advice, strategy) for strategy in Strategy)
    head = "| | " + " | ".join(_SHORT.values()) + " |"
    return "\n".join(["## Scorecard", "", head, "|---" * 6 + "|", *rows, f"| all | {totals} |", ""])


def _total(advice: Advice, strategy: Strategy) -> str:
    total = f"{advice.totals[strategy]:+d}"
    if strategy in advice.ruled_out:
        return f"{total}, ruled out"
    return f"**{total}**" if strategy is advice.strategy else total


def _facts(advice: Advice) -> str:
    rows = [
        f"| {BY_NAME[name].step} | {BY_NAME[name].title} | {fact.shown or BY_NAME[name].level(fact.value).meaning} "
        f"| {fact.source} | {BY_NAME[name].weight} |"
        for name, fact in sorted(advice.facts.items(), key=lambda entry: list(BY_NAME).index(entry[0]))
    ]
    head = ["## What was taken as known", "", "| step | what | value | from | weight |", "|---|---|---|---|---|"]
    return "\n".join([*head, *rows, ""]) if rows else ""
