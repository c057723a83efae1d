"""The columns that the rules of the document gate can name, measured batch by batch; only `text` is ever a text.

| Column | What it holds |
|---|---|
| `document_id` `source` `key` `title` `uri` `knowledge_base` `updated_at` `expires_at` | as in the document |
| `text` | the document's text; rules on it see one batch at a time, all other rules see all documents |
| `num_characters`, `num_words` | length of the text |
| `language` | ISO 639-1 code of its beginning, `und` where it is too short to tell |
| `encoding_damage` | share of U+FFFD and of characters read in a wrong encoding |
| `hidden_characters` | invisible characters that cleaning took out, and characters in hidden HTML elements |
| `boilerplate_share` | share in lines of links, badges and stock phrases |
| `hidden_share` | share of the file's characters that its author's program does not show; they are not in `text` |
| `empty_page_share` | share of a PDF's pages that show a picture and give no text: scans, mostly |
| `num_secrets`, `num_personal_data` | how many were found |
| `near_duplicate_of`, `near_duplicate_similarity` | an earlier document most like it; null and 0: none |

Near-duplicates are sought among the documents of this refresh, not among those already in the index.
"""

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.corpus.document import DOCUMENT_SCHEMA
from tasks.corpus.gate import sensitive, signals
from tasks.corpus.gate.near_duplicates import NearDuplicates

if TYPE_CHECKING:
    import pandas as pd

MAX_BATCH_DOCUMENTS = 20_000
MAX_BATCH_BYTES = 64_000_000

STORED = ("document_id", "source", "key", "title", "uri", "knowledge_base", "updated_at", "expires_at")

_OF_TEXT: dict[str, Callable[[str], Any]] = {
    "num_characters": len,
    "num_words": lambda text: len(text.split()),
    "language": signals.language,
    "encoding_damage": signals.encoding_damage,
    "boilerplate_share": signals.boilerplate_share,
    "num_secrets": lambda text: len(sensitive.find_secrets(text)),
    "num_personal_data": lambda text: len(sensitive.find_personal_data(text)),
}
_NEAR = ("near_duplicate_of", "near_duplicate_similarity")

_OF_READING: dict[str, Callable[[Mapping[str, str], str], Any]] = {
    "hidden_characters": lambda details, text: _count(details, "hidden_characters") + signals.hidden_characters(text),
    "hidden_share": lambda details, text: _share(_count(details, "left_out_characters"), len(text)),
    "empty_page_share": lambda details, _: _count(details, "pages_without_text") / max(_count(details, "pages"), 1),
}
COLUMNS = frozenset({*STORED, "text", *_OF_TEXT, *_OF_READING, *_NEAR})


def batches(parsed: Sequence[Path]) -> Iterator[pa.Table]:
    """Yield the documents in order, in tables of at most `MAX_BATCH_DOCUMENTS` rows and about `MAX_BATCH_BYTES`."""
    pending: list[pa.RecordBatch] = []
    num_rows = num_bytes = 0
    for batch in _record_batches(parsed):
        num_rows += batch.num_rows
        num_bytes += batch.nbytes
        if pending and (num_rows > MAX_BATCH_DOCUMENTS or num_bytes > MAX_BATCH_BYTES):
            yield pa.Table.from_batches(pending)
            pending, num_rows, num_bytes = [], batch.num_rows, batch.nbytes
        pending.append(batch)
    if pending:
        yield pa.Table.from_batches(pending)


def _record_batches(parsed: Sequence[Path]) -> Iterator[pa.RecordBatch]:
    for path in parsed:
        with pq.ParquetFile(path) as file:
            yield from file.iter_batches(batch_size=1024, columns=DOCUMENT_SCHEMA.names)


class Measures:
    """Measures the named columns of each batch; what it remembers of a batch is for near-duplicates only."""

    def __init__(self, columns: Collection[str]) -> None:
        self._columns = sorted(set(columns) - {"text"})
        self._near = NearDuplicates() if set(_NEAR) & set(columns) else None

    def frame(self, documents: pa.Table) -> "pd.DataFrame":
        """Return one row a document, one column a name; never `text`."""
        import pandas as pd

        texts = [text or "" for text in documents["text"].to_pylist()]
        details = [json.loads(entry) for entry in documents["metadata"].to_pylist()]
        measured: dict[str, Any] = {}
        for column in self._columns:
            if column in _OF_TEXT:
                measured[column] = [_OF_TEXT[column](text) for text in texts]
            elif column in _OF_READING:
                measured[column] = [
                    _OF_READING[column](detail, text) for detail, text in zip(details, texts, strict=True)
                ]
            elif column not in _NEAR:
                measured[column] = documents[column].to_pandas()
        if self._near:
            nearest = self._near.add(documents["document_id"].to_pylist(), texts)
            measured["near_duplicate_of"] = pd.Series([near.document_id for near in nearest], dtype="object")
            measured["near_duplicate_similarity"] = [near.similarity for near in nearest]
        return pd.DataFrame(measured, index=range(documents.num_rows))


def _count(details: Mapping[str, str], name: str) -> int:
    """A count that the parser wrote; a document's own metadata may have the name, and another value."""
    text = details.get(name, "0")
    return int(text) if text.isascii() and text.isdigit() else 0


def _share(part: int, rest: int) -> float:
    return part / (part + rest) if part else 0.0
