"""Vectors of texts that were embedded before, one SQLite file for each embedder.

Knows nothing of models: a key stands for a text, the file for the embedder. Ours stays beside diskcache 5.6, which
would unpickle what somebody puts into its file: 20,000 vectors of 384 numbers are put in 0.25 CPU seconds (diskcache
0.82), looked for in 0.05 (0.13) and read in 0.16 (0.20) by `benchmarks.libraries`.
"""

import hashlib
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import numpy.typing as npt
from filelock import FileLock

from tasks.corpus.document import sha256
from tasks.errors import CorruptionError, DependencyError

Vectors = npt.NDArray[np.float32]

_KEYS_PER_QUERY = 500
_BUSY_TIMEOUT_SECONDS = 60.0
_SCHEMA = """
CREATE TABLE about (identity TEXT NOT NULL, dim INTEGER NOT NULL);
CREATE TABLE vectors (key TEXT PRIMARY KEY NOT NULL, vector BLOB NOT NULL);
"""


def text_key(text: str) -> str:
    """Return the key of a text, as chunks carry it in `text_key`."""
    return sha256(text)


class EmbeddingCache:
    """Keys to vectors of one embedder. Each call opens the file anew: threads and processes may share it."""

    def __init__(self, home: Path, identity: str, dim: int) -> None:
        """Open the cache of an embedder, creating it where there is none.

        Raises:
            CorruptionError: the file is no cache of this embedder.
            DependencyError: the file cannot be opened or written.
        """
        self.identity, self.dim = identity, dim
        name = hashlib.sha256(identity.encode()).hexdigest()[:16]
        self.path = home.resolve() / "cache" / f"embeddings-{name}.sqlite"
        self._initialise()

    def missing(self, keys: Sequence[str]) -> list[str]:
        """Return the keys without a vector, each once, in the order given."""
        cached: set[str] = set()
        with self._connection() as connection:
            for some in _slices(keys):
                query = f"SELECT key FROM vectors WHERE key IN ({_marks(some)})"  # noqa: S608
                cached.update(key for (key,) in connection.execute(query, some))
        return [key for key in dict.fromkeys(keys) if key not in cached]

    def put(self, keys: Sequence[str], vectors: Vectors) -> None:
        """Store the vectors `(len(keys), dim)`, all or none; a key that has one keeps it.

        Raises:
            CorruptionError: the vectors have another shape or are not finite.
        """
        finite = bool(np.isfinite(vectors).all())
        if vectors.shape != (len(keys), self.dim) or not finite:
            raise CorruptionError(
                f"vectors of the shape {(len(keys), self.dim)} with finite numbers must be cached, found "
                f"{vectors.shape}{'' if finite else ' with NaN or infinity'}; delete the partial results and run again"
            )
        rows = [(key, vector.tobytes()) for key, vector in zip(keys, vectors.astype("<f4", copy=False), strict=True)]
        with self._connection() as connection, connection:
            connection.executemany("INSERT OR IGNORE INTO vectors VALUES (?, ?)", rows)

    def get(self, keys: Sequence[str]) -> Vectors:
        """Return the vectors `(len(keys), dim)` of the keys, in their order.

        Raises:
            CorruptionError: a key has no vector, or one of another length.
        """
        blobs: dict[str, bytes] = {}
        with self._connection() as connection:
            for some in _slices(keys):
                query = f"SELECT key, vector FROM vectors WHERE key IN ({_marks(some)})"  # noqa: S608
                blobs.update(connection.execute(query, some))
        vectors = np.empty((len(keys), self.dim), dtype="<f4")
        for row, key in enumerate(keys):
            vector = blobs.get(key)
            if vector is None or len(vector) != vectors.itemsize * self.dim:
                raise CorruptionError(
                    f"{self.path.name} must hold a vector of length {self.dim} for the text {key[:16]}…, found "
                    f"{'none' if vector is None else f'{len(vector)} bytes'}; delete the file and run again"
                )
            vectors[row] = np.frombuffer(vector, dtype="<f4")
        return vectors.astype(np.float32, copy=False)

    def count(self) -> int:
        """Return number of vectors."""
        with self._connection() as connection:
            return int(connection.execute("SELECT count(*) FROM vectors").fetchone()[0])

    def _initialise(self) -> None:
        """A file is whole once it has its name: SQLite's wait for a lock does not cover the switch to its log."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            if not self.path.exists():
                with FileLock(f"{self.path}.lock"):
                    if not self.path.exists():
                        self._create()
        except OSError as error:
            raise DependencyError(f"{self.path.parent} must be writable: {error}; correct ALMANAC_HOME") from error
        with self._connection() as connection:
            tables = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'about'").fetchall()
            about = connection.execute("SELECT identity, dim FROM about").fetchall() if tables else []
        if about != [(self.identity, self.dim)]:
            raise CorruptionError(
                f"{self.path.name} must hold vectors of {self.identity} (length {self.dim}), found {about}; "
                "delete the file and run again"
            )

    def _create(self) -> None:
        with TemporaryDirectory(dir=self.path.parent) as folder:
            fresh = Path(folder) / self.path.name
            with _connection(fresh) as connection:
                connection.execute("PRAGMA journal_mode=WAL")
                connection.executescript(_SCHEMA)
                with connection:
                    connection.execute("INSERT INTO about VALUES (?, ?)", (self.identity, self.dim))
            fresh.rename(self.path)

    def _connection(self) -> AbstractContextManager[sqlite3.Connection]:
        return _connection(self.path)


def erase_vectors(folder: Path, keys: Sequence[str]) -> int:
    """Erase the vectors of texts from the caches of all embedders, from their bytes too; return how many there were.

    Raises:
        DependencyError: another process reads a cache, so that its log cannot be emptied.
    """
    return sum(_erase(path, keys) for path in sorted(folder.glob("embeddings-*.sqlite")))


def _erase(path: Path, keys: Sequence[str]) -> int:
    erased = 0
    with _connection(path) as connection:
        with connection:
            for some in _slices(keys):
                query = f"DELETE FROM vectors WHERE key IN ({_marks(some)})"  # noqa: S608
                erased += connection.execute(query, some).rowcount
        # The log of SQLite still holds the erased pages until it is emptied into the file.
        (busy, _, _) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    if busy:
        raise DependencyError(
            f"{path.name} must have no other reader while vectors are erased, found one; "
            "they are gone from the cache, but not yet from its log: run again when no refresh runs"
        )
    return erased


@contextmanager
def _connection(path: Path) -> Iterator[sqlite3.Connection]:
    try:
        with closing(sqlite3.connect(path, timeout=_BUSY_TIMEOUT_SECONDS)) as connection:
            connection.execute("PRAGMA secure_delete=ON")
            connection.execute("PRAGMA synchronous=NORMAL")
            yield connection
    except sqlite3.OperationalError as error:
        raise DependencyError(
            f"{path} must be readable and writable, SQLite says: {error}; free space or permissions, run again"
        ) from error
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:  # SQLite's own words, of the damaged file's bytes
        raise CorruptionError(
            f"{path} must be a whole SQLite file, SQLite says: {error}; delete it and run again"
        ) from error


def _slices(keys: Sequence[str]) -> Iterator[list[str]]:
    for begin in range(0, len(keys), _KEYS_PER_QUERY):
        yield list(keys[begin : begin + _KEYS_PER_QUERY])


def _marks(keys: Sequence[str]) -> str:
    return ",".join("?" * len(keys))
