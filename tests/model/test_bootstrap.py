"""The paired bootstrap: what an interval must be, for any pair of systems."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.bootstrap import paired_difference

outcomes = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60)


def interval(pairs: list[tuple[bool, bool]], *, seed: int = 0, confidence: float = 0.95) -> tuple[float, float, float]:
    found = paired_difference(
        [new for new, _ in pairs], [old for _, old in pairs], confidence=confidence, num_resamples=300, seed=seed
    )
    return found.mean, found.low, found.high


@settings(max_examples=100, deadline=None)
@given(outcomes)
def test_interval_lies_in_the_range_of_the_differences(pairs: list[tuple[bool, bool]]) -> None:
    differences = [int(new) - int(old) for new, old in pairs]
    mean, low, high = interval(pairs)
    assert mean == pytest.approx(np.mean(differences))
    assert min(differences) <= low <= high <= max(differences)


@settings(max_examples=50, deadline=None)
@given(outcomes)
def test_swapping_the_systems_mirrors_the_interval(pairs: list[tuple[bool, bool]]) -> None:
    mean, low, high = interval(pairs)
    assert interval([(old, new) for new, old in pairs]) == pytest.approx((-mean, -high, -low))


@settings(max_examples=50, deadline=None)
@given(outcomes)
def test_higher_confidence_never_narrows_the_interval(pairs: list[tuple[bool, bool]]) -> None:
    _, low, high = interval(pairs, confidence=0.8)
    _, lower, higher = interval(pairs, confidence=0.99)
    assert lower <= low
    assert high <= higher


def test_equal_systems_have_an_interval_of_zero() -> None:
    assert interval([(True, True), (False, False)] * 20) == (0.0, 0.0, 0.0)


def test_same_seed_gives_the_same_interval() -> None:
    pairs = [(True, False), (False, True), (True, True)] * 9
    assert interval(pairs, seed=7) == interval(pairs, seed=7)


def test_interval_covers_the_true_difference_about_as_often_as_it_says() -> None:
    generator = np.random.default_rng(1)
    covered = 0
    for trial in range(300):
        new, old = generator.random(80) < 0.7, generator.random(80) < 0.6
        found = paired_difference(new, old, confidence=0.9, num_resamples=300, seed=trial)
        covered += found.low <= 0.1 <= found.high
    assert 0.84 <= covered / 300 <= 0.95


@pytest.mark.parametrize(("new", "old"), [([], []), ([1.0], [1.0, 0.0]), ([[1.0]], [[1.0]])])
def test_values_that_are_not_paired_are_refused(new: list[float], old: list[float]) -> None:
    with pytest.raises(ValueError):
        paired_difference(new, old, confidence=0.95, num_resamples=100)
