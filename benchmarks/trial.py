"""The verdict of a trial under simulated traffic: planted better, planted worse, and no difference at all.

    python -m benchmarks.trial --runs 200

Users come back: each has a leaning of their own and a version for good, so that answers of one user are alike. A fifth
of the answers are rated. The verdict is looked at after every 50 answers; the server looks more rarely.
"""

import argparse
from collections import Counter
from collections.abc import Iterator

import numpy as np

from tasks.model.trial.sequential import Observation, Tally
from tasks.model.trial.verdict import TrialVerdict, judge

NUM_USERS, MAX_ANSWERS, LOOK_EVERY = 400, 6000, 50
BASE = {"disapproval": 0.25, "abstentions": 0.15, "unverified": 0.2, "log_seconds": 0.5}
SCENARIOS: dict[str, dict[str, float]] = {
    "no difference": {},
    "better: disapproval -.15": {"disapproval": -0.15},
    "better: unverified -.10": {"unverified": -0.1},
    "worse: disapproval +.15": {"disapproval": 0.15},
    "worse: abstentions +.15": {"abstentions": 0.15},
    "worse: half slower": {"log_seconds": 0.405},
}


def answers(seed: int, effect: dict[str, float], share: float) -> Iterator[tuple[bool, dict[str, Observation]]]:
    """Yield whether the challenger answered, and what of the answer counts; `share` of the users get the challenger."""
    random = np.random.default_rng(seed)
    challenged = random.random(NUM_USERS) < share
    activity = random.pareto(2.0, NUM_USERS) + 0.2
    users = random.choice(NUM_USERS, MAX_ANSWERS, p=activity / activity.sum())
    means = {
        name: base + random.normal(0, 0.08, NUM_USERS)[users] + effect.get(name, 0.0) * challenged[users]
        for name, base in BASE.items()
    }
    draws = {name: random.random(MAX_ANSWERS) < np.clip(mean, 0.01, 0.99) for name, mean in means.items()}
    claims = random.integers(1, 6, MAX_ANSWERS)
    unverified = random.binomial(claims, np.clip(means["unverified"], 0.01, 0.99))
    seconds = random.normal(means["log_seconds"], 0.6)
    rated = random.random(MAX_ANSWERS) < 0.2
    for number, user in enumerate(users):
        name = str(user)
        observed = {
            "abstentions": Observation(name, float(draws["abstentions"][number])),
            "unverified": Observation(name, float(unverified[number] / claims[number]), float(claims[number])),
            "log_seconds": Observation(name, float(seconds[number])),
        }
        if rated[number]:
            observed["disapproval"] = Observation(name, float(draws["disapproval"][number]))
        yield bool(challenged[user]), observed


def trial(seed: int, effect: dict[str, float], share: float) -> tuple[TrialVerdict, int]:
    """Return the first verdict other than `not yet`, or the last one, and after how many answers of both it came."""
    seen: dict[bool, dict[str, Tally]] = {which: {name: Tally() for name in BASE} for which in (True, False)}
    found, number = judge({}, {}), 0
    for number, (challenged, observed) in enumerate(answers(seed, effect, share), start=1):
        for name, observation in observed.items():
            seen[challenged][name].add(observation)
        if number % LOOK_EVERY == 0:
            found = judge(seen[True], seen[False])
            if found.verdict != "not yet":
                break
    return found, number


def main() -> None:
    """Print verdicts and after how many answers they came."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--share", type=float, default=0.3)
    parser.add_argument("--planted-runs", type=int, default=40)
    options = parser.parse_args()
    print("| traffic | runs | better | worse | not yet | answers until the verdict, median (10 %, 90 %) |")
    print("|---|---|---|---|---|---|")
    for name, effect in SCENARIOS.items():
        runs = options.planted_runs if effect else options.runs
        results = [trial(seed, effect, options.share) for seed in range(runs)]
        counts = Counter(found.verdict for found, _ in results)
        counted = [number for found, number in results if found.verdict != "not yet"]
        low, middle, high = np.quantile(counted, [0.1, 0.5, 0.9]) if counted else (0, 0, 0)
        when = f"{middle:,.0f} ({low:,.0f}, {high:,.0f})" if counted else "-"
        print(
            f"| {name} | {runs} | {counts['better']} | {counts['worse']} | {counts['not yet']} | {when} |", flush=True
        )


if __name__ == "__main__":
    main()
