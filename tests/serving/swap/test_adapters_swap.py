"""Promotion at an endpoint that loads adapters: load, smoke, parity, swap by name, unload; a refused one goes too."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

import pytest

from serving.promotion import endpoint_adapters
from serving.promotion.live import LivePair
from tasks.answer.generators.transformers import load_base
from tasks.answer.parity import compare
from tasks.releases.kind import answerer_of
from tasks.releases.lifecycle import promote, roll_back
from tasks.releases.model_registry import CHALLENGER
from tests.answerers import register_answerer, save_answerer
from tests.conftest import wait_until
from tests.server import served
from tests.serving.swap.swap_world import ANSWERER, World, answer_of, rewrite, versions, written
from tests.serving.swap.vllm_stub import VllmStub

pytestmark = pytest.mark.slow

ONE, TWO, THREE = (f"almanac-answerer-{number}" for number in "123")


@pytest.fixture(autouse=True)
def fine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bear less: the tiny model's random weights prefer no token by much, in one precision."""
    monkeypatch.setattr(compare, "MAX_LOGPROB_DIFFERENCE", 0.005)


@pytest.fixture
def vllm(world: World) -> VllmStub:
    return VllmStub(load_base(world.params.generation, world.settings))


@pytest.fixture
def open_there(world: World, vllm: VllmStub, open_live: Callable[..., LivePair]) -> Iterator[Callable[..., LivePair]]:
    """Open what serves at the endpoint."""
    with served(vllm.app()) as address:
        changes = {"endpoint": address, "answerer": "model", "model": "base"}
        generation = world.params.generation.model_copy(update=changes)
        yield lambda **serving: open_live(generation=generation, **serving)


def open_at_one(world: World, open_there: Callable[..., LivePair]) -> LivePair:
    """Open what serves at the endpoint, and let version 1 serve."""
    live = open_there()
    world.point(ANSWERER, "1")
    live.follow()
    return live


def test_promotion_loads_the_adapter_and_swaps_by_name(
    world: World, vllm: VllmStub, open_there: Callable[..., LivePair], monkeypatch: pytest.MonkeyPatch
) -> None:
    live = open_there()
    live.follow()
    assert versions(live)[1] == "base"
    assert vllm.calls == []
    texts = {}
    for version in ("1", "2"):
        world.point(ANSWERER, version)
        live.follow()
        assert versions(live)[1] == version
        assert "as the trainer's model said them" in world.tags(ANSWERER, version)["promotion"]
        with live.acquire() as pair:
            texts[version] = written(pair)
    assert texts["1"] != texts["2"]
    assert texts == {version: answer_of(world, lambda **_: live, version) for version in texts}
    assert sorted(vllm.adapters) == [ONE, TWO]

    monkeypatch.setattr(endpoint_adapters, "monotonic", lambda: float("inf"))
    live.follow()
    assert list(vllm.adapters) == [TWO]
    world.point(ANSWERER, "1")
    live.follow()
    assert versions(live)[1] == "1"
    assert vllm.calls == [("load", ONE), ("load", TWO), ("unload", ONE), ("load", ONE)]


def test_adapter_stays_for_a_request_that_began_with_it(
    world: World, vllm: VllmStub, open_there: Callable[..., LivePair], monkeypatch: pytest.MonkeyPatch
) -> None:
    live = open_at_one(world, open_there)
    with live.acquire() as pair:
        before = written(pair)
        world.point(ANSWERER, "2")
        live.follow()
        monkeypatch.setattr(endpoint_adapters, "monotonic", lambda: float("inf"))
        live.follow()
        assert versions(live)[1] == "2"
        assert sorted(vllm.adapters) == [ONE, TWO]
        assert written(pair) == before
    monkeypatch.undo()
    live.follow()
    monkeypatch.setattr(endpoint_adapters, "monotonic", lambda: float("inf"))
    live.follow()
    assert list(vllm.adapters) == [TWO]


def test_adapters_of_knowledge_bases_are_loaded_and_unloaded_under_names_of_their_own(
    world: World, vllm: VllmStub, open_there: Callable[..., LivePair], monkeypatch: pytest.MonkeyPatch
) -> None:
    live = open_at_one(world, open_there)
    own = {answerer_of(name): f"almanac-answerer.{name}-1" for name in ("notes", "wiki-2")}
    for kind, seed in zip(own, (2, 3), strict=True):
        folder = world.folder.parent / kind.name
        save_answerer(folder, world.params.generation, world.settings, seed=seed)
        promote(world.settings, kind, register_answerer(world.settings, folder, key=kind.name, kind=kind))
    live.follow()

    texts = set()
    for name, label in ((None, "1"), ("notes", "notes/1"), ("wiki-2", "wiki-2/1")):
        with live.acquire(None, name) as pair:
            assert pair.answerer_version == label
            texts.add(written(pair))
    assert len(texts) == 3
    assert sorted(vllm.adapters) == sorted([ONE, *own.values()])
    notes, wiki = own
    roll_back(world.settings, notes)
    live.follow()
    monkeypatch.setattr(endpoint_adapters, "monotonic", lambda: float("inf"))
    live.follow()
    assert sorted(vllm.adapters) == sorted([ONE, own[wiki]])


