"""A retrain and a comparison on a team's servers, one of which goes away in the middle, and is back for the next try.

A suite of its own, minutes for each outage: `ALMANAC_OUTAGES` sets how many at random moments of each command are
tried (6: each server refuses and hangs once), `ALMANAC_OUTAGE_SEED` which moments.
"""

import json
import os
import random
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from tasks.releases.kind import ANSWERER
from tasks.releases.lifecycle import versions as all_versions
from tasks.releases.model_registry import CHALLENGER, mlflow_client
from tasks.settings import Settings
from tests.conftest import Outcome
from tests.forked import Forked
from tests.gate import Gates, State
from tests.retrain_world import make_world
from tests.stores import team_servers

NUM_OUTAGES = int(os.environ.get("ALMANAC_OUTAGES", "0"))
SEED = int(os.environ.get("ALMANAC_OUTAGE_SEED", "20261128"))
UNAVAILABLE = 5
SERVERS = ("mlflow", "postgres", "s3")
STATES: tuple[State, ...] = ("refuses", "hangs")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200 * (1 + NUM_OUTAGES))]


@dataclass(frozen=True)
class World:
    """A home whose index is on the servers, and what may happen to them."""

    place: Path
    gates: Gates
    forked: Forked

    def copy(self, name: str) -> Path:
        """A machine of its own that has what the first had."""
        place = self.place.with_name(name)
        shutil.copytree(self.place / "home", place / "home")
        shutil.copy(self.place / "params.yaml", place / "params.yaml")
        return place

    def run(self, place: Path, *line: str) -> Outcome:
        """Run a command there."""
        (done,) = self.forked.commands(place / "home", place / "params.yaml", line)
        return Outcome(done["code"], done["out"], done["err"])


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, migrated_mlflow: Path) -> Iterator[World]:
    folder, gates = tmp_path_factory.mktemp("servers"), Gates()
    with team_servers(folder, gates.before) as settings, pytest.MonkeyPatch.context() as environment:
        for name, value in settings.items():
            environment.setenv(name, value)
        # Each of 72 traces waits so long for a server that hangs.
        environment.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "15")
        environment.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
        place = folder / "world"
        place.mkdir()
        make_world(place, migrated_mlflow)
        forked = Forked(
            place / "params.yaml", "cli", "flows.retrain", "flows.compare", "peft", "trl", "matplotlib.pyplot"
        )
        try:
            yield World(place, gates, forked)
        finally:
            forked.close()


@pytest.mark.skipif(NUM_OUTAGES == 0, reason="ALMANAC_OUTAGES=6 lets servers go away; it takes an hour")
@pytest.mark.parametrize("command", ["retrain", "compare"])
def test_command_that_lost_a_server_says_so_and_ends_well_once_it_is_back(world: World, command: str) -> None:
    draw, outages = random.Random(f"{SEED} {command}"), list[str]()
    kinds = list(product(STATES, SERVERS))
    started = time.monotonic()
    whole = world.run(world.copy(f"{command}-whole"), command, "--json")
    seconds = time.monotonic() - started
    assert whole.code == 0, whole.err
    for number in range(NUM_OUTAGES):
        place = world.copy(f"{command}-{number}")
        (state, name), begin = kinds[number % len(kinds)], draw.uniform(0, seconds)
        come_back = world.gates.away(name, state, begin)
        try:
            outcome = world.run(place, command, "--json")
        finally:
            come_back()
        outages.append(f"{name} {state} from second {begin:.0f}: exit {outcome.code}")
        print(outages[-1], flush=True)
        assert outcome.code in (0, UNAVAILABLE), (outages, outcome.err)
        assert outcome.code == 0 or re.search(r"must (?:answer|be readable)", outcome.line), outages

        again = world.run(place, command, "--json")

        assert again.code == 0, (outages, again.err)
        assert measured(again) == measured(whole), outages
        assert unfinished(Settings(home=place / "home")) == [], outages
        shutil.rmtree(place)
    print(f"\n{command}, {seconds:.0f} s when nothing goes away: {'; '.join(outages)}")


def measured(outcome: Outcome) -> dict[str, Any]:
    """Return what a command found out, without what depends on how busy the machine is."""
    result = json.loads(outcome.out)
    if "strategies" in result:
        return {name: timeless(strategy["metrics"]) for name, strategy in result["strategies"].items()}
    return {"metrics": timeless(result["metrics"]), "gate": result["gate"], "reasons": result["reasons"]}


def timeless(metrics: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in metrics.items() if "latency" not in name and "second" not in name}


def unfinished(settings: Settings) -> list[str]:
    """Return what is left half done: runs that have not ended, and a challenger that is not the newest version."""
    with mlflow_client(settings) as client:
        experiments = [experiment.experiment_id for experiment in client.search_experiments()]
        runs = client.search_runs(experiments, "attributes.status = 'RUNNING'")
    stale = [str(entry) for entry in all_versions(settings, ANSWERER)[:-1] if CHALLENGER in entry.aliases]
    return [run.info.run_name for run in runs] + stale
