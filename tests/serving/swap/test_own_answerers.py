"""Several adapters on one base, one a knowledge base: each swaps alone, is refused alone, and answers its own alone."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from serving.api.app import create_app
from serving.api.people.keys import KeyFile
from serving.promotion.live import LivePair
from serving.promotion.pair import Pair
from serving.promotion.smoke import smoke_answerer
from tasks.answer.answerer import Answerer, load_answerer
from tasks.answer.generators.base import Generation, Generator
from tasks.answer.generators.transformers import TransformersGenerator, load_base
from tasks.answer.registry import load_own
from tasks.errors import ConfigurationError, DependencyError
from tasks.model.comparison.answerers import compared_answerers
from tasks.model.knowledge_base import limited_to
from tasks.releases.answerers import answerer_kinds
from tasks.releases.kind import answerer_of
from tasks.releases.last_served import last_served
from tasks.releases.lifecycle import promote, roll_back
from tests.answerers import register_answerer, save_answerer
from tests.conftest import wait_until
from tests.server import running
from tests.serving.swap.swap_world import ANSWERER, INDEX, KEPT, QUESTION, World, break_base, break_numbers, written

pytestmark = pytest.mark.slow
NOTES, WIKI = (answerer_of(name) for name in ("notes", "wiki"))


def register_own(world: World, seed: int, knowledge_base: str, *, broken: Callable[[Path], None] | None = None) -> str:
    """Register the answerer of a seed as a knowledge base's own; return its version."""
    folder = world.folder.parent / f"{knowledge_base}-{seed}-{broken.__name__ if broken else 'whole'}"
    save_answerer(folder, world.params.generation, world.settings, seed=seed)
    if broken is not None:
        broken(folder)
    return register_answerer(world.settings, folder, key=folder.name, kind=answerer_of(knowledge_base))


@pytest.fixture
def two(world: World) -> World:
    """Two knowledge bases with an answerer of their own each, and a general one that serves."""
    world.point(ANSWERER, "1")
    for seed, kind in ((2, NOTES), (3, WIKI)):
        version = register_own(world, seed, str(kind.knowledge_base))
        promote(world.settings, kind, version)
    return world


def says(live: LivePair, knowledge_base: str | None = None) -> tuple[str, str]:
    """Return what answers who asks a knowledge base alone, and what it writes."""
    with live.acquire("a user", knowledge_base) as pair:
        return pair.answerer_version, written(pair)


def network_of(pair: Pair) -> TransformersGenerator:
    assert isinstance(pair.answerer.generator, TransformersGenerator)
    return pair.answerer.generator


def test_each_knowledge_base_is_answered_by_its_own_and_all_others_by_the_general_one(
    two: World, open_live: Callable[..., LivePair]
) -> None:
    live = open_live()
    live.follow()

    answers = [says(live), says(live, "notes"), says(live, "wiki")]

    assert [version for version, _ in answers] == ["1", "notes/1", "wiki/1"]
    assert len({text for _, text in answers}) == 3
    assert says(live, "another") == answers[0]
    assert {name: entry.version for name, entry in live.status().own.items()} == {"notes": "notes/1", "wiki": "wiki/1"}
    assert live.status().degraded is False
    assert "promotion" in two.tags(NOTES.model, "1")


def test_adapters_share_the_weights_of_one_base_and_leave_it_as_it_was(
    two: World, open_live: Callable[..., LivePair]
) -> None:
    base = load_base(two.params.generation, two.settings)
    weights = {weight.data_ptr() for weight in base.model.parameters()}
    before = base.generate([{"role": "user", "content": "say"}], max_new_tokens=6).text
    live = open_live()
    live.follow()

    for name in ("notes", "wiki"):
        with live.acquire(None, name) as pair:
            own = dict(network_of(pair).model.named_parameters())
        of_adapter = {key for key, weight in own.items() if weight.data_ptr() not in weights}
        assert of_adapter == {key for key in own if "lora_" in key}
    assert base.generate([{"role": "user", "content": "say"}], max_new_tokens=6).text == before
    assert all(weight.requires_grad for weight in base.model.parameters())


def test_adapter_beside_the_base_writes_what_the_merged_one_writes(world: World) -> None:
    folder = world.folder / "answerer-1"
    params = world.params.generation
    beside, merged = (
        load_answerer(folder, params, world.settings, version="1", shares_base=shares) for shares in (True, False)
    )
    asked = [{"role": "user", "content": "say"}]
    assert (
        beside.generator.generate(asked, max_new_tokens=6).text
        == merged.generator.generate(asked, max_new_tokens=6).text
    )
    assert beside.identity != merged.identity


def test_alias_of_one_knowledge_base_swaps_that_one_alone(two: World, open_live: Callable[..., LivePair]) -> None:
    live = open_live()
    live.follow()
    before = {name: says(live, name) for name in (None, "notes", "wiki")}
    version = register_own(two, 4, "notes")
    two.point(NOTES.model, version)

    live.follow()

    assert says(live, "notes")[0] == "notes/2"
    assert says(live, "notes")[1] != before["notes"][1]
    assert {name: says(live, name) for name in (None, "wiki")} == {name: before[name] for name in (None, "wiki")}


