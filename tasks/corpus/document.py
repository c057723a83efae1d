"""The document: one source item after parsing, and its hashes.

Knows nothing of where documents are stored or how they are found.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

import pyarrow as pa

EVERYONE = "everyone"
"""The group that every asker belongs to."""


@dataclass(frozen=True, slots=True)
class Item:
    """One thing that a source lists, before it is read.

    Attributes:
        source: name of the source in `params.yaml`.
        key: path, record id or package name; stable over edits; unique within the source.
        fingerprint: cheap sign of change (size + mtime, etag, blob id, record version). Equal: not read again.
        size_bytes: size of the raw item, 0 where unknown.
        uri: where a person finds it.
        updated_at: when the source says that it changed (timezone-aware), if it says.
        locator: what `fetch` needs beside the key (byte range, blob id); private to the source.
    """

    source: str
    key: str
    fingerprint: str
    size_bytes: int
    uri: str
    updated_at: datetime | None = None
    locator: str = ""


@dataclass(frozen=True, slots=True)
class Document:
    """One source item after parsing.

    Attributes:
        document_id: `<source>:<key>`.
        text: Markdown, NFC, without control characters; chunks are slices of it.
        access: sorted groups that may read it; empty: nobody may.
        raw_hash: sha256 of the item's bytes as fetched: equal bytes need no parsing.
        content_hash: sha256 of title and text.
        record_hash: sha256 of all that a reader sees or a filter needs, except `updated_at`.
    """

    document_id: str
    source: str
    key: str
    title: str
    uri: str
    text: str
    knowledge_base: str
    access: tuple[str, ...]
    updated_at: datetime | None
    expires_at: datetime | None
    raw_hash: str
    metadata: Mapping[str, str] = field(default_factory=dict)
    content_hash: str = ""
    record_hash: str = ""


DOCUMENT_SCHEMA = pa.schema(
    [
        pa.field("document_id", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("key", pa.string(), nullable=False),
        pa.field("title", pa.string(), nullable=False),
        pa.field("uri", pa.string(), nullable=False),
        pa.field("text", pa.large_string(), nullable=False),
        pa.field("knowledge_base", pa.string(), nullable=False),
        pa.field("access", pa.list_(pa.string()), nullable=False),
        pa.field("updated_at", pa.timestamp("us", tz="UTC")),
        pa.field("expires_at", pa.timestamp("us", tz="UTC")),
        pa.field("raw_hash", pa.string(), nullable=False),
        pa.field("metadata", pa.string(), nullable=False),  # a JSON object of strings
        pa.field("content_hash", pa.string(), nullable=False),
        pa.field("record_hash", pa.string(), nullable=False),
    ]
)


def sha256(*parts: str) -> str:
    """Return hex digest of the parts, each framed by its length, so that ("ab", "c") and ("a", "bc") differ."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "big"))
        digest.update(data)
    return digest.hexdigest()


def make_document(
    item: Item,
    *,
    title: str,
    text: str,
    knowledge_base: str,
    access: Iterable[str],
    raw_hash: str,
    uri: str | None = None,
    updated_at: datetime | None = None,
    expires_at: datetime | None = None,
    metadata: Mapping[str, str] | None = None,
) -> Document:
    """Build a document from its item, with identifier and hashes filled in."""
    groups = tuple(sorted(set(access)))
    details = dict(sorted((metadata or {}).items()))
    content_hash = sha256(title, text)
    expires = expires_at.isoformat() if expires_at else ""
    address = uri or item.uri
    return Document(
        document_id=f"{item.source}:{item.key}",
        source=item.source,
        key=item.key,
        title=title,
        uri=address,
        text=text,
        knowledge_base=knowledge_base,
        access=groups,
        updated_at=updated_at or item.updated_at,
        expires_at=expires_at,
        raw_hash=raw_hash,
        metadata=details,
        content_hash=content_hash,
        record_hash=sha256(content_hash, address, knowledge_base, json.dumps(groups), expires, json.dumps(details)),
    )


def to_table(documents: Iterable[Document]) -> pa.Table:
    """Return documents as an Arrow table of `DOCUMENT_SCHEMA`."""
    rows = [
        {name: getattr(document, name) for name in DOCUMENT_SCHEMA.names}
        | {"access": list(document.access), "metadata": json.dumps(dict(document.metadata), ensure_ascii=False)}
        for document in documents
    ]
    return pa.Table.from_pylist(rows, schema=DOCUMENT_SCHEMA)


def from_table(table: pa.Table) -> list[Document]:
    """Return the inverse of `to_table`."""
    return [
        Document(**row | {"access": tuple(row["access"]), "metadata": json.loads(row["metadata"])})
        for row in table.select(DOCUMENT_SCHEMA.names).to_pylist()
    ]
