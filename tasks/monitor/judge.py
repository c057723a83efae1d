"""Judges the last days against the weeks before them, and one answerer against another; knows no store."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import numpy.typing as npt

from tasks.monitor.observation import Observation
from tasks.monitor.signals import Shift, distribution_shifts, overdispersion, share_rises
from tasks.monitor.topics import Topic, rising_topics

RECENT_DAYS = 7
REFERENCE_DAYS = 28
OUTSIDE_PERCENTILE = 5
"""A question less similar to its best passage than so many percent of the golden questions lies outside of them."""

Embed = Callable[[Sequence[str]], npt.NDArray[np.float32]]
Counted = tuple[int, int]


@dataclass(frozen=True, slots=True)
class VersionRow:
    """How one answerer does.

    Attributes:
        unverified: share of claims; None: it writes none.
        rated_down: share of rated answers; None: nobody rated.
    """

    answerer: str
    num_answers: int
    unanswered: float
    unverified: float | None
    rated_down: float | None


@dataclass(frozen=True, slots=True)
class Judgement:
    """What the answers say.

    Attributes:
        shifts: every signal that has enough answers, alarm or not.
        worse: signals by which the newest answerer is worse than those before it.
    """

    num_recent: int
    num_reference: int
    shifts: tuple[Shift, ...]
    versions: tuple[VersionRow, ...]
    worse: tuple[Shift, ...]
    topics: tuple[Topic, ...]


def judge(
    observations: Sequence[Observation], *, today: int, golden: npt.NDArray[np.float64] | None, embed: Embed
) -> Judgement:
    """Judge the seven days before today against the four weeks before them.

    Args:
        observations: oldest first; other days are left out.
        today: since the epoch; what it has is not judged, since it is not over.
        golden: similarity of each golden question and its best passage; None: there are no golden questions.
        embed: returns unit vectors of questions.
    """
    begin = today - RECENT_DAYS
    recent = [entry for entry in observations if begin <= entry.day < today]
    reference = [entry for entry in observations if begin - REFERENCE_DAYS <= entry.day < begin]
    return Judgement(
        num_recent=len(recent),
        num_reference=len(reference),
        shifts=tuple(_shifts(reference, recent, golden)),
        versions=_versions([*reference, *recent]),
        worse=tuple(_worse([*reference, *recent])),
        topics=tuple(_topics(reference, recent, embed)),
    )


def _shifts(
    reference: list[Observation], recent: list[Observation], golden: npt.NDArray[np.float64] | None
) -> Iterable[Shift]:
    before, now = _similarities(reference), _similarities(recent)
    if len(before) and len(now):
        # The spread between days is measured where it is counted: at the reference's median.
        middle = float(np.median(before))
        days = _by_day(reference, lambda entry: _below(entry, middle))
        if shift := distribution_shifts(
            "similarity of questions and passages", before, now, spread=overdispersion(days)
        ):
            yield shift
    counts: dict[str, Callable[[Observation], Counted]] = {
        "unanswered questions": lambda entry: (int(entry.unanswered), 1),
        "unverified claims": lambda entry: (entry.num_unverified, entry.num_claims),
        "answers rated down": _rated,
    }
    if golden is not None and len(golden):
        edge = float(np.percentile(golden, OUTSIDE_PERCENTILE))
        counts["questions outside of the golden ones"] = lambda entry: _below(entry, edge)
    for name, count in counts.items():
        if shift := share_rises(name, _by_day(reference, count), _by_day(recent, count)):
            yield shift


def _worse(entries: list[Observation]) -> Iterable[Shift]:
    """Compare the answerer that came last with those before it: the general one, and each knowledge base's own."""
    # `handbook/3` answers other questions than `3`: neither stands for the other.
    for own in dict.fromkeys(_knowledge_base(entry) for entry in entries):
        yield from _worse_of([entry for entry in entries if _knowledge_base(entry) == own])


def _knowledge_base(entry: Observation) -> str:
    return entry.answerer.rpartition("/")[0]


def _worse_of(entries: list[Observation]) -> Iterable[Shift]:
    newest = entries[-1].answerer
    new = [entry for entry in entries if entry.answerer == newest]
    old = [entry for entry in entries if entry.answerer != newest]
    counts: dict[str, Callable[[Observation], Counted]] = {
        "unanswered questions": lambda entry: (int(entry.unanswered), 1),
        "unverified claims": lambda entry: (entry.num_unverified, entry.num_claims),
        "answers rated down": _rated,
    }
    for name, count in counts.items():
        shift = share_rises(f"{name} of answerer {newest}", _by_day(old, count), _by_day(new, count))
        if shift is not None and shift.is_alarm:
            yield shift


def _versions(entries: list[Observation]) -> tuple[VersionRow, ...]:
    rows = []
    for name in dict.fromkeys(entry.answerer for entry in entries):
        own = [entry for entry in entries if entry.answerer == name]
        claims, rated = sum(entry.num_claims for entry in own), [_rated(entry) for entry in own]
        num_rated = sum(number for _, number in rated)
        rows.append(
            VersionRow(
                name,
                len(own),
                sum(entry.unanswered for entry in own) / len(own),
                sum(entry.num_unverified for entry in own) / claims if claims else None,
                sum(down for down, _ in rated) / num_rated if num_rated else None,
            )
        )
    return tuple(rows)


def _topics(reference: list[Observation], recent: list[Observation], embed: Embed) -> list[Topic]:
    asked = [entry for entry in recent if entry.unanswered]
    before = [entry for entry in reference if entry.unanswered]
    if not asked or not before:
        return []
    vectors = embed([entry.question for entry in [*asked, *before]])
    return rising_topics(
        [entry.question for entry in asked],
        [entry.user for entry in asked],
        vectors[: len(asked)],
        vectors[len(asked) :],
        share_of_time=RECENT_DAYS / (RECENT_DAYS + REFERENCE_DAYS),
    )


def _similarities(entries: list[Observation]) -> npt.NDArray[np.float64]:
    return np.array([entry.similarity for entry in entries if entry.similarity is not None], dtype=np.float64)


def _by_day(entries: list[Observation], count: Callable[[Observation], Counted]) -> list[Counted]:
    days = []
    for _, group in groupby(entries, key=lambda entry: entry.day):
        counted = [count(entry) for entry in group]
        days.append((sum(hits for hits, _ in counted), sum(trials for _, trials in counted)))
    return days


def _below(entry: Observation, edge: float) -> Counted:
    return (0, 0) if entry.similarity is None else (int(entry.similarity < edge), 1)


def _rated(entry: Observation) -> Counted:
    return (0, 0) if entry.rating is None else (int(not entry.rating), 1)
