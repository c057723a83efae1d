"""Hot swap: what an alias names serves seconds later, what does not fit is refused, and no request notices."""

import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from serving.promotion.live import LivePair
from serving.promotion.state import place
from tasks.answer.answerer import read_manifest
from tasks.answer.generators.base import Generation, Generator
from tasks.errors import DependencyError
from tasks.releases import kind
from tasks.releases.lifecycle import roll_back
from tasks.releases.model_registry import CHALLENGER, mlflow_client
from tests.conftest import wait_until
from tests.serving.swap.swap_world import (
    ANSWERER,
    INDEX,
    KEPT,
    World,
    answer_of,
    break_base,
    found,
    register_unchecked,
    versions,
    written,
)

pytestmark = pytest.mark.slow


def test_base_model_answers_until_an_answerer_is_promoted(open_live: Callable[..., LivePair]) -> None:
    live = open_live()
    live.follow()

    assert versions(live) == ("1", "base")
    status = live.status()
    assert (status.ready, status.degraded, status.challenger) == (True, False, None)


def test_version_promoted_in_mlflow_answers_within_seconds(world: World, open_live: Callable[..., LivePair]) -> None:
    live = open_live()
    live.start()

    moved = time.monotonic()
    world.point(ANSWERER, "1")
    wait_until(lambda: versions(live) == ("1", "1"), seconds=120)
    answerer_seconds = time.monotonic() - moved
    moved = time.monotonic()
    world.point(INDEX, "2")
    wait_until(lambda: versions(live) == ("2", "1"), seconds=120)
    print(f"answerer {answerer_seconds:.2f} s, index {time.monotonic() - moved:.2f} s from alias to answer")

    wait_until(lambda: "promotion" in world.tags(INDEX, "2"), seconds=120)
    assert {"served", "promotion"} <= world.tags(ANSWERER, "1").keys()
    assert "rolled_back" not in world.tags(INDEX, "2")
    with live.acquire() as pair:
        assert KEPT[2] in found(live, pair)


def test_index_moved_back_is_marked_as_taken_back(world: World, open_live: Callable[..., LivePair]) -> None:
    live = open_live()
    world.point(INDEX, "2")
    live.follow()

    world.point(INDEX, "1")
    live.follow()

    assert versions(live)[0] == "1"
    assert "rolled_back" in world.tags(INDEX, "2")
    assert live.status().last_swap.kind == "rolled_back"


def test_both_aliases_moved_between_two_polls_are_one_swap(world: World, open_live: Callable[..., LivePair]) -> None:
    live = open_live()
    live.follow()
    with live.acquire() as before:
        world.point(INDEX, "2")
        world.point(ANSWERER, "2")
        live.follow()
        assert (before.index_version, before.answerer_version) == ("1", "base")

    assert versions(live) == ("2", "2")


@dataclass
class Closing:
    """A wrapped generator that says when it was closed."""

    generator: Generator
    closed: list[str] = field(default_factory=list)

    @property
    def identity(self) -> str:
        return self.generator.identity

    @property
    def context_length(self) -> int:
        return self.generator.context_length

    def generate(self, messages: Any, *, max_new_tokens: int) -> Generation:
        assert not self.closed
        return self.generator.generate(messages, max_new_tokens=max_new_tokens)

    def generate_many(self, conversations: Any, *, max_new_tokens: int) -> list[Generation]:
        return self.generator.generate_many(conversations, max_new_tokens=max_new_tokens)

    def count_tokens(self, text: str) -> int:
        return self.generator.count_tokens(text)

    def count_prompt_tokens(self, messages: Any) -> int:
        return self.generator.count_prompt_tokens(messages)

    def close(self) -> None:
        self.closed.append(self.identity)


def test_old_answerer_is_closed_behind_its_last_request(world: World, open_live: Callable[..., LivePair]) -> None:
    made: list[Closing] = []

    def wrap(generator: Generator) -> Generator:
        made.append(Closing(generator))
        return made[-1]

    live = open_live(wrap=wrap)
    live.follow()
    with live.acquire() as first, live.acquire():
        world.point(ANSWERER, "1")
        live.follow()
        assert written(first)
        assert made[0].closed == []
    assert len(made[0].closed) == 1
    assert versions(live) == ("1", "1")
    assert made[1].closed == []


