"""The second gate: of the documents that were parsed, those that differ from the base release."""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.corpus.document import DOCUMENT_SCHEMA
from tasks.corpus.parsing.shards import ParseShard
from tasks.corpus.plan import IndexedDocument, RefreshPlan, Scan, Seen
from tasks.corpus.tombstones import Tombstones
from tasks.files import whole_file


@dataclass(slots=True)
class Selection:
    """What parsing showed.

    Attributes:
        documents: Parquet file of the documents that are new or differ.
        unchanged: parsed documents that equal those of the base release.
        expired: parsed documents whose time is over; those that the base holds leave (`expired_ids`).
        forgotten: parsed documents whose title and text were taken back under another id.
        access: new groups of documents whose access differs from the base release, or from what was learned since.
        newcomers: groups of documents that the base release does not hold; an older release may.
        raw_hashes: by (source, key), as parsed.
    """

    documents: Path
    num_documents: int = 0
    unchanged: int = 0
    expired: int = 0
    forgotten: int = 0
    expired_ids: list[str] = field(default_factory=list)
    access: dict[str, tuple[str, ...]] = field(default_factory=dict)
    newcomers: dict[str, tuple[str, ...]] = field(default_factory=dict)
    raw_hashes: dict[tuple[str, str], tuple[str, dt.datetime | None]] = field(default_factory=dict)


def select_changed(
    shards: Sequence[ParseShard],
    indexed: Mapping[str, Mapping[str, IndexedDocument]],
    moved: Mapping[str, str],
    learned_access: Mapping[str, frozenset[str]],
    tombstones: Tombstones,
    output: Path,
) -> Selection:
    """Write the documents that differ from the base release to one file, a shard at a time.

    Args:
        shards: finished shards.
        indexed: documents of the base release by source and key.
        moved: old document id by new document id: access is judged against the old one.
        learned_access: groups of documents whose access changed before, by document id.
        tombstones: of documents that were taken back: a copy of one does not come in.
        output: Parquet file of `DOCUMENT_SCHEMA`.
    """
    selection = Selection(output)
    now = dt.datetime.now(dt.UTC)
    by_id = {entry.document_id: entry for rows in indexed.values() for entry in rows.values()}
    with whole_file(output) as beside, pq.ParquetWriter(beside, DOCUMENT_SCHEMA, compression="zstd") as writer:
        for shard in shards:
            table = pq.read_table(shard.documents, schema=DOCUMENT_SCHEMA)
            kept = table.filter(
                pa.array(_differs(table, selection, by_id, moved, learned_access, now, tombstones), pa.bool_())
            )
            selection.num_documents += len(kept)
            writer.write_table(kept)
    return selection


def _differs(
    table: pa.Table,
    selection: Selection,
    by_id: Mapping[str, IndexedDocument],
    moved: Mapping[str, str],
    learned_access: Mapping[str, frozenset[str]],
    now: dt.datetime,
    tombstones: Tombstones,
) -> list[bool]:
    names = ["document_id", "source", "key", "raw_hash", "record_hash", "expires_at", "access", "content_hash"]
    mask = []
    columns = (table.column(name).to_pylist() for name in names)
    for document_id, source, key, raw_hash, record_hash, expires_at, access, content_hash in zip(*columns, strict=True):
        if document_id not in by_id and tombstones.holds_content(content_hash):
            selection.forgotten += 1
            mask.append(False)
            continue
        before = by_id.get(document_id)
        for entry in (before, by_id.get(moved.get(document_id, ""))):
            if entry is not None and _access_differs(entry, access, learned_access):
                selection.access[document_id] = selection.access[entry.document_id] = tuple(access)
        if before is None:
            selection.newcomers[document_id] = tuple(access)
            if learned_access.get(document_id, set(access)) != set(access):
                selection.access[document_id] = tuple(access)
        same = before is not None and before.record_hash == record_hash
        expired = expires_at is not None and expires_at <= now
        selection.raw_hashes[source, key] = (before.raw_hash if same and before else raw_hash, expires_at)
        if expired:
            selection.expired += 1
            selection.expired_ids.extend([document_id] if before else [])
        elif same:
            selection.unchanged += 1
        mask.append(not same and not expired)
    return mask


def _access_differs(
    before: IndexedDocument, access: Sequence[str], learned_access: Mapping[str, frozenset[str]]
) -> bool:
    """Against the base's row, and against what was learned since: it may have been hidden, and is right again."""
    return before.access != tuple(access) or learned_access.get(before.document_id, set(access)) != set(access)


def learned(plan: RefreshPlan, selection: Selection | None, signatures: Mapping[str, str]) -> dict[str, Scan]:
    """Return what the next scan may know: a document that parsed to what the base holds counts as the base's bytes."""
    scans = {}
    for part in plan.sources:
        name = part.source.name
        seen = dict(part.seen)
        if selection is not None:
            for (source, key), (raw_hash, expires_at) in selection.raw_hashes.items():
                if source == name and key in seen:
                    seen[key] = Seen(seen[key].fingerprint, raw_hash, expires_at)
        scans[name] = Scan(seen, signatures[name])
    return scans


def tombstones(
    plan: RefreshPlan, indexed: Mapping[str, Mapping[str, IndexedDocument]], selection: Selection
) -> list[tuple[str, str, str]]:
    """Return the documents that leave as `(document id, source, key)`: gone from their source, moved, or over."""
    places = {
        row.document_id: (row.document_id, source, key) for source, rows in indexed.items() for key, row in rows.items()
    }
    gone = [
        row.document_id
        for part in plan.sources
        for key in part.removed
        if (row := indexed[part.source.name].get(key)) is not None
    ]
    gone += [old for part in plan.sources for old, _ in part.moved]
    gone += [document_id for part in plan.sources for document_id in part.expired] + selection.expired_ids
    gone += [indexed[name][key].document_id for name, keys in plan.unlisted.items() for key in keys]
    return [places[document_id] for document_id in dict.fromkeys(gone)]