def test_index_that_moves_keeps_what_knowledge_bases_are_answered_by(
    two: World, open_live: Callable[..., LivePair]
) -> None:
    live = open_live()
    live.follow()
    two.point(INDEX, "2")
    live.follow()

    with live.acquire(None, "notes") as pair:
        assert (pair.index_version, pair.answerer_version) == ("2", "notes/1")


class FailsOver:
    """A wrapped generator that cannot read a passage with certain words, as one too long for a model."""

    def __init__(self, generator: Generator, words: str) -> None:
        self._generator, self._words = generator, words

    def generate(self, messages: Sequence[Mapping[str, str]], *, max_new_tokens: int) -> Generation:
        if any(self._words in message["content"] for message in messages):
            raise ValueError("the passage is too long for this model")
        return self._generator.generate(messages, max_new_tokens=max_new_tokens)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._generator, name)


def test_own_answerer_that_fails_over_a_new_index_is_refused_and_the_general_one_takes_its_place(
    two: World, open_live: Callable[..., LivePair]
) -> None:
    of_notes = load_own("notes", two.params, two.settings)
    assert of_notes is not None

    def wrap(generator: Generator) -> Generator:
        return FailsOver(generator, KEPT[2]) if generator.identity == of_notes.generator.identity else generator

    live = open_live(wrap=wrap, smoke_questions=(QUESTION,))
    live.follow()
    assert {name: says(live, name)[0] for name in (None, "notes", "wiki")} == {
        None: "1",
        "notes": "notes/1",
        "wiki": "wiki/1",
    }
    two.point(INDEX, "2")

    live.follow()

    served = {}
    for name in (None, "notes", "wiki"):
        with live.acquire(None, name) as pair:
            served[name] = (pair.index_version, pair.answerer_version)
    assert served == {None: ("2", "1"), "notes": ("2", "1"), "wiki": ("2", "wiki/1")}
    assert "the passage is too long for this model" in two.tags(NOTES.model, "1")["refused"]
    assert (two.named(INDEX), two.named(NOTES.model), two.named(WIKI.model)) == ("2", None, "1")
    assert (last_served(two.settings, NOTES), last_served(two.settings, WIKI).version) == (None, "1")
    live.follow()
    assert live.status().degraded is False, live.status().reasons


def test_own_answerer_that_its_machine_fails_over_a_new_index_comes_back_without_being_refused(
    two: World, open_live: Callable[..., LivePair], monkeypatch: pytest.MonkeyPatch
) -> None:
    live = open_live()
    live.follow()
    asked: list[str] = []

    def without_memory(answerer: Answerer, *arguments: Any, **options: Any) -> list[str]:
        asked.append(answerer.version)
        if asked.count("notes/1") == 1 and answerer.version == "notes/1":
            raise MemoryError("no memory is left")
        return smoke_answerer(answerer, *arguments, **options)

    monkeypatch.setattr("serving.promotion.follow.smoke_answerer", without_memory)
    monkeypatch.setattr("serving.promotion.follow.RETRY_SECONDS", 0.0)
    two.point(INDEX, "2")

    live.follow()

    with live.acquire(None, "notes") as pair:
        assert (pair.index_version, pair.answerer_version) == ("2", "notes/1")
    assert asked == ["1", "notes/1", "wiki/1", "notes/1"]
    assert two.named(NOTES.model) == "1"
    assert "refused" not in two.tags(NOTES.model, "1")


@pytest.mark.parametrize("broken", [break_base, break_numbers])
def test_broken_version_of_one_is_refused_on_its_model_and_harms_no_other(
    broken: Callable[[Path], None], two: World, open_live: Callable[..., LivePair]
) -> None:
    live = open_live()
    live.follow()
    before = {name: says(live, name) for name in (None, "notes", "wiki")}
    version = register_own(two, 4, "notes", broken=broken)
    two.point(NOTES.model, version)

    live.follow()

    assert {name: says(live, name) for name in before} == before
    assert two.named(NOTES.model) == "1"
    assert "refused" in two.tags(NOTES.model, version)
    assert (two.named(ANSWERER), two.named(WIKI.model)) == ("1", "1")
    live.follow()
    assert live.status().degraded is False


def test_first_version_that_is_broken_leaves_the_general_answerer_to_answer(
    world: World, open_live: Callable[..., LivePair]
) -> None:
    live = open_live()
    version = register_own(world, 4, "notes", broken=break_base)
    world.point(NOTES.model, version)

    live.follow()

    assert says(live, "notes") == says(live)
    assert world.named(NOTES.model) is None
    assert "must run on base" in world.tags(NOTES.model, version)["refused"]
    assert says(live)[0] == "base"


