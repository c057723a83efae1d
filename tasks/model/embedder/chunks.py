"""Chunks of a release that may enter weights, as the training's audience reads them; and a sample of them as a file.

The sample is what embedders are ranked over: it goes by a digest of the chunk's name, so no embedder picked it.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tasks.errors import CorruptionError
from tasks.files import write_json_lines
from tasks.index.access import TrainingGroups
from tasks.index.lance_errors import rows_of

if TYPE_CHECKING:
    from tasks.index.access import AccessMap
    from tasks.index.search import Index

MAX_POOL = 10_000
IDS_PER_QUERY = 500


@dataclass(frozen=True, slots=True)
class ChunkText:
    """A chunk as the index embeds it: with title and headings.

    Attributes:
        group: its document; batches are filled document by document.
    """

    key: str
    group: str
    text: str


@dataclass(frozen=True, slots=True)
class ChunkRow:
    """A chunk with the vector that the release has of it."""

    text: ChunkText
    vector: Any


class TrainableChunks:
    """Rows of a release that may enter weights as the audience reads them, each read once."""

    def __init__(self, index: "Index", access: "AccessMap", audience: str) -> None:
        """Take the release; nothing is read yet."""
        self._table, self._access, self._groups = index.table, access, TrainingGroups({audience})
        self.rows: dict[str, ChunkRow] = {}

    def fetch(self, keys: Iterable[str]) -> None:
        """Read the chunks of these keys; one that may not be read stays away."""
        from lancedb.expr import col

        new = sorted(set(keys) - set(self.rows))
        for begin in range(0, len(new), IDS_PER_QUERY):
            part = new[begin : begin + IDS_PER_QUERY]
            query = self._table.search().where(col("chunk_id").isin(part)).limit(len(part))
            columns = ["chunk_id", "document_id", "access_id", "search_text", "vector"]
            for row in rows_of(query.select(columns)):
                place = row["document_id"], row["access_id"]
                if self._access.may_read(*place, self._groups) and self._access.may_train(*place):
                    text = ChunkText(row["chunk_id"], row["document_id"], row["search_text"])
                    self.rows[row["chunk_id"]] = ChunkRow(text, np.asarray(row["vector"]))

    def nearest(self, keys: Iterable[str], vector: npt.NDArray[np.float32]) -> tuple[str, float]:
        """Return the key, of those that were read, whose vector is nearest, and its cosine."""
        cosines = {key: float(np.dot(self.rows[key].vector, vector)) for key in keys}
        best = max(cosines, key=lambda key: cosines[key])
        return best, cosines[best]

    def sample(self, count: int) -> list[ChunkText]:
        """Return up to `count` chunks, all of the release where it has no more; the same ones for the same release."""
        keys = [row["chunk_id"] for row in rows_of(self._table.search().select(["chunk_id"]).limit(None))]
        first = sorted(keys, key=lambda key: hashlib.sha256(key.encode()).digest())[:count]
        self.fetch(first)
        return [self.rows[key].text for key in first if key in self.rows]


def write_pool(index: "Index", access: "AccessMap", path: Path, *, audience: str) -> int:
    """Write the chunks that embedders are ranked over, whole or not at all; return how many."""
    return write_json_lines(path, TrainableChunks(index, access, audience).sample(MAX_POOL))


def read_pool(path: Path) -> list[ChunkText]:
    """Read the chunks of a file.

    Raises:
        CorruptionError: it cannot be read, or a line is no chunk.
    """
    try:
        with path.open(encoding="utf-8") as stream:
            return [ChunkText(**json.loads(line)) for line in stream]
    except (OSError, ValueError, TypeError) as error:
        raise CorruptionError(f"{path} must hold one chunk in JSON a line, found: {error}; make it anew") from error
