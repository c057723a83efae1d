"""Folders of a web server: listings of several servers, and a second run that fetches only what changed."""

import hashlib
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tasks.corpus.plan import IndexedDocument, Scan, SourcePlan, make_plan, save_scan
from tasks.corpus.sources import open_source
from tasks.params.sources import FilesSource
from tasks.settings import Settings


class Site:
    """A real server of pages in memory, which counts what it is asked for.

    Attributes:
        signs: which of `ETag` and `Last-Modified` it sends.
    """

    def __init__(self) -> None:
        self.pages: dict[str, bytes] = {}
        self.listing = ""
        self.times: dict[str, float] = {}
        self.signs: tuple[str, ...] = ()
        self.knows_head = True
        self.asked: Counter[str] = Counter()

    def put(self, name: str, text: str, time: float = 1e9) -> None:
        self.pages[name], self.times[name] = text.encode(), time

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        name = handler.path.partition("?")[0].removeprefix("/docs/")
        body = self.listing.encode() if not name else self.pages.get(name)
        is_head = handler.command == "HEAD"
        status = 404 if body is None else 405 if is_head and not self.knows_head else 200
        self.asked[f"{handler.command} {name or 'listing'}"] += 1
        handler.send_response(status)
        handler.send_header("Content-Type", "text/markdown" if name else "text/html")
        handler.send_header("Content-Length", str(len(body or b"")))
        if name in self.pages:
            if "ETag" in self.signs:
                handler.send_header("ETag", f'W/"{hashlib.md5(self.pages[name]).hexdigest()}"')
            if "Last-Modified" in self.signs:
                handler.send_header("Last-Modified", formatdate(self.times[name], usegmt=True))
        handler.end_headers()
        if body and not is_head:
            handler.wfile.write(body)

    def num_pages_sent(self) -> int:
        return sum(number for name, number in self.asked.items() if name.startswith("GET") and "listing" not in name)


@pytest.fixture
def site() -> Iterator[tuple[Site, str]]:
    site = Site()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            site.answer(self)

        do_HEAD = do_GET  # noqa: N815 (the interface)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield site, f"http://127.0.0.1:{server.server_port}/docs/"
    server.shutdown()
    server.server_close()


def source(url: str) -> FilesSource:
    base = {"name": "web", "kind": "files", "url": url, "knowledge_base": "kb", "access": ["everyone"]}
    return FilesSource.model_validate(base | {"max_removed_fraction": 1.0})


def links(*hrefs: str) -> str:
    return "<html><body>" + "\n".join(f'<a href="{href}">{href}</a>' for href in hrefs) + "</body></html>"


@pytest.mark.parametrize(
    "listing",
    [
        links("?C=N;O=D", "?C=M;O=A", "?C=S;O=A", "?C=D;O=A", "/", "a.md", "b.md"),
        links("?C=N&amp;O=D", "?C=M&amp;O=A", "../", "a.md", "b.md"),
        links("/docs/?sort=name&order=desc", "/docs/a.md", "/docs/b.md"),
        links("./?O=D", "../", "#top", "mailto:a@b.c", "javascript:void(0)", "./a.md", "a.md", "b.md", "b.md#part"),
        links("https://elsewhere.example/x.md", "a.md", "b.md?raw=1", "b.md"),
    ],
)
def test_only_the_files_of_a_listing_are_items(site: tuple[Site, str], tmp_path: Path, listing: str) -> None:
    pages, url = site
    pages.listing = listing
    for name in ("a.md", "b.md"):
        pages.put(name, f"# {name}\n\nText.")

    assert [item.key for item in open_source(source(url), cache=tmp_path).scan()] == ["a.md", "b.md"]


def refreshed(url: str, settings: Settings, tmp_path: Path, before: dict[str, IndexedDocument]) -> SourcePlan:
    """Plan, then read what the plan names, as a refresh does."""
    plan = make_plan(
        [source(url)], {"web": before}, settings=settings, held={}, signatures={"web": "s"}, learned_access={}
    )
    (part,) = plan.sources
    reader = open_source(source(url), cache=tmp_path)
    for item in part.to_read:
        raw = reader.fetch(item)
        before[item.key] = IndexedDocument(f"web:{item.key}", raw.raw_hash, raw.raw_hash, None, ("everyone",))
        part.seen[item.key] = type(part.seen[item.key])(item.fingerprint, raw.raw_hash)
    save_scan(settings, "web", Scan(part.seen, "s"))
    return part


@pytest.mark.parametrize("signs", [("ETag",), ("Last-Modified",), ("ETag", "Last-Modified")])
@pytest.mark.parametrize("knows_head", [True, False])
def test_the_second_run_fetches_only_what_changed(
    site: tuple[Site, str], tmp_path: Path, signs: tuple[str, ...], knows_head: bool
) -> None:
    pages, url = site
    pages.signs, pages.knows_head = signs, knows_head
    names = [f"p{number}.md" for number in range(60)]
    pages.listing = links(*names)
    for name in names:
        pages.put(name, f"# {name}\n\nText of {name}.")
    settings, known = Settings(home=tmp_path / "home"), dict[str, IndexedDocument]()
    refreshed(url, settings, tmp_path, known)

    pages.put("p7.md", "# p7\n\nAnother text.", time=2e9)
    pages.asked.clear()
    part = refreshed(url, settings, tmp_path, known)

    assert ([item.key for item in part.changed], part.unchanged) == (["p7.md"], 59)
    if knows_head:
        assert {name for name in pages.asked if name.startswith("GET")} == {"GET listing", "GET p7.md"}


def test_pages_without_a_sign_of_change_are_read_and_compared(site: tuple[Site, str], tmp_path: Path) -> None:
    pages, url = site
    pages.listing = links("a.md", "b.md")
    pages.put("a.md", "A")
    pages.put("b.md", "B")
    settings, known = Settings(home=tmp_path / "home"), dict[str, IndexedDocument]()
    refreshed(url, settings, tmp_path, known)
    pages.put("b.md", "C")

    part = refreshed(url, settings, tmp_path, known)

    assert ([item.key for item in part.changed], part.unchanged) == (["b.md"], 1)


def test_a_link_to_a_page_that_is_gone_harms_no_other(site: tuple[Site, str], tmp_path: Path) -> None:
    pages, url = site
    pages.signs = ("ETag",)
    pages.listing = links("a.md", "gone.md")
    pages.put("a.md", "A")
    read: Callable[..., list[str]] = lambda: [  # noqa: E731
        item.key for item in open_source(source(url), cache=tmp_path).scan()
    ]

    assert read() == ["a.md", "gone.md"]
