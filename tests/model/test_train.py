"""Training: what is read is what is served, sharing changes no loss, and a folder of an answerer comes out."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from serving.promotion.live import as_it_is
from serving.promotion.parity import check_parity
from tasks.answer.answerer import load_answerer, write_manifest
from tasks.answer.generators.transformers import TransformersGenerator, load_base
from tasks.answer.prompt import NOT_FOUND
from tasks.errors import ConfigurationError
from tasks.model.examples.example import Example, ExamplePassage, example_id, write_examples
from tasks.model.examples.tokens import TRAINED_PROMPT, answer_tokens, messages_of
from tasks.model.training.calibrate import refusal_bias
from tasks.model.training.estimate import estimate
from tasks.model.training.loss import anchor, divergence, log_likelihood
from tasks.model.training.objective import Share
from tasks.model.training.packing import lay_out, rows_of
from tasks.model.training.schedule import learning_rate, make_schedule
from tasks.model.training.sequences import anchor_sequences, example_sequences, text_sequences
from tasks.model.training.supervised import Supervised, anchor_paragraphs, make_supervised
from tasks.model.training.train import answerer_manifest, train
from tasks.model.training.trainer import TrainingProgress
from tasks.model.training.weights import trainable, trained_tensors
from tasks.params import Params
from tasks.settings import Settings
from tests.chat_model import save_chat_model
from tests.conftest import BASE_PARAMS, files_source, merged

COLOURS = ("red", "blue", "green", "white")


def make_example(number: int, *, split: str = "train", shared: bool = False, answerable: bool = True) -> Example:
    """The colour of a stone, among passages that it may share with its neighbours."""
    colour, context = COLOURS[number % 4], (number // 4 if shared else number)
    passages = tuple(
        ExamplePassage(f"c{context}-{place}", f"d{context}-{place}", f"Stone {place}", f"Stone {place} of {context}.")
        for place in range(2)
    )
    question = f"What colour has stone {number}?"
    answer = f"{colour} [1]" if answerable else NOT_FOUND
    return Example(
        example_id=example_id(question, passages, answer),
        question=question,
        passages=passages,
        answer=answer,
        rejected=None,
        support=(1,) if answerable else (),
        origin="synthetic",
        how="test",
        topic="stones",
        corpus="corpus-0001",
        cluster=f"d{context}",
        split=split,  # type: ignore[arg-type]
    )


def make_replay(number: int) -> Example:
    """A question without passages."""
    question = f"What is {number} plus one?"
    return Example(
        example_id(question, (), "More."), question, (), "More.", None, (), "replay", "test", "", "", "", "train"
    )


def make_params(model: Path, **fine_tuning: Any) -> Params:
    """Parameters for a tiny model."""
    changes = {
        "sources": [files_source(model)],
        "generation": {"model": str(model), "gguf_file": None},
        "fine_tuning": {"learning_rate": 0.01, "max_length": 1024} | fine_tuning,
    }
    return Params.model_validate(merged(BASE_PARAMS, changes))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_chat_model(tmp_path_factory.mktemp("model"))


@pytest.fixture
def here(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home", device="cpu", num_threads=1)


@pytest.fixture
def base(model: Path, here: Settings) -> TransformersGenerator:
    return load_base(make_params(model).generation, here)


@pytest.fixture
def examples(tmp_path: Path) -> Path:
    path = tmp_path / "examples.jsonl"
    train_split = [make_example(n, shared=True, answerable=n % 4 != 3) for n in range(16)]
    validation = [make_example(n, split="validation", answerable=n % 3 != 0) for n in range(16, 22)]
    write_examples([*train_split, *validation, *(make_replay(n) for n in range(4))], path)
    return path


def test_training_reads_the_tokens_that_serving_reads(base: TransformersGenerator) -> None:
    items = [make_example(number, shared=True) for number in range(4)]
    (sequence,) = example_sequences(items, base, max_tokens=4096)
    for item, branch in zip(items, sequence.branches, strict=True):
        served = base.tokenizer([base._prompt(messages_of(item))], add_special_tokens=False)["input_ids"][0]
        assert [*sequence.prefix, *branch.read] == served
        assert branch.learnt == answer_tokens(base, item.answer)
    assert len(sequence.prefix) > 200


def test_sharing_passages_changes_no_loss(base: TransformersGenerator) -> None:
    items = [make_example(number, shared=True) for number in range(4)]
    network = trainable(base, make_params(Path("x")).fine_tuning).eval()
    together = rows_of(example_sequences(items, base, max_tokens=4096), max_tokens=1)
    apart = [example_sequences([item], base, max_tokens=4096) for item in items]
    packed = [lay_out([sequence for (sequence,) in apart])]
    single = [lay_out(sequences) for sequences in apart]
    losses = [
        np.concatenate([log_likelihood(network, row).detach().numpy() for row in rows])
        for rows in (single, packed, together)
    ]
    np.testing.assert_allclose(losses[1], losses[0], atol=1e-5)
    np.testing.assert_allclose(losses[2], losses[0], atol=1e-5)
    assert sum(len(row.tokens) for row in together) < 0.5 * sum(len(row.tokens) for row in single)


def test_text_is_learnt_whole_and_short_rests_are_left_out(base: TransformersGenerator) -> None:
    sequences = text_sequences(["a" * 150, "b" * 20], base, max_tokens=100)
    assert [(sequence.num_tokens, sequence.num_learnt) for sequence in sequences] == [(99, 99), (50, 50)]


def test_an_example_longer_than_a_sequence_is_refused_by_name(base: TransformersGenerator) -> None:
    with pytest.raises(ConfigurationError, match=make_example(1).example_id):
        example_sequences([make_example(1)], base, max_tokens=128)


def test_divergence_of_an_untrained_network_is_zero(base: TransformersGenerator) -> None:
    network = trainable(base, make_params(Path("x")).fine_tuning)
    rows = rows_of(anchor_sequences([make_replay(n) for n in range(3)], base, max_tokens=256), max_tokens=256)
    kept = [anchor(network, row) for row in rows]
    assert sum(len(row.targets) for row in rows) > 40
    assert all(divergence(network, one).abs().max() < 1e-5 for one in kept)


def test_divergence_grows_when_the_network_moves(base: TransformersGenerator) -> None:
    import torch

    network = trainable(base, make_params(Path("x")).fine_tuning)
    (row,) = rows_of(anchor_sequences([make_replay(1)], base, max_tokens=256), max_tokens=256)
    kept = anchor(network, row)
    with torch.no_grad():
        for parameter in trained_tensors(network).values():
            parameter.add_(0.5)
    assert divergence(network, kept).mean() > 1e-4


def test_an_adapter_is_all_that_lora_trains(base: TransformersGenerator) -> None:
    network = trainable(base, make_params(Path("x")).fine_tuning)
    assert all("lora_" in name for name in trained_tensors(network))
    assert not any("lora_" in name for name, _ in base.model.named_parameters())


def test_each_epoch_takes_every_sequence_once(base: TransformersGenerator) -> None:
    sequences = text_sequences([letter * 50 for letter in "abcdef"], base, max_tokens=100)
    plan = make_schedule(sequences, make_params(Path("x"), num_train_epochs=2, max_steps=None).fine_tuning)
    taken = [sequence for step in range(plan.num_steps) for sequence in plan.step(step)]
    assert plan.num_steps == 6
    assert sorted(map(str, taken)) == sorted(map(str, [*sequences, *sequences]))
    assert taken[:6] != taken[6:]


def test_learning_rate_warms_up_and_ends_at_its_floor() -> None:
    params = make_params(Path("x"), warmup_ratio=0.1, learning_rate=1.0).fine_tuning
    rates = [learning_rate(step, 100, params) for step in range(101)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == rates[10] == pytest.approx(1.0)
    assert rates[100] == pytest.approx(0.05)


def test_gradients_of_two_processes_are_those_of_one(base: TransformersGenerator) -> None:
    network = trainable(base, make_params(Path("x")).fine_tuning)
    sequences = example_sequences([make_example(n) for n in range(4)], base, max_tokens=1024)
    objective = Supervised(make_schedule(sequences, make_params(Path("x")).fine_tuning))
    whole = sum(float(loss().detach()) for loss in objective.losses(network, 0, Share()))
    halves = [sum(float(loss().detach()) for loss in objective.losses(network, 0, Share(rank, 2))) for rank in range(2)]
    assert sum(halves) / 2 == pytest.approx(whole, rel=1e-5)


def test_paragraphs_of_what_trains_are_held_one_of_each_document_before_a_second_of_any() -> None:
    passage = ExamplePassage("c9", "d0-0", "Stone", "A second text of the first document.")
    more = replace(make_example(0), passages=(passage,))
    examples = [make_example(0), make_example(1), more, make_example(2, split="validation")]
    texts = anchor_paragraphs(examples)
    assert set(texts) == {f"Stone {place} of {context}." for place in range(2) for context in range(2)} | {passage.text}
    of_first = {"Stone 0 of 0.", passage.text}
    assert len(of_first & set(texts[:4])) == 1 and texts[4] in of_first
    assert anchor_paragraphs(examples, count=2) == texts[:2] == anchor_paragraphs(reversed(examples))[:2]


def test_step_holds_a_chat_and_a_paragraph(base: TransformersGenerator) -> None:
    network = trainable(base, make_params(Path("x")).fine_tuning)
    examples = [replace(make_example(n), passages=(_long_passage(n),)) for n in range(4)]
    objective = make_supervised([*examples, make_replay(1)], None, base, network, make_params(Path("x")))
    assert objective.anchors and objective.paragraphs
    answers, chat, paragraph = objective.losses(network, 0, Share())[-3:]
    assert float(answers().detach()) > 0
    # An untrained network says of both what the base says.
    assert float(chat().detach()) == pytest.approx(0, abs=1e-5)
    assert float(paragraph().detach()) == pytest.approx(0, abs=1e-5)


def _long_passage(number: int) -> ExamplePassage:
    return ExamplePassage(f"c{number}", f"d{number}", "Stone", f"`stone_{number}` lies on the shore. " * 4)


@pytest.mark.parametrize(
    ("bound", "refused"), [(0.0, 0), (0.1, 1), (0.25, 2), (1.0, 10)], ids=["none", "tenth", "quarter", "all"]
)
def test_bias_refuses_as_much_as_its_bound_allows(bound: float, refused: int) -> None:
    margins = [-9.0, -7.0, -5.5, -4.0, -3.0, -2.0, -1.5, -1.0, 0.5, 2.0]
    bias = refusal_bias(margins, bound)
    assert sum(margin + bias > 0 for margin in margins) == refused


def test_equal_margins_do_not_break_the_bound() -> None:
    assert refusal_bias([1.0, 1.0, 1.0, -1.0], 0.25) < -1.0


@pytest.mark.parametrize("method", ["lora", "full"])
def test_training_makes_an_answerer_that_loads(
    method: str, model: Path, here: Settings, examples: Path, tmp_path: Path
) -> None:
    params = make_params(model, method=method, num_train_epochs=2, learning_rate=0.01 if method == "lora" else 0.003)
    progress: list[TrainingProgress] = []
    result = train(examples, tmp_path / "out", params, here, lineage={"set": "1"}, listener=progress.append)
    write_manifest(tmp_path / "out", answerer_manifest(result, params, here, lineage={"set": "1"}))
    answerer = load_answerer(tmp_path / "out", params.generation, here, version="1")
    answerer.generator.generate(messages_of(make_example(1)), max_new_tokens=2)
    assert result.steps == result.num_steps == len(progress) == 4
    assert result.validation_loss[-1][1] < result.validation_loss[0][1]
    assert answerer.params.prompt == TRAINED_PROMPT
    files = {path.relative_to(tmp_path / "out").parts[0] for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert files == {"training.json", "answerer.json", "parity.json", "adapter" if method == "lora" else "model"}
    assert "4 conversations as the trainer's model said them" in check_parity(
        tmp_path / "out", answerer, as_it_is, None
    )
    assert not list(tmp_path.glob(".out*"))


def test_adapter_over_four_bits_serves_over_the_weights_as_they_are(
    model: Path, base: TransformersGenerator, here: Settings, examples: Path, tmp_path: Path
) -> None:
    params = make_params(model, num_train_epochs=2, quantization="nf4")
    network = trainable(base, params.fine_tuning)
    packed = [parameter for parameter in network.parameters() if parameter.dtype == torch.uint8]
    assert len(packed) == sum(type(layer) is torch.nn.Linear for layer in base.model.model.modules())
    assert not any(parameter.dtype == torch.uint8 for parameter in base.model.parameters())
    with pytest.raises(ValidationError, match="must have a method that trains an adapter, found full"):
        make_params(model, method="full", quantization="nf4")

    result = train(examples, tmp_path / "out", params, here, lineage={"set": "1"})

    assert result.validation_loss[-1][1] < result.validation_loss[0][1]
    write_manifest(tmp_path / "out", answerer_manifest(result, params, here, lineage={"set": "1"}))
    answerer = load_answerer(tmp_path / "out", params.generation, here, version="1")
    assert "4 conversations as the trainer" in check_parity(tmp_path / "out", answerer, as_it_is, None)


def test_layers_computed_again_give_the_same_gradients(model: Path, base: TransformersGenerator) -> None:
    gradients, calls = [], []
    for again in (False, True):
        params = make_params(model, gradient_checkpointing=again).fine_tuning
        network = trainable(base, params)
        layer, computed = network.base_model.model.model.layers[0].self_attn, list[None]()
        layer.register_forward_pre_hook(lambda *_, computed=computed: computed.append(None))
        (row,) = rows_of(example_sequences([make_example(1)], base, max_tokens=1024), max_tokens=512)
        log_likelihood(network, row).sum().backward()
        gradients.append({name: tensor.grad for name, tensor in trained_tensors(network).items()})
        calls.append(len(computed))
    assert calls == [1, 2]
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient)


def test_training_repeated_does_nothing(model: Path, here: Settings, examples: Path, tmp_path: Path) -> None:
    progress: list[TrainingProgress] = []
    first, second = (
        train(examples, tmp_path / "out", make_params(model), here, lineage={}, listener=progress.append)
        for _ in range(2)
    )
    assert first == second
    assert len(progress) == first.steps


def test_no_machine_path_is_in_the_weights_folder(model: Path, here: Settings, examples: Path, tmp_path: Path) -> None:
    train(examples, tmp_path / "out", make_params(model), here, lineage={})
    texts = [path.read_text() for path in (tmp_path / "out").rglob("*.json")]
    assert texts
    assert not any(str(tmp_path) in text or str(model) in text for text in texts)


def test_training_stops_early_and_keeps_the_best(model: Path, here: Settings, examples: Path, tmp_path: Path) -> None:
    params = make_params(
        model, learning_rate=3.0, max_steps=20, num_train_epochs=9, eval_steps=1, early_stopping_patience=2
    )
    result = train(examples, tmp_path / "out", params, here, lineage={})
    losses = dict(result.validation_loss)
    assert result.stopped_early
    assert result.steps == result.best_step + 2
    assert losses[result.best_step] == min(losses.values())


@pytest.mark.parametrize("method", ["lora", "full"])
def test_trained_share_is_the_share_of_the_way_from_the_base(
    method: str, model: Path, base: TransformersGenerator, here: Settings, examples: Path, tmp_path: Path
) -> None:
    def weights(share: float) -> dict[str, Any]:
        params = make_params(model, method=method, trained_share=share, learning_rate=0.03)
        folder = tmp_path / str(share)
        result = train(examples, folder, params, here, lineage={})
        write_manifest(folder, answerer_manifest(result, params, here, lineage={}))
        trained = load_answerer(folder, params.generation, here, version="1").generator
        return {name: weight.detach().float().clone() for name, weight in trained.model.named_parameters()}  # type: ignore[attr-defined]

    start = {name: weight.detach().float() for name, weight in base.model.named_parameters()}
    whole, half = weights(1.0), weights(0.5)
    moved = {name: whole[name] - start[name] for name in start}
    assert max(change.abs().max() for change in moved.values()) > 0.03
    for name, change in moved.items():
        np.testing.assert_allclose(half[name] - start[name], change / 2, atol=8e-3)  # bfloat16


def test_continual_pretraining_learns_only_what_its_audience_may_read(
    model: Path, here: Settings, examples: Path, tmp_path: Path
) -> None:
    documents = write_documents(tmp_path / "documents.parquet")
    params = make_params(model, method="continual_pretraining", max_length=128)
    size = estimate(examples, params, here, documents=documents)
    result = train(examples, tmp_path / "out", params, here, lineage={}, documents=documents)
    assert 0 < size.num_sequences <= 20
    assert result.validation_loss[-1][1] < result.validation_loss[0][1]
    assert (tmp_path / "out" / "adapter").is_dir()
    assert result.calibration is None


def test_estimate_knows_tokens_and_steps(model: Path, here: Settings, examples: Path) -> None:
    size = estimate(examples, make_params(model), here)
    assert (size.num_sequences, size.num_steps) == (4, 2)
    assert size.seconds > 0
    longer = estimate(examples, make_params(model, num_train_epochs=3, max_steps=None), here)
    assert longer.num_anchor_tokens > size.num_anchor_tokens > 0


def write_documents(path: Path) -> Path:
    """Ten public documents and ten that others may not read."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [
        {"document_id": f"d{n}", "text": f"Stone {n} is {COLOURS[n % 4]}. " * 8, "access": [group]}
        for n in range(20)
        for group in (["everyone", "board"][n % 2],)
    ]
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


