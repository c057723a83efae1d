"""Texts embedded by servers that run the same model: GPUs elsewhere, asked by OpenAI's `/v1/embeddings`.

The model's files stay here: they say what it is, count its tokens and embed questions, so an index is the same whoever
made its vectors. That it *is* the same model is measured: a few texts of each shard are embedded here as well, and
vectors that differ refuse the endpoint before one of them is written.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from tasks.errors import ConfigurationError, DependencyError
from tasks.index.embedding.embedder import Embedder, Vectors
from tasks.settings import Settings

MIN_COSINE = 0.999
"""Half precision and other kernels stay above it; another model, pooling or prefix is below .9."""
TEXTS_PER_REQUEST = 64
REQUESTS_AT_ONCE = 8
MAX_RETRIES = 4
_NUM_PROBES = 4
_SETTING = "ALMANAC_EMBEDDING_ENDPOINT"


class EndpointVectors:
    """Embeds texts of an index at an endpoint; what no endpoint takes, empty and overlong texts, is embedded here."""

    def __init__(self, address: str, local: Embedder, prefix: str, settings: Settings) -> None:
        """Ask the server at `address`, a base URL that ends in `/v1`; connects at the first text.

        Args:
            address: of the server.
            local: the same model in this process.
            prefix: words that the model wants before a text of the index.
            settings: the key, the model's name at the server, the time-out.
        """
        import openai

        key = settings.embedding_api_key
        self._client = openai.OpenAI(
            base_url=address,
            api_key=key.get_secret_value() if key else "none",
            max_retries=MAX_RETRIES,
            timeout=settings.request_timeout_seconds,
        )
        self._address, self._local, self._prefix = address, local, prefix
        self._model = settings.embedding_endpoint_model or local.identity.partition(":")[0]
        self._is_checked = False

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Return what `Embedder.embed` returns.

        Raises:
            ConfigurationError: the endpoint runs another model, or knows none of this name.
            DependencyError: it does not answer, or not with a vector for each text.
        """
        vectors = np.empty((len(texts), self._local.dim), np.float32)
        remote = self._that_fit(texts)
        here = sorted(set(range(len(texts))) - set(remote))
        if here:
            vectors[here] = self._local.embed([texts[place] for place in here])
        parts = [remote[begin : begin + TEXTS_PER_REQUEST] for begin in range(0, len(remote), TEXTS_PER_REQUEST)]
        with ThreadPoolExecutor(REQUESTS_AT_ONCE, thread_name_prefix="almanac-embedding") as pool:
            asked = pool.map(lambda part: self._asked([texts[place] for place in part]), parts)
            for part, rows in zip(parts, asked, strict=True):
                vectors[part] = rows
        if not self._is_checked:
            self._check([texts[place] for place in remote[:_NUM_PROBES]], vectors[remote[:_NUM_PROBES]])
        return vectors

    def _that_fit(self, texts: Sequence[str]) -> list[int]:
        """Return the places of the texts that a server reads whole."""
        encodings = self._local.tokenizer.encode_batch_fast([self._prefix + text for text in texts])
        lengths = [len(encoding.ids) for encoding in encodings]
        return [i for i, text in enumerate(texts) if text.strip() and lengths[i] <= self._local.max_tokens]

    def _asked(self, texts: Sequence[str]) -> Vectors:
        import openai

        wanted = [self._prefix + text for text in texts]
        try:
            reply = self._client.embeddings.create(model=self._model, input=wanted, encoding_format="float")
            by_place = {entry.index: entry.embedding for entry in reply.data}
            rows = np.array([by_place[place] for place in range(len(texts))], np.float32)
        except (openai.BadRequestError, openai.NotFoundError, openai.AuthenticationError) as error:
            raise ConfigurationError(
                f"{_SETTING} must embed by the model {self._model!r} at {self._address}, found: {_one_line(error)}; "
                "check ALMANAC_EMBEDDING_ENDPOINT_MODEL and ALMANAC_EMBEDDING_API_KEY, or unset the endpoint"
            ) from error
        except (openai.OpenAIError, KeyError, TypeError, ValueError) as error:
            raise DependencyError(
                f"{_SETTING} must answer at {self._address} with a vector for each of {len(texts)} texts, found: "
                f"{_one_line(error)}; start it, or unset it to embed here"
            ) from error
        if rows.ndim != 2 or rows.shape[1] < self._local.dim or not np.isfinite(rows).all():
            raise self._other_model(f"vectors of shape {rows.shape[1:]} and not {self._local.dim} finite numbers")
        rows = rows[:, : self._local.dim]
        unit: Vectors = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), np.finfo(np.float32).tiny)
        return unit

    def _check(self, texts: Sequence[str], vectors: Vectors) -> None:
        if not texts:
            return
        lowest = float((self._local.embed(texts) * vectors).sum(axis=1).min())
        if lowest < MIN_COSINE:
            raise self._other_model(
                f"vectors of the same texts that agree by a cosine of {lowest:.3f}, below {MIN_COSINE}"
            )
        self._is_checked = True

    def _other_model(self, difference: str) -> ConfigurationError:
        return ConfigurationError(
            f"{_SETTING} must run the model of this index, {self._local.identity}, with its pooling and without a "
            f"prefix of its own, found {difference}; serve that model there, or unset it to embed here"
        )


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
