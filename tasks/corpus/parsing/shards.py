"""Parsing in shards: a file of items in, a file of documents and a file of rejects out, named by their inputs.

A shard runs in a thread, a process or a Dask worker; done once, it is not done again. Knows nothing of Prefect.
"""

import datetime as dt
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow.parquet as pq

from tasks.corpus.document import Item, sha256, to_table
from tasks.corpus.parsing.parse import Reject, parse_items, parser_identity
from tasks.corpus.plan import source_cache
from tasks.files import whole_file, write_json
from tasks.params import ParsingParams, digest
from tasks.params.sources import Source
from tasks.settings import Settings


@dataclass(frozen=True, slots=True)
class ParseShard:
    """Paths of one shard, and what its worker needs to know."""

    source: Source
    items: Path
    documents: Path
    rejects: Path


def write_shards(
    source: Source, items: Sequence[Item], *, parsing: ParsingParams, settings: Settings, items_per_shard: int
) -> Iterator[ParseShard]:
    """Cut items into shards and write their lists."""
    for begin in range(0, len(items), items_per_shard):
        batch = items[begin : begin + items_per_shard]
        keys = (f"{item.key}\n{item.fingerprint}\n{item.locator}" for item in batch)
        name = sha256(digest(source), digest(parsing), parser_identity(), *keys)[:32]
        folder = settings.work / "parse"
        shard = ParseShard(
            source, folder / f"{name}.items.json", folder / f"{name}.parquet", folder / f"{name}.rejects.json"
        )
        if not shard.items.exists():
            write_json(shard.items, [asdict(item) | {"updated_at": _text(item.updated_at)} for item in batch])
        yield shard


def parse_shard(shard: ParseShard, parsing: ParsingParams, settings: Settings) -> ParseShard:
    """Parse the items of a shard; the rejects are written last and say that it is done."""
    if shard.rejects.exists():
        return shard
    raw = json.loads(shard.items.read_text(encoding="utf-8"))
    items = [Item(**entry | {"updated_at": _moment(entry["updated_at"])}) for entry in raw]
    parsed = parse_items(shard.source, items, parsing=parsing, cache=source_cache(settings, shard.source))
    with whole_file(shard.documents) as beside:
        pq.write_table(to_table(parsed.documents), beside, compression="zstd")
    write_json(shard.rejects, [asdict(reject) for reject in parsed.rejects])
    return shard


def rejects_of(shards: Sequence[ParseShard]) -> list[Reject]:
    """Return all rejects of finished shards."""
    entries = (entry for shard in shards for entry in json.loads(shard.rejects.read_text(encoding="utf-8")))
    return [Reject(**entry | {"access": _groups(entry["access"])}) for entry in entries]


def _groups(names: list[str] | None) -> tuple[str, ...] | None:
    return None if names is None else tuple(names)


def _text(moment: dt.datetime | None) -> str | None:
    return moment.isoformat() if moment else None


def _moment(text: str | None) -> dt.datetime | None:
    return dt.datetime.fromisoformat(text) if text else None
