"""What examples are made of: one index release, its snapshot, and who may read what now.

Every passage of an example comes through here. A document is usable while the audience may read it now, it has not
expired, it is in the snapshot, and it is not in quarantine; each row is judged by its own access and by what was
learned since, as in a search.
"""

import datetime as dt
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from tasks.corpus.quarantine import known_held
from tasks.corpus.snapshot import fold_state, read_documents
from tasks.errors import ConfigurationError
from tasks.index.access import AccessMap, TrainingGroups, access_id
from tasks.index.access_tables import load_access
from tasks.index.lance_errors import num_rows_of, rows_of
from tasks.index.live import open_index, serving
from tasks.index.passage import PASSAGE_COLUMNS, Passage
from tasks.index.search import Index, Request
from tasks.index.snapshots import snapshot_files, texts_of
from tasks.index.table import connect
from tasks.model.examples.splits import cluster_documents
from tasks.params import Params
from tasks.settings import Settings
from tasks.use import may_train

if TYPE_CHECKING:
    from lancedb.db import DBConnection

_BATCH_DOCUMENTS = 64


@dataclass(frozen=True, slots=True)
class ReleaseData:
    """The corpus as the audience may read it.

    Attributes:
        for_training: whether it is read to train: without what is only retrieved, with what only trains.
        corpus: tag of the snapshot.
        topics: knowledge base by `document_id`, of the usable documents only.
        knowledge_base: whose documents alone are usable; None: those of all.
    """

    index: Index
    access: AccessMap
    audience: str
    for_training: bool
    corpus: str
    snapshot: tuple[Path, ...]
    topics: dict[str, str]
    _db: "DBConnection" = field(repr=False)
    knowledge_base: str | None = None

    @property
    def _groups(self) -> frozenset[str]:
        return _groups(self.audience, for_training=self.for_training)

    @property
    def searched(self) -> tuple[str, ...]:
        """Return the knowledge bases that a question is asked; empty: all."""
        return () if self.knowledge_base is None else (self.knowledge_base,)

    def search(self, question: str, top_k: int) -> list[Passage]:
        """Return the usable passages that retrieval finds, best first."""
        request = Request(question, groups=self._groups, knowledge_bases=self.searched, top_k=top_k)
        passages = self.index.search(request, self.access)
        return [passage for passage in passages if passage.document_id in self.topics]

    def may_ask(self, document_id: str | None) -> bool:
        """Say whether a golden question on this document is of the knowledge base; one on none is of no single one."""
        return self.knowledge_base is None or document_id in self.topics

    def holds_all(self, document_ids: Collection[str]) -> bool:
        """Say whether these documents are usable; no document is of no single knowledge base."""
        if not document_ids:
            return self.knowledge_base is None
        return all(document_id in self.topics for document_id in document_ids)

    def chunks(self, document_ids: Collection[str]) -> Iterator[Passage]:
        """Yield the usable chunks of documents, in order of the ids and of the text."""
        usable = [document_id for document_id in document_ids if document_id in self.topics]
        for begin in range(0, len(usable), _BATCH_DOCUMENTS):
            yield from self._rows("document_id", usable[begin : begin + _BATCH_DOCUMENTS])

    def chunks_by_id(self, chunk_ids: Collection[str]) -> list[Passage]:
        """Return the usable chunks among these; a chunk that an edit replaced is absent."""
        return list(self._rows("chunk_id", list(chunk_ids))) if chunk_ids else []

    def texts(self, document_ids: set[str]) -> dict[str, str]:
        """Return texts of the usable documents among these."""
        return texts_of(self.snapshot, document_ids & self.topics.keys())

    def texts_with(self, pattern: re.Pattern[str]) -> dict[str, str]:
        """Return texts of the usable documents in which a pattern stands."""
        rows = (row for batch in read_documents(self.snapshot, self.topics.keys()) for row in batch.to_pylist())
        return {row["document_id"]: row["text"] for row in rows if pattern.search(row["text"])}

    def clusters(self) -> dict[str, str]:
        """Return the near-duplicate cluster of every document of the snapshot, usable or not."""
        return cluster_documents(
            (batch["document_id"].to_pylist(), batch["text"].to_pylist()) for batch in read_documents(self.snapshot)
        )

    def still_readable(self, document_ids: Collection[str]) -> bool:
        """Return whether the audience may read all of these at this very moment, by the tables as they are now."""
        return set(document_ids) <= _usable(self.snapshot, load_access(self._db), self._groups).keys()

    def _rows(self, column: str, values: Sequence[str]) -> Iterator[Passage]:
        from lancedb.expr import col

        table = self.index.table
        columns = [*PASSAGE_COLUMNS, "access_id"]
        query = table.search().where(col(column).isin(list(values))).select(columns).limit(num_rows_of(table))
        rank = {value: place for place, value in enumerate(values)}
        rows = sorted(rows_of(query), key=lambda row: (rank[row[column]], row["start"]))
        for row in rows:
            if row["document_id"] in self.topics and self._may_read(row):
                yield _passage(row)

    def _may_read(self, row: Mapping[str, Any]) -> bool:
        place = row["document_id"], row["access_id"]
        return self.access.may_read(*place, self._groups) and (not self.for_training or self.access.may_train(*place))


