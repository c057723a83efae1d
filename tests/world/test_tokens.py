"""Numbers with units, signs and names: written otherwise they are the same, with another sign or unit they are not."""

# ruff: noqa: RUF001 (signs that look like others, on purpose)

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.answer.check.exact import evidence, exact_terms, missing
from tasks.index.golden import GoldenQuestion
from tasks.model.examples.contamination import HeldOutQuestions

MANY = int(os.environ.get("ALMANAC_WORLD_EXAMPLES", "0"))
"""How many examples of each property; 0: a few hundred."""
UNITS = {
    "gb": ("GB", "gb"),
    "mb": ("MB", "mb"),
    "ms": ("ms", "milliseconds"),
    "s": ("s", "seconds", "sec"),
    "min": ("min", "minutes"),
    "%": ("%", "percent"),
    "kg": ("kg",),
    "lb": ("lb", "lbs"),
    "km/h": ("km/h",),
    "usd": ("$", "USD", "dollars"),
    "eur": ("€", "EUR", "euros"),
    "gbp": ("£", "GBP"),
    "c": ("°C",),
    "f": ("°F",),
}
LANGUAGES = ("C", "C++", "C#", "F#", "Objective-C", "Go", "J#", "D", "R")
WORDS = {
    "Zürich": "Zurich",
    "Straße": "STRASSE",
    "café": "CAFE",
    "Łódź": "Łodz",
    "naïve": "NAIVE",
    "Ångström": "angstrom",
}


def held(said: str, read: str) -> bool:
    return missing(exact_terms(said), evidence((read,))) == ()


@st.composite
def written(draw: st.DrawFn, number: int, unit: str) -> str:
    """A number with its unit in one of the ways in which people write it."""
    digits = f"{abs(number):,}".replace(",", draw(st.sampled_from(["", "", ",", "'", "’", "\u202f", "\u00a0"])))
    if draw(st.integers(0, 9)) == 0:
        digits = digits.translate({ord("0") + digit: 0xFF10 + digit for digit in range(10)})
    minus = draw(st.sampled_from(["-", "\u2212"])) if number < 0 else ""
    name = draw(st.sampled_from(UNITS[unit]))
    leads = {"$", "€", "£"} if minus else {"$", "€", "£", "USD", "EUR", "GBP"}
    if name in leads and draw(st.booleans()):
        return f"{minus}{name}{' ' * (name.isalpha() or draw(st.booleans()))}{digits}"
    return f"{minus}{digits}{draw(st.sampled_from(['', ' ']))}{name}"


_NUMBERS = st.integers(-5_000_000, 5_000_000)


def the_same_in_another_form(data: st.DataObject) -> None:
    number, unit = data.draw(_NUMBERS), data.draw(st.sampled_from(sorted(UNITS)))
    said, read = data.draw(written(number, unit)), data.draw(written(number, unit))
    assert held(f"The limit is {said} here.", f"They say that {read} is the limit."), (said, read)


def another_quantity(data: st.DataObject) -> None:
    number, unit = data.draw(_NUMBERS.filter(bool)), data.draw(st.sampled_from(sorted(UNITS)))
    other_number, other_unit = data.draw(
        st.sampled_from([(-number, unit), (number * 10, unit), (number + 1, unit)])
        | st.sampled_from(sorted(UNITS)).filter(lambda name: name != unit).map(lambda name: (number, name))
    )
    said, read = data.draw(written(number, unit)), data.draw(written(other_number, other_unit))
    assert not held(f"The limit is {said} here.", f"They say that {read} is the limit."), (said, read)


@settings(max_examples=MANY or 400)
@given(st.data())
def test_a_quantity_is_the_same_in_another_form(data: st.DataObject) -> None:
    the_same_in_another_form(data)


@settings(max_examples=MANY or 400)
@given(st.data())
def test_another_sign_number_or_unit_is_another_quantity(data: st.DataObject) -> None:
    another_quantity(data)


@pytest.mark.parametrize("said", LANGUAGES)
@pytest.mark.parametrize("read", LANGUAGES)
def test_a_name_with_signs_is_held_by_itself_alone(said: str, read: str) -> None:
    assert held(f"Write it in {said} today.", f"All of it is {read} code.") == (said == read) or (
        {said, read} == {"C", "Objective-C"}
    )


@pytest.mark.parametrize(("one", "other"), WORDS.items())
def test_diacritics_and_capitals_do_not_count(one: str, other: str) -> None:
    assert held(f"It is in {one}.", f"see {other} again")
    assert held(f"It is in {other}.", f"see {one} again")


@pytest.mark.parametrize(
    ("said", "read", "is_held"),
    [
        ("Give <10 mg.", "Give >10 mg.", False),
        ("Give below 10 mg.", "Give >10 mg.", False),
        ("Give at most 10 mg.", "Give ≤ 10 mg.", True),
        ("Give less than 10 mg.", "Give <10 mg.", True),
        ("Give 10 mg.", "Give <10 mg.", True),
        ("It is 5 %.", "It is 5.", False),
        ("It is 5.", "It is 5 %.", False),
        ("It waits 60 seconds.", "timeout=60", True),
        ("It costs 3.50 euros.", "It costs €3.5", True),
        ("Use version 3.1.", "Use version 3.10.", False),
        ("Use 10–20 of them.", "Use 10-20 of them.", True),
        ("It is –5 here.", "It is -5 here.", True),
    ],
)
def test_relations_percents_amounts_and_versions(said: str, read: str, is_held: bool) -> None:
    assert held(said, read) == is_held


def is_same_question(one: str, other: str) -> bool:
    golden = GoldenQuestion("q", one, None, None, None, "t", "test")
    return HeldOutQuestions([golden]).collision(other) is not None


@settings(max_examples=MANY or 200)
@given(st.data())
def test_a_held_out_question_is_known_however_its_quantity_is_written(data: st.DataObject) -> None:
    number, unit = data.draw(_NUMBERS.filter(bool)), data.draw(st.sampled_from(sorted(UNITS)))
    one, other = (data.draw(written(number, unit)) for _ in range(2))
    assert is_same_question(f"Is the limit {one}?", f"is the limit {other}")
    assert not is_same_question(f"Is it {one}?", f"Is it {data.draw(written(-number, unit))}?")


@pytest.mark.parametrize(("one", "other"), [("C#", "C++"), ("-5", "5"), ("$5", "€5"), ("5 %", "5"), ("--dry", "dry")])
def test_questions_that_differ_in_a_sign_are_two(one: str, other: str) -> None:
    assert not is_same_question(f"What is {one} for?", f"What is {other} for?")
    assert is_same_question(f"What is {one} for?", f"what is {one.lower()} for")


@pytest.mark.parametrize("question", ["Wie komme ich nach Zürich?", "怎么提交报销单", "Où est l'entrepôt?"])
def test_questions_in_any_language_are_known_again(question: str) -> None:
    assert is_same_question(question, question.upper())
