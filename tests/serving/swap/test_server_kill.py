"""kill -9 at random moments of a promotion, a rollback and a rating: whoever comes next finds or makes the whole.

Killed are the command that moves an alias, the server that follows one, and the server that takes a rating.
`ALMANAC_KILL_MOMENTS` tries so many moments of each kind of move, else two of some; `ALMANAC_KILL_SEED` sets which.
"""

import itertools
import os
import random
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from serving.api.feedback import CORRECTION, RATING, FeedbackSpool
from serving.promotion.live import LivePair
from serving.promotion.verdicts import Verdicts
from tasks.audit.audit import open_audit
from tasks.releases import kind
from tasks.releases.last_served import last_served
from tasks.releases.lifecycle import roll_back
from tasks.releases.lifecycle import versions as all_versions
from tasks.releases.model_registry import CHALLENGER, mlflow_client
from tasks.releases.tags import Tag
from tasks.settings import Settings
from tests.conftest import answers, free_ports, wait_until
from tests.forked import KILLED, Forked
from tests.serving.swap.swap_world import ANSWERER, INDEX, QUESTION, World, found, versions, written

pytestmark = pytest.mark.slow

ALL = "ALMANAC_KILL_MOMENTS" in os.environ
NUM_MOMENTS = int(os.environ.get("ALMANAC_KILL_MOMENTS", "2"))
SEED = int(os.environ.get("ALMANAC_KILL_SEED", "20261128"))
COMMANDS = {
    "promotion of an index": (["rollback index 1"], "promote index 2"),
    "rollback of an index": ([], "rollback index"),
    "promotion of an answerer": (["promote answerer 1"], "promote answerer 2"),
    "rollback of an answerer": (["promote answerer 1", "promote answerer 2"], "rollback answerer"),
    "rollback to the base": (["promote answerer 1"], "rollback answerer base"),
}
MOVES = {
    "index": ([], INDEX, "1"),
    "answerer": (["promote answerer 1"], ANSWERER, "2"),
    "answerer back": (["promote answerer 1", "promote answerer 2"], ANSWERER, "1"),
}
"""Commands before, and the version to which a person moves the alias in the UI."""
VOTE = {"rating": "down", "comment": "It is nine years.", "corrected_answer": "They are kept for nine years."}


@dataclass(frozen=True)
class Place:
    """A home of its own with what the module shares: a process that forks for each command."""

    world: World
    forked: Forked
    params: Path

    @property
    def settings(self) -> Settings:
        return self.world.settings

    def copy(self, folder: Path) -> "Place":
        home = Path(shutil.copytree(self.settings.home, folder / "home"))
        settings = self.settings.model_copy(update={"home": home})
        return Place(World(settings, self.world.params, folder), self.forked, self.params)

    def run(self, *lines: str) -> list[int]:
        """Run commands of `almanac` to their end; return their exit codes."""
        done = self.forked.commands(self.settings.home, self.params, *map(str.split, lines))
        return [outcome["code"] for outcome in done]

    def killed(self, line: str, after_seconds: float) -> dict[str, Any]:
        return self.forked.killed_command(self.settings.home, self.params, *line.split(), after_seconds=after_seconds)

    @contextmanager
    def server(self) -> Iterator[str]:
        """Serve from a fork, which is killed at the end."""
        port = free_ports("server")["server"]
        pid = self.forked.start(self.settings.home, self.params, "serve", "--port", str(port))
        try:
            wait_until(lambda: answers(f"http://127.0.0.1:{port}/readyz"), seconds=120)
            yield f"http://127.0.0.1:{port}"
        finally:
            self.forked.kill(pid)

    def looked(self) -> dict[str, Any]:
        """Let the next server start; return what it serves, and what MLflow and the home say of it."""
        live = LivePair(self.world.params, self.settings)
        live.follow()
        with live.acquire() as pair:
            texts = found(live, pair), written(pair)
        registered = [*all_versions(self.settings, kind.INDEX), *all_versions(self.settings, kind.ANSWERER)]
        last = [last_served(self.settings, of) for of in (kind.INDEX, kind.ANSWERER)]
        state = {
            "serves": versions(live),
            "texts": texts,
            "reasons": live.status().reasons,
            "last served": [entry and entry.version for entry in last],
            "aliases": {str(entry): entry.aliases for entry in registered if entry.aliases},
            "tags": {str(entry): entry.tags.keys() - {str(Tag.PROMOTION)} for entry in registered},
            "audit": open_audit(self.settings.layout).verify().problems,
        }
        live.stop()
        return state


