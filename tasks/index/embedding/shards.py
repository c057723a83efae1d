"""Shards of texts to files of vectors: what a refresh hands to its workers."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.files import whole_file
from tasks.index.embedding.embedder import Embedder, Vectors, load_embedder
from tasks.index.embedding.endpoint import EndpointVectors
from tasks.index.embedding.files import find_files
from tasks.params import EmbeddingParams
from tasks.settings import Settings

TEXTS_PER_READ = 1024


def embed_shard(texts: Path, output: Path, params: EmbeddingParams, settings: Settings) -> Path:
    """Parquet of (`key`, `text`) to Parquet of (`key`, `vector`); returns at once where `output` stands.

    Runs in a thread, a process or a worker elsewhere. Shards in threads of one process take turns on all
    `settings.num_threads` cores; processes that share a machine should each be given their share of them.

    Raises:
        ConfigurationError: the model cannot be found, or is none that Almanac can run.
        CorruptionError: the model returned numbers that are not finite.
        DependencyError: `output` cannot be written, or an endpoint does not answer.
    """
    if output.exists():
        return output
    embedder = load_embedder(params, settings)
    vectors_of = _bulk(embedder, params, settings)
    schema = pa.schema([("key", pa.string()), ("vector", pa.list_(pa.float32(), embedder.dim))])
    with whole_file(output) as beside, pq.ParquetWriter(beside, schema, compression="none") as writer:
        for batch in pq.ParquetFile(texts).iter_batches(TEXTS_PER_READ, columns=["key", "text"]):
            vectors = vectors_of(batch["text"].to_pylist())
            column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), embedder.dim)
            writer.write_batch(pa.record_batch([batch["key"].cast(pa.string()), column], schema=schema))
    return output


def _bulk(embedder: Embedder, params: EmbeddingParams, settings: Settings) -> Callable[[Sequence[str]], Vectors]:
    """What embeds many texts: the model in this process, or servers that run the same one."""
    if settings.embedding_endpoint is None:
        return embedder.embed
    prefix = find_files(params, settings).document_prefix
    return EndpointVectors(settings.embedding_endpoint, embedder, prefix, settings).embed
