"""What changed since the base release: two gates, the cheap fingerprint, then the content hash.

Lists every source, reads only items whose fingerprint is unknown, and names what to parse and what left. Knows nothing
of chunks and vectors but the measured rates from which it estimates.
"""

import datetime as dt
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.corpus.document import Item
from tasks.corpus.sources import SourceReader, open_source
from tasks.corpus.tombstones import Tombstones, load_tombstones
from tasks.errors import CorruptionError, GateError, ParseError
from tasks.files import whole_file, write_json
from tasks.params import digest
from tasks.params.sources import Source
from tasks.settings import Settings

_SCAN_SCHEMA = pa.schema(
    [
        pa.field("key", pa.string(), False),
        pa.field("fingerprint", pa.string(), False),
        pa.field("raw_hash", pa.string(), False),
        pa.field("expires_at", pa.timestamp("us", tz="UTC")),
    ]
)
DEFAULT_RATES = {"bytes_per_chunk": 600.0, "chunks_per_second": 25.0}
"""Before the first refresh on a machine has measured its own: two cores, MiniLM in f32."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What an earlier scan knew of an item; `raw_hash` is empty where its bytes were never read."""

    fingerprint: str
    raw_hash: str
    expires_at: dt.datetime | None = None


@dataclass(frozen=True, slots=True)
class IndexedDocument:
    """A document of the base release."""

    document_id: str
    raw_hash: str
    record_hash: str
    expires_at: dt.datetime | None
    access: tuple[str, ...]


@dataclass(slots=True)
class SourcePlan:
    """What one source says now, against the base release."""

    source: Source
    new: list[Item] = field(default_factory=list)
    changed: list[Item] = field(default_factory=list)
    moved: list[tuple[str, Item]] = field(default_factory=list)
    """`(old document id, item)`: the same bytes under another key."""
    unchanged: int = 0
    held: int = 0
    expired: list[str] = field(default_factory=list)
    """Ids of documents whose time is over and that leave; those that left before are in `num_expired` alone."""
    num_expired: int = 0
    removed: list[str] = field(default_factory=list)
    """Keys of documents that the source no longer lists."""
    seen: dict[str, Seen] = field(default_factory=dict)

    @property
    def to_read(self) -> list[Item]:
        """Items to fetch and parse, in the order of their keys."""
        return sorted([*self.new, *self.changed, *(item for _, item in self.moved)], key=lambda item: item.key)


@dataclass(frozen=True, slots=True)
class RefreshPlan:
    """What a refresh would do.

    Attributes:
        unlisted: documents of sources that `params.yaml` no longer names, by source.
        num_left_out: of the held items those that are no documents: unsupported files, drafts.
    """

    sources: tuple[SourcePlan, ...]
    unlisted: Mapping[str, tuple[str, ...]]
    rates: Mapping[str, float]
    num_left_out: int = 0

    @property
    def is_empty(self) -> bool:
        """Whether the base release already holds what the sources list."""
        return not any(part.to_read or part.removed or part.expired for part in self.sources) and not self.unlisted

    @property
    def bytes_to_read(self) -> int:
        """Size of all items to fetch and parse."""
        return sum(item.size_bytes for part in self.sources for item in part.to_read)

    def counts(self) -> dict[str, int | float]:
        """Return the fields of `almanac plan --json`; `listed` is the sum of all others but the two estimates.

        A moved item counts once, as `moved`.
        """
        chunks = round(self.bytes_to_read / self.rates["bytes_per_chunk"])
        counts = {
            "new": sum(len(part.new) for part in self.sources),
            "changed": sum(len(part.changed) for part in self.sources),
            "moved": sum(len(part.moved) for part in self.sources),
            "removed": sum(len(part.removed) for part in self.sources) + sum(map(len, self.unlisted.values())),
            "expired": sum(part.num_expired for part in self.sources),
            "unchanged": sum(part.unchanged for part in self.sources),
            "held": sum(part.held for part in self.sources) - self.num_left_out,
            "left_out": self.num_left_out,
        }
        return {
            "listed": sum(counts.values()),
            **counts,
            "chunks_to_embed": chunks,
            "estimated_seconds": round(chunks / self.rates["chunks_per_second"], 1),
        }


def known_documents(state: pa.Table) -> dict[str, dict[str, IndexedDocument]]:
    """Return documents of the base release by source and key, from `tasks.corpus.snapshot.fold_state`."""
    names = ["source", "key", "document_id", "raw_hash", "record_hash", "expires_at", "access"]
    indexed: dict[str, dict[str, IndexedDocument]] = {}
    columns = (state.column(name).to_pylist() for name in names)
    for source, key, document_id, raw_hash, record_hash, expires_at, access in zip(*columns, strict=True):
        indexed.setdefault(source, {})[key] = IndexedDocument(
            document_id, raw_hash, record_hash, expires_at, tuple(access)
        )
    return indexed


