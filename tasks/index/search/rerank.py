"""The second stage: the best candidates of the first are scored again, more dearly, and the two scores are mixed.

`late_interaction` needs no further weights: ColBERT's MaxSim (Khattab, Zaharia, SIGIR 2020) over the token vectors of
the embedding model. `cross_encoder` reads question and passage together; `endpoint` asks a server's `/rerank`, in the
form of Cohere, Jina, vLLM and text-embeddings-inference.
"""

import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from tasks.errors import ConfigurationError, DependencyError
from tasks.params import SearchParams
from tasks.settings import Settings

if TYPE_CHECKING:
    from tasks.index.embedding.embedder import Embedder

Scores = npt.NDArray[np.float32]

MAX_CACHED_CHUNKS = 2000
"""Token vectors of so many chunks are kept: at 150 tokens of 384 numbers of two bytes, 230 MB."""
_CONNECT_SECONDS = 5.0


class Reranker(Protocol):
    """Scores texts for a question; higher is better, comparable within one question only."""

    def scores(self, question: str, ids: Sequence[str], texts: Sequence[str]) -> Scores:
        """Return `(len(texts),)` scores; `ids` name the texts for a cache.

        Raises:
            DependencyError: what scores does not answer.
        """
        ...


class LateInteraction:
    """MaxSim over an embedder's token vectors. Safe for use by several threads."""

    def __init__(self, embedder: "Embedder") -> None:
        """Score with this embedder's tokens."""
        self._embedder = embedder
        self._cache: OrderedDict[str, npt.NDArray[np.float16]] = OrderedDict()
        self._lock = threading.Lock()

    def scores(self, question: str, ids: Sequence[str], texts: Sequence[str]) -> Scores:
        """See `Reranker.scores`: the mean over the question's tokens of the best cosine in the text."""
        (asked,) = self._embedder.embed_tokens([question])
        passages = self._token_vectors(ids, texts)
        query = asked.astype(np.float32)
        return np.array([(query @ passage.astype(np.float32).T).max(axis=1).mean() for passage in passages], np.float32)

    def _token_vectors(self, ids: Sequence[str], texts: Sequence[str]) -> list[npt.NDArray[np.float16]]:
        with self._lock:
            scored = {key: self._cache[key] for key in ids if key in self._cache}
        missing = {key: text for key, text in zip(ids, texts, strict=True) if key not in scored}
        fresh = dict(zip(missing, self._embedder.embed_tokens(list(missing.values())), strict=True)) if missing else {}
        with self._lock:
            for key in ids:
                self._cache[key] = scored[key] if key in scored else fresh[key]
                self._cache.move_to_end(key)
            while len(self._cache) > MAX_CACHED_CHUNKS:
                self._cache.popitem(last=False)
        return [scored[key] if key in scored else fresh[key] for key in ids]


class CrossEncoder:
    """A sequence classifier of transformers with one output, over question and passage together."""

    def __init__(self, model: str, settings: Settings) -> None:
        """Load a local folder, `package:<module>` or a Hugging Face id; safetensors only.

        Raises:
            ConfigurationError: transformers cannot load it, or it has more than one output.
        """
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        from tasks.index.embedding.files import model_folder

        folder = model_folder(model, settings)
        try:
            self._tokenizer: Any = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
            self._network: Any = AutoModelForSequenceClassification.from_pretrained(
                folder, use_safetensors=True, trust_remote_code=False
            ).eval()
        except (OSError, ValueError, KeyError) as error:
            raise ConfigurationError(
                f"search.rerank_model {model!r} must be a cross-encoder that transformers can load: "
                f"{' '.join(str(error).split())[:200]}; name another"
            ) from error
        if self._network.config.num_labels != 1:
            raise ConfigurationError(
                f"search.rerank_model {model!r} must have one output, found {self._network.config.num_labels}; "
                "name a cross-encoder for ranking"
            )

    def scores(self, question: str, ids: Sequence[str], texts: Sequence[str]) -> Scores:  # noqa: ARG002
        """See `Reranker.scores`: the network's logits, all texts in one batch."""
        import torch

        if not texts:
            return np.empty(0, np.float32)
        batch = self._tokenizer(
            [question] * len(texts), list(texts), truncation="only_second", padding=True, return_tensors="pt"
        )
        with torch.inference_mode():
            logits: Scores = self._network(**batch).logits[:, 0].float().numpy()
        return logits


