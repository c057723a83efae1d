"""One document as Almanac has it: text, original, chunks, quarantine, releases, readers, and the answers that cited it.

For the operator: what it shows is not limited to what an asker may read; `tasks.answer.inspection.reader` limits it.
"""

import threading
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from tasks.answer.inspection.citing import CitingAnswer, citing_answers
from tasks.answer.inspection.find import Name, find_document
from tasks.corpus import quarantine
from tasks.corpus.plan import source_cache
from tasks.corpus.quarantine import HeldItem
from tasks.corpus.snapshot import fold_state, read_documents
from tasks.corpus.sources import open_source
from tasks.errors import ConfigurationError, DependencyError, ParseError
from tasks.index.access import AccessMap
from tasks.index.access_tables import load_access
from tasks.index.lance_errors import rows_of
from tasks.index.live import serving
from tasks.index.release import Release, load_release, release_numbers
from tasks.index.snapshots import snapshot_files
from tasks.index.table import connect, open_at
from tasks.params import Params
from tasks.settings import Settings

_RESTORES = threading.Lock()
_CHUNK_COLUMNS = ["chunk_id", "ordinal", "start", "end", "headings", "text", "access_id"]


@dataclass(frozen=True, slots=True)
class ShownChunk:
    """A passage that search can find."""

    chunk_id: str
    start: int
    end: int
    headings: str
    text: str


@dataclass(frozen=True, slots=True)
class Event:
    """What a release did to the document: `added`, `changed` or `removed`."""

    release: int
    created_at: str
    what: str


@dataclass(frozen=True, slots=True)
class ShownDocument:
    """All that is known of a document.

    Attributes:
        state: `live`: it is searched; `quarantined`: it was set aside and no version serves; `gone`: no release that
            serves holds it.
        reason: why it, or its newest version, was set aside.
        readers: the groups that may read it now; empty: nobody.
        original: its bytes as text, where asked for and readable.
    """

    document_id: str
    title: str
    uri: str
    state: str
    knowledge_base: str
    updated_at: str | None
    expires_at: str | None
    reason: str | None
    quarantine_id: str | None
    readers: tuple[str, ...]
    text: str
    original: str | None
    chunks: tuple[ShownChunk, ...]
    history: tuple[Event, ...]
    cited_by: tuple[CitingAnswer, ...]

    def as_json(self) -> dict[str, Any]:
        """Return the fields of `almanac show --json`."""
        return asdict(self)


def show_document(wanted: str, params: Params, settings: Settings, *, with_original: bool) -> ShownDocument:
    """Gather all that is known of a document.

    Raises:
        ConfigurationError: none or several documents are meant.
    """
    release = _serving(settings)
    held = {item.document_id: item for item in quarantine.held(settings.home)}
    name = find_document(wanted, _names(release, held, settings))
    original = _original(name.document_id, params, settings) if with_original else None
    return describe(name, release, held.get(name.document_id), settings, original=original)


def describe(
    name: Name, release: Release | None, item: HeldItem | None, settings: Settings, *, original: str | None = None
) -> ShownDocument:
    """Gather what is known of one document.

    Args:
        name: which.
        release: that serves.
        item: what the quarantine holds of it.
        settings: where all of it lies.
        original: its bytes as text, where they were asked for.
    """
    row = _row(release, name.document_id, settings)
    chunks, readers = _indexed(release, name.document_id, settings)
    return ShownDocument(
        document_id=name.document_id,
        title=name.title,
        uri=name.uri,
        state="live" if row else "quarantined" if item else "gone",
        knowledge_base=str(row.get("knowledge_base", "")),
        updated_at=_text(row.get("updated_at")),
        expires_at=_text(row.get("expires_at")),
        reason=f"{item.rule}: {item.reason}" if item else None,
        quarantine_id=item.id if item else None,
        readers=readers,
        text=str(row.get("text") or (quarantine.show(settings.home, item.id).text if item else "")),
        original=original,
        chunks=chunks,
        history=tuple(_history(name.document_id, settings)),
        cited_by=citing_answers(name.document_id, settings),
    )


