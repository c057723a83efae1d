"""Texts to unit vectors, as fast as this machine multiplies: the texts of a batch lie end to end, without padding.

Knows nothing of chunks, documents or storage.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from tasks.device import fastest_dtype, one_core_a_thread, torch_device
from tasks.errors import ConfigurationError, CorruptionError
from tasks.index.embedding.files import (
    ModelFiles,
    embedder_identity,
    find_files,
    identity_of,
    load_tokenizer,
    tokenizer_of,
)
from tasks.index.embedding.models import Pooling
from tasks.params import EmbeddingParams
from tasks.settings import Settings

if TYPE_CHECKING:
    import torch
    from tokenizers import Tokenizer

__all__ = ["Embedder", "Vectors", "embedder_identity", "load_embedder", "load_tokenizer"]

Vectors = npt.NDArray[np.float32]
TokenIds = npt.NDArray[np.int32]

PACKED_MODEL_TYPES = frozenset({"bert"})
"""Architectures whose tokens see each other in attention only, with positions from 0."""
_ACCELERATOR_BATCH_FACTOR = 32
"""A GPU is fed batches this many times as large as those that fit a CPU's cache."""

_loading = threading.Lock()
_cores = threading.Lock()
"""Held while all cores embed: shards that run in threads take turns instead of slowing each other."""


class Embedder(Protocol):
    """Turns texts into unit vectors.

    Attributes:
        identity: what must be equal between an index and a query (see `embedder_identity`).
        dim: length of a vector.
        max_tokens: longer texts are cut, special tokens included.
        tokenizer: the model's own; neither cuts nor pads.
    """

    identity: str
    dim: int
    max_tokens: int
    tokenizer: "Tokenizer"

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Return vectors `(len(texts), dim)` of unit length, in the order of the texts.

        Raises:
            CorruptionError: the model returned numbers that are not finite, or vectors of another length.
        """
        ...

    def embed_questions(self, questions: Sequence[str]) -> Vectors:
        """Return vectors of questions, to be compared with those of texts: some models want other words before them."""
        ...

    def embed_tokens(self, texts: Sequence[str]) -> list[npt.NDArray[np.float16]]:
        """Return for each text the unit vectors `(num_tokens, dim)` of its tokens, special tokens included."""
        ...


class TorchEmbedder:
    """An `Embedder` on torch; its threads are the caller's for one batch, else one a core."""

    def __init__(
        self,
        files: ModelFiles,
        identity: str,
        network: "torch.nn.Module",
        run: "Run",
        *,
        tokens_per_batch: int,
        num_threads: int,
    ) -> None:
        """Take what `load_network` gave."""
        self.identity, self.dim, self.max_tokens = identity, files.dim, files.max_tokens
        self.tokenizer = tokenizer_of(files)
        self._cutting_tokenizer = tokenizer_of(files)
        self._cutting_tokenizer.enable_truncation(files.max_tokens)
        self._network, self._num_threads = network, num_threads
        self._device = next(network.parameters()).device
        on_cpu = self._device.type == "cpu"
        self._tokens_per_batch = tokens_per_batch * (1 if on_cpu else _ACCELERATOR_BATCH_FACTOR)
        self._run, self._files = run, files

    def embed(self, texts: Sequence[str]) -> Vectors:
        """See `Embedder.embed`."""
        return self._embedded([self._files.document_prefix + text for text in texts])

    def embed_questions(self, questions: Sequence[str]) -> Vectors:
        """See `Embedder.embed_questions`."""
        return self._embedded([self._files.query_prefix + question for question in questions])

    def _embedded(self, texts: Sequence[str]) -> Vectors:
        tokens = self._token_ids(texts)
        cut = list(batches([len(ids) for ids in tokens], self._tokens_per_batch))
        vectors = np.empty((len(tokens), self.dim), dtype=np.float32)

        def embed_batch(batch: list[int]) -> None:
            vectors[batch] = self._vectors([tokens[index] for index in batch])

        self._map(embed_batch, cut)
        return vectors

    def embed_tokens(self, texts: Sequence[str]) -> list[npt.NDArray[np.float16]]:
        """See `Embedder.embed_tokens`."""
        import torch
        from torch.nn.functional import normalize

        tokens = self._token_ids(texts)
        vectors: list[npt.NDArray[np.float16]] = [np.empty((0, self._files.hidden_size), np.float16)] * len(tokens)
        for batch in batches([len(ids) for ids in tokens], self._tokens_per_batch):
            with torch.inference_mode():
                parts = self._run(self._network, [tokens[index] for index in batch], self._device)
                for index, part in zip(batch, parts, strict=True):
                    vectors[index] = normalize(part.float(), dim=1).cpu().numpy().astype(np.float16)
        return vectors

    def _token_ids(self, texts: Sequence[str]) -> list[TokenIds]:
        encodings = self._cutting_tokenizer.encode_batch_fast(list(texts))
        return [np.array(encoding.ids, dtype=np.int32) for encoding in encodings]

    def _map(self, embed_batch: Callable[[list[int]], None], cut: list[list[int]]) -> None:
        """One batch a thread: two threads on two batches are faster than both on one."""
        if len(cut) < 2 or self._device.type != "cpu":
            for batch in cut:
                embed_batch(batch)
            return
        with _cores, one_core_a_thread() as enter, ThreadPoolExecutor(self._num_threads, initializer=enter) as pool:
            for _ in pool.map(embed_batch, cut):
                pass

    def _vectors(self, tokens: list[TokenIds]) -> Vectors:
        import torch
        from torch.nn.functional import normalize

        with torch.inference_mode():
            texts = pooled(self._run(self._network, tokens, self._device), self._files.pooling)
            vectors: Vectors = normalize(texts.float()[:, : self.dim], dim=1).cpu().numpy()
        if texts.shape[1] != self._files.hidden_size:
            raise CorruptionError(
                f"{self.identity} must give vectors of length {self._files.hidden_size}, gave {texts.shape[1]}; "
                "its config.json does not fit its weights: install the model again"
            )
        if not np.isfinite(vectors).all():
            raise CorruptionError(
                f"{self.identity} must give finite vectors, gave NaN or infinity; set embedding.precision to float32, "
                "and if it still does, install the model again"
            )
        return vectors


