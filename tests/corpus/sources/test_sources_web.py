"""Web sites against a real local server: only what changed is asked for, politely, and never in the own network.

`pytest -s -k five_hundred` prints the figures of docs/sources.md.
"""

import datetime as dt
import gzip
import hashlib
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tasks.corpus.document import Item
from tasks.corpus.parsing.parse import Parsed, parse_items
from tasks.corpus.sources import open_source
from tasks.errors import DependencyError
from tasks.params import ParsingParams
from tasks.params.sources import WebSource

PARSING = ParsingParams(timeout_seconds=30, max_memory_mb=1024, max_item_mb=1, max_characters=100_000)


class Site:
    """Pages by path, served for real; what was asked for is kept."""

    def __init__(self) -> None:
        self.pages: dict[str, tuple[str, bytes]] = {}
        self.status: dict[str, int] = {}
        self.redirects: dict[str, str] = {}
        self.has_etags = True
        self.asked: list[tuple[str, int]] = []
        site = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True  # else each answer waits 40 ms

            def do_GET(self) -> None:
                status, headers, data = site.answer(self.path, self.headers.get("If-None-Match"))
                site.asked.append((self.path, status))
                self.send_response(status)
                for name, value in (headers | {"Content-Length": str(len(data))}).items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def answer(self, path: str, etag: str | None) -> tuple[int, dict[str, str], bytes]:
        if path in self.redirects:
            return 302, {"Location": self.redirects[path]}, b""
        if path in self.status or path not in self.pages:
            return self.status.get(path, 404), {}, b""
        content_type, data = self.pages[path]
        tag = f'"{hashlib.md5(data).hexdigest()}"'
        headers = {"Content-Type": content_type} | ({"ETag": tag} if self.has_etags else {})
        return (304, headers, b"") if self.has_etags and etag == tag else (200, headers, data)

    def put(self, path: str, text: str, *, head: str = "", around: str = "") -> None:
        page = f"<html><head><title>{path}</title>{head}</head><body>{around}<main><p>{text}</p></main></body></html>"
        self.pages[path] = ("text/html; charset=utf-8", page.encode())

    def put_sitemap(self, lastmods: dict[str, str], path: str = "/sitemap.xml") -> None:
        rows = "".join(
            f"<url><loc>{self.url}{page}</loc>{f'<lastmod>{at}</lastmod>' if at else ''}</url>"
            for page, at in lastmods.items()
        )
        text = f'<?xml version="1.0"?><urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">{rows}</urlset>'
        self.pages[path] = ("application/xml", text.encode())

    def counted(self) -> dict[int, int]:
        """How many answers of each status since the last time, robots.txt aside."""
        counts: dict[int, int] = {}
        for path, status in self.asked:
            if path != "/robots.txt":
                counts[status] = counts.get(status, 0) + 1
        self.asked.clear()
        return counts


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()
    yield site
    site.server.shutdown()
    site.server.server_close()


def web_source(*urls: str, **more: object) -> WebSource:
    return WebSource.model_validate(
        {
            "kind": "web",
            "name": "site",
            "urls": urls,
            "knowledge_base": "kb",
            "access": ["everyone"],
            "max_removed_fraction": 0.2,
            "delay_seconds": 0,
            "allow_private_addresses": True,
        }
        | more
    )


def scanned(source: WebSource, tmp_path: Path) -> dict[str, Item]:
    return {item.key: item for item in open_source(source, cache=tmp_path).scan()}


def parsed(source: WebSource, tmp_path: Path) -> Parsed:
    items = list(scanned(source, tmp_path).values())
    return parse_items(source, items, parsing=PARSING, cache=tmp_path)


@pytest.mark.parametrize("with_lastmod", [True, False])
def test_second_scan_of_five_hundred_pages_fetches_only_what_changed(
    site: Site, tmp_path: Path, with_lastmod: bool
) -> None:
    paths = [f"/guide/{number}" for number in range(500)]
    for path in paths:
        site.put(path, f"Words of {path}.", around="<nav>Home Guide Contact</nav>")
    lastmods = dict.fromkeys(paths, "2026-01-05T10:00:00Z" if with_lastmod else "")
    site.put_sitemap(lastmods)
    source = web_source(f"{site.url}/sitemap.xml")
    first = scanned(source, tmp_path)
    first_counts = site.counted()
    same = scanned(source, tmp_path)
    same_counts = site.counted()
    for path in paths[:5]:
        site.put(path, "New words.")
    now = dt.datetime.now(dt.UTC).isoformat()
    site.put_sitemap(lastmods | (dict.fromkeys(paths[:5], now) if with_lastmod else {}))
    started, cpu = time.monotonic(), time.process_time()
    changed = scanned(source, tmp_path)
    seconds, cpu = time.monotonic() - started, time.process_time() - cpu
    changed_counts = site.counted()
    print(f"\nfirst {first_counts}, same {same_counts}, 1 % changed {changed_counts}: {seconds:.2f} s, {cpu:.2f} CPU s")

    assert first.keys() == {f"{site.url}{path}" for path in paths}
    assert first_counts == {200: 501}
    assert same_counts == ({200: 1} if with_lastmod else {200: 1, 304: 500})
    assert changed_counts == ({200: 6} if with_lastmod else {200: 6, 304: 495})
    assert {key: item.fingerprint for key, item in same.items()} == {
        key: item.fingerprint for key, item in first.items()
    }
    differs = {key for key in changed if changed[key].fingerprint != first[key].fingerprint}
    assert differs == {f"{site.url}{path}" for path in paths[:5]}


