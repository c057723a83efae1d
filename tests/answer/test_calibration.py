"""Thresholds from scores: formulas alone; the refresh measures them on a real index in the flows' tests."""

from tasks.answer.calibration import FALLBACK, Calibration, Scored, calibrate

ANSWERABLE = [Scored(True, 0.6 + 0.01 * n, 0.5 + 0.01 * n, 0.7 + 0.01 * n) for n in range(20)]
UNANSWERABLE = [Scored(False, 0.3 + 0.05 * n, 0.4, 0.5) for n in range(10)]


def test_threshold_bounds_the_unanswerable_questions_that_are_shown_as_answered() -> None:
    calibration = calibrate([*ANSWERABLE, *UNANSWERABLE])
    shown = [entry for entry in UNANSWERABLE if entry.excerpt_score >= calibration.min_excerpt_score]
    assert len(shown) <= 1
    assert calibration.num_questions == 30


def test_few_questions_calibrate_nothing() -> None:
    assert calibrate([*ANSWERABLE[:5], *UNANSWERABLE[:5]]) == FALLBACK
    assert calibrate(ANSWERABLE) == FALLBACK


def test_few_other_subjects_get_passages() -> None:
    others = [0.2 + 0.01 * n for n in range(40)]
    calibration = calibrate([*ANSWERABLE, *UNANSWERABLE], others)
    assert sum(entry >= calibration.min_relevance for entry in others) == 4


def test_answerable_questions_keep_their_passages_however_near_other_subjects_are() -> None:
    others = [0.6 + 0.01 * n for n in range(40)]
    calibration = calibrate([*ANSWERABLE, *UNANSWERABLE], others)
    assert all(entry.relevance >= calibration.min_relevance for entry in ANSWERABLE)


def test_other_subjects_only_lower_the_fallback_without_golden_questions() -> None:
    assert calibrate([], [0.1] * 40).min_relevance < FALLBACK.min_relevance
    assert calibrate([], [0.9] * 40).min_relevance == FALLBACK.min_relevance


def test_release_carries_its_thresholds_as_metrics() -> None:
    calibration = calibrate([*ANSWERABLE, *UNANSWERABLE])
    assert Calibration.of_release({"recall_at_k": 0.9, **calibration.as_metrics()}) == calibration


def test_release_without_thresholds_takes_the_fallback() -> None:
    assert Calibration.of_release({"recall_at_k": 0.9}) == FALLBACK
    assert Calibration.of_release(FALLBACK.as_metrics()) == FALLBACK
