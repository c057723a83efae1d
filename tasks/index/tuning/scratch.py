"""The index of a release with chunks of another size, in a folder that is gone afterwards.

What it embeds is not kept: a document that is forgotten must leave no vectors of chunks that never served.
"""

import logging
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow.parquet as pq

from tasks.corpus.document import DOCUMENT_SCHEMA
from tasks.corpus.snapshot import read_documents
from tasks.index.build import chunk_documents, keep_vectors, missing_texts, open_cache, write_documents
from tasks.index.embedding.cache import EmbeddingCache
from tasks.index.embedding.embedder import Embedder
from tasks.index.embedding.shards import embed_shard
from tasks.index.table import build_indexes, connect, open_latest, rewrite, row_batches_of
from tasks.params import ChunkingParams, Params
from tasks.settings import Settings

if TYPE_CHECKING:
    from lancedb.table import LanceTable

logger = logging.getLogger(__name__)

_TEXTS_PER_SHARD = 256
"""Between two of them the clock is looked at."""


def scratch_folder(settings: Settings) -> Path:
    """Return the folder, emptied of what a killed run left."""
    folder = settings.work / "tune"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def resized(chunking: ChunkingParams, max_tokens: int) -> ChunkingParams:
    """Return the chunking with another size, the least size and the overlap in proportion.

    For instance 256 tokens of which at least 64 become 128 of which at least 32.
    """
    share = max_tokens / chunking.max_tokens
    changes = {
        "max_tokens": max_tokens,
        "min_tokens": round(chunking.min_tokens * share),
        "overlap_tokens": round(chunking.overlap_tokens * share),
    }
    return ChunkingParams(**chunking.model_dump() | changes)


def build_table(
    snapshot: Sequence[Path],
    folder: Path,
    embedder: Embedder,
    params: Params,
    settings: Settings,
    *,
    deadline: float,
) -> "LanceTable | None":
    """Return the documents of a snapshot in chunks of `params.chunking`, or None where the time does not suffice.

    Args:
        snapshot: files of the corpus.
        folder: a new one, for all that is written.
        embedder: of `params.embedding`.
        params: with the chunking and the embedding that are wanted.
        settings: of the home whose vectors are taken where a text is the same.
        deadline: on the clock of `time.monotonic`; looked at between 256 texts.
    """
    here = settings.model_copy(update={"home": folder, "lancedb_uri": str(folder / "lancedb")})
    documents, chunks = folder / "documents.parquet", folder / "chunks.parquet"
    write_documents(read_documents(snapshot), DOCUMENT_SCHEMA, documents)
    chunk_documents(documents, chunks, params, settings)
    cache = open_cache(embedder, here)
    _take_vectors(chunks, open_cache(embedder, settings), cache)
    for shard in list(missing_texts([chunks], cache, folder / "embed", chunks_per_shard=_TEXTS_PER_SHARD)):
        if time.monotonic() > deadline:
            logger.warning("chunks of %d tokens are not tried: no time to embed them", params.chunking.max_tokens)
            return None
        embed_shard(shard.texts, shard.vectors, params.embedding, settings)
        keep_vectors(shard, cache)
    db = connect(here)
    rewrite(db, row_batches_of([chunks], cache, embedder.identity, language=params.index.language), embedder.dim)
    build_indexes(db, params.index)
    return open_latest(db)


def _take_vectors(chunks: Path, source: EmbeddingCache, target: EmbeddingCache) -> None:
    for batch in pq.ParquetFile(chunks).iter_batches(columns=["text_key"]):
        keys = list(dict.fromkeys(batch["text_key"].to_pylist()))
        missing = set(source.missing(keys))
        if present := [key for key in keys if key not in missing]:
            target.put(present, source.get(present))
