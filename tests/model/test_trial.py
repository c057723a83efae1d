"""The trial of a challenger: means over users, an interval that may be looked at any time, verdicts, and MLflow."""

import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.trial import SCENARIOS, trial
from tasks.answer.answer import Answer
from tasks.answer.trace import TraceContext, flush_traces, traced
from tasks.model.trial import sequential
from tasks.model.trial.outcomes import observed
from tasks.model.trial.sequential import MIN_ANSWERS, MIN_USERS, Mean, Observation, Tally, difference
from tasks.model.trial.trial import run_trial
from tasks.model.trial.verdict import judge
from tasks.releases.kind import ANSWERER, answerer_of
from tasks.releases.lifecycle import register, versions
from tasks.releases.model_registry import CHALLENGER, mlflow_client
from tasks.releases.tags import Tag
from tasks.releases.trial import current_challenger
from tasks.settings import Settings

NOTES = answerer_of("notes")


def coins(share: float, *, users: int = 60, each: int = 10, seed: int = 0) -> Tally:
    random = np.random.default_rng(seed)
    return Tally(Observation(f"u{n % users}", float(random.random() < share)) for n in range(users * each))


def test_mean_weighs_and_leaves_out_what_does_not_count() -> None:
    mean = Tally([Observation("a", 1.0, 3.0), Observation("b", 0.0, 1.0), Observation("c", 1.0, 0.0)]).mean()
    assert mean is not None and mean.value == 0.75 and (mean.users, mean.answers) == (2, 2)
    assert Tally().mean() is None and Tally([Observation("a", 1.0, 0.0)]).mean() is None


def test_answers_of_one_user_count_as_one_where_they_are_all_alike() -> None:
    alike = Tally(Observation(f"u{n}", float(n % 2)) for n in range(20) for _ in range(50)).mean()
    once = Tally(Observation(f"u{n}", float(n % 2)) for n in range(20)).mean()
    assert alike is not None and once is not None and alike.variance == pytest.approx(once.variance)


def test_interval_is_that_of_the_formula_and_wider_than_a_look_at_the_end() -> None:
    new, old = Mean(0.5, 0.001, 50, 500), Mean(0.4, 0.001, 50, 500)
    change = difference(new, old, alpha=0.05, prior_sd=0.1)
    radius = math.sqrt(0.002 * 0.012 / 0.01 * (2 * math.log(20) + math.log(6)))
    assert change is not None and change.high - change.mean == pytest.approx(radius)
    assert radius > 1.96 * math.sqrt(0.002)


@pytest.mark.parametrize(("users", "answers"), [(MIN_USERS - 1, 500), (50, MIN_ANSWERS - 1)])
def test_few_users_or_answers_say_nothing(users: int, answers: int) -> None:
    few, many = Mean(0.9, 0.0001, users, answers), Mean(0.1, 0.0001, 50, 500)
    assert difference(few, many, alpha=0.05, prior_sd=0.1) is None


def test_verdicts() -> None:
    low, high = coins(0.1, seed=1), coins(0.5, seed=2)
    assert judge({"abstentions": high}, {"abstentions": low}).verdict == "worse"
    assert judge({"abstentions": low}, {"abstentions": high}).verdict == "better"
    assert judge({"abstentions": low}, {"abstentions": coins(0.1, seed=3)}).verdict == "not yet"
    assert judge({}, {}).verdict == "not yet"


def test_gain_that_is_paid_for_elsewhere_is_not_better() -> None:
    new = {"abstentions": coins(0.1, seed=1), "unverified": coins(0.26, seed=4, users=30, each=4)}
    old = {"abstentions": coins(0.5, seed=2), "unverified": coins(0.1, seed=5, users=30, each=4)}
    verdict = judge(new, old)
    assert verdict.verdict != "better"


def test_faster_alone_is_not_better_and_half_slower_is_worse() -> None:
    random = np.random.default_rng(0)
    fast, slow = (
        Tally(Observation(f"u{n % 60}", float(random.normal(mean, 0.5))) for n in range(600)) for mean in (0.0, 0.5)
    )
    assert judge({"log_seconds": fast}, {"log_seconds": slow}).verdict == "not yet"
    assert judge({"log_seconds": slow}, {"log_seconds": fast}).verdict == "worse"


def test_one_answer_says_something_of_each_metric() -> None:
    claims = [{"verdict": "supported"}, {"verdict": "unverified"}]
    said = dict(observed("ann", {"abstained": False, "claims": claims}, 2000, {"ann": False}))
    assert said["abstentions"].value == 0 and said["disapproval"].value == 1
    assert (said["unverified"].value, said["unverified"].weight) == (0.5, 2)
    assert said["log_seconds"].value == pytest.approx(math.log(2))
    assert set(dict(observed("ann", {"abstained": True}, None, {}))) == {"abstentions"}


