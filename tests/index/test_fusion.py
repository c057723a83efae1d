"""Fusing two ranked lists."""

import pytest

from tasks.index.search.fusion import ordered, reciprocal_rank_fusion, score_fusion

VECTOR = [(1, 0.8), (2, 0.6), (3, 0.4)]
TEXT = [(3, 12.0), (1, 9.0), (4, 3.0)]


def rows(fused: dict[int, float]) -> list[int]:
    return [row for row, _ in ordered(fused)]


def test_rank_fusion_is_the_published_sum_up_to_a_constant() -> None:
    fused = reciprocal_rank_fusion(VECTOR, TEXT, k=60, vector_weight=0.5)
    published = {1: 1 / 61 + 1 / 62, 2: 1 / 62, 3: 1 / 63 + 1 / 61, 4: 1 / 63}
    assert {row: score / fused[1] for row, score in fused.items()} == pytest.approx(
        {row: score / published[1] for row, score in published.items()}
    )


def test_rank_fusion_knows_no_scores() -> None:
    wider = [(row, score**3) for row, score in TEXT]
    assert reciprocal_rank_fusion(VECTOR, TEXT, k=60, vector_weight=0.3) == reciprocal_rank_fusion(
        VECTOR, wider, k=60, vector_weight=0.3
    )


def test_score_fusion_is_the_weighted_sum_of_shares_of_the_best() -> None:
    fused = score_fusion(VECTOR, TEXT, vector_weight=0.6)
    assert fused == pytest.approx(
        {
            1: 0.6 * 1.0 + 0.4 * 0.75,
            2: 0.6 * 0.75,
            3: 0.6 * 0.5 + 0.4 * 1.0,
            4: 0.4 * 0.25,
        }
    )


def test_score_fusion_does_not_depend_on_the_unit_of_a_leg() -> None:
    scaled = [(row, 7 * score) for row, score in TEXT]
    assert score_fusion(VECTOR, scaled, vector_weight=0.5) == pytest.approx(
        score_fusion(VECTOR, TEXT, vector_weight=0.5)
    )


def test_score_fusion_keeps_a_clear_winner_that_ranks_level() -> None:
    clear, close = [(1, 30.0), (2, 3.0)], [(2, 0.50), (1, 0.49)]
    by_rank = reciprocal_rank_fusion(close, clear, k=60, vector_weight=0.5)
    assert by_rank[1] == by_rank[2]
    assert rows(score_fusion(close, clear, vector_weight=0.5)) == [1, 2]


@pytest.mark.parametrize("weight", [0.0, 0.5, 1.0])
def test_first_in_both_lists_scores_one(weight: float) -> None:
    text = [(1, 5.0), (2, 4.0)]
    assert reciprocal_rank_fusion(VECTOR, text, k=60, vector_weight=weight)[1] == pytest.approx(1.0)
    assert score_fusion(VECTOR, text, vector_weight=weight)[1] == pytest.approx(1.0)


def test_an_empty_leg_leaves_the_order_of_the_other() -> None:
    assert rows(reciprocal_rank_fusion(VECTOR, [], k=60, vector_weight=0.5)) == [1, 2, 3]
    assert rows(score_fusion(VECTOR, [], vector_weight=0.5)) == [1, 2, 3]
    assert rows(score_fusion([], TEXT, vector_weight=0.5)) == [3, 1, 4]
    assert score_fusion([], [], vector_weight=0.5) == {}


def test_rows_unlike_the_question_are_kept_and_score_nothing() -> None:
    assert score_fusion([(1, 0.2), (2, -0.1)], [], vector_weight=0.5) == pytest.approx({1: 0.5, 2: 0.0})
    assert score_fusion([(1, -0.1), (2, -0.2)], [], vector_weight=0.5) == {1: 0.0, 2: 0.0}


def test_equal_scores_are_ordered_by_the_given_tie_break() -> None:
    assert ordered({1: 0.5, 2: 0.5, 3: 0.7}) == [(3, 0.7), (1, 0.5), (2, 0.5)]
    assert ordered({1: 0.5, 2: 0.5}, tie=lambda row: -row) == [(2, 0.5), (1, 0.5)]
