"""From accepted documents to a candidate version of the index: chunks, missing vectors, rows.

Each function takes paths and gives paths or counts; what is done once is found again after a kill. Knows nothing of
releases, gates and Prefect.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tasks.corpus.document import sha256
from tasks.files import whole_file
from tasks.index.chunking.chunk import chunk_shard
from tasks.index.embedding.cache import EmbeddingCache
from tasks.index.embedding.embedder import Embedder
from tasks.index.embedding.files import VectorSpace, load_tokenizer
from tasks.params import Params
from tasks.settings import Settings

_TEXT_SCHEMA = pa.schema([pa.field("key", pa.string(), False), pa.field("text", pa.string(), False)])


@dataclass(frozen=True, slots=True)
class EmbedShard:
    """Texts to embed and where their vectors go."""

    texts: Path
    vectors: Path
    num_texts: int


def chunk_documents(documents: Path, output: Path, params: Params, settings: Settings) -> int:
    """Chunk a Parquet file of documents; return the number of chunks."""
    return chunk_shard(documents, output, load_tokenizer(params.embedding, settings), params.chunking)


def missing_texts(
    chunks: Sequence[Path], cache: EmbeddingCache, folder: Path, *, chunks_per_shard: int
) -> Iterator[EmbedShard]:
    """Write the texts that were never embedded with this model, each once, in shards named by their content."""
    keys: list[str] = []
    texts: list[str] = []
    for key, text in _unseen(chunks, cache):
        keys.append(key)
        texts.append(text)
        if len(keys) == chunks_per_shard:
            yield _write_texts(keys, texts, folder)
            keys, texts = [], []
    if keys:
        yield _write_texts(keys, texts, folder)


def _unseen(chunks: Sequence[Path], cache: EmbeddingCache) -> Iterator[tuple[str, str]]:
    done: set[str] = set()
    for path in chunks:
        for batch in pq.ParquetFile(path).iter_batches(batch_size=8192, columns=["text_key", "search_text"]):
            keys = batch["text_key"].to_pylist()
            wanted = set(cache.missing([key for key in keys if key not in done]))
            done.update(wanted)
            for key, text in zip(keys, batch["search_text"].to_pylist(), strict=True):
                if key in wanted:
                    wanted.discard(key)
                    yield key, text


def _write_texts(keys: Sequence[str], texts: Sequence[str], folder: Path) -> EmbedShard:
    name = sha256(*keys)[:32]
    shard = EmbedShard(folder / f"{name}.texts.parquet", folder / f"{name}.vectors.parquet", len(keys))
    if not shard.texts.exists():
        with whole_file(shard.texts) as beside:
            table = pa.table({"key": list(keys), "text": list(texts)}, schema=_TEXT_SCHEMA)
            pq.write_table(table, beside, compression="zstd")
    return shard


def keep_vectors(shard: EmbedShard, cache: EmbeddingCache) -> int:
    """Put a shard's vectors into the cache, then drop its files; return how many."""
    num_kept = 0
    for batch in pq.ParquetFile(shard.vectors).iter_batches(batch_size=4096):
        flat = batch["vector"].flatten().to_numpy()
        cache.put(batch["key"].to_pylist(), flat.reshape(batch.num_rows, -1))
        num_kept += batch.num_rows
    shard.texts.unlink(missing_ok=True)
    shard.vectors.unlink(missing_ok=True)
    return num_kept


def access_sets(chunks: Sequence[Path]) -> set[frozenset[str]]:
    """Return the distinct sets of groups that the chunks bear."""
    sets: set[frozenset[str]] = set()
    for path in chunks:
        for batch in pq.ParquetFile(path).iter_batches(columns=["access"]):
            sets.update(frozenset(groups) for groups in batch["access"].to_pylist())
    return sets


def write_documents(batches: Iterable[pa.RecordBatch], schema: pa.Schema, output: Path) -> int:
    """Write documents to one Parquet file; return how many."""
    num_rows = 0
    with whole_file(output) as beside, pq.ParquetWriter(beside, schema, compression="zstd") as writer:
        for batch in batches:
            writer.write_table(pa.Table.from_batches([batch]).select(schema.names).cast(schema))
            num_rows += batch.num_rows
    return num_rows


def document_ids(path: Path) -> list[str]:
    """Return distinct document ids of a Parquet file of documents or chunks."""
    table = pq.read_table(path, columns=["document_id"])
    ids: list[str] = pc.unique(table.column("document_id")).to_pylist()
    return ids


def open_cache(space: Embedder | VectorSpace, settings: Settings) -> EmbeddingCache:
    """Return the embedding cache of a model."""
    return EmbeddingCache(settings.home, space.identity, space.dim)
