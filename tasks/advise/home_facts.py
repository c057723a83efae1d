"""What the home knows of the case: documents, their access and change rate, golden questions, ratings, traces.

Each part is read by itself: what cannot be read is not known, with the reason as a note, and stops nothing.
"""

import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import pyarrow.parquet as pq

from tasks.advise.measured import Measurement, read_measurement
from tasks.advise.ratings import Triage, triage
from tasks.advise.scorecard import Fact
from tasks.answer.trace_search import answer_traces
from tasks.corpus.snapshot import fold_state
from tasks.errors import AlmanacError
from tasks.index.golden import GoldenQuestion, load_evaluation
from tasks.index.release import Release, load_release, release_numbers
from tasks.model.examples.feedback import RatedAnswer, read_rated
from tasks.params import Params
from tasks.registry.data_registry import Registry
from tasks.settings import Settings

DAYS_PER_MONTH = 365.25 / 12
MIN_SPAN_DAYS = 14.0
"""Releases of a shorter time say nothing of a month."""
MIN_GOLDEN = 20
_MOST, _SOME = 0.6, 0.1
_MAX_TRACES = 5000


@dataclass(slots=True)
class Reading:
    """What was read of a home; filled part by part.

    Attributes:
        facts: by the names of criteria.
        notes: what could not be read, or was seen beside the facts.
    """

    facts: dict[str, Fact] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    triage: Triage | None = None
    measurement: Measurement | None = None


def read_home(params: Params, settings: Settings, *, questions_per_month: float) -> Reading:
    """Read everything that a home knows of the case."""
    reading = Reading()
    golden: list[GoldenQuestion] = []
    rated: list[RatedAnswer] = []
    parts: tuple[Callable[[], None], ...] = (
        lambda: _read_releases(reading, params, settings),
        lambda: golden.extend(load_evaluation(params.evaluation.golden, params.evaluation.reviewed_golden)),
        lambda: rated.extend(read_rated(settings)),
        lambda: _read_traces(reading, settings),
        lambda: _read_comparison(reading, settings, questions_per_month),
    )
    for part in parts:
        try:
            part()
        except AlmanacError as error:
            reading.notes.append(str(error))
    _add_golden(reading, golden, params)
    _add_ratings(reading, rated)
    _add_labels(reading, golden, rated)
    volume = f"{questions_per_month:,.0f}"
    reading.facts["questions_per_month"] = Fact(questions_per_month, "params.yaml, compare", volume)
    if params.generation.endpoint is not None:
        reading.facts["offline"] = Fact(False, "params.yaml, generation.endpoint", params.generation.endpoint)
    return reading


def _read_releases(reading: Reading, params: Params, settings: Settings) -> None:
    releases = [load_release(settings, number) for number in release_numbers(settings)]
    if not releases:
        reading.notes.append("no index release yet: run `almanac refresh`, and documents are counted")
        return
    newest, folder = releases[-1], Registry(settings.registry, settings.remote).corpus
    source = f"index release {newest.number}"
    reading.facts["documents"] = Fact(newest.num_documents, source, f"{newest.num_documents:,}")
    files = [folder / name for name in newest.corpus.files]
    if all(path.exists() for path in files):
        _add_access(reading, files, params.examples.audience, source)
    rate = change_rate(releases, folder)
    if rate is None:
        reading.notes.append(
            f"the releases ({len(releases)}) must span {MIN_SPAN_DAYS:.0f} days to say how fast the documents change"
        )
        return
    span = (
        f"releases {releases[0].number} to {newest.number}, {releases[0].created_at[:10]} to {newest.created_at[:10]}"
    )
    reading.facts["change_rate"] = Fact(rate, span, f"{rate:.1%} a month")


def _add_access(reading: Reading, files: Sequence[Path], audience: str, source: str) -> None:
    access = fold_state(files)["access"].to_pylist()
    num = sum(audience not in groups for groups in access)
    reading.facts["restricted"] = Fact(num > 0, source, f"{num:,} of {len(access):,} not for `{audience}`")


def change_rate(releases: Sequence[Release], folder: Path) -> float | None:
    """Return the share of the documents that changes or leaves in a month; None: the releases span too short a time.

    A release appends a file with the documents that it changed. Pairs between which the files were compacted are left
    out, with their time. The first release, which brought everything, is none.

    Args:
        releases: oldest first.
        folder: of the newest snapshot's files.
    """
    changed, days, documents = 0, 0.0, 0
    for earlier, later in pairwise(releases):
        appended = [name for name in later.corpus.files if name not in earlier.corpus.files]
        whole = set(earlier.corpus.files) <= set(later.corpus.files)
        if not whole or not all((folder / name).exists() for name in appended):
            continue
        changed += sum(pq.read_metadata(folder / name).num_rows for name in appended)
        days += (_moment(later) - _moment(earlier)).total_seconds() / 86_400
        documents = max(documents, later.num_documents)
    if days < MIN_SPAN_DAYS or documents == 0:
        return None
    return min(changed / documents / days * DAYS_PER_MONTH, 1.0)


def _moment(release: Release) -> dt.datetime:
    return dt.datetime.fromisoformat(release.created_at)


def _read_traces(reading: Reading, settings: Settings) -> None:
    since = int((dt.datetime.now(dt.UTC) - dt.timedelta(days=DAYS_PER_MONTH)).timestamp() * 1000)
    traces = answer_traces(settings, f"timestamp_ms > {since}", limit=_MAX_TRACES, include_spans=False)
    num = sum(1 for _ in traces)
    more = "at least " if num == _MAX_TRACES else ""
    reading.notes.append(f"questions asked in the last month, by the traces: {more}{num:,}")


def _read_comparison(reading: Reading, settings: Settings, volume: float) -> None:
    reading.measurement = read_measurement(settings.layout.comparison, volume)
    if reading.measurement is not None:
        reading.facts.update(reading.measurement.facts)
        if reading.measurement.freshness:
            reading.notes.append(reading.measurement.freshness)


def _add_golden(reading: Reading, golden: Sequence[GoldenQuestion], params: Params) -> None:
    if len(golden) < MIN_GOLDEN:
        return
    held = sum(question.document is not None for question in golden)
    word = "most" if held >= _MOST * len(golden) else "some" if held >= _SOME * len(golden) else "none"
    source = f"golden questions, {params.evaluation.golden}"
    reading.facts["knowledge"] = Fact(word, source, f"{held} of {len(golden)} have their answer in a document")


def _add_ratings(reading: Reading, rated: Sequence[RatedAnswer]) -> None:
    reading.triage = triage(rated)
    fact = reading.triage.fact()
    if fact is not None:
        reading.facts["form_share"] = fact


def _add_labels(reading: Reading, golden: Sequence[GoldenQuestion], rated: Sequence[RatedAnswer]) -> None:
    train = sum(question.split == "train" for question in golden)
    taught = sum(answer.approved or answer.correction is not None for answer in rated)
    shown = f"{train} golden questions of the split `train`, {taught} approved or corrected answers"
    reading.facts["labels"] = Fact(train + taught, "golden questions and ratings", shown)
