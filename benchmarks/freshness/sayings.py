"""What answers say of facts that changed, counted: the new value, the old one, or neither. Formulas and a table."""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from benchmarks.freshness.facts import Fact, Saying, saying
from tasks.markdown_table import markdown_table
from tasks.model.evaluation.metrics import Ratio, difference_of, interval_of

Phase = Literal["before", "after"]
CONFIDENCE, NUM_RESAMPLES = 0.95, 10_000
SAYINGS: tuple[Saying, ...] = ("new", "old", "neither")
COLUMNS = ("index", "strategy", "new", "old", "neither", "served", "new in the draft", "old in the draft")


@dataclass(frozen=True, slots=True)
class Answered:
    """One question as one strategy answered it.

    Attributes:
        phase: before the refresh that brings the changes, or after; closed-book answers know of none.
        strategy: `excerpt`, `base_retrieval`, ...
        draft: what the model wrote, unchecked; empty without a model.
        answer: what a user reads.
        served: whether a passage that the answerer read holds the value as the index has it.
    """

    phase: Phase
    strategy: str
    fact: str
    draft: str
    answer: str
    served: bool


def said_shares(
    answered: Sequence[Answered], facts: Mapping[str, Fact], *, drafts: bool = False
) -> dict[Saying, dict[str, Ratio]]:
    """Return, for each saying, a part by fact: 1 where the answer (or the draft) says it."""
    said = {row.fact: saying(row.draft if drafts else row.answer, facts[row.fact]) for row in answered}
    return {name: {fact: Ratio(float(one == name), 1.0) for fact, one in said.items()} for name in SAYINGS}


def tables(answered: Sequence[Answered], facts: Sequence[Fact], taught: Collection[str]) -> Iterator[str]:
    """Yield Markdown: what is said by strategy and phase, by kind of fact, after which teaching, and differences."""
    by_id = {fact.id: fact for fact in facts}
    groups = {
        "all": list(facts),
        "natural": [fact for fact in facts if fact.kind == "natural"],
        "on purpose": [fact for fact in facts if fact.kind == "on_purpose"],
        "taught": [fact for fact in facts if fact.id in taught],
        "not taught": [fact for fact in facts if fact.id not in taught],
    }
    for name, members in groups.items():
        ids = {fact.id for fact in members}
        rows = [row for row in answered if row.fact in ids]
        if rows:
            yield f"\n{name}, n = {len(ids)}\n\n{_table(rows, by_id)}"
    yield "\nOf drafts over passages that hold the new value, after the refresh:\n"
    yield from _conflicts(answered, by_id, taught)
    yield "\nOf the questions that were answered with the old value before the refresh, after it:\n"
    yield from _transitions(answered, by_id)
    yield "\nRight at its time (the new value after the refresh, less the old one before it), paired:\n"
    for name in ("all", "taught", "not taught"):
        ids = {fact.id for fact in groups[name]}
        yield from _kept_right(name, [row for row in answered if row.fact in ids], by_id)
    yield "\nDifferences, paired:\n"
    yield from _differences(answered, by_id)


def _table(answered: Sequence[Answered], facts: Mapping[str, Fact]) -> str:
    rows = []
    for (phase, strategy), members in _by_strategy(answered).items():
        shares = said_shares(members, facts)
        served = {row.fact: Ratio(float(row.served), 1.0) for row in members}
        cells = [_shown(parts.values()) for parts in (*shares.values(), served)]
        if any(row.draft for row in members):
            drafts = said_shares(members, facts, drafts=True)
            cells += [_shown(drafts[name].values()) for name in ("new", "old")]
        rows.append([phase, strategy, *cells, *["-"] * (len(COLUMNS) - 2 - len(cells))])
    return markdown_table(list(COLUMNS), rows)


def _by_strategy(answered: Iterable[Answered]) -> dict[tuple[Phase, str], list[Answered]]:
    groups: dict[tuple[Phase, str], list[Answered]] = {}
    for row in answered:
        groups.setdefault((row.phase, row.strategy), []).append(row)
    return groups


