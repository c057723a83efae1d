"""Raw items to documents: text, cleaning, title, and what the item says of itself.

One bad item never stops the others: it becomes a reject with a reason.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path, PurePosixPath
from typing import Any

from tasks.corpus.document import Document, Item, make_document
from tasks.corpus.parsing.clean import CLEANING_RULES, clean, clean_line
from tasks.corpus.parsing.details import Details, read_access, read_details, read_use
from tasks.corpus.parsing.extract import Extractor
from tasks.corpus.parsing.formats import READERS_VERSION
from tasks.corpus.parsing.payloads import without_payloads
from tasks.corpus.parsing.read_text import READABLE, ending_of, read_text, said_of
from tasks.corpus.parsing.title import first_heading
from tasks.corpus.sources import BatchReader, RawItem, SourceReader, open_source
from tasks.errors import AlmanacError, ParseError
from tasks.params import ParsingParams
from tasks.params.sources import Source
from tasks.use import marked, narrower

logger = logging.getLogger(__name__)

_MAX_TITLE_CHARACTERS = 300
_DRAFT_MARKS = {
    **dict.fromkeys(("draft", "unlisted", "private"), ("true", "yes", "on")),
    **dict.fromkeys(("published", "publish"), ("false", "no", "off")),
    "status": ("draft", "hidden", "private"),
}
"""What site generators leave out: Hugo, Jekyll, Docusaurus, Obsidian, Pelican."""
LEFT_OUT = frozenset({"unsupported", "draft"})
"""Codes of items that are no documents: named, and not counted among those that went wrong."""


@dataclass(frozen=True, slots=True)
class Reject:
    """An item that became no document, and why.

    Attributes:
        access: groups that may read an older version of it all the same; empty: nobody, since what it says of them is
            in doubt; None: it could not be read so far.
    """

    source: str
    key: str
    raw_hash: str
    uri: str
    code: str
    reason: str
    access: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Parsed:
    """What items became; `len(documents) + len(rejects)` is the number of items."""

    documents: list[Document]
    rejects: list[Reject]


def parser_identity() -> str:
    """Return what changes when the parser libraries or our rules change, so that documents are parsed anew."""
    libraries = " ".join(f"{name} {version(name)}" for name in ("kreuzberg", "lxml", "pypdfium2", "pypdf", "chardet"))
    return f"{libraries} rules {CLEANING_RULES} readers {READERS_VERSION}"


def parse_items(source: Source, items: Sequence[Item], *, parsing: ParsingParams, cache: Path) -> Parsed:
    """Fetch and parse items of one source, in their order.

    Args:
        source: where they come from; its knowledge base and access hold for items that say nothing else.
        items: as the source listed them.
        parsing: limits of one item.
        cache: the source's cache folder.

    Raises:
        DependencyError: the source does not answer.
    """
    reader = open_source(source, cache=cache)
    if isinstance(reader, BatchReader):
        reader.prepare([item for item in items if item.size_bytes <= parsing.max_item_mb * 1e6])
    parsed = Parsed([], [])
    with Extractor(parsing) as extractor:
        for item in items:
            raw = None
            try:
                _check_size(item.size_bytes, parsing)
                raw = reader.fetch(item)
                parsed.documents.append(_document(source, item, raw, extractor, parsing))
            except ParseError as error:
                parsed.rejects.append(_reject(source, item, reader, raw, error))
            except AlmanacError:
                raise
            except Exception as error:  # whatever one item does to a parser, the others go on
                logger.warning("the item %s of the source %s: its parser failed", item.key, source.name, exc_info=True)
                reason = f"the item must be readable, but its parser failed with {type(error).__name__}; simplify it"
                parsed.rejects.append(_reject(source, item, reader, raw, ParseError("damaged", reason)))
    return parsed


def _document(source: Source, item: Item, raw: RawItem, extractor: Extractor, parsing: ParsingParams) -> Document:
    _check_size(len(raw.data), parsing)
    said, extracted = read_text(source, raw, extractor)
    details = read_details(_merged(said, raw.overrides))
    _refuse_draft(source, details)
    text, num_hidden = clean(without_payloads(extracted.text))
    if not text:
        raise ParseError("empty", "the item must have text, found none after parsing; add text or exclude it")
    if len(text) > parsing.max_characters:
        raise ParseError(
            "too_large",
            f"the text must have at most parsing.max_characters ({parsing.max_characters}), found {len(text)}; "
            "split the item or raise the limit",
        )
    title = details.title or clean_line(extracted.title) or first_heading(text) or _file_title(item.key)
    return make_document(
        item,
        title=title[:_MAX_TITLE_CHARACTERS],
        text=text,
        knowledge_base=details.knowledge_base or source.knowledge_base,
        access=_readers(source, details),
        raw_hash=raw.raw_hash,
        uri=details.uri,
        updated_at=details.updated_at,
        expires_at=details.expires_at,
        metadata={
            **details.metadata,
            **extracted.metadata,
            **({"hidden_characters": str(num_hidden)} if num_hidden else {}),
        },
    )


def _readers(source: Source, details: Details) -> tuple[str, ...]:
    """Return who may read a document, and what for: of source and document the narrower holds."""
    access = source.access if details.access is None else details.access
    return marked(access, narrower(source.use, details.use))


def _refuse_draft(source: Source, details: Details) -> None:
    """A page that its site does not show is no knowledge yet; what it replaces is no longer to be read."""
    if getattr(source, "include_drafts", True):
        return
    marks = {name.casefold(): value.casefold() for name, value in details.metadata.items()}
    for name, values in _DRAFT_MARKS.items():
        if marks.get(name) in values:
            raise ParseError(
                "draft",
                f"the page must be published, found `{name}: {marks[name]}`; publish it, or set `include_drafts`",
                access=(),
            )


def _merged(said: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """What the source says beside the bytes counts above what the text says of itself; on access they must agree."""
    beside = {key: value for key, value in overrides.items() if value is not None}
    if "access" in said and "access" in beside and read_access(said["access"]) != read_access(beside["access"]):
        raise ParseError(
            "invalid_metadata",
            "the record and its front matter must name the same groups, found two lists; correct one of them",
            access=(),
        )
    return {**said, **beside}


def _reject(source: Source, item: Item, reader: SourceReader, raw: RawItem | None, error: ParseError) -> Reject:
    """The item with its reason, and who may read it all the same: a restriction must not wait for a better text."""
    access = error.access if error.access is not None or raw is None else _said_access(source, raw)
    raw_hash = raw.raw_hash if raw is not None else _raw_hash(reader, item)
    return Reject(item.source, item.key, raw_hash, item.uri, error.code, clean_line(str(error)), access)


def _said_access(source: Source, raw: RawItem) -> tuple[str, ...] | None:
    """The groups that hold for an item that can't be used; None where it can't be read so far."""
    try:
        said = _merged(said_of(source, raw), raw.overrides)
        return _readers(source, Details(access=read_access(said.get("access")), use=read_use(said.get("use"))))
    except ParseError as error:
        return error.access
    except Exception:  # what a parser failed on fails here again: who may read it is in doubt, and the others go on
        logger.warning("nobody can tell who may read the item of the source %s", source.name, exc_info=True)
        return ()


def _check_size(size_bytes: int, parsing: ParsingParams) -> None:
    if size_bytes > parsing.max_item_mb * 1e6:
        raise ParseError(
            "too_large",
            f"the item must be at most parsing.max_item_mb ({parsing.max_item_mb:g} MB), found "
            f"{size_bytes / 1e6:.1f} MB; split it or raise the limit",
        )


def _raw_hash(reader: SourceReader, item: Item) -> str:
    try:
        return reader.raw_hash(item)
    except ParseError:
        return ""


def _file_title(key: str) -> str:
    name = clean_line(PurePosixPath(key).name)
    ending = PurePosixPath(name).suffix
    return (name.removesuffix(ending) if ending_of(name) in READABLE else name) or key
