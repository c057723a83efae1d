"""What is to be forgotten: documents by id, source, words or age, found in every snapshot and in quarantine."""

import datetime as dt
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from tasks.corpus import quarantine
from tasks.corpus.tombstones import NOTHING_FORGOTTEN, Tombstones
from tasks.errors import ConfigurationError
from tasks.registry.shared import open_registry
from tasks.settings import Settings

_COLUMNS = ("document_id", "source", "title", "text", "updated_at", "content_hash", "removed")
_SUGGESTIONS = 3


@dataclass(frozen=True, slots=True)
class Wanted:
    """How a person names what is to be forgotten; what matches any of it is meant.

    Attributes:
        documents: ids, `<source>:<key>`.
        source: every document of a source.
        subject: words that stand in title or text, whatever their case.
        older_than: documents that the source says were last changed before this moment.
        tombstones: what was forgotten before: a restored home may hold it again.
    """

    documents: tuple[str, ...] = ()
    source: str | None = None
    subject: str | None = None
    older_than: dt.datetime | None = None
    tombstones: Tombstones = NOTHING_FORGOTTEN


@dataclass(slots=True)
class Subject:
    """What was found under it.

    Attributes:
        texts: by document id, every text that the document ever had in a kept snapshot or in quarantine.
        content_hashes: of those texts with their titles.
        snapshots: tags of the snapshots that hold any of the documents.
        in_quarantine: ids of documents that are in quarantine.
        others: texts of all documents that stay, to tell whose a sentence is.
    """

    texts: dict[str, set[str]] = field(default_factory=dict)
    content_hashes: set[str] = field(default_factory=set)
    snapshots: list[str] = field(default_factory=list)
    in_quarantine: set[str] = field(default_factory=set)
    others: set[str] = field(default_factory=set)


def find_subject(settings: Settings, wanted: Wanted, folder: Path) -> Subject:
    """Find the documents in every snapshot and in quarantine; reads only.

    Args:
        settings: whose home.
        wanted: what a person named.
        folder: where snapshots are brought to.

    Raises:
        ConfigurationError: nothing matches; it names what is near.
    """
    subject, names = Subject(), set[str]()
    registry = open_registry(settings)
    read: dict[str, set[str]] = {}
    for tag in sorted(registry.tags("corpus-[0-9]*")):
        ids: set[str] = set()
        for path in registry.restore(tag, folder / tag):
            key = f"{path.name} {path.stat().st_ino}"
            if key not in read:
                read[key] = _read_file(path, wanted, subject, names)
            ids |= read[key]
        if ids:
            subject.snapshots.append(tag)
    _read_quarantine(settings.home, wanted, subject, names)
    if not subject.texts:
        raise ConfigurationError(_nothing(wanted, names))
    return subject


def _read_file(path: Path, wanted: Wanted, subject: Subject, names: set[str]) -> set[str]:
    matching: set[str] = set()
    for row in _rows(path):
        names.add(row["document_id"])
        if row["removed"]:
            # A tombstone row names the document: it goes too.
            matching.update([row["document_id"]] if row["document_id"] in wanted.documents else [])
        elif _matches(row, wanted):
            matching.add(row["document_id"])
            subject.texts.setdefault(row["document_id"], set()).add(row["text"])
            subject.content_hashes.add(row["content_hash"])
        else:
            subject.others.add(row["text"])
    return matching


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=256, columns=list(_COLUMNS)):
            yield from batch.to_pylist()


def _matches(row: dict[str, Any], wanted: Wanted) -> bool:
    if row["document_id"] in wanted.documents or (wanted.source is not None and row["source"] == wanted.source):
        return True
    if wanted.subject and wanted.subject.casefold() in f"{row['title']}\n{row['text']}".casefold():
        return True
    if wanted.tombstones.holds(row["document_id"]) or wanted.tombstones.holds_content(row["content_hash"]):
        return True
    changed = row["updated_at"]
    return wanted.older_than is not None and isinstance(changed, dt.datetime) and changed < wanted.older_than


def _read_quarantine(home: Path, wanted: Wanted, subject: Subject, names: set[str]) -> None:
    for entry in quarantine.held(home):
        names.add(entry.document_id)
        text = quarantine.show(home, entry.id).text
        row = {"document_id": entry.document_id, "source": entry.source, "title": entry.title, "text": text}
        if _matches(row | {"updated_at": None, "content_hash": ""}, wanted):
            subject.in_quarantine.add(entry.document_id)
            subject.texts.setdefault(entry.document_id, set()).update([text] if text else [])


def _nothing(wanted: Wanted, names: Iterable[str]) -> str:
    known: Sequence[str] = sorted(names)
    near = [close for name in wanted.documents for close in get_close_matches(name, known, _SUGGESTIONS, 0.5)]
    hint = f"near are {', '.join(dict.fromkeys(near))}" if near else "`almanac search` shows the ids of documents"
    return f"what is to be forgotten must be in a kept snapshot or in quarantine, found no such document; {hint}"
