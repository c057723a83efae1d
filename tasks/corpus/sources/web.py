"""Web sites: the pages of sitemaps, feeds and links, asked for politely, and only where they may have changed.

A page whose `lastmod` in the sitemap stands as it was when it was read is not asked for; any other by its ETag and
Last-Modified. What the last scan read is kept until the next, for the parser; of the rest only hashes.
"""

import datetime as dt
import hashlib
import json
import logging
import shutil
from collections import deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from http import HTTPStatus
from pathlib import Path
from urllib.parse import urlsplit

from tasks.corpus.document import Item
from tasks.corpus.sources.globs import path_filter
from tasks.corpus.sources.reader import RawItem
from tasks.corpus.sources.web_client import Answer, WebClient
from tasks.corpus.sources.web_listing import Listed, Listing, changed_at, read_listing
from tasks.corpus.sources.web_page import Page, normal_url, read_page
from tasks.errors import DependencyError, ParseError
from tasks.files import write_json
from tasks.params.sources import WebSource

logger = logging.getLogger(__name__)

_RULES = 1
_MAX_LISTINGS = 1000
_ENDINGS = {
    "text/html": "html",
    "application/xhtml+xml": "html",
    "text/plain": "txt",
    "text/markdown": "md",
    "application/pdf": "pdf",
    "application/epub+zip": "epub",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
    "application/vnd.openxmlformats-officedocument.presentationml.presentation": "pptx",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
}
_GONE = {HTTPStatus.NOT_FOUND, HTTPStatus.GONE, HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}
"""A page that strangers may no longer read leaves, as one that is no more."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A page to look at: where it is named, how many links lead to it, and what it answered where it was asked."""

    url: str
    lastmod: str = ""
    via: str = "link"
    depth: int = 0
    answer: Answer | None = None


@dataclass(frozen=True, slots=True)
class PageState:
    """What is kept of a page between two scans.

    Attributes:
        key: its canonical address.
        ending: of its format; '' for a page that is no document (a picture, `noindex`).
        via: `sitemap`, `feed` or `link`.
    """

    url: str
    key: str
    ending: str
    content: str
    size_bytes: int
    etag: str
    last_modified: str
    lastmod: str
    read_at: str
    via: str
    links: tuple[str, ...] = ()


