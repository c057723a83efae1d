"""Training that is shared out over two processes by FSDP, as `accelerate launch` starts it, against one process."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

from serving.promotion.live import as_it_is
from serving.promotion.parity import check_parity
from tasks.answer.answerer import load_answerer, write_manifest
from tasks.answer.generators.transformers import load_base
from tasks.errors import ConfigurationError
from tasks.model.examples.example import write_examples
from tasks.model.training.checkpoint import STATE
from tasks.model.training.objective import Share
from tasks.model.training.result import TrainingResult, read_result
from tasks.model.training.sharding import NEEDED, check_sharding
from tasks.model.training.supervised import make_supervised, readable_texts
from tasks.model.training.train import answerer_manifest, train, training_examples
from tasks.model.training.weights import trainable
from tasks.params import Params
from tasks.settings import QUIET_ENVIRONMENT, Settings
from tests.chat_model import save_chat_model
from tests.conftest import wait_until
from tests.model.test_preferences import make_preference
from tests.model.test_train import make_example, make_params, make_replay

pytestmark = pytest.mark.slow

PROJECT = Path(__file__).parents[3]
CONFIGURATION = PROJECT / "infra/accelerate/fsdp.yaml"
RUN = """
import json, sys, time
from pathlib import Path
from accelerate import PartialState
from tasks.answer.generators.transformers import load_base
from tasks.model.training.sharding import place
from tasks.model.training.train import train
from tasks.model.training.trainer import make_accelerator
from tasks.model.training.weights import trainable
from tasks.params import Params
from tasks.settings import Settings

folder, pause, cases = Path(sys.argv[1]), float(sys.argv[2]), sys.argv[3:]
here = Settings(home=folder / "home", device="cpu", num_threads=1)
for case in cases:
    params = Params.model_validate_json((folder / f"{case}.json").read_text())
    documents = folder / "documents.parquet" if case == "continual_pretraining" else None
    given = {"lineage": {}, "documents": documents, "listener": lambda progress: time.sleep(pause)}
    train(folder / f"{case}.jsonl", folder / "out" / case, params, here, **given)
    network = trainable(load_base(params.generation, here), params.fine_tuning)
    network = place(network, make_accelerator(params.fine_tuning, here))
    kept = {name: parameter.to_local().nbytes for name, parameter in network.named_parameters()}
    (folder / f"{case}-{PartialState().process_index}.bytes").write_text(json.dumps(kept))
"""
CASES = {
    "lora": {"lora_r": 5, "trained_share": 0.75, "gradient_checkpointing": True},
    "full": {"method": "full", "learning_rate": 0.003, "trained_share": 0.75},
    "dpo": {"method": "dpo"},
    "continual_pretraining": {"method": "continual_pretraining", "max_length": 300},
    "nf4": {"quantization": "nf4"},
}


def write_material(folder: Path) -> None:
    """Parameters and examples of each case, five held out of them: an odd number, so that one process has more."""
    model = save_chat_model(folder / "model")
    examples = [make_example(n) for n in range(12)]
    held_out = [make_example(n, split="validation", answerable=n % 2 == 0) for n in range(12, 17)]
    preferences = [make_preference(n) for n in range(12)]
    for case, changes in CASES.items():
        settings = {"max_steps": 6, "num_train_epochs": 3, "per_device_train_batch_size": 4, "save_steps": 2} | changes
        (folder / f"{case}.json").write_text(make_params(model, **settings).model_dump_json())
        learnt = preferences if case == "dpo" else [*examples, *(make_replay(n) for n in range(12))]
        split = [make_preference(n, split="validation") for n in range(12, 15)] if case == "dpo" else held_out
        write_examples([*learnt, *split], folder / f"{case}.jsonl")
    # Two long ones do not fit a row, a long one and a short one do: of three and one, a process has one row more.
    texts = [f"Stone {n} is red. " * (5 if n % 4 == 0 else 16) for n in range(24)]
    documents = [{"document_id": f"d{n}", "text": text, "access": ["everyone"]} for n, text in enumerate(texts)]
    pq.write_table(pa.Table.from_pylist(documents), folder / "documents.parquet")


def start(folder: Path, *cases: str, pause: float = 0.0) -> subprocess.Popen[bytes]:
    configuration, script = folder / "fsdp.yaml", folder / "run.py"
    shipped = CONFIGURATION.read_text(encoding="utf-8")
    assert "use_cpu: false" in shipped
    configuration.write_text(shipped.replace("use_cpu: false", "use_cpu: true"))
    script.write_text(RUN)
    launcher = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(configuration)]
    launcher += ["--main_process_port", "0", "--num_cpu_threads_per_process", "1"]
    environment = os.environ | QUIET_ENVIRONMENT
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, (str(PROJECT), os.environ.get("PYTHONPATH"))))
    with (folder / "run.log").open("wb") as log:
        command = [*launcher, str(script), str(folder), str(pause), *cases]
        return subprocess.Popen(command, env=environment, stdout=log, stderr=log)


def kill_after_a_checkpoint(folder: Path, case: str) -> int:
    """The step that a training of two processes had come to when all of them were killed."""
    state = folder / "out" / f".{case}.training" / STATE
    launcher = start(folder, case, pause=0.3)
    wait_until(state.is_file, seconds=120)
    # Each process has a session of its own: a signal to the launcher's would leave them.
    for process in (*psutil.Process(launcher.pid).children(recursive=True), psutil.Process(launcher.pid)):
        process.send_signal(signal.SIGKILL)
    launcher.wait()
    assert not (folder / "out" / case).exists()
    return int(json.loads(state.read_text())["step"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes trained in each case; the first one was killed and started again."""
    folder = tmp_path_factory.mktemp("sharded")
    write_material(folder)
    (folder / "killed_at").write_text(str(kill_after_a_checkpoint(folder, "lora")))
    start(folder, *CASES).wait(timeout=300)
    return folder