Run = Callable[["torch.nn.Module", list[TokenIds], "torch.device"], "Sequence[torch.Tensor]"]
"""A network, token ids of some texts and device to the hidden states `(num_tokens, dim)` of each text."""

_POOLINGS: dict[Pooling, Callable[["torch.Tensor"], "torch.Tensor"]] = {
    "mean": lambda states: states.mean(0),
    "cls": lambda states: states[0],
    "lasttoken": lambda states: states[-1],
}


def pooled(texts: "Sequence[torch.Tensor]", pooling: Pooling) -> "torch.Tensor":
    """Return `(num_texts, dim)` of the hidden states `(num_tokens, dim)` of each text."""
    import torch

    return torch.stack([_POOLINGS[pooling](states) for states in texts])


def load_embedder(params: EmbeddingParams, settings: Settings) -> Embedder:
    """Load the embedding model, once a process; safe to call from several threads.

    Raises:
        ConfigurationError: the model cannot be found, or is none that Almanac can run.
    """
    files = find_files(params, settings)
    identity = identity_of(files, params, settings)
    with _loading:
        return _load(files, identity, params, settings.device, settings.num_threads)


@lru_cache(maxsize=2)
def _load(files: ModelFiles, identity: str, params: EmbeddingParams, device: str, num_threads: int) -> TorchEmbedder:
    network, run = load_network(files, params.model, device)
    network = network.to(dtype=compute_dtype(params.precision, next(network.parameters()).device.type)).eval()
    return TorchEmbedder(
        files, identity, network, run, tokens_per_batch=params.tokens_per_batch, num_threads=num_threads
    )


def load_network(files: ModelFiles, model: str, device: str) -> tuple["torch.nn.Module", Run]:
    """Return a fresh network in float32 on `device` (of `Settings.device`), and what runs it.

    Raises:
        ConfigurationError: transformers cannot load `model`.
    """
    place = torch_device(device)
    packed = place == "cpu" and _transformers_config(files, model).model_type in PACKED_MODEL_TYPES
    network = _network(files, model, attention="almanac_packed" if packed else None).to(place)
    return network, _packed if packed else _padded