def has(answers: list[tuple[str, str]], num_answers: int, asked: list[Future[None]]) -> bool:
    return len(answers) >= num_answers or any(each.done() for each in asked)


def test_no_question_is_lost_while_adapters_change(
    world: World, vllm: VllmStub, open_there: Callable[..., LivePair], monkeypatch: pytest.MonkeyPatch
) -> None:
    live = open_at_one(world, open_there)
    monkeypatch.setattr(live._follower._adapters, "_spared_seconds", 0.0)
    over = threading.Event()
    answers: list[tuple[str, str]] = []

    def ask() -> None:
        while not over.is_set():
            with live.acquire() as pair:
                answers.append((pair.answerer_version, written(pair)))

    with ThreadPoolExecutor(2) as askers:
        asked = [askers.submit(ask) for _ in range(2)]
        for version in ("2", "1", "2"):
            world.point(ANSWERER, version)
            live.follow()
            enough = len(answers) + 6
            wait_until(partial(has, answers, enough, asked), seconds=60)
            live.follow()
        over.set()
    assert [each.result() for each in asked] == [None, None]
    assert len(set(answers)) == 2
    assert {version for version, _ in answers} == {"1", "2"}
    assert vllm.calls.count(("unload", ONE)) == 2


def say_otherwise(world: World) -> str:
    """Register an adapter whose sign was lost on its way, with a right checksum."""
    from safetensors.torch import load_file, save_file

    folder = world.answerer_folder("broken")
    path = folder / "adapter" / "adapter_model.safetensors"
    save_file({name: -tensor if "lora_B" in name else tensor for name, tensor in load_file(path).items()}, path)
    rewrite(folder)
    return register_answerer(world.settings, folder, key="broken")


def test_refused_adapter_is_unloaded_and_the_old_one_serves_on(
    world: World, vllm: VllmStub, open_there: Callable[..., LivePair]
) -> None:
    live = open_at_one(world, open_there)
    broken = say_otherwise(world)
    world.point(ANSWERER, None, CHALLENGER)
    world.point(ANSWERER, broken)
    live.follow()
    live.follow()

    assert versions(live)[1] == "1"
    assert world.named(ANSWERER) == "1"
    assert "must say what its trainer's model said" in world.tags(ANSWERER, broken)["refused"]
    assert list(vllm.adapters) == [ONE]
    assert vllm.calls[1:] == [("load", f"almanac-answerer-{broken}"), ("unload", f"almanac-answerer-{broken}")]


def test_endpoint_that_loads_nothing_refuses_with_the_way_to_allow_it(
    world: World, vllm: VllmStub, open_there: Callable[..., LivePair]
) -> None:
    vllm.loads_adapters = False
    live = open_there()
    live.follow()
    world.point(ANSWERER, "1")
    live.follow()

    assert versions(live)[1] == "base"
    assert world.named(ANSWERER) is None
    refused = world.tags(ANSWERER, "1")["refused"]
    assert f"must serve '{ONE}'" in refused
    assert "VLLM_ALLOW_RUNTIME_LORA_UPDATING=True" in refused


def test_adapter_outlives_a_restart_of_the_endpoint(
    world: World, vllm: VllmStub, open_there: Callable[..., LivePair]
) -> None:
    live = open_at_one(world, open_there)
    with live.acquire() as pair:
        before = written(pair)
    vllm.restart()
    live.follow()
    with live.acquire() as pair:
        assert written(pair) == before


def test_endpoint_in_trouble_refuses_nothing(
    world: World, vllm: VllmStub, open_there: Callable[..., LivePair], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.promotion.follow.RETRY_SECONDS", 0.0)
    live = open_there()
    live.follow()
    vllm.in_trouble = True
    world.point(ANSWERER, "1")
    live.follow()
    assert versions(live)[1] == "base"
    assert world.named(ANSWERER) == "1"
    assert any("status 503" in reason for reason in live.status().reasons)
    vllm.in_trouble = False
    live.follow()
    assert versions(live)[1] == "1"


def test_challenger_and_champion_are_loaded_side_by_side(
    world: World, vllm: VllmStub, open_there: Callable[..., LivePair]
) -> None:
    live = open_there(challenger_share=0.5)
    world.point(ANSWERER, "1")
    world.point(ANSWERER, "3", CHALLENGER)
    live.follow()
    live.follow()
    assert sorted(vllm.adapters) == [ONE, THREE]
    assert {versions(live, f"user {number}")[1] for number in range(20)} == {"1", "3"}