def test_a_page_becomes_a_document_without_what_stands_on_every_page(site: Site, tmp_path: Path) -> None:
    furniture = "<header>Brand</header><nav><a href='/x'>Menu</a></nav><script>track()</script><footer>Imprint</footer>"
    site.put("/pump", "The pump needs oil at 60 °C.", around=furniture)
    site.put_sitemap({"/pump": "2026-01-05"})

    (document,) = parsed(web_source(f"{site.url}/sitemap.xml"), tmp_path).documents

    assert (document.title, document.text) == ("/pump", "The pump needs oil at 60 °C.")
    assert document.uri == document.key == f"{site.url}/pump"
    assert document.updated_at is not None
    assert document.updated_at.date() == dt.date(2026, 1, 5)


def test_pages_are_asked_for_once_and_parsed_from_what_the_scan_read(site: Site, tmp_path: Path) -> None:
    site.put("/a", "Words.")
    site.put_sitemap({"/a": ""})

    assert len(parsed(web_source(f"{site.url}/sitemap.xml"), tmp_path).documents) == 1

    assert site.counted() == {200: 2}


def test_a_day_as_lastmod_is_not_relied_on_before_it_is_over(site: Site, tmp_path: Path) -> None:
    site.put("/a", "Morning.")
    site.put_sitemap({"/a": dt.datetime.now(dt.UTC).date().isoformat()})
    source = web_source(f"{site.url}/sitemap.xml")
    before = scanned(source, tmp_path)
    site.put("/a", "Evening.")

    assert scanned(source, tmp_path) != before


def test_indexes_and_packed_sitemaps_are_followed(site: Site, tmp_path: Path) -> None:
    site.put("/a", "Words.")
    site.put_sitemap({"/a": ""}, path="/part.xml")
    site.pages["/part.xml.gz"] = ("application/gzip", gzip.compress(site.pages.pop("/part.xml")[1]))
    index = f"<sitemapindex><sitemap><loc>{site.url}/part.xml.gz</loc></sitemap></sitemapindex>"
    site.pages["/sitemap.xml"] = ("application/xml", index.encode())
    source = web_source(f"{site.url}/sitemap.xml")

    assert scanned(source, tmp_path).keys() == {f"{site.url}/a"}
    site.pages.pop("/part.xml.gz")
    with pytest.raises(DependencyError, match="status 404"):
        scanned(source, tmp_path)


@pytest.mark.parametrize(
    "feed",
    [
        "<rss><channel><link>{url}</link><item><link>{url}/a</link>"
        "<pubDate>Mon, 05 Jan 2026 10:00:00 GMT</pubDate></item></channel></rss>",
        '<feed xmlns="http://www.w3.org/2005/Atom"><link href="{url}"/><entry><link rel="edit" href="{url}/no"/>'
        '<link href="{url}/a"/><updated>2026-01-05T10:00:00Z</updated></entry></feed>',
    ],
)
def test_what_left_a_feed_stays_until_the_site_says_that_it_is_gone(site: Site, tmp_path: Path, feed: str) -> None:
    site.put("/a", "Old news.")
    site.put("/b", "New news.")
    site.pages["/feed"] = ("application/xml", feed.format(url=site.url).encode())
    source = web_source(f"{site.url}/feed")
    (item,) = scanned(source, tmp_path).values()
    site.pages["/feed"] = ("application/xml", feed.format(url=site.url).replace("/a", "/b").encode())

    assert item.updated_at == dt.datetime(2026, 1, 5, 10, tzinfo=dt.UTC)
    assert scanned(source, tmp_path).keys() == {f"{site.url}/a", f"{site.url}/b"}
    site.pages.pop("/a")
    assert scanned(web_source(f"{site.url}/feed", recheck_days=0), tmp_path).keys() == {f"{site.url}/b"}


