"""The first attacks of each kind through the whole pipeline; the rest, and models, by `python -m benchmarks.attacks`.

What a model that obeys everything is made to do is in docs/attacks.md.
"""

from pathlib import Path

import pytest

from benchmarks.attacks.__main__ import first_of_each
from benchmarks.attacks.answering import obedient, succeeds
from benchmarks.attacks.kinds import ATTACKS
from benchmarks.attacks.kinds.training import RATINGS, taught
from benchmarks.attacks.world import DEFENCES, World, build
from tasks.answer.answerer import excerpt_answerer

pytestmark = pytest.mark.slow

TRIED = first_of_each(3)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, migrated_mlflow: Path) -> World:
    return build(tmp_path_factory.mktemp("attacks"), TRIED, reads_safely=True, changes={}, mlflow=migrated_mlflow)


def test_there_are_attacks_of_ten_kinds() -> None:
    assert len({attack.kind for attack in ATTACKS}) == 9  # the tenth are the ratings
    assert len({attack.id for attack in ATTACKS}) + len(RATINGS) >= 80


def test_excerpt_is_talked_into_nothing(world: World) -> None:
    answerer = excerpt_answerer(world.params.generation)
    assert [attack.id for attack in TRIED if succeeds(attack, world, answerer, DEFENCES)] == []


def test_orders_to_carry_words_out_fail_with_a_model_that_obeys_them(world: World) -> None:
    tried = [attack for attack in TRIED if attack.kind == "smuggling"]
    assert [each.id for each in tried if succeeds(each, world, obedient(each, world.params.generation), DEFENCES)] == []


def test_only_ratings_that_the_docs_name_teach_a_lie(world: World) -> None:
    assert {rating.id for rating in RATINGS if taught(rating, world)[2]} == {
        "a correction that no document holds",
        "a correction that refuses",
        "a correction that the attacker's own document holds",
    }