@pytest.fixture(scope="module")
def template_place(template: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    params = tmp_path_factory.mktemp("params") / "params.yaml"
    serving = template.params.serving.model_copy(update={"poll_seconds": 0.1, "anonymous_groups": ("everyone",)})
    raw = template.params.model_copy(update={"serving": serving}).model_dump(mode="json")
    params.write_text(yaml.safe_dump(raw), encoding="utf-8")
    forked = Forked(params, "cli", "serving.api.run", "serving.promotion.live", "peft", "mlflow.tracing.client")
    try:
        yield Place(template, forked, params)
    finally:
        forked.close()


@pytest.fixture
def prepared(template_place: Place, tmp_path: Path) -> Callable[..., Callable[[], Place]]:
    """Return a maker of copies of a home in which some commands were run."""

    def prepare(*lines: str, index: str = "2") -> Callable[[], Place]:
        first, numbers = template_place.copy(tmp_path / "first"), itertools.count()
        first.world.point(INDEX, index)
        first.looked()
        assert first.run(*lines) == [0] * len(lines)
        first.looked()
        first.world.point(ANSWERER, "2", CHALLENGER)
        return lambda: first.copy(tmp_path / f"home-{next(numbers)}")

    return prepare


def without_approval(state: dict[str, Any]) -> dict[str, Any]:
    """A promoter's record stands before the alias moves: without that it says nothing."""
    records = {str(Tag.PROMOTED_BY), str(Tag.ROLLED_BACK_BY)}
    return state | {"tags": {version: names - records for version, names in state["tags"].items()}}


@pytest.mark.parametrize("name", COMMANDS if ALL else ["promotion of an answerer", "rollback of an answerer"])
def test_move_killed_at_any_moment_is_whole_or_nothing(prepared: Callable[..., Any], name: str) -> None:
    before, line = COMMANDS[name]
    make, draw = prepared(*before), random.Random(f"{SEED} {name}")
    untouched, whole = make().looked(), make()
    started = time.monotonic()
    assert whole.run(line) == [0]
    seconds, done, num_killed = time.monotonic() - started, whole.looked(), 0
    assert done["serves"] != untouched["serves"]
    for _ in range(NUM_MOMENTS):
        place, moment = make(), draw.uniform(0, seconds)

        outcome = place.killed(line, moment)

        assert outcome["status"] in (KILLED, 0), outcome
        num_killed += outcome["status"] == KILLED
        state = place.looked()
        if state["serves"] != done["serves"]:
            assert without_approval(state) == without_approval(untouched), moment
            assert place.run(line) == [0]
            state = place.looked()
        assert state == done, moment
        shutil.rmtree(place.settings.home)
    print(f"\n{name}: {num_killed} of {NUM_MOMENTS} were killed, within {seconds:.2f} s")


@pytest.mark.parametrize("name", MOVES if ALL else ["answerer back"])
def test_server_killed_in_a_swap_ends_it_at_its_next_start(prepared: Callable[..., Any], name: str) -> None:
    before, model, version = MOVES[name]
    make, draw = prepared(*before), random.Random(f"{SEED} {name}")
    whole = make()
    with whole.server():
        started = time.monotonic()
        whole.world.point(model, version)
        wait_until(lambda: serves(whole, model) == version, seconds=60)
        seconds = time.monotonic() - started
        time.sleep(1)
    done = whole.looked()
    for _ in range(NUM_MOMENTS):
        place, moment = make(), draw.uniform(0, 1.2 * seconds)

        with place.server():
            place.world.point(model, version)
            time.sleep(moment)

        assert place.looked() == done, moment
        shutil.rmtree(place.settings.home)
    print(f"\n{name}: {NUM_MOMENTS} were killed, within {1.2 * seconds:.2f} s")


def test_server_killed_before_it_said_what_serves_says_it_at_its_next_start(
    world: World, open_live: Callable[..., LivePair], monkeypatch: pytest.MonkeyPatch
) -> None:
    world.point(INDEX, "2")
    world.point(ANSWERER, "2")
    open_live().follow()
    world.point(INDEX, "1")
    world.point(ANSWERER, "1")
    live = open_live()
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Verdicts, "passed", killed)
        live.follow()

    open_live().follow()

    assert "served" in world.tags(ANSWERER, "1")
    assert "rolled_back" in world.tags(ANSWERER, "2")
    assert "rolled_back" in world.tags(INDEX, "2")