def _transformers_config(files: ModelFiles, model: str) -> Any:
    from transformers import AutoConfig

    with _named(model):
        return AutoConfig.from_pretrained(files.folder, trust_remote_code=False)


def _network(files: ModelFiles, model: str, *, attention: str | None) -> "torch.nn.Module":
    import torch
    from transformers import AttentionInterface, AutoModel
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    AttentionInterface.register("almanac_packed", _packed_attention)
    with _named(model):
        network: torch.nn.Module = AutoModel.from_pretrained(
            files.folder,
            attn_implementation=attention,
            dtype=torch.float32,
            use_safetensors=True,
            trust_remote_code=False,
        )
    return network


@contextmanager
def _named(model: str) -> Iterator[None]:
    """Say of which model transformers complains, and what to do."""
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ConfigurationError(
            f"embedding.model {model!r} must be a model that transformers can load: {reason}; "
            "install it again, or name another model"
        ) from error


def compute_dtype(precision: str, device: str) -> "torch.dtype":
    """Return what `embedding.precision` means on a device."""
    import torch

    if precision != "auto":
        return torch.bfloat16 if precision == "bfloat16" else torch.float32
    return fastest_dtype(device)


def batches(lengths: Sequence[int], tokens_per_batch: int) -> Iterator[list[int]]:
    """Yield indexes of texts, longest first, cut so that a batch has at most `tokens_per_batch` tokens, or one text."""
    batch: list[int] = []
    num_tokens = 0
    for index in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
        if batch and num_tokens + lengths[index] > tokens_per_batch:
            yield batch
            batch, num_tokens = [], 0
        batch.append(index)
        num_tokens += lengths[index]
    if batch:
        yield batch


def _packed(network: "torch.nn.Module", tokens: list[TokenIds], device: "torch.device") -> "Sequence[torch.Tensor]":
    """Hidden states of texts that lie end to end in one row: no work is spent on padding."""
    import torch

    lengths = [len(ids) for ids in tokens]
    ids = torch.from_numpy(np.concatenate(tokens)).unsqueeze(0).to(device)
    positions = torch.cat([torch.arange(length) for length in lengths]).unsqueeze(0).to(device)
    hidden = network(input_ids=ids, position_ids=positions, text_lengths=lengths).last_hidden_state[0]
    parts: Sequence[torch.Tensor] = torch.split_with_sizes(hidden, lengths)
    return parts


def _packed_attention(
    module: "torch.nn.Module",  # noqa: ARG001
    query: "torch.Tensor",
    key: "torch.Tensor",
    value: "torch.Tensor",
    attention_mask: "torch.Tensor | None",  # noqa: ARG001
    *,
    text_lengths: list[int],
    scaling: float | None = None,
    **_: Any,
) -> "tuple[torch.Tensor, None]":
    """Attention within each text of a packed row; the signature is that of transformers' attention interface.

    Shapes: `(1, num_heads, num_tokens, head_dim)` to `(1, num_tokens, num_heads, head_dim)`.
    """
    import torch
    from torch.nn.functional import scaled_dot_product_attention

    texts = zip(*(torch.split_with_sizes(rows, text_lengths, 2) for rows in (query, key, value)), strict=True)
    attended = [scaled_dot_product_attention(q, k, v, scale=scaling).transpose(1, 2) for q, k, v in texts]
    return torch.cat(attended, dim=1), None


def _padded(network: "torch.nn.Module", tokens: list[TokenIds], device: "torch.device") -> "Sequence[torch.Tensor]":
    """Hidden states of texts padded to the longest: for accelerators and any architecture."""
    import torch
    from torch.nn.utils.rnn import pad_sequence

    ids = pad_sequence([torch.from_numpy(ids) for ids in tokens], batch_first=True).to(device)
    lengths = torch.tensor([len(ids) for ids in tokens], device=device).unsqueeze(1)
    mask = torch.arange(ids.shape[1], device=device) < lengths
    hidden = network(input_ids=ids, attention_mask=mask.long()).last_hidden_state
    return [states[: len(ids)] for states, ids in zip(hidden, tokens, strict=True)]