def corpus_files(release: Release | None, settings: Settings) -> list[Path]:
    """Return the corpus files of a release; their bytes are checked once in a process, which a server asks often."""
    if release is None:
        return []
    with _RESTORES:
        files = _checked_files(settings, release.number, release.corpus.md5)
        if not all(path.exists() for path in files):  # the work folder was cleared, or an erasure wrote them anew
            _checked_files.cache_clear()
            files = _checked_files(settings, release.number, release.corpus.md5)
    return list(files)


@lru_cache(maxsize=64)
def _checked_files(settings: Settings, number: int, md5: str) -> tuple[Path, ...]:  # noqa: ARG001 - another, anew
    return tuple(snapshot_files(settings, load_release(settings, number)))


def _serving(settings: Settings) -> Release | None:
    try:
        return serving(settings).release
    except ConfigurationError:  # nothing was released yet; the quarantine may hold the document all the same
        return None


def _names(release: Release | None, held: Mapping[str, HeldItem], settings: Settings) -> dict[str, Name]:
    names = {item.document_id: Name(item.document_id, item.title, item.uri) for item in held.values()}
    if release is not None:
        state = fold_state(corpus_files(release, settings))
        columns = (state.column(column).to_pylist() for column in ("document_id", "title", "uri"))
        names |= {entry[0]: Name(*entry) for entry in zip(*columns, strict=True)}
    return names


def _row(release: Release | None, document_id: str, settings: Settings) -> Mapping[str, Any]:
    """The document of a release, empty where it holds none of that id."""
    for batch in read_documents(corpus_files(release, settings), {document_id}):
        for row in batch.to_pylist():
            return dict(row)
    return {}


def _indexed(
    release: Release | None, document_id: str, settings: Settings
) -> tuple[tuple[ShownChunk, ...], tuple[str, ...]]:
    """The chunks that are searched, and who may read them by the row's own set and what was learned since."""
    if release is None:
        return (), ()
    from lancedb.expr import col

    db = connect(settings)
    table = open_at(db, release.lance_tag)
    wanted = col("document_id").isin([document_id])
    rows = rows_of(table.search().where(wanted).select(_CHUNK_COLUMNS).limit(release.num_chunks + 1))
    rows.sort(key=lambda row: row["ordinal"])
    chunks = (ShownChunk(row["chunk_id"], row["start"], row["end"], row["headings"], row["text"]) for row in rows)
    return tuple(chunks), _readers(load_access(db), document_id, {row["access_id"] for row in rows})


def _readers(access: AccessMap, document_id: str, identifiers: set[int]) -> tuple[str, ...]:
    groups = {group for identifier in identifiers for group in access.sets.get(identifier, ())}
    return tuple(
        sorted(group for group in groups if all(access.may_read(document_id, i, [group]) for i in identifiers))
    )


def _history(document_id: str, settings: Settings) -> Iterator[Event]:
    """What each release that is kept did to the document, oldest first."""
    before = None
    for number in release_numbers(settings):
        release = load_release(settings, number)
        now = _row(release, document_id, settings).get("record_hash")
        if now != before:
            what = "added" if before is None else "removed" if now is None else "changed"
            yield Event(number, release.created_at, what)
        before = now


def _original(document_id: str, params: Params, settings: Settings) -> str | None:
    """The item as its source has it now; None where it is not listed, cannot be read, or is no text."""
    name, _, key = document_id.partition(":")
    source = next((source for source in params.sources if source.name == name), None)
    if source is None:
        return None
    reader = open_source(source, cache=source_cache(settings, source))
    try:
        item = next((item for item in reader.scan() if item.key == key), None)
        return reader.fetch(item).data.decode() if item is not None else None
    except (DependencyError, ParseError, UnicodeDecodeError):
        return None


def _text(moment: Any) -> str | None:
    return moment.isoformat() if moment is not None else None
