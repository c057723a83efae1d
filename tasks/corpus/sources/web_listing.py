"""Lists of a site's pages: sitemaps, their indexes, RSS and Atom feeds. Knows no network."""

import datetime as dt
import gzip
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from io import BytesIO
from typing import Any, Literal

from tasks.corpus.parsing.details import read_time
from tasks.errors import ParseError

MAX_LISTING_BYTES = 64_000_000
_GZIP = b"\x1f\x8b"
_ROOTS: dict[str, Literal["index", "sitemap", "feed"]] = {
    "sitemapindex": "index",
    "urlset": "sitemap",
    "rss": "feed",
    "feed": "feed",
    "RDF": "feed",
}


@dataclass(frozen=True, slots=True)
class Listed:
    """One address of a list, and when it says that the page changed (as written, '' where it does not)."""

    url: str
    lastmod: str = ""


@dataclass(frozen=True, slots=True)
class Listing:
    """A sitemap, an index of sitemaps, or a feed, which names the newest pages only."""

    kind: Literal["index", "sitemap", "feed"]
    entries: tuple[Listed, ...]


def read_listing(data: bytes) -> Listing | None:
    """Return the list that the bytes hold, None where they are no list (a page).

    Raises:
        ParseError: `damaged`, `too_large`: they are gzip that cannot be read, or grows beyond `MAX_LISTING_BYTES`.
    """
    from lxml import etree

    data = _unpacked(data)
    if not data.lstrip(b"\xef\xbb\xbf \r\n\t").startswith((b"<?xml", b"<urlset", b"<sitemapindex", b"<rss", b"<feed")):
        return None
    # Neither entities nor the network: a list is a stranger's file.
    parser = etree.XMLParser(resolve_entities=False, no_network=True, recover=True, load_dtd=False)
    root = etree.parse(BytesIO(data), parser).getroot()
    kind = _ROOTS.get(_name(root)) if root is not None else None
    if kind is None:
        return None
    return Listing(kind, tuple(_feed_entries(root) if kind == "feed" else _sitemap_entries(root)))


def changed_at(lastmod: str) -> tuple[dt.datetime, dt.datetime] | None:
    """Return the first and the last moment that a `lastmod` may mean; a day is all of it, in any zone."""
    try:
        moment = read_time("lastmod", lastmod)
    except ParseError:
        try:
            moment = parsedate_to_datetime(lastmod)  # RSS writes dates as mail does
        except (ValueError, TypeError):
            return None
    if moment is None:
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)
    is_day = len(lastmod.strip()) <= len("2026-11-02")
    return (moment, moment + (dt.timedelta(hours=38) if is_day else dt.timedelta(minutes=1)))


def _unpacked(data: bytes) -> bytes:
    if not data.startswith(_GZIP):
        return data
    try:
        with gzip.open(BytesIO(data)) as file:
            plain = file.read(MAX_LISTING_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise ParseError("damaged", f"the list of pages must be valid gzip, found: {error}; mend it") from error
    if len(plain) > MAX_LISTING_BYTES:
        raise ParseError("too_large", f"a list of pages must have at most {MAX_LISTING_BYTES} bytes; split it")
    return plain


def _sitemap_entries(root: Any) -> Iterator[Listed]:
    for entry in root:
        if _name(entry) in {"url", "sitemap"}:
            url = _text(entry, "loc")
            if url:
                yield Listed(url, _text(entry, "lastmod"))


def _feed_entries(root: Any) -> Iterator[Listed]:
    for entry in root.iter():
        if _name(entry) in {"item", "entry"}:
            url = _text(entry, "link") or _atom_link(entry)
            if url:
                yield Listed(url, _text(entry, "updated") or _text(entry, "pubDate") or _text(entry, "published"))


def _atom_link(entry: Any) -> str:
    links = [child for child in entry if _name(child) == "link" and child.get("href")]
    return next((str(link.get("href")) for link in links if link.get("rel", "alternate") == "alternate"), "")


def _text(entry: Any, name: str) -> str:
    return next((str(child.text or "").strip() for child in entry if _name(child) == name), "")


def _name(element: Any) -> str:
    """The name without its namespace, '' for a comment: sites mix the namespaces up."""
    return element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""