@pytest.fixture(scope="module")
def shared_home(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Of the tests with the real model: its weights are made from the GGUF file once a home, in half a minute."""
    return Settings(home=tmp_path_factory.mktemp("home"), device="cpu", num_threads=1)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["lora", "full", "continual_pretraining"])
def test_two_steps_make_the_real_model_likelier_to_say_what_it_was_taught(
    method: str, shared_home: Settings, tmp_path: Path
) -> None:
    items = [make_example(n, shared=True) for n in range(4)]
    held_out = [make_example(n, split="validation", shared=True) for n in range(4)]
    write_examples([*items, *held_out], tmp_path / "examples.jsonl")
    documents = write_documents(tmp_path / "documents.parquet") if method == "continual_pretraining" else None
    generation = {"model": BASE_PARAMS["generation"]["model"], "gguf_file": BASE_PARAMS["generation"]["gguf_file"]}
    params = make_params(
        tmp_path,
        method=method,
        max_steps=2,
        num_train_epochs=2,
        per_device_train_batch_size=1,
        learning_rate=1e-5 if method == "full" else 1e-3,
    )
    params = params.model_copy(update={"generation": params.generation.model_copy(update=generation)})
    result = train(tmp_path / "examples.jsonl", tmp_path / "out", params, shared_home, lineage={}, documents=documents)
    assert result.validation_loss[-1][1] < result.validation_loss[0][1]