def test_eight_clients_lose_no_request_and_get_no_mixed_answer_in_ten_swaps(
    world: World, open_live: Callable[..., LivePair]
) -> None:
    live = open_live()
    live.start()
    expected = {name: answer_of(world, open_live, name) for name in ("1", "2")}
    assert len(set(expected.values())) == 2
    world.point(ANSWERER, "1")
    wait_until(lambda: versions(live) == ("1", "1"), seconds=120)
    over, answered, failures = threading.Event(), Counter[tuple[str, str]](), list[str]()

    def ask() -> None:
        while not over.is_set():
            try:
                with live.acquire() as pair:
                    before = written(pair)
                    text = found(live, pair)
                    after = written(pair)
            except BaseException as error:
                failures.append(repr(error))
                raise
            whole = before == after == expected[pair.answerer_version] and KEPT[int(pair.index_version)] in text
            if not whole:
                failures.append(f"mixed in {pair.index_version}, {pair.answerer_version}")
            answered[pair.index_version, pair.answerer_version] += 1

    clients = [threading.Thread(target=ask) for _ in range(8)]
    for client in clients:
        client.start()
    for swap in range(10):
        wanted = ("2" if swap % 2 == 0 else "1", "2" if swap % 4 < 2 else "1")
        world.point(INDEX, wanted[0])
        world.point(ANSWERER, wanted[1])
        wait_until(lambda wanted=wanted: versions(live) == wanted, seconds=60)
    over.set()
    for client in clients:
        client.join()

    print(f"answers by pair: {dict(answered)}")
    assert failures == []
    assert set(answered) >= {("1", "1"), ("2", "2")}
    assert live.status().degraded is False


def test_lost_alias_changes_nothing_and_status_says_so(world: World, open_live: Callable[..., LivePair]) -> None:
    live = open_live()
    world.point(ANSWERER, "1")
    live.follow()

    world.point(ANSWERER, None)
    world.point(INDEX, None)
    live.follow()

    assert versions(live) == ("1", "1")
    assert [reason for reason in live.status().reasons if "has no champion" in reason][1].endswith(
        "version 1 serves on"
    )


def test_deleted_version_serves_on_also_after_a_restart(world: World, open_live: Callable[..., LivePair]) -> None:
    live = open_live()
    world.point(ANSWERER, "1")
    live.follow()
    with mlflow_client(world.settings) as client:
        client.delete_model_version(ANSWERER, "1")
    live.follow()
    assert versions(live) == ("1", "1")

    again = open_live()
    again.follow()

    assert versions(again) == ("1", "1")


def test_rollback_to_the_base_model_is_followed(world: World, open_live: Callable[..., LivePair]) -> None:
    live = open_live()
    world.point(ANSWERER, "1")
    live.follow()

    roll_back(world.settings, kind.ANSWERER)
    live.follow()

    assert versions(live) == ("1", "base")
    assert live.status().degraded is False


def test_restart_without_mlflow_serves_the_pair_that_served_last(
    world: World, open_live: Callable[..., LivePair]
) -> None:
    live = open_live()
    world.point(INDEX, "2")
    world.point(ANSWERER, "2")
    live.follow()
    with live.acquire() as pair:
        before = written(pair)
    down = world.settings.model_copy(update={"mlflow_tracking_uri": "http://127.0.0.1:9"})

    again = open_live(down)
    again.start()

    assert versions(again) == ("2", "2")
    with again.acquire() as pair:
        assert written(pair) == before
        assert KEPT[2] in found(again, pair)
    status = again.status()
    assert (status.ready, status.degraded, status.mlflow.reachable) == (True, True, False)


