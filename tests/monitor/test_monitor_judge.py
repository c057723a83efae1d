"""A simulated quarter of traffic: what is planted is seen within days, and clean quarters raise no alarm.

`ALMANAC_TEST_ROUNDS` is how many clean quarters are tried; 50 is the long form.
"""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import numpy.typing as npt
import pytest

from tasks.monitor.judge import RECENT_DAYS, REFERENCE_DAYS, Judgement, judge
from tasks.monitor.observation import Observation
from tasks.monitor.signals import distribution_shifts, overdispersion, share_rises, too_many
from tasks.monitor.topics import groups

DAYS = 91
QUESTIONS_A_DAY = 120
NUM_TOPICS = 150
GOLDEN = np.random.default_rng(1).normal(0.62, 0.10, 200)
DIM = 64


@dataclass(frozen=True)
class Planted:
    """What goes wrong, and from which day on; None: it does not."""

    drift: int | None = None
    topic: int | None = None
    worse: int | None = None


def quarter(seed: int, planted: Planted) -> list[Observation]:
    """Users ask several questions each, days and users differ, one answerer follows another in the middle."""
    random = np.random.default_rng(seed)
    observations = []
    for day in range(DAYS):
        mood = random.normal(0, 0.01)
        for user in range(random.poisson(QUESTIONS_A_DAY / 2.5)):
            own = random.normal(0, 0.04)
            for _ in range(random.geometric(0.4)):
                similarity = 0.62 + mood + own + random.normal(0, 0.09)
                if planted.drift is not None and day >= planted.drift:
                    similarity -= 0.07
                unanswered = bool(random.random() < 1 / (1 + np.exp((similarity - 0.40) / 0.04)))
                new = planted.worse is not None and day >= planted.worse
                topic = int(random.zipf(1.3)) % NUM_TOPICS
                observations.append(
                    Observation(
                        day,
                        f"user-{day}-{user}",
                        f"topic {topic} variant {random.integers(50)}",
                        float(similarity),
                        unanswered,
                        "2" if (new or day >= 30) else "1",
                        "1",
                        num_claims=3,
                        num_unverified=int(random.binomial(3, 0.20 if new else 0.08)),
                        rating=bool(random.random() > 0.15) if random.random() < 0.06 else None,
                    )
                )
        if planted.topic is not None and day >= planted.topic:
            for index in range(random.poisson(2)):
                question = f"topic new variant {random.integers(50)}"
                observations.append(Observation(day, f"asker-{day}-{index}", question, 0.35, True, "2", "1"))
    return observations


def embed(questions: Sequence[str]) -> npt.NDArray[np.float32]:
    """Put variants of a topic near each other, and topics apart."""
    return np.array([vector_of(question) for question in questions], np.float32)


@cache
def vector_of(question: str) -> npt.NDArray[np.float64]:
    _, topic, _, variant = question.split()
    first, second = (
        np.random.default_rng(int(hashlib.sha256(text.encode()).hexdigest()[:8], 16)).normal(size=DIM)
        for text in (topic, f"{topic}/{variant}")
    )
    vector: npt.NDArray[np.float64] = first + 0.5 * second
    return vector / np.linalg.norm(vector)


def alarms(seed: int, planted: Planted) -> dict[str, int]:
    """Return the first day of each alarm of a quarter, looking each day."""
    observations, first = quarter(seed, planted), dict[str, int]()
    for today in range(RECENT_DAYS + REFERENCE_DAYS, DAYS):
        judgement = judge(observations, today=today, golden=GOLDEN, embed=embed)
        for name in names(judgement):
            first.setdefault(name, today)
    return first


def names(judgement: Judgement) -> list[str]:
    shifts = [shift.name for shift in judgement.shifts if shift.is_alarm]
    return [*shifts, *(f"worse: {shift.name}" for shift in judgement.worse), *("topic" for _ in judgement.topics)]


def test_clean_quarters_raise_no_alarm() -> None:
    rounds = int(os.environ.get("ALMANAC_TEST_ROUNDS", "2"))

    raised = [found for seed in range(rounds) if (found := alarms(seed, Planted()))]

    print(f"{len(raised)} of {rounds} clean quarters with an alarm: {raised}")
    assert len(raised) <= rounds * 0.04


def test_drift_topic_and_worse_version_are_seen_within_days() -> None:
    drift, topic = alarms(101, Planted(drift=50)), alarms(102, Planted(topic=60))
    worse = alarms(103, Planted(worse=40))

    print(drift, topic, worse)
    assert 50 < drift["similarity of questions and passages"] <= 55
    assert "questions outside of the golden ones" in drift
    assert 60 < topic["topic"] <= 66
    assert 40 < worse["unverified claims"] <= 46


def test_newest_answerer_is_compared_with_those_before_it() -> None:
    observations = quarter(7, Planted(worse=30))

    judgement = judge(observations, today=44, golden=None, embed=embed)

    assert [row.answerer for row in judgement.versions] == ["1", "2"]
    assert [shift.name for shift in judgement.worse] == ["unverified claims of answerer 2"]


def test_few_answers_and_no_answers_say_nothing() -> None:
    few = quarter(1, Planted())[:30]

    for observations in (few, []):
        judgement = judge(observations, today=35, golden=GOLDEN, embed=embed)
        assert (judgement.shifts, judgement.worse, judgement.topics) == ((), (), ())


def test_formulas_agree_with_known_values() -> None:
    random = np.random.default_rng(3)
    shift = distribution_shifts("x", random.normal(0, 1, 500), random.normal(0.5, 1, 400))
    assert shift is not None
    assert shift.p_value < 1e-8
    rises = share_rises("x", [(10, 100)] * 10, [(20, 100)] * 5)
    assert rises is not None
    assert rises.p_value == pytest.approx(4.1e-8, rel=0.5)
    assert too_many(5, 0, share_of_time=0.2) is None
    assert too_many(6, 0, share_of_time=0.2) == pytest.approx(0.2**6)
    assert overdispersion([(5, 50)] * 20) == 1.0
    assert overdispersion([(0, 50), (10, 50)] * 10) > 5
    assert groups(np.eye(3, dtype=np.float32)) == [[0], [1], [2]]


def test_answerer_of_one_knowledge_base_is_not_compared_with_the_general_one() -> None:
    observations = [
        replace(entry, answerer="notes/1" if entry.answerer == "2" else entry.answerer)
        for entry in quarter(7, Planted(worse=30))
    ]

    judgement = judge(observations, today=44, golden=None, embed=embed)

    assert [row.answerer for row in judgement.versions] == ["1", "notes/1"]
    assert judgement.worse == ()