def test_rollback_of_a_knowledge_base_goes_back_to_its_version_before_and_then_to_the_general_one(
    two: World, open_live: Callable[..., LivePair]
) -> None:
    live = open_live()
    live.follow()
    promote(two.settings, NOTES, register_own(two, 4, "notes"))
    live.follow()
    assert says(live, "notes")[0] == "notes/2"

    roll_back(two.settings, NOTES)
    live.follow()
    assert says(live, "notes")[0] == "notes/1"

    _, target = roll_back(two.settings, NOTES)
    live.follow()
    assert target is None
    assert says(live, "notes") == says(live)
    assert (live.status().last_swap.kind, live.status().last_swap.model) == ("rolled_back", NOTES.model)
    assert says(live, "wiki")[0] == "wiki/1"


def test_lost_alias_of_a_knowledge_base_changes_nothing_and_is_said(
    two: World, open_live: Callable[..., LivePair]
) -> None:
    live = open_live()
    live.follow()
    two.point(NOTES.model, None)
    live.follow()

    assert says(live, "notes")[0] == "notes/1"
    assert f"{NOTES.model} has no champion in MLflow; version 1 serves on" in live.status().reasons


def test_restart_without_mlflow_serves_what_knowledge_bases_were_answered_by_last(
    two: World, open_live: Callable[..., LivePair], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = open_live()
    before.follow()
    answers = {name: says(before, name) for name in (None, "notes", "wiki")}

    def is_down(*_: object) -> None:
        raise DependencyError("MLflow must answer, found nothing; start it")

    monkeypatch.setattr("serving.promotion.follow.read_aliases", is_down)
    live = open_live()
    live.follow()

    assert {name: says(live, name) for name in answers} == answers


def test_start_with_a_broken_version_recalls_the_one_that_served_last(
    two: World, open_live: Callable[..., LivePair]
) -> None:
    open_live().follow()
    two.point(NOTES.model, register_own(two, 4, "notes", broken=break_base))

    live = open_live()
    live.follow()

    assert says(live, "notes")[0] == "notes/1"
    assert two.named(NOTES.model) == "1"


def test_command_without_a_server_loads_the_knowledge_bases_own(two: World) -> None:
    own = load_own("notes", two.params, two.settings)
    assert own is not None
    assert own.version == "notes/1"
    assert load_own("another", two.params, two.settings) is None
    assert [kind.name for kind in answerer_kinds(two.settings)] == ["answerer", "answerer.notes", "answerer.wiki"]


def test_comparison_of_a_knowledge_base_is_of_the_base_the_general_answerer_and_its_own(two: World) -> None:
    compared = compared_answerers([], limited_to("notes", two.params), two.settings)

    assert [(each.name, each.answerer.version) for each in compared] == [
        ("base", "base"),
        ("general", "1"),
        ("champion", "notes/1"),
    ]
    assert compared_answerers(["general"], limited_to("another", two.params), two.settings)[0].name == "general"
    with pytest.raises(ConfigurationError, match=r"almanac-answerer\.another must have a champion, found none"):
        compared_answerers(["champion"], limited_to("another", two.params), two.settings)


def test_server_answers_a_model_name_by_its_own_answerer_and_lists_it_to_who_may_read_there(two: World) -> None:
    keys = KeyFile(two.settings.api_keys)
    everybody, limited = keys.add("ada", ()), keys.add("bob", (), knowledge_bases=("wiki",))
    with running(create_app(two.params, two.settings)) as address:

        def get(path: str, key: str) -> httpx.Response:
            return httpx.get(f"{address}{path}", headers={"Authorization": f"Bearer {key}"}, timeout=60)

        def ask(model: str, key: str) -> httpx.Response:
            body = {"model": model, "messages": [{"role": "user", "content": "How long are snapshots kept?"}]}
            headers = {"Authorization": f"Bearer {key}"}
            return httpx.post(f"{address}/v1/chat/completions", json=body, headers=headers, timeout=60)

        wait_until(lambda: "notes/1" in get("/v1/models", everybody).text, seconds=120)
        versions = {name: ask(name, everybody).json()["almanac"] for name in ("almanac", "almanac/notes")}
        listed = [entry["id"] for entry in get("/v1/models", everybody).json()["data"]]
        refused = ask("almanac/notes", limited)
        own = get("/v1/models/almanac/notes", everybody).json()["almanac"]["answerer"]["version"]

        assert {name: said["answerer_version"] for name, said in versions.items()} == {
            "almanac": "1",
            "almanac/notes": "notes/1",
        }
        assert own == "notes/1"
        # Nobody can read anything of `wiki`, in which no document is; who is limited to it learns of no other.
        assert listed == ["almanac", "almanac/notes"]
        assert [entry["id"] for entry in get("/v1/models", limited).json()["data"]] == ["almanac"]
        assert refused.status_code == 403
        assert "notes" not in httpx.get(f"{address}/readyz", timeout=60).text