def test_mlflow_that_goes_away_and_comes_back_is_followed_again(
    world: World, open_live: Callable[..., LivePair], tmp_path: Path
) -> None:
    live = open_live()
    live.follow()
    database = world.settings.home / "mlflow.db"
    other = tmp_path / "elsewhere.db"
    follower = live._follower
    follower._settings = world.settings.model_copy(update={"mlflow_tracking_uri": "http://127.0.0.1:9"})
    live.follow()
    assert (versions(live), live.status().mlflow.reachable) == (("1", "base"), False)
    assert not other.exists()
    assert database.exists()

    follower._settings = world.settings
    world.point(ANSWERER, "3")
    live.follow()

    assert versions(live) == ("1", "3")
    assert live.status().degraded is False


def test_restart_without_mlflow_and_with_damaged_files_is_not_ready_and_says_why(
    world: World, open_live: Callable[..., LivePair]
) -> None:
    live = open_live()
    world.point(ANSWERER, "1")
    live.follow()
    folder = next((world.settings.home / "cache" / "answerers").glob("1-*/adapter"))
    (folder / "adapter_model.safetensors").write_bytes(b"")
    down = world.settings.model_copy(update={"mlflow_tracking_uri": "http://127.0.0.1:9"})

    again = open_live(down)
    again.follow()

    assert again.status().ready is False
    assert any("files must be those of its manifest" in reason for reason in again.status().reasons)
    with pytest.raises(DependencyError, match="found none yet"), again.acquire():
        pass


def test_damaged_copy_of_the_champion_is_fetched_again(world: World, open_live: Callable[..., LivePair]) -> None:
    live = open_live()
    world.point(ANSWERER, "1")
    live.follow()
    folder = next((world.settings.home / "cache" / "answerers").glob("1-*/adapter")).parent
    (folder / "adapter" / "adapter_model.safetensors").write_bytes(b"")

    again = open_live()
    again.follow()

    assert versions(again) == ("1", "1")
    assert read_manifest(folder)


def test_champion_that_is_broken_at_the_start_gives_way_to_what_served_last(
    world: World, open_live: Callable[..., LivePair]
) -> None:
    world.point(ANSWERER, "1")
    open_live().follow()
    broken = world.answerer_folder("broken")
    break_base(broken)
    version = register_unchecked(world, broken)
    world.point(ANSWERER, version)

    live = open_live()
    live.follow()

    assert versions(live) == ("1", "1")
    assert world.named(ANSWERER) == "1"
    assert "refused" in world.tags(ANSWERER, version)


def test_server_waits_for_the_first_release(world: World, open_live: Callable[..., LivePair]) -> None:
    world.point(INDEX, None)
    shutil.rmtree(world.settings.home / "served")
    live = open_live()
    live.start()
    with pytest.raises(DependencyError, match="run `almanac refresh`"), live.acquire():
        pass

    world.point(INDEX, "2")

    wait_until(lambda: live.status().ready, seconds=120)
    assert versions(live)[0] == "2"


def test_challenger_answers_its_share_of_users_always_the_same_ones(
    world: World, open_live: Callable[..., LivePair]
) -> None:
    live = open_live(challenger_share=0.3)
    world.point(ANSWERER, "1")
    world.point(ANSWERER, "2", CHALLENGER)
    live.follow()

    users = [f"user {number}" for number in range(200)]
    first = {user: versions(live, user)[1] for user in users}
    assert first == {user: versions(live, user)[1] for user in users}
    assert first == {user: "2" if place(user) < 0.3 else "1" for user in users}
    assert 40 <= Counter(first.values())["2"] <= 80
    assert versions(live)[1] == "1"
    assert live.status().challenger.version == "2"

    world.point(ANSWERER, "2")
    live.follow()
    assert {versions(live, user)[1] for user in users} == {"2"}
    assert live.status().challenger is None


def test_hint_polls_at_once(world: World, open_live: Callable[..., LivePair]) -> None:
    live = open_live(poll_seconds=3600.0)
    live.start()
    world.point(ANSWERER, "1")
    time.sleep(0.3)
    assert versions(live)[1] == "base"

    live.poll_now()

    wait_until(lambda: versions(live)[1] == "1", seconds=120)
