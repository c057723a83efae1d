"""The embedder of a command that asks once: BERT's forward pass in NumPy, since importing torch costs more than it.

Only for what it computes as torch does: BERT with absolute positions and exact GELU, in float32 on the CPU. It is
the same model under the same identity; `tests/index/test_light.py` holds its vectors against torch's.
"""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tasks.errors import CorruptionError
from tasks.index.embedding.embedder import Embedder, Vectors, load_embedder
from tasks.index.embedding.files import ModelFiles, find_files, identity_of, tokenizer_of
from tasks.params import EmbeddingParams
from tasks.settings import Settings

Array = npt.NDArray[np.float32]

_LIKE_TORCH = {
    "hidden_act": "gelu",
    "position_embedding_type": "absolute",
    "dtype": "float32",
    "torch_dtype": "float32",
}
"""What the configuration must say, or leave out."""
_ERF = (0.254829592, -0.284496736, 1.421413741, -1.453152027, 1.061405429)
"""Abramowitz and Stegun 7.1.26: the error is below 1.5e-7, that of float32."""


def load_light_embedder(params: EmbeddingParams, settings: Settings) -> Embedder:
    """Return an embedder that does without torch, or torch's where the model, its precision or the device asks for it.

    Raises:
        ConfigurationError: the model cannot be found, or is none that Almanac can run.
    """
    files = find_files(params, settings)
    config = json.loads((files.folder / "config.json").read_text(encoding="utf-8"))
    is_plain = config.get("model_type") == "bert" and all(
        config.get(name, value) == value for name, value in _LIKE_TORCH.items()
    )
    if is_plain and len(files.weights) == 1 and params.precision != "bfloat16" and settings.device in ("auto", "cpu"):
        return LightEmbedder(files, identity_of(files, params, settings), config)
    return load_embedder(params, settings)


class LightEmbedder:
    """An `Embedder` without torch, one text after the other."""

    def __init__(self, files: ModelFiles, identity: str, config: dict[str, Any]) -> None:
        """Read the weights."""
        from safetensors.numpy import load_file

        self.identity, self.dim, self.max_tokens = identity, files.dim, files.max_tokens
        self.tokenizer = tokenizer_of(files)
        self._cutting_tokenizer = tokenizer_of(files)
        self._cutting_tokenizer.enable_truncation(files.max_tokens)
        self._files = files
        self._weights = {name.removeprefix("bert."): value for name, value in load_file(files.weights[0]).items()}
        self._num_layers, self._num_heads = config["num_hidden_layers"], config["num_attention_heads"]
        self._epsilon = config.get("layer_norm_eps", 1e-12)

    def embed(self, texts: Sequence[str]) -> Vectors:
        """See `Embedder.embed`."""
        return self._embedded([self._files.document_prefix + text for text in texts])

    def embed_questions(self, questions: Sequence[str]) -> Vectors:
        """See `Embedder.embed_questions`."""
        return self._embedded([self._files.query_prefix + question for question in questions])

    def _embedded(self, texts: Sequence[str]) -> Vectors:
        vectors = np.empty((len(texts), self.dim), dtype=np.float32)
        for row, states in enumerate(self._states(texts)):
            pooled = {"mean": states.mean(0), "cls": states[0], "lasttoken": states[-1]}[self._files.pooling]
            vectors[row] = pooled[: self.dim]
        if not np.isfinite(vectors).all():
            raise CorruptionError(f"{self.identity} must give finite vectors, gave NaN or infinity; install it again")
        return _unit(vectors)

    def embed_tokens(self, texts: Sequence[str]) -> list[npt.NDArray[np.float16]]:
        """See `Embedder.embed_tokens`."""
        return [_unit(states).astype(np.float16) for states in self._states(texts)]

    def _states(self, texts: Sequence[str]) -> list[Array]:
        return [self._forward(encoding.ids) for encoding in self._cutting_tokenizer.encode_batch_fast(list(texts))]

    def _forward(self, ids: list[int]) -> Array:
        """Return the hidden states `(num_tokens, dim)` of one text."""
        table = "embeddings.{}_embeddings.weight".format
        words, places, types = (self._weights[table(name)] for name in ("word", "position", "token_type"))
        states = self._norm(words[ids] + places[: len(ids)] + types[0], "embeddings.LayerNorm")
        for number in range(self._num_layers):
            layer = f"encoder.layer.{number}"
            states = self._norm(states + self._attention(states, layer), f"{layer}.attention.output.LayerNorm")
            inner = _gelu(self._linear(states, f"{layer}.intermediate.dense"))
            states = self._norm(states + self._linear(inner, f"{layer}.output.dense"), f"{layer}.output.LayerNorm")
        return states

    def _attention(self, states: Array, layer: str) -> Array:
        query, key, value = (
            self._linear(states, f"{layer}.attention.self.{name}")
            .reshape(len(states), self._num_heads, -1)
            .transpose(1, 0, 2)
            for name in ("query", "key", "value")
        )
        scores = query @ key.transpose(0, 2, 1) / np.float32(np.sqrt(query.shape[-1]))
        weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
        attended = weights / weights.sum(axis=-1, keepdims=True) @ value
        return self._linear(attended.transpose(1, 0, 2).reshape(len(states), -1), f"{layer}.attention.output.dense")

    def _linear(self, states: Array, name: str) -> Array:
        result: Array = states @ self._weights[f"{name}.weight"].T + self._weights[f"{name}.bias"]
        return result

    def _norm(self, states: Array, name: str) -> Array:
        centred = states - states.mean(axis=-1, keepdims=True)
        scaled = centred / np.sqrt(np.square(centred).mean(axis=-1, keepdims=True) + np.float32(self._epsilon))
        result: Array = scaled * self._weights[f"{name}.weight"] + self._weights[f"{name}.bias"]
        return result


def _gelu(x: Array) -> Array:
    size = np.abs(x) * np.float32(np.sqrt(0.5))
    t = 1 / (1 + np.float32(0.3275911) * size)
    a, b, c, d, e = map(np.float32, _ERF)
    erf = 1 - ((((e * t + d) * t + c) * t + b) * t + a) * t * np.exp(-size * size)
    result: Array = x * (1 + np.copysign(erf, x)) / 2
    return result


def _unit(vectors: Array) -> Array:
    result: Array = vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), np.float32(1e-12))
    return result