def source_digest(source: Source) -> str:
    """Return changes when a setting of the source changes that a document of it may bear."""
    return digest(source.model_copy(update={"max_removed_fraction": 0.0}))


def make_plan(
    sources: Sequence[Source],
    indexed: Mapping[str, Mapping[str, IndexedDocument]],
    *,
    settings: Settings,
    held: Mapping[tuple[str, str], str],
    signatures: Mapping[str, str],
    learned_access: Mapping[str, frozenset[str]],
) -> RefreshPlan:
    """Compare every source with the base release.

    Args:
        sources: of `params.yaml`.
        indexed: documents of the base release, by source and key.
        settings: where the scans of earlier runs are kept.
        held: raw hash of the items in quarantine by (source, key): while it stays, they are not parsed again.
        signatures: by source, what beside the bytes decides its documents (parser, settings, those of the base): where
            it is not that of the last scan, every item is parsed again.
        learned_access: groups of documents whose access changed since some release: where the base differs, the item
            is parsed again.

    Raises:
        DependencyError: a source cannot be listed; nothing was written.
    """
    now = dt.datetime.now(dt.UTC)
    forgotten = load_tombstones(settings)
    parts = []
    for source in sources:
        in_source = {key: raw for (name, key), raw in held.items() if name == source.name}
        before = load_scan(settings, source.name)
        again = before.signature != signatures[source.name]
        rows = indexed.get(source.name, {})
        stale = {key for key, row in rows.items() if _access_is_stale(row, learned_access)}
        reader = open_source(source, cache=source_cache(settings, source))
        parse_again = rows.keys() if again else stale
        parts.append(_plan_source(source, reader, rows, before.seen, in_source, now, parse_again, forgotten))
    named = {source.name for source in sources}
    unlisted = {name: tuple(rows) for name, rows in indexed.items() if name not in named and rows}
    return RefreshPlan(tuple(parts), unlisted, load_rates(settings))


def _access_is_stale(row: IndexedDocument, learned_access: Mapping[str, frozenset[str]]) -> bool:
    return row.document_id in learned_access and learned_access[row.document_id] != set(row.access)


def _plan_source(
    source: Source,
    reader: SourceReader,
    indexed: Mapping[str, IndexedDocument],
    before: Mapping[str, Seen],
    held: Mapping[str, str],
    now: dt.datetime,
    again: Collection[str],
    forgotten: Tombstones,
) -> SourcePlan:
    part = SourcePlan(source)
    for item in reader.scan():
        if forgotten.holds(f"{source.name}:{item.key}"):
            continue
        seen = before.get(item.key)
        if seen is None or seen.fingerprint != item.fingerprint:
            seen = Seen(item.fingerprint, _raw_hash(reader, item) if item.key in indexed or item.key in held else "")
        part.seen[item.key] = seen
        _classify(part, item, seen, indexed.get(item.key), now, again=item.key in again, held=held.get(item.key))
    part.removed = [key for key in indexed if key not in part.seen]
    _pair_moves(part, reader, indexed)
    return part


def _classify(
    part: SourcePlan,
    item: Item,
    seen: Seen,
    document: IndexedDocument | None,
    now: dt.datetime,
    *,
    again: bool,
    held: str | None,
) -> None:
    same = bool(seen.raw_hash) and document is not None and document.raw_hash == seen.raw_hash
    if held is not None and held == seen.raw_hash:
        part.held += 1
    elif document is None and seen.raw_hash and seen.expires_at is not None and seen.expires_at <= now:
        part.num_expired += 1
    elif document is None:
        part.new.append(item)
    elif not same or again:
        part.changed.append(item)
    elif document.expires_at is not None and document.expires_at <= now:
        part.expired.append(document.document_id)
        part.num_expired += 1
        part.seen[item.key] = Seen(seen.fingerprint, seen.raw_hash, document.expires_at)
    else:
        part.unchanged += 1


def _pair_moves(part: SourcePlan, reader: SourceReader, indexed: Mapping[str, IndexedDocument]) -> None:
    """A new item with the bytes of one that left is the same document elsewhere."""
    if not part.removed or not part.new:
        return
    left = {indexed[key].raw_hash: key for key in reversed(part.removed) if indexed[key].raw_hash}
    still_new = []
    for item in part.new:
        seen = part.seen[item.key]
        raw_hash = seen.raw_hash or _raw_hash(reader, item)
        part.seen[item.key] = Seen(seen.fingerprint, raw_hash, seen.expires_at)
        old = left.pop(raw_hash, None)
        if old is None:
            still_new.append(item)
        else:
            part.moved.append((indexed[old].document_id, item))
    gone = {known_id for known_id, _ in part.moved}
    part.removed = [key for key in part.removed if indexed[key].document_id not in gone]
    part.new = still_new


