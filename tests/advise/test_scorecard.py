"""The scorecard: what each criterion may and may not do to the recommendation."""

from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.advise.criteria import BY_NAME, CRITERIA
from tasks.advise.scorecard import CARDS, Level, Value, changes, score, value_of
from tasks.advise.strategy import Strategy
from tasks.errors import ConfigurationError

NEITHER, RETRIEVAL, RAG, FINE_TUNING, BOTH = Strategy
READING, TRAINED = {RETRIEVAL, RAG, BOTH}, {FINE_TUNING, BOTH}


def cases(*without: str) -> st.SearchStrategy[dict[str, Value]]:
    """Any levels of any criteria."""
    open_ = {entry.name: st.sampled_from(entry.levels).map(value_of) for entry in CRITERIA if entry.name not in without}
    return st.fixed_dictionaries({}, optional=open_)


def walk(name: str, case: dict[str, Value]) -> list[Strategy]:
    """The recommendation at each level of one criterion, all else the same."""
    return [score(CRITERIA, {**case, name: value_of(level)}).best for level in BY_NAME[name].levels]


def test_every_line_has_five_points_in_bounds_a_reason_for_its_weight_and_a_heading() -> None:
    for entry in CRITERIA:
        assert entry.weight in (1, 2, 3) and entry.justification and entry.card in CARDS
        assert all(
            len(level.points) == len(Strategy) and set(level.points) <= set(range(-2, 3)) for level in entry.levels
        )
        assert {level.name for level in entry.levels} >= ({entry.ready_at} if entry.ready_at else set())
    assert {entry.card for entry in CRITERIA} == set(CARDS)


def test_levels_that_give_points_say_why() -> None:
    silent = [
        (entry.name, level.name) for entry in CRITERIA for level in entry.levels if any(level.points) and not level.why
    ]
    assert silent == []


@settings(max_examples=150)
@given(case=cases("change_rate"))
def test_more_change_never_moves_towards_fine_tuning_alone(case: dict[str, Value]) -> None:
    for before, after in pairwise(walk("change_rate", case)):
        assert after is not FINE_TUNING or before is FINE_TUNING


@settings(max_examples=150)
@given(case=cases("traceability"))
def test_required_sources_never_give_what_cites_nothing(case: dict[str, Value]) -> None:
    card = score(CRITERIA, {**case, "traceability": "required"})
    assert FINE_TUNING not in card.admissible and NEITHER not in card.admissible
    assert card.best in READING or not card.admissible


@settings(max_examples=100)
@given(case=cases("restricted"))
def test_restricted_documents_never_give_fine_tuning_alone(case: dict[str, Value]) -> None:
    assert score(CRITERIA, {**case, "restricted": True}).best is not FINE_TUNING


@settings(max_examples=100)
@given(case=cases("labels"), labels=st.integers(0, 49))
def test_too_few_examples_never_give_training(case: dict[str, Value], labels: int) -> None:
    assert score(CRITERIA, {**case, "labels": labels}).best not in TRAINED


@pytest.mark.parametrize("name", ["form", "labels", "team", "form_share"])
@settings(max_examples=60)
@given(data=st.data())
def test_what_speaks_for_training_never_moves_away_from_it(name: str, data: st.DataObject) -> None:
    for before, after in pairwise(walk(name, data.draw(cases(name)))):
        assert before not in TRAINED or after in TRAINED


@settings(max_examples=100)
@given(case=cases("tuning_gain"))
def test_a_better_measured_gain_never_leaves_both(case: dict[str, Value]) -> None:
    for before, after in pairwise(walk("tuning_gain", case)):
        assert before is not BOTH or after is BOTH


@settings(max_examples=100)
@given(case=cases("knowledge"))
def test_more_answers_in_documents_never_move_away_from_reading_them(case: dict[str, Value]) -> None:
    for before, after in pairwise(walk("knowledge", case)):
        assert before not in READING or after in READING


@settings(max_examples=60)
@given(case=cases("offline"))
def test_where_the_model_runs_does_not_decide_the_strategy(case: dict[str, Value]) -> None:
    assert len({score(CRITERIA, case).best, *walk("offline", case)}) == 1


@settings(max_examples=60)
@given(case=cases())
def test_every_change_that_is_named_changes_and_no_other_does(case: dict[str, Value]) -> None:
    now = score(CRITERIA, case)
    named = {(change.criterion, change.level.name): change.strategy for change in changes(CRITERIA, case)}
    for entry in CRITERIA:
        for level in entry.levels:
            then = score(CRITERIA, {**case, entry.name: value_of(level)}).best
            assert named.get((entry.name, level.name), now.best) is then


def test_nothing_known_recommends_the_simplest() -> None:
    assert score(CRITERIA, {}).best is NEITHER


def test_needs_that_exclude_each_other_leave_nothing_admissible() -> None:
    card = score(CRITERIA, {"traceability": "required", "documents": 0})
    assert card.admissible == [] and card.best is NEITHER and set(card.ruled_out) == set(Strategy)


BOUNDS: list[tuple[str, Value, str]] = [
    ("change_rate", 0.0499, "slow"),
    ("change_rate", 0.05, "changing"),
    ("labels", 49, "none"),
    ("labels", 50, "few"),
    ("max_age_days", 1, "day"),
    ("erasure", True, "yes"),
]


BOUNDS: list[tuple[str, Value, str]] = [
    ("change_rate", 0.0499, "slow"),
    ("change_rate", 0.05, "changing"),
    ("labels", 49, "none"),
    ("labels", 50, "few"),
    ("max_age_days", 1, "day"),
    ("erasure", True, "yes"),
]


@pytest.mark.parametrize(("name", "value", "level"), BOUNDS)
def test_numbers_fall_into_the_level_that_begins_at_or_below_them(name: str, value: Value, level: str) -> None:
    assert BY_NAME[name].level(value).name == level


@pytest.mark.parametrize(("name", "value"), [("form", "a bit"), ("change_rate", -0.1)])
def test_value_without_a_level_names_the_levels(name: str, value: Value) -> None:
    with pytest.raises(ConfigurationError, match=f"`{name}` must be one of"):
        BY_NAME[name].level(value)


def test_measured_exclusion_beats_points() -> None:
    case: dict[str, Value] = {"knowledge": "most", "written": "written"}
    assert score(CRITERIA, case).best is RAG
    assert score(CRITERIA, case, {RAG: ("too slow",)}).best is BOTH


def test_word_of_a_number_is_taken_too() -> None:
    level: Callable[[Value], Level] = BY_NAME["labels"].level
    assert level("many") is level(5000)
