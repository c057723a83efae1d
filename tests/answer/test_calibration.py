"""Thresholds from scores: formulas alone; the refresh measures them on a real index in the flows' tests."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tasks.answer.calibration import FALLBACK, MIN_CHUNKS, Calibration, Scored, calibrate, calibrate_candidate
from tasks.index.access import AccessMap
from tasks.index.passage import Passage
from tasks.index.release import Calibrated, Corpus, Fingerprint, Release
from tasks.index.search import Index, Request
from tasks.params import Params, load_params

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


@pytest.fixture(scope="module")
def default_params() -> Params:
    return load_params(Path("params.yaml"))


def release(calibrated: Calibrated | None) -> Release:
    """Release 3, whose thresholds are 0.7, 0.5 and 0.3."""
    corpus = Corpus("corpus-0003", "c", "m.dir", "d", ("a.parquet",))
    metrics = {"min_excerpt_score": 0.7, "min_similarity": 0.5, "min_relevance": 0.3, "calibration_questions": 40.0}
    identity = Fingerprint("parser", {}, "chunking", "embedder")
    return Release(3, "", 2, "", 1, 2, identity, {}, corpus, "p", None, 10, 1000, metrics, calibrated)


class NoChunks(Index):
    """An index that finds nothing, and counts how often it was opened."""

    def __init__(self) -> None:
        self.num_opened = 0
        self.table = cast(Any, SimpleNamespace(count_rows=lambda: MIN_CHUNKS))

    def opened(self) -> Index:
        self.num_opened += 1
        return self

    def search(self, request: Request, access: AccessMap) -> list[Passage]:
        return []


def thresholds_of(params: Params, base: Release | None, *, num_changed: int) -> tuple[Calibration, Calibrated, int]:
    """The thresholds of a candidate of 1,000 chunks, where they come from, and how often its index was opened."""
    index = NoChunks()
    access = AccessMap({}, {})
    calibration, calibrated = calibrate_candidate(
        index.opened, access, params, base, num_chunks=1000, num_changed=num_changed
    )
    return calibration, calibrated, index.num_opened


def test_thresholds_are_kept_where_little_changed_and_name_the_release_that_was_asked(default_params: Params) -> None:
    _, first, _ = thresholds_of(default_params, None, num_changed=1000)
    assert (first.release, first.num_changed) == (None, 0)
    calibration, second, num_opened = thresholds_of(default_params, release(first), num_changed=20)
    assert (calibration, num_opened) == (Calibration(0.7, 0.5, 0.3, 40), 0)
    assert second == Calibrated(3, first.inputs, 20)
    _, third, num_opened = thresholds_of(default_params, replace(release(second), number=4), num_changed=30)
    assert (third, num_opened) == (Calibrated(3, first.inputs, 50), 0)


def test_thresholds_are_measured_anew_once_the_weeks_together_changed_much(default_params: Params) -> None:
    _, first, _ = thresholds_of(default_params, None, num_changed=1000)
    kept = replace(first, release=1, num_changed=40)
    calibration, calibrated, num_opened = thresholds_of(default_params, release(kept), num_changed=11)
    assert (calibrated, num_opened) == (first, 1)
    assert calibration != Calibration.of_release(release(kept).metrics)


def test_thresholds_are_measured_anew_with_other_questions_or_another_search(
    default_params: Params, tmp_path: Path
) -> None:
    _, first, _ = thresholds_of(default_params, None, num_changed=1000)
    golden = Path(str(default_params.index_gate.golden)).read_text(encoding="utf-8").splitlines(keepends=True)
    (tmp_path / "golden.jsonl").write_text("".join(golden[:-1]), encoding="utf-8")
    gate = default_params.index_gate.model_copy(update={"golden": str(tmp_path / "golden.jsonl")})
    search = default_params.search.model_copy(update={"vector_weight": 0.1})
    for changes in ({"index_gate": gate}, {"search": search}):
        changed = default_params.model_copy(update=changes)
        _, calibrated, num_opened = thresholds_of(changed, release(first), num_changed=1)
        assert (calibrated.release, num_opened) == (None, 1)
        assert calibrated.inputs != first.inputs


def test_release_of_older_software_keeps_no_thresholds(default_params: Params) -> None:
    _, calibrated, num_opened = thresholds_of(default_params, release(None), num_changed=1)
    assert (calibrated.release, num_opened) == (None, 1)


def test_chunks_that_an_erasure_takes_out_count_as_changed() -> None:
    erased = release(Calibrated(2, "inputs", 10)).without_chunks(lance_version=7, num_chunks=960)
    assert (erased.lance_version, erased.num_chunks) == (7, 960)
    assert erased.calibrated == Calibrated(2, "inputs", 50)
