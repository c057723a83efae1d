"""The method `dpo`: the loss is that of TRL's trainer, and preferences move the answerer towards the chosen answers."""

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tasks.answer.answerer import load_answerer, write_manifest
from tasks.answer.generators.transformers import TransformersGenerator, load_base
from tasks.errors import ConfigurationError, GateError
from tasks.model.examples.example import Example, write_examples
from tasks.model.examples.tokens import messages_of
from tasks.model.training.objective import Share
from tasks.model.training.preferences import Preferences, is_preference, make_preferences, preference
from tasks.model.training.train import answerer_manifest, train
from tasks.model.training.trainer import TrainingProgress
from tasks.params import Params
from tasks.settings import Settings
from tests.chat_model import save_chat_model
from tests.model.test_train import make_example, make_params


def make_preference(number: int, *, split: str = "train") -> Example:
    return replace(make_example(number, split=split), rejected="It is a stone of many colours.")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_chat_model(tmp_path_factory.mktemp("model"))


@pytest.fixture
def here(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home", device="cpu", num_threads=1)


@pytest.fixture
def params(model: Path) -> Params:
    return make_params(model, method="dpo", learning_rate=0.02, max_steps=6)


@pytest.fixture
def base(params: Params, here: Settings) -> TransformersGenerator:
    return load_base(params.generation, here)


@pytest.fixture
def examples(tmp_path: Path) -> Path:
    path = tmp_path / "examples.jsonl"
    rows = [make_preference(n) for n in range(12)] + [make_preference(n, split="validation") for n in range(12, 16)]
    write_examples([*rows, *(make_example(n) for n in range(16, 20))], path)
    return path


def perturbed(network: Any) -> Any:
    import torch

    torch.manual_seed(1)
    other = copy.deepcopy(network)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return other


def total(objective: Preferences, network: Any, share: Share | None = None) -> float:
    return sum(float(loss().detach()) for loss in objective.losses(network, 0, share or Share()))


def trl_loss(base: TransformersGenerator, network: Any, rows: list[Example], folder: Path) -> float:
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer

    config = DPOConfig(
        output_dir=str(folder), per_device_train_batch_size=len(rows), max_length=None, use_cpu=True, bf16=False,
        gradient_checkpointing=False, report_to="none", beta=0.1,
    )  # fmt: skip
    data = [{"prompt": base._prompt(messages_of(row)), "chosen": row.answer, "rejected": row.rejected} for row in rows]
    trainer = DPOTrainer(
        network,
        copy.deepcopy(base.model),
        args=config,
        train_dataset=Dataset.from_list(data),
        processing_class=base.tokenizer,
    )
    (batch,) = trainer.get_train_dataloader()
    return float(trainer.compute_loss(network, batch).detach())


@pytest.mark.slow
def test_loss_is_that_of_trl(base: TransformersGenerator, params: Params, tmp_path: Path) -> None:
    rows = [make_preference(number) for number in range(4)]
    one_step = params.model_copy(
        update={"fine_tuning": params.fine_tuning.model_copy(update={"per_device_train_batch_size": 4, "max_steps": 1})}
    )
    objective = make_preferences(rows, base, base.model, one_step)
    network = perturbed(base.model)

    ours = total(objective, network)

    assert ours == pytest.approx(trl_loss(base, network, rows, tmp_path), abs=1e-5)
    assert abs(ours - 0.6931) > 1e-3


def test_before_the_first_step_neither_answer_is_preferred_to_what_the_base_says(
    base: TransformersGenerator, params: Params
) -> None:
    objective = make_preferences([make_preference(n) for n in range(4)], base, base.model, params)
    assert total(objective, base.model) == pytest.approx(0.693147, abs=1e-5)


def test_processes_share_a_step(base: TransformersGenerator, params: Params) -> None:
    objective = make_preferences([make_preference(n) for n in range(4)], base, base.model, params)
    network = perturbed(base.model)
    halves = [total(objective, network, Share(rank, 2)) for rank in (0, 1)]
    assert sum(halves) / 2 == pytest.approx(total(objective, network), abs=1e-5)


def test_a_rejected_answer_that_says_the_same_is_no_preference() -> None:
    assert is_preference(make_preference(1))
    assert not is_preference(make_example(1))
    assert not is_preference(replace(make_example(1), rejected=f" {make_example(1).answer} "))


def test_too_few_preferences_are_refused_with_their_number(
    tmp_path: Path, params: Params, here: Settings, base: TransformersGenerator
) -> None:
    path = tmp_path / "few.jsonl"
    write_examples([make_preference(1), make_preference(2), make_example(3)], path)
    with pytest.raises(GateError, match=r"needs 8 train examples .* found 2"):
        train(path, tmp_path / "out", params, here, lineage={})


def test_method_of_no_answerer_is_refused(examples: Path, model: Path, tmp_path: Path, here: Settings) -> None:
    with pytest.raises(ConfigurationError, match="must be one of lora, full, continual_pretraining, dpo here"):
        train(examples, tmp_path / "out", make_params(model, method="embedder"), here, lineage={})


def test_preference_that_is_too_long_is_named(base: TransformersGenerator, params: Params) -> None:
    short = params.model_copy(update={"fine_tuning": params.fine_tuning.model_copy(update={"max_length": 128})})
    with pytest.raises(ConfigurationError, match=make_preference(1).example_id):
        make_preferences([make_preference(1)], base, base.model, short)


def test_training_prefers_chosen_answers_and_its_folder_is_an_answerer(
    examples: Path, params: Params, base: TransformersGenerator, tmp_path: Path, here: Settings
) -> None:
    heard: list[TrainingProgress] = []
    result = train(examples, tmp_path / "out", params, here, lineage={"corpus": "c"}, listener=heard.append)

    assert [progress.step for progress in heard] == [1, 2, 3, 4, 5, 6]
    first, last = result.validation_loss[0][1], min(loss for _, loss in result.validation_loss)
    assert first == pytest.approx(0.6931, abs=1e-3)
    assert last < first
    write_manifest(tmp_path / "out", answerer_manifest(result, params, here, lineage={}))
    answerer = load_answerer(tmp_path / "out", params.generation, here, version="1")
    assert "+dpo@" in answerer.identity
    assert isinstance(answerer.generator, TransformersGenerator)
    objective = make_preferences([make_preference(20)], base, base.model, params)
    (sequence,) = objective.base
    assert float(preference(answerer.generator.model, sequence)) > objective.base[sequence]
    assert train(examples, tmp_path / "out", params, here, lineage={}) == result
