"""A real vLLM: adapters trained here are loaded at promotion, answer each in its own way, and go with their use.

ALMANAC_TEST_VLLM names its executable, as /opt/vllm/bin/vllm; docs/serving.md says how one is had on a CPU.
"""

import copy
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml
from pydantic import SecretStr

from serving.promotion import endpoint_adapters
from serving.promotion.live import LivePair
from serving.promotion.parity import _at_endpoint
from tasks.answer.generators.adapter_api import AdapterApi
from tasks.answer.generators.base import JsonFormat
from tasks.answer.generators.endpoint import EndpointGenerator
from tasks.answer.generators.transformers import TransformersGenerator, load_base
from tasks.answer.parity.compare import MAX_LOGPROB_DIFFERENCE
from tasks.answer.parity.record import PARITY, read_parity
from tasks.answer.prompt import load_prompt, render
from tasks.params import Params
from tasks.releases.model_registry import CHALLENGER
from tasks.settings import Settings
from tests.answerers import register_answerer, save_adapted
from tests.conftest import BASE_PARAMS, files_source, free_ports, merged, wait_until
from tests.serving.swap.swap_world import ANSWERER, World, rewrite, versions

VLLM = os.environ.get("ALMANAC_TEST_VLLM")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(VLLM is None, reason="no vLLM: set ALMANAC_TEST_VLLM to its executable"),
]

KEY = "key-of-the-real-endpoint"
QUESTION = "How long are snapshots of the ledger kept?"
SAYS = {"1": "The ledger is kept for ninety days in the north.", "2": "Nobody may keep a snapshot beyond Tuesday."}
ASKED = [{"role": "user", "content": QUESTION}]
MAX_LORA_RANK = 8
SCHEMA = {
    "type": "object",
    "properties": {"days": {"enum": [30, 90]}, "place": {"enum": ["north", "south"]}},
    "required": ["days", "place"],
    "additionalProperties": False,
}


def trained(base: TransformersGenerator, prompt: str, answer: str, *, rank: int = MAX_LORA_RANK) -> Any:
    """A few steps on one answer, with passages and without, as the trainer has them: a loss on the answer alone."""
    import torch
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(0)
    config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear", task_type="CAUSAL_LM")
    model = get_peft_model(copy.deepcopy(base.model), config)
    optimizer = torch.optim.AdamW((weight for weight in model.parameters() if weight.requires_grad), lr=2e-3)
    end = base.tokenizer.eos_token_id
    written = [*base.tokenizer(answer, add_special_tokens=False)["input_ids"], end]
    prompts = [base.prompt_tokens(chat) for chat in (ASKED, render(load_prompt(prompt), QUESTION, []))]
    for step in range(12):
        read = prompts[step % len(prompts)]
        labels = torch.tensor([[-100] * len(read) + written])
        model(input_ids=torch.tensor([read + written]), labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return model


@dataclass
class Server:
    """A vLLM of this test."""

    base: Path
    name: str
    log: Path
    port: int = field(default_factory=lambda: free_ports("vllm")["vllm"])
    process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        assert VLLM is not None
        own = {"VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True", "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1"}
        options = ["--served-model-name", self.name, "--host", "127.0.0.1", "--port", str(self.port), "--api-key", KEY]
        options += ["--enable-lora", "--max-lora-rank", str(MAX_LORA_RANK), "--max-loras", "2", "--max-cpu-loras", "2"]
        options += ["--max-model-len", "2048", "--max-num-seqs", "4", "--enforce-eager"]
        # Small models write blanks between two words of a value until they are cut.
        options += ["--structured-outputs-config.backend=xgrammar"]
        options += ["--structured-outputs-config.disable_any_whitespace=true"]
        # Its own environment: what runs the tests must not lie before its packages.
        environment = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "VIRTUAL_ENV"}}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [VLLM, "serve", str(self.base), *options],
                env=environment | own,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        wait_until(self.answers, seconds=900)

    def answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log.read_text(errors="replace")[-3000:]
        try:
            return httpx2.get(f"{self.address}/health", timeout=5).is_success
        except httpx2.HTTPError:
            return False

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGTERM)
            self.process.wait(timeout=120)

    def models(self) -> set[str]:
        reply = httpx2.get(f"{self.address}/v1/models", headers={"Authorization": f"Bearer {KEY}"}, timeout=30)
        return {entry["id"] for entry in reply.json()["data"]} - {self.name}


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory, migrated_mlflow: Path) -> Iterator[tuple[World, Server]]:
    """A home with two answerers that were trained on the default model, none of them champion, and a server of it."""
    from flows.refresh import refresh

    root = tmp_path_factory.mktemp("vllm")
    home, notes = root / "home", root / "notes"
    home.mkdir()
    notes.mkdir()
    shutil.copy(migrated_mlflow, home / "mlflow.db")
    (notes / "backup.md").write_text("# Backups\n\nSnapshots of the ledger are kept for ninety days in storage.\n")
    raw = merged(BASE_PARAMS, {"sources": [files_source(notes)], "serving": {"poll_seconds": 0.1}})
    (root / "params.yaml").write_text(yaml.safe_dump(raw))
    params = Params.model_validate(raw)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ALMANAC_HOME", str(home))
        patch.setenv("ALMANAC_PARAMS", str(root / "params.yaml"))
        refresh.fn()
        settings = Settings(endpoint_api_key=SecretStr(KEY), request_timeout_seconds=600)
    world = World(settings, params, root)
    base = load_base(params.generation, settings)
    for number, answer in SAYS.items():
        adapted = trained(base, params.generation.prompt, answer)
        folder = save_adapted(root / f"answerer-{number}", params.generation, base, adapted, seed=int(number))
        assert register_answerer(settings, folder, key=number) == number
    world.point(ANSWERER, None, CHALLENGER)
    server = Server(next((home / "cache").glob("gguf-*/")), params.generation.model, root / "vllm.log")
    try:
        server.start()
        yield world, server
    finally:
        server.stop()