class WebReader:
    """Lists and fetches the pages of a site."""

    def __init__(self, source: WebSource, *, cache: Path) -> None:
        self._source = source
        self._state_path = cache / "pages.json"
        self._bodies = cache / "bodies"
        self._path_takes = path_filter(source.include, source.exclude)
        self._client: WebClient | None = None

    def scan(self) -> Iterator[Item]:
        """List the pages.

        Raises:
            DependencyError: an address of the parameters does not answer, or one page after another does not.
        """
        before = self._load()
        pages: dict[str, PageState] = {}
        shutil.rmtree(self._bodies, ignore_errors=True)
        try:
            with WebClient(self._source) as client:
                for page in self._visited(client, before):
                    pages[page.url] = page
        except DependencyError:
            self._save(before | pages)
            raise
        self._save(pages)
        listed: dict[str, PageState] = {}
        for page in pages.values():
            if page.ending:
                listed.setdefault(page.key, page)
        for key, page in listed.items():
            moment = changed_at(page.lastmod or page.last_modified)
            yield Item(
                self._source.name,
                key,
                page.content,
                page.size_bytes,
                uri=key,
                updated_at=moment[0] if moment else None,
                locator=f"{page.ending} {page.url}",
            )

    def raw_hash(self, item: Item) -> str:
        """Hash of the page's main part, known from the listing."""
        return item.fingerprint

    def fetch(self, item: Item) -> RawItem:
        """Return the main part of a page: as the scan read it, or asked for again.

        Raises:
            ParseError: the page does not answer.
            DependencyError: one page after another does not answer.
        """
        ending, _, url = item.locator.partition(" ")
        kept = self._bodies / item.fingerprint
        if kept.exists():
            return RawItem(kept.read_bytes(), f"page.{ending}", raw_hash=item.fingerprint)
        self._client = self._client or WebClient(self._source)
        self._client.admit(url)
        answer = self._client.get(url, {})
        if answer is None or answer.status != HTTPStatus.OK:
            raise ParseError("damaged", f"the page must answer, found status {answer.status if answer else 'refused'}")
        data = self._page(answer).main
        return RawItem(data, f"page.{_ending(answer) or 'html'}", raw_hash=hashlib.sha256(data).hexdigest())

    def _visited(self, client: WebClient, before: dict[str, PageState]) -> Iterator[PageState]:
        """The pages that are there, in the order of lists and links."""
        pending = deque(self._entries(client))
        named = {candidate.url for candidate in pending}
        # A feed names the newest pages alone: what has left it is still there until the site says otherwise.
        pending.extend(
            Candidate(page.url, page.lastmod, "feed", self._source.max_depth)
            for page in before.values()
            if page.via == "feed" and page.url not in named
        )
        seen = {candidate.url for candidate in pending}
        num_pages = 0
        while pending:
            if num_pages == self._source.max_pages:
                logger.warning("source %s: only the first %d pages are read (max_pages)", self._source.name, num_pages)
                return
            candidate = pending.popleft()
            page = self._visit(client, candidate, before.get(candidate.url))
            if page is None:
                continue
            num_pages += 1
            yield page
            if candidate.depth < self._source.max_depth:
                new = [url for url in page.links if url not in seen and client.is_ours(url) and self._takes(url)]
                seen.update(new)
                pending.extend(Candidate(url, depth=candidate.depth + 1) for url in new)

    def _entries(self, client: WebClient) -> Iterator[Candidate]:
        named: set[str] = set()
        for url in self._source.urls:
            answer = client.enter(normal_url(url))
            listing = self._listing(answer)
            pages = self._listed(client, listing) if listing else [Candidate(answer.url, answer=answer)]
            for candidate in pages:
                if candidate.url not in named and client.is_ours(candidate.url) and self._takes(candidate.url):
                    named.add(candidate.url)
                    yield candidate

    def _listed(self, client: WebClient, listing: Listing) -> Iterator[Candidate]:
        """The pages of a list, and of the lists that it names; a list that does not answer ends the scan."""
        pending, num_listings = deque([listing]), 1
        while pending:
            listing = pending.popleft()
            if listing.kind != "index":
                for entry in listing.entries:
                    yield from self._candidate(entry, listing.kind)
                continue
            for entry in listing.entries:
                num_listings += 1
                inner = self._listing(client.enter(normal_url(entry.url))) if client.is_ours(entry.url) else None
                if inner is None or num_listings > _MAX_LISTINGS:
                    raise DependencyError(
                        f"the source {self._source.name} must find a sitemap of its own host at {entry.url}, found "
                        "none; correct the site or `urls`"
                    )
                pending.append(inner)

    def _candidate(self, entry: Listed, via: str) -> Iterator[Candidate]:
        try:
            yield Candidate(normal_url(entry.url), entry.lastmod, via, self._source.max_depth)
        except ValueError:
            logger.warning("source %s: %r is no address and is left out", self._source.name, entry.url)

    def _listing(self, answer: Answer) -> Listing | None:
        try:
            return read_listing(answer.data)
        except ParseError as error:
            raise DependencyError(f"the source {self._source.name} must be readable: {answer.url}: {error}") from error

    def _visit(self, client: WebClient, candidate: Candidate, before: PageState | None) -> PageState | None:
        """What a page is now; None where it is gone."""
        if before is not None and self._is_settled(before, candidate.lastmod):
            return replace(before, via=candidate.via)
        now = dt.datetime.now(dt.UTC).isoformat()
        try:
            answer = candidate.answer or client.get(candidate.url, _conditions(before))
            if answer is None or answer.status in _GONE:
                return None
            if answer.status == HTTPStatus.NOT_MODIFIED and before is not None:
                return replace(before, lastmod=candidate.lastmod, via=candidate.via, read_at=now)
            if answer.status != HTTPStatus.OK:
                raise ParseError("damaged", f"the page must answer, found status {answer.status}")
            return self._read(answer, candidate, before, now)
        except ParseError as error:
            logger.warning("source %s: %s: %s", self._source.name, candidate.url, error)
            if before is not None:
                return before
            unread = hashlib.sha256(candidate.url.encode()).hexdigest()
            return PageState(candidate.url, candidate.url, "html", unread, 0, "", "", "", now, candidate.via)

    def _read(self, answer: Answer, candidate: Candidate, before: PageState | None, now: str) -> PageState | None:
        ending = _ending(answer)
        page = self._page(answer)
        content = hashlib.sha256(page.main).hexdigest()
        is_document = bool(ending) and page.is_indexed and "noindex" not in answer.headers.get("x-robots-tag", "")
        if is_document and (before is None or before.content != content):
            # Not flushed, page by page: after a crash the next scan makes the folder anew.
            self._bodies.mkdir(parents=True, exist_ok=True)
            (self._bodies / content).write_bytes(page.main)
        return PageState(
            url=candidate.url,
            key=page.canonical,
            ending=ending if is_document else "",
            content=content,
            size_bytes=len(page.main),
            etag=answer.headers.get("etag", ""),
            last_modified=answer.headers.get("last-modified", ""),
            lastmod=candidate.lastmod,
            read_at=now,
            via=candidate.via,
            links=page.links if candidate.depth < self._source.max_depth else (),
        )

    def _page(self, answer: Answer) -> Page:
        if _ending(answer) != "html":
            return Page(answer.url, (), True, answer.data)
        return read_page(answer.data, answer.url, main_part=self._source.main_part)

    def _takes(self, url: str) -> bool:
        return self._path_takes(urlsplit(url).path.lstrip("/"))

    def _is_settled(self, before: PageState, lastmod: str) -> bool:
        """Whether a page that bears the time of its list is as it was: read after that time was over, and lately."""
        span = changed_at(lastmod)
        if span is None or before.lastmod != lastmod:
            return False
        read_at = dt.datetime.fromisoformat(before.read_at)
        recheck = dt.timedelta(days=self._source.recheck_days)
        return read_at > span[1] and dt.datetime.now(dt.UTC) - read_at < recheck

    def _load(self) -> dict[str, PageState]:
        try:
            kept = json.loads(self._state_path.read_text(encoding="utf-8"))
            if kept["rules"] != _RULES:
                return {}
            pages = [PageState(**page | {"links": tuple(page["links"])}) for page in kept["pages"]]
        except FileNotFoundError:
            return {}
        except (ValueError, KeyError, TypeError):
            logger.warning("the pages kept in %s are damaged and are asked for anew", self._state_path)
            return {}
        return {page.url: page for page in pages}

    def _save(self, pages: dict[str, PageState]) -> None:
        write_json(self._state_path, {"rules": _RULES, "pages": [asdict(page) for page in pages.values()]})


def _conditions(before: PageState | None) -> dict[str, str]:
    if before is None:
        return {}
    conditions = {"If-None-Match": before.etag, "If-Modified-Since": before.last_modified}
    return {name: value for name, value in conditions.items() if value}


def _ending(answer: Answer) -> str:
    content_type = answer.headers.get("content-type", "text/html").partition(";")[0].strip().lower()
    return _ENDINGS.get(content_type, "")
