"""Training that is killed, and training on several processes, against one that nothing disturbed."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tasks.model.examples.example import write_examples
from tasks.model.training.checkpoint import STATE
from tasks.model.training.result import TrainingResult, read_result
from tasks.model.training.train import train
from tasks.params import Params
from tasks.settings import QUIET_ENVIRONMENT, Settings
from tests.chat_model import save_chat_model
from tests.conftest import wait_until
from tests.model.test_train import make_example, make_params, make_replay

PROJECT = Path(__file__).parents[3]
RUN = """
import sys, time
from pathlib import Path
from accelerate import PartialState
from tasks.model.training.train import train
from tasks.params import Params
from tasks.settings import Settings

examples, output, params, pause = sys.argv[1:]
train(
    Path(examples),
    Path(output),
    Params.model_validate_json(Path(params).read_text()),
    Settings(home=Path(output).parent / "home", num_threads=1),
    lineage={},
    listener=lambda progress: time.sleep(float(pause)),
)
print("processes:", PartialState().num_processes)
"""


@pytest.fixture
def material(tmp_path: Path) -> tuple[Path, Params]:
    examples = tmp_path / "examples.jsonl"
    items = [make_example(n) for n in range(12)]
    held_out = [make_example(n, split="validation", answerable=n % 2 == 0) for n in range(12, 16)]
    write_examples([*items, *held_out, *(make_replay(n) for n in range(4))], examples)
    params = make_params(
        save_chat_model(tmp_path / "model"),
        max_steps=12,
        num_train_epochs=3,
        save_steps=3,
        eval_steps=4,
    )
    (tmp_path / "params.json").write_text(params.model_dump_json())
    return examples, params


def start(tmp_path: Path, output: Path, *launcher: str, pause: float = 0.0) -> subprocess.Popen[bytes]:
    script = tmp_path / "run.py"
    script.write_text(RUN)
    command = [*(launcher or (sys.executable,)), str(script)]
    arguments = [str(tmp_path / "examples.jsonl"), str(output), str(tmp_path / "params.json"), str(pause)]
    environment = os.environ | QUIET_ENVIRONMENT | {"PYTHONPATH": str(PROJECT), "CUDA_VISIBLE_DEVICES": ""}
    with (tmp_path / "run.log").open("wb") as log:
        return subprocess.Popen([*command, *arguments], env=environment, stdout=log, stderr=log, start_new_session=True)


def undisturbed(tmp_path: Path, material: tuple[Path, Params]) -> TrainingResult:
    examples, params = material
    here = Settings(home=tmp_path / "home", device="cpu", num_threads=1)
    return train(examples, tmp_path / "undisturbed", params, here, lineage={})


def losses(result: TrainingResult) -> list[float]:
    return [loss for _, loss in (*result.train_loss, *result.validation_loss)]


@pytest.mark.slow
def test_killed_training_goes_on_to_the_same_losses(tmp_path: Path, material: tuple[Path, Params]) -> None:
    output = tmp_path / "out"
    state = tmp_path / ".out.training" / STATE
    process = start(tmp_path, output, pause=0.3)
    wait_until(state.is_file, seconds=120)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    killed_at = json.loads(state.read_text())["step"]
    assert not output.exists()
    assert start(tmp_path, output).wait() == 0, (tmp_path / "run.log").read_text()
    result = read_result(output)
    assert result is not None
    assert 0 < killed_at < 12
    assert result.resumed_from == killed_at
    assert losses(result) == pytest.approx(losses(undisturbed(tmp_path, material)), abs=1e-4)


@pytest.mark.slow
def test_two_processes_train_what_one_trains(tmp_path: Path, material: tuple[Path, Params]) -> None:
    launcher = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")
    process = start(tmp_path, tmp_path / "out", *launcher)
    assert process.wait() == 0, (tmp_path / "run.log").read_text()
    # `accelerate launch --cpu --num_processes 2` starts one, and says nothing of it.
    assert (tmp_path / "run.log").read_text().count("processes: 2") == 2
    together, alone = read_result(tmp_path / "out"), undisturbed(tmp_path, material)
    assert together is not None
    answers = [loss for _, loss in together.validation_loss]
    assert together.steps == alone.steps == 12
    assert answers == pytest.approx([loss for _, loss in alone.validation_loss], abs=0.02)


@pytest.mark.slow
def test_a_checkpoint_of_other_parameters_is_not_gone_on_from(tmp_path: Path, material: tuple[Path, Params]) -> None:
    examples, params = material
    process = start(tmp_path, tmp_path / "out", pause=0.3)
    wait_until((tmp_path / ".out.training" / STATE).is_file, seconds=120)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    other = params.model_copy(update={"fine_tuning": params.fine_tuning.model_copy(update={"seed": 8})})
    here = Settings(home=tmp_path / "home", device="cpu", num_threads=1)
    assert train(examples, tmp_path / "out", other, here, lineage={}).resumed_from is None
