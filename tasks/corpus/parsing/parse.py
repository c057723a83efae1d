"""Raw items to documents: format, text, cleaning, title, and what the item says of itself.

One bad item never stops the others: it becomes a reject with a reason. Mark-up and text are read in this process;
all other formats in one that can be killed (`tasks.corpus.parsing.extract`).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path, PurePosixPath

from tasks.corpus.document import Document, Item, make_document
from tasks.corpus.parsing.clean import CLEANING_RULES, clean, clean_line
from tasks.corpus.parsing.decode import decode_text
from tasks.corpus.parsing.extract import EXTRACTED, Extracted, Extractor
from tasks.corpus.parsing.front_matter import read_details, split_front_matter
from tasks.corpus.parsing.rst import rst_to_markdown
from tasks.corpus.sources import RawItem, SourceReader, open_source
from tasks.errors import ParseError
from tasks.params import FilesSource, GitSource, ParsingParams, RecordsSource, Source

_MARKDOWN = {".md", ".markdown", ".mdx"}
_PLAIN = {".txt", ".text"}
_RST = ".rst"
_HEADING = re.compile(
    r"^(?: {0,3}#{1,6}[ \t]+(?P<atx>.+?)[ \t]*#*|(?P<setext>\S.*)\n {0,3}(?:=+|-{2,})[ \t]*)$", re.MULTILINE
)
_FENCED = re.compile(r"^(```|~~~).*?(?:^\1|\Z)", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"!\[[^\]]*\]\([^)]*\)|\{#[^}]*\}|<[^>]+>|[`*]")
_LINK = re.compile(r"\[([^\]]+)\](?:\([^)]*\)|\[[^\]]*\])")
_TITLE_WITHIN = 20_000
_MAX_TITLE_CHARACTERS = 300


@dataclass(frozen=True, slots=True)
class Reject:
    """An item that became no document, and why.

    Attributes:
        access: groups that it says all the same, where it could be read so far.
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
    """Changes when the parser libraries or our rules change, so that documents are parsed anew."""
    libraries = " ".join(f"{name} {version(name)}" for name in ("kreuzberg", "pypdf", "charset-normalizer"))
    return f"{libraries} rules {CLEANING_RULES}"


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
    parsed = Parsed([], [])
    with Extractor(parsing) as extractor:
        for item in items:
            raw_hash, raw = "", None
            try:
                _check_size(item.size_bytes, parsing)
                raw = reader.fetch(item)
                raw_hash = raw.raw_hash
                parsed.documents.append(_document(source, item, raw, extractor, parsing))
            except ParseError as error:
                raw_hash = raw_hash or _raw_hash(reader, item)
                reason = clean_line(str(error))
                access = _said_access(source, raw) if raw is not None else None
                parsed.rejects.append(Reject(item.source, item.key, raw_hash, item.uri, error.code, reason, access))
    return parsed


def _document(source: Source, item: Item, raw: RawItem, extractor: Extractor, parsing: ParsingParams) -> Document:
    _check_size(len(raw.data), parsing)
    extracted = _extract(raw, extractor)
    front_matter, text = split_front_matter(extracted.text) if _has_front_matter(source, raw) else ({}, extracted.text)
    details = read_details(front_matter | {key: value for key, value in raw.overrides.items() if value is not None})
    text, num_hidden = clean(text)
    if not text:
        raise ParseError("empty", "the item must have text, found none after parsing; add text or exclude it")
    if len(text) > parsing.max_characters:
        raise ParseError(
            "too_large",
            f"the text must have at most parsing.max_characters ({parsing.max_characters}), found {len(text)}; "
            "split the item or raise the limit",
        )
    metadata = dict(details.metadata) | ({"hidden_characters": str(num_hidden)} if num_hidden else {})
    return make_document(
        item,
        title=(details.title or clean_line(extracted.title) or _first_heading(text) or _file_title(item.key))[
            :_MAX_TITLE_CHARACTERS
        ],
        text=text,
        knowledge_base=details.knowledge_base or source.knowledge_base,
        access=source.access if details.access is None else details.access,
        raw_hash=raw.raw_hash,
        uri=details.uri,
        updated_at=details.updated_at,
        expires_at=details.expires_at,
        metadata=metadata,
    )


def _said_access(source: Source, raw: RawItem) -> tuple[str, ...] | None:
    """Who may read an item whose text is of no use: a restriction must not wait for a better text."""
    try:
        front_matter = split_front_matter(decode_text(raw.data))[0] if _has_front_matter(source, raw) else {}
        said = read_details({"access": raw.overrides.get("access", front_matter.get("access"))}).access
    except ParseError:
        return None
    return source.access if said is None else said


def _extract(raw: RawItem, extractor: Extractor) -> Extracted:
    ending = PurePosixPath(raw.name.lower()).suffix
    if ending in _MARKDOWN or ending in _PLAIN:
        return Extracted(decode_text(raw.data).replace("\r\n", "\n"), "")
    if ending == _RST:
        return Extracted(rst_to_markdown(decode_text(raw.data)), "")
    if ending in EXTRACTED:
        return extractor.extract(raw.data, ending)
    raise ParseError(
        "unsupported",
        f"the file ending must be one that Almanac reads, found {ending or 'none'!r}; convert or exclude it",
    )


def _has_front_matter(source: Source, raw: RawItem) -> bool:
    """Files have it by custom; a feed must say so; a package's author does not set our access groups."""
    if isinstance(source, RecordsSource):
        return source.front_matter
    return isinstance(source, FilesSource | GitSource) and PurePosixPath(raw.name.lower()).suffix in _MARKDOWN | _PLAIN


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


def _first_heading(text: str) -> str:
    start = text[:_TITLE_WITHIN]
    match = _HEADING.search(_FENCED.sub("", start) if "```" in start or "~~~" in start else start)
    if match is None:
        return ""
    return clean_line(_LINK.sub(r"\1", _INLINE.sub("", match["atx"] or match["setext"])))


def _file_title(key: str) -> str:
    name = clean_line(PurePosixPath(key).name)
    ending = PurePosixPath(name).suffix
    known = ending.lower() in {*_MARKDOWN, *_PLAIN, _RST, *EXTRACTED}
    return (name.removesuffix(ending) if known else name) or key
