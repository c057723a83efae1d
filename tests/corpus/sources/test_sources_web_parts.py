"""The parts of the web reader without a server: addresses that are refused, hostile lists, pages, parameters."""

import datetime as dt
import gzip
from pathlib import Path

import httpx
import pytest
from pydantic import ValidationError

from tasks.corpus.sources.web_client import GuardedTransport
from tasks.corpus.sources.web_listing import changed_at, read_listing
from tasks.corpus.sources.web_page import normal_url, read_page
from tasks.errors import ParseError
from tests.corpus.sources.test_sources_web import web_source


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.0.0.8",
        "169.254.169.254",
        "192.168.1.1",
        "100.64.0.1",
        "0.0.0.0",
        "::1",
        "fe80::1%eth0",
        "fd00::1",
        "::ffff:127.0.0.1",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
        "224.0.0.1",
    ],
)
def test_a_name_that_leads_into_the_own_network_is_refused(address: str) -> None:
    def resolve(*_: object, **__: object) -> list[object]:
        return [(0, 0, 0, "", ("93.184.216.34", 443)), (0, 0, 0, "", (address, 443))]

    client = httpx.Client(transport=GuardedTransport(allow_private=False, resolve=resolve))

    with pytest.raises(httpx.TransportError, match="must stand in the public internet"):
        client.get("https://innocent.example/")


def test_hostile_lists_are_no_way_in(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("hunter2")
    entity = f'<!DOCTYPE u [<!ENTITY x SYSTEM "file://{secret}">]><urlset><url><loc>&x;</loc></url></urlset>'
    bomb = gzip.compress(b"<urlset>" + b" " * 70_000_000)

    listing = read_listing(b'<?xml version="1.0"?>' + entity.encode())

    assert listing is not None
    assert listing.entries == ()
    with pytest.raises(ParseError, match="at most"):
        read_listing(bomb)
    with pytest.raises(ParseError, match="gzip"):
        read_listing(b"\x1f\x8b broken")


def test_a_time_of_a_list_covers_all_that_it_may_mean() -> None:
    day = changed_at("2026-01-05")

    assert day is not None
    assert day[1] - day[0] >= dt.timedelta(hours=36)
    assert changed_at("yesterday") is changed_at("") is None


def test_a_page_without_a_main_part_keeps_its_words() -> None:
    page = b"<html><body>Lead <nav>menu</nav><p>One</p> tail<div>Two</div><footer>end</footer></body></html>"

    main = read_page(page, "https://x.example/", main_part=True).main.decode()

    assert "Lead" in main
    assert "tail" in main
    assert "menu" not in main
    assert read_page(page, "https://x.example/", main_part=False).main == page


def test_addresses_are_one_however_they_are_written() -> None:
    assert (
        normal_url(" HTTPS://Docs.Example:443#top ") == normal_url("https://docs.example/") == "https://docs.example/"
    )


@pytest.mark.parametrize(
    "change", [{"urls": []}, {"urls": ["ftp://x/"]}, {"urls": ["https://user:pw@x/"]}, {"max_pages": 0}]
)
def test_parameters_that_cannot_work_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        web_source("https://x.example/", **change)