def _conflicts(answered: Sequence[Answered], facts: Mapping[str, Fact], taught: Collection[str]) -> Iterator[str]:
    """Yield how often a draft repeats the old value though the passage before it holds the new one."""
    after = [row for row in answered if row.phase == "after" and row.served and row.draft]
    for strategy in dict.fromkeys(row.strategy for row in after):
        for name, is_in in (("taught", True), ("not taught", False)):
            rows = [row for row in after if row.strategy == strategy and (row.fact in taught) is is_in]
            if rows:
                drafts, answers = said_shares(rows, facts, drafts=True), said_shares(rows, facts)
                counts = [sum(int(part.value) for part in parts["old"].values()) for parts in (drafts, answers)]
                yield (
                    f"- {strategy}, {name}: {counts[0]} of {len(rows)} say the old value "
                    f"({_shown(drafts['old'].values())}), {counts[1]} as served; the new one "
                    f"{_shown(drafts['new'].values())}"
                )


def _transitions(answered: Sequence[Answered], facts: Mapping[str, Fact]) -> Iterator[str]:
    groups = {
        place: {row.fact: saying(row.answer, facts[row.fact]) for row in rows}
        for place, rows in _by_strategy(answered).items()
    }
    for (phase, strategy), said in groups.items():
        if phase == "before" and ("after", strategy) in groups:
            later = Counter(groups["after", strategy][fact] for fact, one in said.items() if one == "old")
            yield f"- {strategy}, {later.total()}: {', '.join(f'{later[name]} {name}' for name in SAYINGS)}"


def _kept_right(name: str, answered: Sequence[Answered], facts: Mapping[str, Fact]) -> Iterator[str]:
    """Yield what a change costs each strategy: 0 where it answers new documents as well as it answered the old ones."""
    right: dict[tuple[str, str], dict[str, Ratio]] = {
        (phase, strategy): said_shares(rows, facts)["old" if phase == "before" else "new"]
        for (phase, strategy), rows in _by_strategy(answered).items()
    }
    asked_twice = [strategy for phase, strategy in right if phase == "before" and ("after", strategy) in right]
    for strategy in asked_twice:
        before, after = right["before", strategy], right["after", strategy]
        yield f"- {strategy}, {name}: {_difference(after, before)}"
        right["change", strategy] = {fact: Ratio(part.value - before[fact].value, 1.0) for fact, part in after.items()}
    tuned, base = "fine_tuned_retrieval", "base_retrieval"
    if {tuned, base} <= set(asked_twice):
        for phase in ("before", "after", "change"):
            yield f"- {tuned} less {base}, {phase}, {name}: {_difference(right[phase, tuned], right[phase, base])}"


def _differences(answered: Sequence[Answered], facts: Mapping[str, Fact]) -> Iterator[str]:
    """Yield what a refresh changes for each strategy, and how strategies differ after it."""
    groups = {place: said_shares(rows, facts) for place, rows in _by_strategy(answered).items()}
    after = [strategy for phase, strategy in groups if phase == "after"]
    for strategy in after:
        if ("before", strategy) in groups:
            for name in ("new", "old"):
                one, other = groups["after", strategy][name], groups["before", strategy][name]
                yield f"- {strategy}, says the {name}, after less before: {_difference(one, other)}"
    for place, strategy in enumerate(after):
        for other in after[:place]:
            change = _difference(groups["after", strategy]["new"], groups["after", other]["new"])
            yield f"- says the new after the refresh, {strategy} less {other}: {change}"


def _shown(parts: Iterable[Ratio]) -> str:
    value = interval_of(list(parts), confidence=CONFIDENCE, num_resamples=NUM_RESAMPLES)
    return "-" if value is None else f"{value.mean:.3f} [{value.low:.3f}, {value.high:.3f}]"


def _difference(one: Mapping[str, Ratio], other: Mapping[str, Ratio]) -> str:
    change = difference_of(one, other, confidence=CONFIDENCE, num_resamples=NUM_RESAMPLES)
    return "-" if change is None else f"{change.mean:+.3f} [{change.low:+.3f}, {change.high:+.3f}]"
