"""Parity at promotion: what answers otherwise than its trainer's model said is refused, and the tag says how."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI

from benchmarks.parity.prefix_cache import CachingGenerator, PrefixCache
from serving.promotion.live import LivePair
from tasks.answer.answerer import load_answerer
from tasks.answer.generators.endpoint import adapter_name
from tasks.answer.generators.transformers import TransformersGenerator
from tasks.answer.parity import compare
from tasks.answer.parity.record import PARITY
from tasks.releases import kind
from tasks.releases.folder import release_folder
from tasks.releases.lifecycle import required
from tasks.releases.lifecycle import versions as all_versions
from tests.answerers import register_answerer
from tests.server import served
from tests.serving.swap.swap_world import ANSWERER, World, register_unchecked, rewrite, versions

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def fine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bear less: the tiny model's random weights prefer no token by much, in one precision."""
    monkeypatch.setattr(compare, "MAX_LOGPROB_DIFFERENCE", 0.005)
    monkeypatch.setattr(compare, "SURE_MARGIN", 0.006)


def test_promotion_says_what_was_compared(world: World, open_live: Callable[..., LivePair]) -> None:
    live = open_live()
    world.point(ANSWERER, "1")
    live.follow()

    assert versions(live)[1] == "1"
    promotion = world.tags(ANSWERER, "1")["promotion"]
    assert "conversations as the trainer's model said them" in promotion


def test_answerer_of_before_there_was_parity_serves_and_says_so(
    world: World, open_live: Callable[..., LivePair]
) -> None:
    live = open_live()
    live.follow()
    old = world.answerer_folder("old")
    (old / PARITY).unlink()
    rewrite(old)
    version = register_unchecked(world, old)
    world.point(ANSWERER, version)
    live.follow()

    assert versions(live)[1] == version
    assert "no conversations of the trainer to compare" in world.tags(ANSWERER, version)["promotion"]


def read_otherwise(folder: Path) -> None:
    """As an adapter whose training had another chat template: its end of turn was left out."""
    raw = json.loads((folder / PARITY).read_text())
    for entry in raw["conversations"]:
        del entry["prompt_tokens"][-3]
    (folder / PARITY).write_text(json.dumps(raw))
    rewrite(folder)


def say_otherwise(folder: Path) -> None:
    """As an adapter whose sign was lost on its way, with a right checksum."""
    from safetensors.torch import load_file, save_file

    path = folder / "adapter" / "adapter_model.safetensors"
    save_file({name: -tensor if "lora_B" in name else tensor for name, tensor in load_file(path).items()}, path)
    rewrite(folder)


@pytest.mark.parametrize(
    ("change", "why"), [(read_otherwise, "another chat template or tokenizer"), (say_otherwise, "are off by")]
)
def test_what_answers_otherwise_is_refused_by_name(
    change: Callable[[Path], None], why: str, world: World, open_live: Callable[..., LivePair]
) -> None:
    live = open_live()
    world.point(ANSWERER, "1")
    live.follow()
    broken = world.answerer_folder("broken")
    change(broken)
    version = register_answerer(world.settings, broken, key="broken")
    world.point(ANSWERER, version)
    live.follow()

    assert versions(live)[1] == "1"
    assert world.named(ANSWERER) == "1"
    refused = world.tags(ANSWERER, version)["refused"]
    assert "must say what its trainer's model said" in refused
    assert why in refused


@contextmanager
def adapters_endpoint(
    generators: Mapping[str, TransformersGenerator], cache: PrefixCache, *, tells_logprobs: bool
) -> Iterator[str]:
    """An endpoint that serves several adapters behind one prefix cache, as vLLM does."""
    app = FastAPI()

    @app.get("/v1/models")
    def models() -> dict[str, Any]:
        return {"data": [{"id": name, "max_model_len": 4096} for name in generators]}

    @app.post("/v1/chat/completions")
    def complete(body: dict[str, Any]) -> dict[str, Any]:
        model = generators[body["model"]]
        draft, logprobs = CachingGenerator(model, cache).write(body["messages"], body["max_tokens"])
        choice: dict[str, Any] = {"message": {"role": "assistant", "content": draft.text}, "finish_reason": "stop"}
        if body.get("logprobs") and tells_logprobs:
            # A token of these models is a byte.
            pairs = zip(draft.text, logprobs, strict=False)
            choice["logprobs"] = {"content": [{"token": sign, "logprob": value} for sign, value in pairs]}
        usage = {"prompt_tokens": draft.num_prompt_tokens, "completion_tokens": draft.num_completion_tokens}
        return {"choices": [choice], "usage": usage}

    with served(app) as address:
        yield address


@pytest.mark.parametrize("tells_logprobs", [True, False])
@pytest.mark.parametrize("by_weights", [True, False])
def test_endpoint_that_goes_on_from_the_old_adapters_cache_is_refused(
    by_weights: bool, tells_logprobs: bool, world: World, open_live: Callable[..., LivePair]
) -> None:
    generation = world.params.generation
    generators: dict[str, TransformersGenerator] = {}
    for version in ("1", "2"):
        entry = required(all_versions(world.settings, kind.ANSWERER), kind.ANSWERER, version)
        folder = release_folder(world.settings, entry)
        answerer = load_answerer(folder, generation, world.settings, version=version)
        assert isinstance(answerer.generator, TransformersGenerator)
        generators[adapter_name(version)] = answerer.generator
    with adapters_endpoint(generators, PrefixCache(by_weights), tells_logprobs=tells_logprobs) as address:
        live = open_live(generation=generation.model_copy(update={"endpoint": address}))
        world.point(ANSWERER, "1")
        live.follow()
        assert versions(live)[1] == "1"
        world.point(ANSWERER, "2")
        live.follow()

        assert versions(live)[1] == ("2" if by_weights else "1")
        if not by_weights:
            assert "must say what its trainer's model said" in world.tags(ANSWERER, "2")["refused"]