class EndpointReranker:
    """A server's `/rerank`."""

    def __init__(self, endpoint: str, model: str | None, settings: Settings) -> None:
        """Ask `endpoint`, a base URL, with `ALMANAC_ENDPOINT_API_KEY` where it is set."""
        import httpx

        key = settings.endpoint_api_key
        headers = {"Authorization": f"Bearer {key.get_secret_value()}"} if key else {}
        timeout = httpx.Timeout(settings.request_timeout_seconds, connect=_CONNECT_SECONDS)
        self._client = httpx.Client(headers=headers, timeout=timeout)
        self._url, self._model = f"{endpoint.rstrip('/')}/rerank", model

    def scores(self, question: str, ids: Sequence[str], texts: Sequence[str]) -> Scores:  # noqa: ARG002
        """See `Reranker.scores`: the server's relevance scores."""
        import httpx

        # `documents` is the name of Cohere's form, `texts` that of text-embeddings-inference.
        body = {"query": question, "documents": list(texts), "texts": list(texts)}
        try:
            reply = self._client.post(self._url, json=body | ({"model": self._model} if self._model else {}))
            reply.raise_for_status()
            return _scores_of(reply.json(), len(texts))
        except (httpx.HTTPError, KeyError, TypeError, ValueError, IndexError) as error:
            raise DependencyError(
                f"search.rerank_endpoint must answer at {self._url} with an index and a score for each text, found: "
                f"{' '.join(str(error).split())[:200]}; check the server, or set search.rerank to none"
            ) from error


def _scores_of(answer: Any, num_texts: int) -> Scores:
    """Scores by index; a text that the server leaves out ranks last."""
    entries = answer["results"] if isinstance(answer, dict) else answer
    by_index = {int(entry["index"]): float(entry.get("relevance_score", entry.get("score"))) for entry in entries}
    lowest = min(by_index.values(), default=0.0)
    return np.array([by_index.get(place, lowest) for place in range(num_texts)], np.float32)


def build_reranker(search: SearchParams, embedder: "Embedder", settings: Settings) -> Reranker | None:
    """Return what `search.rerank` names, None for `none`.

    Raises:
        ConfigurationError: it needs a model or an endpoint that is not set, or a model that cannot be loaded.
    """
    if search.rerank == "none":
        return None
    if search.rerank == "late_interaction":
        return LateInteraction(embedder)
    if search.rerank == "cross_encoder":
        return CrossEncoder(_required(search.rerank_model, "rerank_model", search), settings)
    return EndpointReranker(_required(search.rerank_endpoint, "rerank_endpoint", search), search.rerank_model, settings)


def _required(value: str | None, name: str, search: SearchParams) -> str:
    if not value:
        raise ConfigurationError(f"search.{name} must be set for search.rerank {search.rerank!r}, found null; set it")
    return value


def mixed(first: Sequence[float], second: Scores, weight: float) -> list[float]:
    """Return `(1 - weight) * first + weight * second`, each scaled to [0, 1] over the candidates.

    For instance first scores 1.0, 0.5 and second 2, 8 at weight .5 give 0.5, 0.5: each stage is as sure as the other.
    """
    return list((1 - weight) * _scaled(np.array(first, np.float64)) + weight * _scaled(second.astype(np.float64)))


def _scaled(scores: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    if not scores.size or scores.max() == scores.min():
        return np.ones_like(scores)
    scaled: npt.NDArray[np.float64] = (scores - scores.min()) / (scores.max() - scores.min())
    return scaled
