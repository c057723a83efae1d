"""Numbers with units, signs and names: written otherwise they are the same, with another sign or unit they are not.

Each input is drawn by its own number: `ALMANAC_WORLD_EXAMPLES=100000` tries so many of each property within minutes
(a strategy of hypothesis takes forty times as long to draw one as the check to judge it).
"""

# ruff: noqa: RUF001 (signs that look like others, on purpose)

import os
from random import Random

import pytest

from tasks.answer.check.exact import evidence, exact_terms, missing
from tasks.index.golden import GoldenQuestion
from tasks.model.examples.contamination import HeldOutQuestions

MANY = int(os.environ.get("ALMANAC_WORLD_EXAMPLES", "0")) or 2000
"""How many inputs of each property."""
LARGEST = 5_000_000
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
    "us": ("µs", "μs", "microseconds"),
    "ml": ("mL", "ml"),
    "l": ("L", "litres"),
    "pln": ("zł", "PLN"),
    "kr": ("kr",),
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


def written(draw: Random, number: int, unit: str) -> str:
    """A number with its unit in one of the ways in which people write it."""
    digits = f"{abs(number):,}".replace(",", draw.choice(["", "", ",", "'", "’", "\u202f", "\u00a0"]))
    if draw.randrange(10) == 0:
        digits = digits.translate({ord("0") + digit: 0xFF10 + digit for digit in range(10)})
    minus = draw.choice(["-", "\u2212"]) if number < 0 else ""
    name = draw.choice(UNITS[unit])
    leads = {"$", "€", "£"} if minus else {"$", "€", "£", "USD", "EUR", "GBP"}
    if name in leads and draw.random() < 0.5:
        return f"{minus}{name}{' ' * (name.isalpha() or draw.random() < 0.5)}{digits}"
    return f"{minus}{digits}{draw.choice(['', ' '])}{name}"


def quantity(draw: Random) -> tuple[int, str]:
    """A number, as often small as large, and a unit."""
    largest = 10 ** draw.randint(1, 7)
    number = draw.randint(-min(largest, LARGEST), min(largest, LARGEST)) or 1
    return number, draw.choice(sorted(UNITS))


def another(draw: Random, number: int, unit: str) -> tuple[int, str]:
    """The quantity with another sign, number or unit."""
    if draw.random() < 0.5:
        return draw.choice([-number, number * 10, number + 1]), unit
    return number, draw.choice(sorted(set(UNITS) - {unit}))


def test_a_quantity_is_the_same_in_another_form() -> None:
    for seed in range(MANY):
        draw = Random(seed)
        said, read = (written(draw, number, unit) for number, unit in [quantity(draw)] * 2)
        assert held(f"The limit is {said} here.", f"They say that {read} is the limit."), (seed, said, read)


def test_another_sign_number_or_unit_is_another_quantity() -> None:
    for seed in range(MANY):
        draw = Random(seed)
        number, unit = quantity(draw)
        said, read = written(draw, number, unit), written(draw, *another(draw, number, unit))
        assert not held(f"The limit is {said} here.", f"They say that {read} is the limit."), (seed, said, read)


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
        ("It takes 5 µs.", "It takes 5 ms.", False),
        ("Add 10 mL.", "Add 10 L.", False),
        ("It costs 5 kr.", "It costs 5 zł.", False),
    ],
)
def test_relations_percents_amounts_and_versions(said: str, read: str, is_held: bool) -> None:
    assert held(said, read) == is_held


def is_same_question(one: str, other: str) -> bool:
    golden = GoldenQuestion("q", one, None, None, None, "t", "test")
    return HeldOutQuestions([golden]).collision(other) is not None


def test_a_held_out_question_is_known_however_its_quantity_is_written() -> None:
    for seed in range(MANY):
        draw = Random(seed)
        number, unit = quantity(draw)
        one, other = (written(draw, number, unit) for _ in range(2))
        assert is_same_question(f"Is the limit {one}?", f"is the limit {other}"), (seed, one, other)
        opposite = written(draw, -number, unit)
        assert not is_same_question(f"Is it {one}?", f"Is it {opposite}?"), (seed, one, opposite)


@pytest.mark.parametrize(("one", "other"), [("C#", "C++"), ("-5", "5"), ("$5", "€5"), ("5 %", "5"), ("--dry", "dry")])
def test_questions_that_differ_in_a_sign_are_two(one: str, other: str) -> None:
    assert not is_same_question(f"What is {one} for?", f"What is {other} for?")
    assert is_same_question(f"What is {one} for?", f"what is {one.lower()} for")


@pytest.mark.parametrize("question", ["Wie komme ich nach Zürich?", "怎么提交报销单", "Où est l'entrepôt?"])
def test_questions_in_any_language_are_known_again(question: str) -> None:
    assert is_same_question(question, question.upper())