@pytest.mark.parametrize("name", ["worse: abstentions +.15", "worse: half slower", "better: unverified -.10"])
def test_planted_difference_is_found_under_simulated_traffic(name: str) -> None:
    verdict, answers = trial(7, SCENARIOS[name], 0.3)
    assert verdict.verdict == name.split(":", maxsplit=1)[0] and answers < 6000


def answer(abstained: bool) -> Answer:
    return Answer("text", "nothing_found" if abstained else "answer", None, (), (), (), "", 0, 0)


def plant(settings: Settings, version: str, num: int, *, abstaining: int, asked: tuple[str, ...] = ()) -> None:
    for number in range(num):
        filters = {"knowledge_bases": list(asked)}
        context = TraceContext("1", version, ("everyone",), filters, user=f"{version}-{number % 8}")
        told = answer(number % 10 < abstaining)
        traced("What?", list, lambda _, told=told: told, context=context, settings=settings)
    time.sleep(0.002)  # traces are dated in milliseconds: what is planted next is later


@pytest.fixture
def on_trial(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Version 1 serves, version 2 is the challenger; few answers are enough."""
    monkeypatch.setattr(sequential, "MIN_USERS", 5)
    monkeypatch.setattr(sequential, "MIN_ANSWERS", 20)
    with mlflow_client(settings) as client:
        run = client.create_run("0").info.run_id
    for key in ("one", "two"):
        register(settings, ANSWERER, key=key, run_id=run, tags={}, description="")
    with mlflow_client(settings) as client:
        client.set_registered_model_alias(ANSWERER.model, CHALLENGER, "2")
    return settings


def test_worse_challenger_is_tagged_and_logged(on_trial: Settings, tmp_path: Path) -> None:
    plant(on_trial, "1", 5, abstaining=10)
    plant(on_trial, "2", 1, abstaining=9)
    plant(on_trial, "1", 40, abstaining=0)
    plant(on_trial, "2", 40, abstaining=9)
    flush_traces()

    found = run_trial(on_trial, "1")

    assert found is not None and found.verdict.verdict == "worse" and found.answers == (41, 40)
    challenger: Any = current_challenger(on_trial)
    assert challenger.lost_trial and challenger.tags[Tag.TRIAL].startswith("worse: abstentions +0.9")
    assert run_trial(on_trial, "1") is None
    with mlflow_client(on_trial) as client:
        (run,) = client.search_runs([client.get_experiment_by_name("almanac-trial").experiment_id])
    assert run.data.metrics["challenger/answers"] == 41 and run.data.tags["verdict"] == "worse"


def test_challenger_of_a_knowledge_base_is_judged_by_the_questions_to_it_alone(on_trial: Settings) -> None:
    with mlflow_client(on_trial) as client:
        run = client.create_run("0").info.run_id
    register(on_trial, NOTES, key="own", run_id=run, tags={}, description="")
    with mlflow_client(on_trial) as client:
        client.set_registered_model_alias(NOTES.model, CHALLENGER, "1")
    plant(on_trial, "notes/1", 40, abstaining=9, asked=("notes",))
    plant(on_trial, "1", 40, abstaining=0, asked=("notes",))
    # What the general answerer says elsewhere is no better than the challenger, and is not counted.
    for asked in (("wiki",), ("notes", "wiki"), ()):
        plant(on_trial, "1", 40, abstaining=9, asked=asked)
    flush_traces()

    trial = run_trial(on_trial, "1", NOTES)

    assert trial is not None and (trial.challenger, trial.answers) == ("notes/1", (40, 40))
    assert trial.verdict.verdict == "worse"
    challenger = current_challenger(on_trial, NOTES)
    assert challenger is not None and challenger.lost_trial
    assert run_trial(on_trial, "1", NOTES) is None
    assert run_trial(on_trial, "1") is None and not any(entry.lost_trial for entry in versions(on_trial, ANSWERER))


def test_challenger_that_answered_nobody_is_not_judged(on_trial: Settings) -> None:
    assert run_trial(on_trial, "1") is None
    assert all(Tag.TRIAL not in entry.tags for entry in versions(on_trial, ANSWERER))


def test_few_ratings_that_look_worse_hold_back_a_better() -> None:
    new = {"unverified": coins(0.1, seed=1), "disapproval": coins(0.6, seed=3, users=10, each=1)}
    old = {"unverified": coins(0.5, seed=2), "disapproval": coins(0.1, seed=4, users=10, each=1)}
    assert judge(new, old).verdict == "not yet"
    assert judge(new | {"disapproval": Tally()}, old).verdict == "better"


def test_every_scenario_plants_what_its_name_says() -> None:
    assert {name.split(":")[0] for name in SCENARIOS} == {"no difference", "better", "worse"}