def _raw_hash(reader: SourceReader, item: Item) -> str:
    """Empty for an item that can't be read: parsing it will say why."""
    try:
        return reader.raw_hash(item)
    except ParseError:
        return ""


def guard_removals(
    plan: RefreshPlan, indexed: Mapping[str, Mapping[str, IndexedDocument]], *, allowed: Iterable[str]
) -> None:
    """Refuse a refresh that would remove too much of a source: an empty mount looks like "everything was deleted".

    Raises:
        GateError: naming each source and the command that lets it through.
    """
    names = set(allowed)
    complaints = []
    for part in plan.sources:
        name, total, num_removed = part.source.name, len(indexed.get(part.source.name, {})), len(part.removed)
        if total and num_removed / total > part.source.max_removed_fraction and name not in names:
            complaints.append(
                f"source {name} may lose at most {part.source.max_removed_fraction:.0%} of its documents at once, "
                f"found {num_removed} of {total} gone; check the source, or `almanac refresh --allow-removal {name}`"
            )
    for name, keys in plan.unlisted.items():
        if name not in names:
            complaints.append(
                f"source {name} must stay in params.yaml while it has documents, found {len(keys)}; "
                f"restore it, or `almanac refresh --allow-removal {name}`"
            )
    if complaints:
        raise GateError("; ".join(complaints))


def source_cache(settings: Settings, source: Source) -> Path:
    """Return a folder of the source alone, for what makes its next scan cheap; new settings get a new one."""
    return settings.layout.scan / f"{source.name}-{digest(source)}"


@dataclass(frozen=True, slots=True)
class Scan:
    """What the last scan of a source knew, and under which signature its items were parsed."""

    seen: Mapping[str, Seen]
    signature: str


def load_scan(settings: Settings, name: str) -> Scan:
    """Return what the last scan of a source knew; empty if there was none.

    Raises:
        CorruptionError: the file is damaged; it may be deleted.
    """
    path = _scan_path(settings.layout.scan, name)
    if not path.exists():
        return Scan({}, "")
    try:
        table = pq.read_table(path)
        columns = [table.column(column).to_pylist() for column in ("fingerprint", "raw_hash", "expires_at")]
        keys = table.column("key").to_pylist()
    except (pa.ArrowException, OSError, KeyError) as error:  # a folder is a table without columns
        raise CorruptionError(
            f"the scan at {path} must be readable, found: {error}; delete it and run again"
        ) from error
    seen = dict(zip(keys, map(Seen, *columns), strict=True))
    return Scan(seen, (table.schema.metadata or {}).get(b"signature", b"").decode())


def save_scan(settings: Settings, name: str, scan: Scan) -> None:
    """Keep what a scan knew, for the next one; a cache, so it may be lost."""
    table = pa.table(
        {
            "key": list(scan.seen),
            "fingerprint": [entry.fingerprint for entry in scan.seen.values()],
            "raw_hash": [entry.raw_hash for entry in scan.seen.values()],
            "expires_at": [entry.expires_at for entry in scan.seen.values()],
        },
        schema=_SCAN_SCHEMA.with_metadata({"signature": scan.signature}),
    )
    with whole_file(_scan_path(settings.layout.scan, name)) as beside:
        pq.write_table(table, beside, compression="zstd")


def load_rates(settings: Settings) -> dict[str, float]:
    """Return bytes a chunk and chunks a second, as the last refresh on this machine measured them.

    Without them, or where their file is damaged, those of the default corpus: they are an estimate, and no run waits
    for one.
    """
    path = _rates_path(settings.layout.cache)
    try:
        rates = json.loads(path.read_text(encoding="utf-8"))
        return {name: float(rates[name]) for name in DEFAULT_RATES}
    except (OSError, ValueError, TypeError, KeyError):
        return dict(DEFAULT_RATES)


def save_rates(settings: Settings, *, bytes_per_chunk: float, chunks_per_second: float) -> None:
    """Keep measured rates for the next estimate."""
    write_json(
        _rates_path(settings.layout.cache), {"bytes_per_chunk": bytes_per_chunk, "chunks_per_second": chunks_per_second}
    )


def _scan_path(scan: Path, name: str) -> Path:
    return scan / f"{name}.parquet"


def _rates_path(cache: Path) -> Path:
    return cache / "rates.json"
