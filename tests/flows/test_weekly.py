"""Real weeks of documentation: after each refresh the index is what one built from nothing would be."""

import zlib
from pathlib import Path

import pytest

from benchmarks.data import bench_file
from benchmarks.weekly import Week, run
from tests.conftest import BASE_PARAMS, merged

pytestmark = pytest.mark.slow

NUM_WEEKS = 5


@pytest.fixture(scope="module")
def weeks(tmp_path_factory: pytest.TempPathFactory) -> list[Week]:
    corpus = bench_file("weekly_prometheus")
    if corpus is None:
        pytest.skip("the weeks of prometheus are not at hand; set ALMANAC_BENCH_DIR")
    params = merged(BASE_PARAMS, {"chunking": {"max_tokens": 128, "min_tokens": 32}})
    folder: Path = tmp_path_factory.mktemp("weekly")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("ALMANAC_HOME", str(folder / "home"))
        environment.setenv("ALMANAC_PARAMS", str(folder / "home.params.yaml"))
        return list(
            run(corpus, folder, params, keep=lambda key: zlib.crc32(key.encode()) % 16 in (1, 10), num_weeks=NUM_WEEKS)
        )


def test_each_week_gives_the_index_that_one_from_nothing_gives(weeks: list[Week]) -> None:
    assert len(weeks) == NUM_WEEKS
    assert all(week.equal for week in weeks)


def test_each_week_embeds_only_the_texts_that_changed(weeks: list[Week]) -> None:
    assert [week.embedded for week in weeks] == [week.changed_texts for week in weeks]
    assert sum(week.embedded for week in weeks[1:]) < weeks[0].embedded / 2


def test_week_without_change_makes_no_release(weeks: list[Week]) -> None:
    quiet = [week for week in weeks[1:] if not week.changed]
    busy = [week for week in weeks if week.changed]
    assert quiet
    assert len(busy) > 1
    assert [week.release for week in quiet] == [None] * len(quiet)
    assert [week.release for week in busy] == list(range(1, len(busy) + 1))