def open_release_data(params: Params, settings: Settings, *, for_training: bool = True) -> ReleaseData:
    """Open what serves now.

    Args:
        params: `examples.audience` reads it, within `knowledge_bases.only`.
        settings: the home.
        for_training: what may only be retrieved is left out; False: what may only train is left out, as in serving.

    Raises:
        ConfigurationError: nothing was released yet, or nothing is usable in the knowledge base.
        DependencyError: MLflow or the index does not answer.
    """
    release = serving(settings).release
    db = connect(settings)
    index = open_index(db, release, params, settings)
    access = load_access(db)
    snapshot = tuple(snapshot_files(settings, release))
    quarantined = known_held(settings.home.resolve())
    audience, only = params.examples.audience, params.knowledge_bases.only
    groups = _groups(audience, for_training=for_training)
    topics = {
        document_id: topic
        for document_id, (topic, item) in _usable(snapshot, access, groups).items()
        if item not in quarantined and only in (None, topic)
    }
    if only is not None and not topics:
        raise ConfigurationError(
            f"the knowledge base {only} must hold documents that {audience} may read, found none in release "
            f"{release.number}; correct its name, or `examples.audience`"
        )
    return ReleaseData(index, access, audience, for_training, release.corpus.tag, snapshot, topics, db, only)


def _groups(audience: str, *, for_training: bool) -> frozenset[str]:
    return TrainingGroups({audience}) if for_training else frozenset({audience})


def _usable(
    snapshot: Sequence[Path], access: AccessMap, groups: frozenset[str]
) -> dict[str, tuple[str, tuple[str, str]]]:
    """Return knowledge base, source and key of each document that the groups may read, and learn from if they train."""
    trains = isinstance(groups, TrainingGroups)
    now = dt.datetime.now(dt.UTC)
    columns = ["document_id", "source", "key", "knowledge_base", "access", "expires_at"]
    state: pa.Table = fold_state(snapshot).select(columns)
    return {
        row["document_id"]: (row["knowledge_base"], (row["source"], row["key"]))
        for row in state.to_pylist()
        if access.may_read(row["document_id"], access_id(row["access"]), groups)
        and not (trains and not may_train([*row["access"], *access.changes.get(row["document_id"], ())]))
        and (row["expires_at"] is None or row["expires_at"] > now)
    }


def _passage(row: Mapping[str, Any]) -> Passage:
    return Passage(**{name: row[name] for name in PASSAGE_COLUMNS}, score=0.0, similarity=None)