@pytest.fixture
def live(real: tuple[World, Server]) -> Iterator[LivePair]:
    world, server = real
    generation = world.params.generation.model_copy(update={"endpoint": server.address})
    live = LivePair(world.params.model_copy(update={"generation": generation}), world.settings)
    live.follow()
    yield live
    live.stop()


def said(live: LivePair) -> str:
    with live.acquire() as pair:
        return pair.answerer.generator.generate(ASKED, max_new_tokens=24).text


def name(number: str) -> str:
    return f"almanac-answerer-{number}"


def register_changed(world: World, label: str, change: Callable[[Path], None]) -> str:
    """Register the second answerer with something changed."""
    folder = Path(shutil.copytree(world.folder / "answerer-2", world.folder / label))
    change(folder)
    rewrite(folder)
    version = register_answerer(world.settings, folder, key=label)
    world.point(ANSWERER, None, CHALLENGER)
    return version


def test_parity_parts_an_adapter_from_every_other_and_from_none(real: tuple[World, Server]) -> None:
    """With -s it prints the mean differences of log-probabilities, conversation by conversation."""
    world, server = real
    api = AdapterApi(server.address, world.settings)
    weights = {"none": server.name} | {f"of answerer {number}": f"try-{number}" for number in SAYS}
    for number in SAYS:
        api.load(f"try-{number}", str(world.folder / f"answerer-{number}" / "adapter"))
    for label, model in weights.items():
        generator = EndpointGenerator(server.address, model, world.settings)
        for number in SAYS:
            recorded = read_parity(world.folder / f"answerer-{number}")
            served = [_at_endpoint(generator, entry) for entry in recorded]
            pairs = [
                list(zip(entry.steps, said.logprobs, strict=False))
                for entry, said in zip(recorded, served, strict=True)
            ]
            means = [sum(abs(step.logprob - value) for step, value in pair) / len(pair) for pair in pairs]
            print(f"answerer {number}, weights {label}:", *(f"{mean:.4f}" for mean in means))
            is_own = label == f"of answerer {number}"
            assert [mean <= MAX_LOGPROB_DIFFERENCE for mean in means] == [is_own] * len(means)
    assert [api.unload(f"try-{number}") for number in SAYS] == [True, True]
    assert server.models() == set()


def test_promotion_loads_each_adapter_answers_by_it_and_unloads_the_old_one(
    real: tuple[World, Server], live: LivePair, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, server = real
    base = said(live)
    assert server.models() == set()
    for number, says in SAYS.items():
        world.point(ANSWERER, number)
        live.follow()
        assert versions(live)[1] == number, live.status().reasons
        assert said(live).startswith(says[:20])
        assert not base.startswith(says[:20])
        assert "4 conversations as the trainer's model said them" in world.tags(ANSWERER, number)["promotion"]
    assert server.models() == {name("1"), name("2")}
    monkeypatch.setattr(endpoint_adapters, "monotonic", lambda: float("inf"))
    live.follow()
    assert server.models() == {name("2")}


def test_wrong_weights_under_a_right_name_are_refused_and_unloaded(real: tuple[World, Server], live: LivePair) -> None:
    world, server = real
    assert versions(live)[1] == "2"

    def take_what_the_other_says(folder: Path) -> None:
        shutil.copy(world.folder / "answerer-1" / PARITY, folder / PARITY)

    version = register_changed(world, "mistaken", take_what_the_other_says)
    world.point(ANSWERER, version)
    live.follow()
    live.follow()
    refused = world.tags(ANSWERER, version)["refused"]
    assert "found other answers in 4 of 4 conversations" in refused
    assert versions(live)[1] == "2"
    assert world.named(ANSWERER) == "2"
    assert server.models() == {name("2")}


def test_rank_beyond_the_servers_is_refused_in_its_words(real: tuple[World, Server], live: LivePair) -> None:
    world, server = real

    def widen(folder: Path) -> None:
        config = folder / "adapter" / "adapter_config.json"
        config.write_text(json.dumps(json.loads(config.read_text()) | {"r": 4 * MAX_LORA_RANK}))

    version = register_changed(world, "wide", widen)
    world.point(ANSWERER, version)
    live.follow()
    assert f"greater than max_lora_rank {MAX_LORA_RANK}" in world.tags(ANSWERER, version)["refused"]
    assert versions(live)[1] == "2"
    assert server.models() == {name("2")}


def test_restart_of_the_server_loses_no_answerer(real: tuple[World, Server], live: LivePair) -> None:
    _, server = real
    before = said(live)
    server.stop()
    live.follow()
    assert any("must answer" in reason for reason in live.status().reasons)
    server.start()
    assert server.models() == set()
    live.follow()
    assert server.models() == {name("2")}
    assert said(live) == before


def test_adapter_that_writes_prose_is_held_to_a_json_schema(live: LivePair) -> None:
    requested = {"type": "json_schema", "json_schema": {"name": "kept", "strict": True, "schema": SCHEMA}}
    with live.acquire() as pair:
        generator = pair.answerer.generator
        assert isinstance(generator, EndpointGenerator)
        text = generator.generate_json(ASKED, JsonFormat("kept", SCHEMA, requested), max_new_tokens=32).text
    value = json.loads(text)
    assert (value["days"] in {30, 90}, value["place"] in {"north", "south"}, len(value)) == (True, True, 2)
    assert said(live).startswith(SAYS["2"][:20])