def test_links_are_followed_within_the_host_to_a_depth_and_as_robots_allow(site: Site, tmp_path: Path) -> None:
    links = "<a href='a#top'>A</a> <a href='/private/x'>P</a> <a href='https://elsewhere.example/'>E</a>"
    site.put("/", links + " <a href='/skip' rel='nofollow'>S</a> <a href='mailto:x@y'>M</a> <a href='http://['>B</a>")
    site.put("/a", "<a href='/b'>B</a>")
    site.put("/b", "<a href='/c'>C</a> <a href='/a'>A</a>")
    for path in ("/c", "/skip", "/private/x"):
        site.put(path, "Words.")
    site.pages["/robots.txt"] = ("text/plain", b"User-agent: *\nDisallow: /private/\n")

    assert scanned(web_source(site.url, max_depth=2), tmp_path).keys() == {
        f"{site.url}{path}" for path in ("/", "/a", "/b")
    }
    assert "/private/x" not in [path for path, _ in site.asked]
    again = scanned(web_source(site.url, max_depth=2), tmp_path)
    assert len(again) == 3, "the links of a page that did not change are still known"
    assert len(scanned(web_source(site.url, max_pages=1), tmp_path / "x")) == 1
    assert len(scanned(web_source(site.url, exclude=["a"]), tmp_path / "y")) == 1


def test_pages_of_one_canonical_address_are_one(site: Site, tmp_path: Path) -> None:
    for path in ("/a", "/a?from=mail"):
        site.put(path, "Words.", head="<link rel='canonical' href='/a'>")
    site.put("/b", "Words too.", head="<link rel='canonical' href='https://elsewhere.example/b'>")
    site.put("/c", "No words.", head="<meta name='robots' content='noindex'>")
    site.put_sitemap(dict.fromkeys(["/a?from=mail", "/a", "/b", "/c"], ""))

    assert scanned(web_source(f"{site.url}/sitemap.xml"), tmp_path).keys() == {f"{site.url}/a", f"{site.url}/b"}


@pytest.mark.parametrize("status", [404, 410, 401, 403])
def test_a_page_that_strangers_may_not_read_leaves(site: Site, tmp_path: Path, status: int) -> None:
    site.put("/a", "Words.")
    site.put("/b", "Words.")
    site.put_sitemap({"/a": "", "/b": ""})
    source = web_source(f"{site.url}/sitemap.xml")
    scanned(source, tmp_path)
    site.status["/b"] = status

    assert scanned(source, tmp_path).keys() == {f"{site.url}/a"}


@pytest.mark.parametrize("status", [500, 503, 429])
def test_a_page_in_trouble_stays_as_it_was_and_a_new_one_is_named(site: Site, tmp_path: Path, status: int) -> None:
    site.put("/a", "Words.")
    site.put_sitemap({"/a": ""})
    source = web_source(f"{site.url}/sitemap.xml")
    before = scanned(source, tmp_path)
    site.status |= {"/a": status, "/new": status}
    site.put_sitemap({"/a": "", "/new": ""})

    items = scanned(source, tmp_path)
    result = parse_items(source, [items[f"{site.url}/new"]], parsing=PARSING, cache=tmp_path)

    assert items[f"{site.url}/a"] == before[f"{site.url}/a"]
    assert [(reject.key, reject.code) for reject in result.rejects] == [(f"{site.url}/new", "damaged")]


def test_a_site_that_is_down_is_no_empty_one(site: Site, tmp_path: Path) -> None:
    site.put("/a", "Words.")
    site.put_sitemap({"/a": ""})
    source = web_source(f"{site.url}/sitemap.xml")
    scanned(source, tmp_path)
    for trouble in ({"/sitemap.xml": 503}, {"/robots.txt": 500}):
        site.status = dict(trouble)
        with pytest.raises(DependencyError, match="must answer at"):
            scanned(source, tmp_path)


def test_the_own_network_is_refused_unless_the_source_is_let_in(site: Site, tmp_path: Path) -> None:
    site.put("/", "Secrets.")

    for url in (site.url, site.url.replace("127.0.0.1", "localhost")):
        with pytest.raises(DependencyError, match="must stand in the public internet"):
            scanned(web_source(url, allow_private_addresses=False), tmp_path)

    assert site.asked == []


def test_redirects_lead_nowhere_but_within_the_site(site: Site, tmp_path: Path) -> None:
    other = Site()
    other.put("/b", "Another site.")
    site.put("/new", "Words.")
    site.redirects = {"/old": "/new", "/away": f"{other.url}/b", "/loop": "/loop", "/file": "file:///etc/passwd"}
    site.put_sitemap(dict.fromkeys(["/old", "/away", "/file"], ""))

    assert scanned(web_source(f"{site.url}/sitemap.xml"), tmp_path).keys() == {f"{site.url}/new"}
    assert other.asked == []
    with pytest.raises(DependencyError, match="redirects"):
        scanned(web_source(f"{site.url}/loop"), tmp_path)
    other.server.shutdown()
    other.server.server_close()


def test_robots_may_ask_for_more_time(site: Site, tmp_path: Path) -> None:
    site.pages["/robots.txt"] = ("text/plain", b"User-agent: *\nCrawl-delay: 0.2\n")
    site.put("/a", "Words.")
    site.put_sitemap({"/a": ""})
    started = time.monotonic()

    scanned(web_source(f"{site.url}/sitemap.xml"), tmp_path)

    assert time.monotonic() - started >= 0.2
