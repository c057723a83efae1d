"""CPU seconds of our near-duplicates, embedding cache and chunker beside a library's, on the installed READMEs.

    pip install datasketch diskcache langchain-text-splitters && python -m benchmarks.libraries

The chunkers are asked another question too: how many chunks change when a sentence is added to a document.
"""

import random
import re
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from importlib.metadata import distributions
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from tasks.corpus.document import Document, Item, make_document, sha256
from tasks.corpus.gate.near_duplicates import NearDuplicates
from tasks.index.chunking.chunk import chunk_rows
from tasks.index.embedding.cache import EmbeddingCache
from tasks.index.embedding.embedder import load_tokenizer
from tasks.params import load_params
from tasks.settings import Settings

ADDED = "This sentence was added by an editor today, and it says something new."
NUM_VECTORS, DIM, AT_ONCE = 20_000, 384, 4096
MIN_CHARACTERS, NUM_EDITED = 6000, 40
MAX_TOKENS, CONTEXT_TOKENS = 256, 32


def main() -> None:
    """Print a line for each comparison."""
    texts = list(readmes())
    print(f"{len(texts)} READMEs, {sum(map(len, texts)):,} characters; CPU seconds of ours, of the library")
    print(f"near-duplicates, datasketch: {cpu(lambda: ours(texts)):.2f}, {cpu(lambda: datasketch(texts)):.2f}")
    cache()
    chunkers(texts)


def readmes() -> Iterator[str]:
    """Yield the READMEs of the installed packages."""
    for distribution in distributions():
        text = str(distribution.metadata.get_payload() or distribution.metadata.get("Description") or "")
        if 300 < len(text) < 60_000:
            yield text


def cpu(work: Callable[[], object]) -> float:
    """Return the CPU seconds of a second run: the first one imports."""
    work()
    began = time.process_time()
    work()
    return time.process_time() - began


def ours(texts: list[str]) -> None:
    """Look for near-duplicates as the document gate does."""
    NearDuplicates().add([str(number) for number in range(len(texts))], texts)


def datasketch(texts: list[str]) -> None:
    """Look for near-duplicates with datasketch: as many hashes, the same runs of words."""
    from datasketch import MinHash, MinHashLSH

    index = MinHashLSH(threshold=0.8, num_perm=64)
    for number, text in enumerate(texts):
        words = re.findall(rb"\w+", text.lower().encode())
        signature = MinHash(num_perm=64)
        signature.update_batch({b" ".join(words[n : n + 3]) for n in range(max(1, len(words) - 2))})
        index.query(signature)
        index.insert(str(number), signature)


def cache() -> None:
    """Put, look for and read vectors in our cache and in diskcache."""
    import diskcache

    keys = [sha256(str(number)) for number in range(NUM_VECTORS)]
    vectors = np.random.default_rng(1).standard_normal((NUM_VECTORS, DIM)).astype(np.float32)
    parts = [slice(start, start + AT_ONCE) for start in range(0, NUM_VECTORS, AT_ONCE)]
    with TemporaryDirectory() as first, TemporaryDirectory() as second:
        mine, theirs = EmbeddingCache(Path(first), "model", DIM), diskcache.Cache(second, disk_min_file_size=1 << 20)

        def put() -> None:
            with theirs.transact():
                for key, vector in zip(keys, vectors, strict=True):
                    theirs[key] = vector.tobytes()

        began = time.process_time()
        for part in parts:
            mine.put(keys[part], vectors[part])
        middle = time.process_time()
        put()
        print(f"vectors put, diskcache: {middle - began:.2f}, {time.process_time() - middle:.2f}")
        absent = cpu(lambda: mine.missing(keys)), cpu(lambda: [key for key in keys if key not in theirs])
        print(f"vectors looked for, diskcache: {absent[0]:.2f}, {absent[1]:.2f}")
        read = (
            cpu(lambda: [mine.get(keys[part]) for part in parts]),
            cpu(lambda: [np.frombuffer(theirs[key], np.float32) for key in keys]),
        )
        print(f"vectors read, diskcache: {read[0]:.2f}, {read[1]:.2f}")


def chunkers(texts: list[str]) -> None:
    """Count the chunks that a sentence changes which is added in the first third of a document."""
    from langchain_text_splitters import RecursiveCharacterTextSplitter

    settings = Settings()
    params = load_params(settings.params)
    tokenizer = load_tokenizer(params.embedding, settings)
    sizes = {"max_tokens": MAX_TOKENS, "min_tokens": 32, "overlap_tokens": 0, "max_context_tokens": CONTEXT_TOKENS}
    chunking = params.chunking.model_copy(update=sizes)
    splitter = RecursiveCharacterTextSplitter(
        chunk_size=MAX_TOKENS - CONTEXT_TOKENS,
        chunk_overlap=0,
        length_function=lambda text: len(tokenizer.encode(text, add_special_tokens=False).ids),
    )
    generator = random.Random(5)
    chosen = generator.sample([text for text in texts if len(text) > MIN_CHARACTERS], NUM_EDITED)
    edited = [with_sentence(text, generator) for text in chosen]
    for name, split in (
        ("ours", lambda text: {str(row["chunk_id"]) for row in chunk_rows([document(text)], tokenizer, chunking)}),
        ("LangChain", lambda text: set(splitter.split_text(text))),
    ):
        began = time.process_time()
        before = [split(text) for text in chosen]
        seconds = time.process_time() - began
        after = [split(text) for text in edited]
        num_new = sum(len(new - old) for new, old in zip(after, before, strict=True))
        print(f"chunks changed, {name}: {num_new} of {sum(map(len, after)):,}; {seconds:.2f} CPU seconds")


def with_sentence(text: str, generator: random.Random) -> str:
    """Return the text with a line more in its first third."""
    lines = text.split("\n")
    place = generator.randrange(len(lines) // 3)
    return "\n".join([*lines[:place], ADDED, *lines[place:]])


def document(text: str) -> Document:
    """Return a document of the text."""
    item = Item("notes", "a.md", "1", len(text), "file:///a.md", datetime(2026, 1, 5, tzinfo=UTC))
    return make_document(item, title="", text=text, knowledge_base="notes", access=["everyone"], raw_hash="")


if __name__ == "__main__":
    main()