def test_rollback_killed_before_the_alias_is_no_rollback_from_the_next_start_on(
    world: World, open_live: Callable[..., LivePair], monkeypatch: pytest.MonkeyPatch
) -> None:
    world.point(INDEX, "2")
    world.point(ANSWERER, "1")
    open_live().follow()
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("mlflow.MlflowClient.delete_registered_model_alias", killed)
        roll_back(world.settings, kind.ANSWERER)
    assert "rolled_back" in world.tags(ANSWERER, "1")

    open_live().follow()

    assert world.named(ANSWERER) == "1"
    assert "rolled_back" not in world.tags(ANSWERER, "1")


def killed(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def serves(place: Place, model: str) -> str | None:
    """Return the version that the record of what served last names."""
    last = last_served(place.settings, kind.INDEX if model == INDEX else kind.ANSWERER)
    return last and last.version


@dataclass(frozen=True)
class Rated:
    """An answer to be rated, in a home that is copied for each moment."""

    place: Place
    trace: str

    def rate(self, address: str) -> int:
        """Return the status of the reply; 0: there was none."""
        try:
            return httpx.post(f"{address}/v1/feedback", json=VOTE | {"trace_id": self.trace}, timeout=30).status_code
        except httpx.HTTPError:
            return 0

    def assessments(self, place: Place) -> list[tuple[str, object]]:
        with mlflow_client(place.settings) as client:
            listed = client.get_trace(self.trace, display=False).info.assessments
        return sorted((each.name, each.value) for each in listed)


@pytest.fixture
def rated(prepared: Callable[..., Any]) -> Rated:
    place = prepared()()
    with place.server() as address:
        asked = {"model": "almanac", "messages": [{"role": "user", "content": QUESTION}]}
        reply = httpx.post(f"{address}/v1/chat/completions", json=asked, timeout=60)
        trace = reply.json()["almanac"]["trace_id"]
        wait_until(lambda: exported(place, trace), seconds=60)
    return Rated(place, trace)


def exported(place: Place, trace: str) -> bool:
    """Say whether MLflow has a trace and who asked."""
    from mlflow.exceptions import MlflowException

    with mlflow_client(place.settings) as client:
        try:
            return "mlflow.trace.user" in client.get_trace(trace, display=False).info.trace_metadata
        except MlflowException:
            return False


def test_rating_killed_at_any_moment_is_there_once_or_was_never_confirmed(rated: Rated, tmp_path: Path) -> None:
    draw, outcomes = random.Random(f"{SEED} rating"), list[str]()
    whole = rated.place.copy(tmp_path / "whole")
    with whole.server() as address:
        started = time.monotonic()
        assert rated.rate(address) == 202
        wait_until(lambda: len(rated.assessments(whole)) == 2, seconds=60)
        seconds = time.monotonic() - started
    expected = [(CORRECTION, VOTE["corrected_answer"]), (RATING, False)]
    assert rated.assessments(whole) == expected
    for number in range(NUM_MOMENTS):
        place, moment = rated.place.copy(tmp_path / f"rated-{number}"), draw.uniform(0, seconds)
        statuses = list[int]()
        with place.server() as address:
            posting = threading.Thread(target=lambda at=address, to=statuses: to.append(rated.rate(at)))
            posting.start()
            time.sleep(moment)
        posting.join()

        bring(place)

        (status,) = statuses
        there = rated.assessments(place)
        assert there == expected or (status != 202 and not there), (moment, status)
        if status != 202:
            with place.server() as address:
                assert rated.rate(address) == 202
            bring(place)
            assert rated.assessments(place) == expected, (moment, status)
        assert open_audit(place.settings.layout).verify().problems == ()
        outcomes.append(f"{status}: {len(there)}")
        shutil.rmtree(place.settings.home)
    print(f"\nstatus and what was there: {outcomes}, within {seconds:.2f} s")


def bring(place: Place) -> None:
    """Deliver what waits, as the next server does."""
    spool = FeedbackSpool(place.settings, lambda _: None)
    assert spool.deliver()
    assert spool.num_waiting == 0
