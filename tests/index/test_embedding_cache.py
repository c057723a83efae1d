from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from tasks.errors import CorruptionError
from tasks.index.embedding.cache import EmbeddingCache, erase_vectors, text_key

KEYS = [text_key(f"text {index}") for index in range(1200)]


def vectors(num: int, dim: int = 4, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((num, dim), dtype=np.float32)


@pytest.fixture
def cache(tmp_path: Path) -> EmbeddingCache:
    return EmbeddingCache(tmp_path, "minilm:0123:mean:float32", 4)


def test_vectors_come_back_in_the_order_asked_for(cache: EmbeddingCache) -> None:
    stored = vectors(len(KEYS))
    cache.put(KEYS, stored)
    assert np.array_equal(cache.get(KEYS[::-1]), stored[::-1])
    assert np.array_equal(cache.get([KEYS[3], KEYS[3]]), stored[[3, 3]])
    assert cache.get([]).shape == (0, 4)
    assert cache.count() == len(KEYS)


def test_only_unseen_texts_are_missing_each_once(cache: EmbeddingCache) -> None:
    cache.put(KEYS[:600], vectors(600))
    assert cache.missing([*KEYS, *KEYS]) == KEYS[600:]


def test_a_key_keeps_its_first_vector(cache: EmbeddingCache) -> None:
    cache.put(KEYS[:1], vectors(1))
    cache.put(KEYS[:1], vectors(1, seed=1))
    assert np.array_equal(cache.get(KEYS[:1]), vectors(1))


def test_cache_outlives_the_process_and_is_one_for_each_embedder(cache: EmbeddingCache, tmp_path: Path) -> None:
    cache.put(KEYS[:1], vectors(1))
    assert EmbeddingCache(tmp_path, cache.identity, 4).missing(KEYS[:2]) == KEYS[1:2]
    assert EmbeddingCache(tmp_path, "another", 4).missing(KEYS[:2]) == KEYS[:2]


def test_missing_vector_is_corruption(cache: EmbeddingCache) -> None:
    with pytest.raises(CorruptionError, match="found none"):
        cache.get(KEYS[:1])


def test_another_dimension_for_the_same_embedder_is_corruption(cache: EmbeddingCache, tmp_path: Path) -> None:
    with pytest.raises(CorruptionError, match="length 5"):
        EmbeddingCache(tmp_path, cache.identity, 5)


@pytest.mark.parametrize("bad", [vectors(2), vectors(1, dim=5), np.full((1, 4), np.nan, dtype=np.float32)])
def test_wrong_vectors_are_refused(cache: EmbeddingCache, bad: np.ndarray) -> None:
    with pytest.raises(CorruptionError, match="must be cached"):
        cache.put(KEYS[:1], bad)
    assert cache.count() == 0


def test_damaged_file_is_corruption(cache: EmbeddingCache, tmp_path: Path) -> None:
    cache.path.write_bytes(b"not a database" * 1000)
    with pytest.raises(CorruptionError, match="delete it"):
        EmbeddingCache(tmp_path, cache.identity, 4)


def test_forgotten_vectors_leave_the_bytes_of_the_file(cache: EmbeddingCache) -> None:
    stored = vectors(len(KEYS))
    cache.put(KEYS, stored)
    assert erase_vectors(cache.path.parent, [*KEYS[:700], "unknown"]) == 700
    assert cache.missing(KEYS) == KEYS[:700]
    content = b"".join(path.read_bytes() for path in cache.path.parent.glob(f"{cache.path.name}*"))
    assert not any(vector.tobytes() in content for vector in stored[:700])
    assert not any(key.encode() in content for key in KEYS[:700])
    assert stored[700].tobytes() in content


def test_threads_may_write_at_once(tmp_path: Path) -> None:
    def put(part: int) -> None:
        keys = KEYS[part * 100 : part * 100 + 200]
        EmbeddingCache(tmp_path, "shared", 4).put(keys, vectors(200))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(put, range(8)))
    assert EmbeddingCache(tmp_path, "shared", 4).count() == 900
