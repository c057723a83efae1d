"""Sources, releases and who may read what, as the tests of access keep them in mind; only the encoder is a stand-in."""

import datetime as dt
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from tasks.corpus.document import Document, Item, make_document, sha256, to_table
from tasks.corpus.parsing.shards import ParseShard
from tasks.corpus.plan import IndexedDocument
from tasks.corpus.selection import select_changed
from tasks.corpus.tombstones import NOTHING_FORGOTTEN
from tasks.index.access_tables import intern, load_access, record_changes
from tasks.index.chunking.chunk import CHUNK_SCHEMA
from tasks.index.embedding.cache import EmbeddingCache, text_key
from tasks.index.release import tag_version
from tasks.index.search import Index
from tasks.index.table import (
    build_indexes,
    connect,
    open_at,
    open_latest,
    other_access,
    rewrite,
    row_batches_of,
    update,
)
from tasks.params import IndexParams, Params, SearchParams
from tasks.settings import Settings
from tests.conftest import BASE_PARAMS, files_source

DIM = 16
GROUPS = ("finance", "o'brien", "') OR 1=1 --", "\\') OR true --", '"q" AND', "группа ☃", "x" * 200, "everyone ")
UPDATED = dt.datetime(2026, 3, 1, tzinfo=dt.UTC)
COUNTS: Counter[str] = Counter()
"""Steps, checks and leaks over all runs; printed at the end of the module with `-s`."""


class HashEmbedder:
    """A unit vector for each text, equal for equal texts."""

    identity, dim, max_tokens = "hash:16", DIM, 64

    def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        draws = [np.random.default_rng(int(sha256(text)[:15], 16)).normal(size=DIM) for text in texts]
        return np.array([draw / np.linalg.norm(draw) for draw in draws], dtype=np.float32).reshape(-1, DIM)

    def embed_questions(self, questions: Sequence[str]) -> npt.NDArray[np.float32]:
        return self.embed(questions)


@dataclass(frozen=True)
class Doc:
    """What a source says of one document: who may read it, and a word that no other document holds."""

    key: str
    groups: frozenset[str]
    knowledge_base: str
    word: str

    @property
    def id(self) -> str:
        return f"s:{self.key}"

    def parsed(self) -> Document:
        return make_document(
            Item("s", self.key, self.word, 1, "uri"),
            title="t",
            text=self.word,
            knowledge_base=self.knowledge_base,
            access=self.groups,
            raw_hash=self.word,
        )


@dataclass
class World:
    """Sources, releases and what was learned of access, as a person would keep them in mind."""

    home: Path
    index: IndexParams
    source: dict[str, Doc] = field(default_factory=dict)
    moved: dict[str, str] = field(default_factory=dict)
    """Old document id by new one, since the last refresh."""
    releases: list[dict[str, Doc]] = field(default_factory=list)
    handles: list[Index] = field(default_factory=list)
    serving: int = 0
    known_access: dict[str, frozenset[str]] = field(default_factory=dict)
    words: int = 0

    def __post_init__(self) -> None:
        self.db = connect(Settings(home=self.home))
        self.cache = EmbeddingCache(self.home, HashEmbedder.identity, DIM)

    def word(self) -> str:
        self.words += 1
        return f"word{self.words}"

    def learn(self) -> list[Document]:
        """The second gate, as the flow calls it; return the documents to write."""
        base = self.releases[self.serving] if self.releases else {}
        documents = [doc.parsed() for doc in self.source.values()]
        path = self.home / "parsed.parquet"
        pq.write_table(to_table(documents), path)
        known = {
            "s": {
                doc.key: IndexedDocument(doc.id, doc.word, doc.parsed().record_hash, None, tuple(sorted(doc.groups)))
                for doc in base.values()
            }
        }
        shard = ParseShard(Params.model_validate(params_of("files")).sources[0], path, path, path)
        learned = load_access(self.db).changes
        output = self.home / "changed.parquet"
        selection = select_changed([shard], known, self.moved, learned, NOTHING_FORGOTTEN, output)
        record_changes(self.db, selection.access | other_access(self.db, selection.newcomers))
        self.known_access |= {doc.id: doc.groups for doc in self.source.values()}
        self.known_access |= {old: self.source[new].groups for new, old in self.moved.items() if new in self.source}
        changed = set(pq.read_table(selection.documents, columns=["document_id"]).column(0).to_pylist())
        return [document for document in documents if document.document_id in changed]

    def refresh(self) -> None:
        changed = self.learn()
        base = self.releases[self.serving] if self.releases else None
        gone = [*(document.document_id for document in changed), *((base or {}).keys() - self.source.keys())]
        intern(self.db, {frozenset(document.access) for document in changed})
        rows = row_batches_of([self._chunk_file(changed)], self.cache, HashEmbedder.identity, language="English")
        if base is None:
            rewrite(self.db, rows, DIM)
        else:
            update(self.db, self.tag(self.serving), gone=sorted(gone), rows=rows, dim=DIM)
        version = build_indexes(self.db, self.index)
        vectors = open_latest(self.db).index_stats("vector_idx")
        COUNTS["releases with vector segments beside"] += bool(vectors and (vectors.num_indices or 1) > 1)
        self.serving = len(self.releases)
        tag_version(self.db, self.tag(self.serving), version)
        self.releases.append(dict(self.source))
        self.moved.clear()
        self.handles.append(self.open(self.serving))

    def open(self, number: int) -> Index:
        search = SearchParams(**BASE_PARAMS["search"])
        return Index(open_at(self.db, self.tag(number)), HashEmbedder(), search, self.index, release=str(number))

    def tag(self, number: int) -> str:
        return f"release-{number:04d}"

    def _chunk_file(self, documents: Sequence[Document]) -> Path:
        rows = [chunk for document in documents for chunk in chunks_of(document)]
        self.cache.put([row["text_key"] for row in rows], HashEmbedder().embed([row["search_text"] for row in rows]))
        path = self.home / "chunks.parquet"
        pq.write_table(pa.Table.from_pylist(rows, schema=CHUNK_SCHEMA), path)
        return path

    def may_read(self, document: str, number: int, asker: frozenset[str]) -> bool:
        row = self.releases[number].get(document)
        return row is not None and bool(row.groups & asker) and bool(self.known_access[document] & asker)


def chunks_of(document: Document) -> Iterator[dict[str, Any]]:
    """Two chunks a document: its unique word alone, and a sentence that all documents share.

    The first ends inside code, so that every hit draws in its neighbour.
    """
    start = 0
    for ordinal, text in enumerate((document.text, f"the shared sentence about payroll, {document.text}x")):
        yield {
            "chunk_id": sha256(document.document_id, text)[:32],
            "document_id": document.document_id,
            "source": document.source,
            "knowledge_base": document.knowledge_base,
            "access": list(document.access),
            "ordinal": ordinal,
            "start": start,
            "end": start + len(text),
            "title": "t",
            "uri": "uri",
            "headings": "",
            "text": text,
            "search_text": text,
            "num_content_characters": 100,
            "gap": "" if ordinal else "\n\n",
            "starts_in_code": ordinal == 1,
            "ends_in_code": ordinal == 0,
            "text_key": text_key(text),
            "content_hash": document.content_hash,
            "updated_at": UPDATED,
            "expires_at": None,
            "metadata": json.dumps({"word": document.text, "odd": ["') OR 1=1 --", "plain"]}),
        }
        start += len(text) + 2


def params_of(folder: str, **index: Any) -> dict[str, Any]:
    return BASE_PARAMS | {"sources": [files_source(Path(folder))], "index": BASE_PARAMS["index"] | index}