def params_of(folder: Path, case: str) -> Params:
    return Params.model_validate_json((folder / f"{case}.json").read_text())


def alone(folder: Path, case: str, output: Path) -> TrainingResult:
    documents = folder / "documents.parquet" if case == "continual_pretraining" else None
    params, here = params_of(folder, case), Settings(home=folder / "home", device="cpu", num_threads=1)
    return train(folder / f"{case}.jsonl", output, params, here, lineage={}, documents=documents)


def losses(result: TrainingResult) -> list[float]:
    return [loss for _, loss in (*result.train_loss, *result.validation_loss)]


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    (path,) = folder.rglob("*.safetensors")
    return dict(load_file(path))


@pytest.mark.parametrize("case", CASES)
def test_two_processes_that_share_a_network_train_what_one_trains(case: str, folder: Path, tmp_path: Path) -> None:
    together, single = read_result(folder / "out" / case), alone(folder, case, tmp_path / "out")

    assert together is not None, (folder / "run.log").read_text()
    assert together.steps == single.steps == 6
    assert losses(together) == pytest.approx(losses(single), abs=2e-3)
    ours, theirs = weights_of(folder / "out" / case), weights_of(tmp_path / "out")
    assert ours.keys() == theirs.keys()
    for name, weight in theirs.items():
        torch.testing.assert_close(ours[name], weight, atol=2e-3, rtol=0)


@pytest.mark.parametrize("case", CASES)
def test_each_process_keeps_its_part_of_the_network(case: str, folder: Path) -> None:
    params, here = params_of(folder, case), Settings(home=folder / "home", device="cpu", num_threads=1)
    network = trainable(load_base(params.generation, here), params.fine_tuning)
    whole = {name: parameter.nbytes for name, parameter in network.named_parameters()}
    kept = [json.loads((folder / f"{case}-{rank}.bytes").read_text()) for rank in range(2)]

    assert kept[0].keys() == whole.keys()
    assert {name: kept[0][name] + kept[1][name] for name in whole} == whole
    assert max(sum(part.values()) for part in kept) < 0.52 * sum(whole.values())


@pytest.mark.parametrize("case", ["lora", "full"])
def test_what_was_shared_out_serves_whole(case: str, folder: Path) -> None:
    params, output = params_of(folder, case), folder / "out" / case
    here = Settings(home=folder / "home", device="cpu", num_threads=1)
    result = read_result(output)
    assert result is not None, (folder / "run.log").read_text()

    write_manifest(output, answerer_manifest(result, params, here, lineage={}))
    answerer = load_answerer(output, params.generation, here, version="1")

    assert "4 conversations as the trainer's model said them" in check_parity(output, answerer, as_it_is, None)


def test_processes_with_other_numbers_of_rows_are_among_the_cases(folder: Path) -> None:
    params, here = params_of(folder, "continual_pretraining"), Settings(home=folder, device="cpu", num_threads=1)
    base = load_base(params.generation, here)
    examples = training_examples(folder / "continual_pretraining.jsonl", params.fine_tuning)
    texts = readable_texts(folder / "documents.parquet", params.examples.audience)
    objective = make_supervised(examples, texts, base, trainable(base, params.fine_tuning), params)

    num_passes = [
        tuple(len(objective.losses(None, step, Share(rank, 2))) for rank in range(2))
        for step in range(objective.num_steps)
    ]
    assert any(first != second for first, second in num_passes), num_passes
    assert len({len(objective.validation(None, Share(rank, 2))) for rank in range(2)}) == 2


def test_killed_training_of_two_processes_goes_on(folder: Path) -> None:
    killed_at = int((folder / "killed_at").read_text())
    result = read_result(folder / "out" / "lora")

    assert result is not None, (folder / "run.log").read_text()
    assert 0 < killed_at < result.steps
    assert result.resumed_from == killed_at


@pytest.mark.parametrize("name", NEEDED)
def test_setting_that_the_training_does_not_follow_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for needed, value in NEEDED.items():
        monkeypatch.setenv(needed, value)
    check_sharding()
    monkeypatch.setenv(name, "1")
    with pytest.raises(ConfigurationError, match=f"{name.removeprefix('ACCELERATE_').lower()}: .* found 1"):
        check_sharding()
