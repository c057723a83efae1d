"""The page of one document: what its readers see of it, that others learn nothing, and how it looks in Chromium.

`ALMANAC_SCREENSHOTS=1` renews the pictures of docs/chat.md.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Page, expect, sync_playwright

from serving.api.app import create_app
from serving.api.people.keys import KeyFile
from tasks.answer.trace import flush_traces
from tasks.index.access_tables import record_changes
from tasks.index.table import connect
from tests.chromium import chromium, save_picture
from tests.server import Home, StaticPair, make_home, record, running

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

IMAGES = Path(__file__).parents[2] / "docs" / "images"
SIZES = {"desktop": {"width": 1280, "height": 860}, "phone": {"width": 390, "height": 844}}
LOCKS = """# Locks

Take a lock with `zephyr.lock(name)` before a job runs. A lock ends after 60 seconds unless its holder renews it.

## Fairness

Locks are fair: who asked first gets the lock first, on every machine of the cluster, whatever the machine's own load.
Where two ask at the same moment, the one whose name comes first in the alphabet gets it, and the other waits its turn.
"""
SECRET = "# Deploy\n\nThe key of the build server is AKIAQ3EGR7LZX5WVPT2M and it opens the bucket of releases.\n"
SALARIES = "# Salaries\n\nSalaries are paid on the twenty-fifth of each month, and pay slips lie in the vault.\n"
NOT_THERE = "no document has this id, or none that you may read"
QUESTION = "How long does a Zephyr lock last?"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, migrated_mlflow: Path) -> Home:
    """Locks is searched, its second version is set aside; salaries is read by hr, deploy was never let in."""
    from flows.refresh import refresh

    folder = tmp_path_factory.mktemp("inspection")
    records = [
        record("locks", LOCKS, "everyone") | {"updated_at": "2026-11-02T09:00:00Z"},
        record("salaries", SALARIES, "hr", "board"),
    ]
    rule = {"expect": "expect_column_values_to_have_no_secrets", "on_fail": "quarantine"}
    gate = {"rules": [rule], "max_quarantined_fraction": 1.0}
    serving = {"anonymous_groups": ["everyone"], "smoke_questions": []}
    made = make_home(folder, migrated_mlflow, records, document_gate=gate, serving=serving)
    later = [records[0] | {"text": LOCKS + SECRET}, records[1], record("deploy", SECRET, "crew")]
    (folder / "wiki.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in later), encoding="utf-8")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("ALMANAC_HOME", str(made.settings.home))
        environment.setenv("ALMANAC_PARAMS", str(made.settings.params))
        refresh.fn()
    return made


@pytest.fixture(scope="module")
def address(home: Home) -> Iterator[str]:
    with running(create_app(home.params, home.settings, StaticPair)) as place:
        yield place


@pytest.fixture(scope="module")
def keys(home: Home) -> dict[str, str]:
    file = KeyFile(home.settings.api_keys)
    return {name: file.add(name, groups) for name, groups in {"ann": ("hr",), "bob": ("crew",)}.items()}


def get(address: str, path: str, key: str | None = None, **query: str) -> httpx.Response:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    return httpx.get(f"{address}/v1/{path}", params=query, headers=headers, timeout=60)


def view(address: str, document: str, key: str | None = None) -> dict[str, Any]:
    answer = get(address, "inspection", key, document=document)
    assert answer.status_code == 200, answer.text
    content: dict[str, Any] = answer.json()
    return content


def test_reader_sees_the_passages_within_the_text_and_why_a_newer_version_is_not_searched(address: str) -> None:
    shown = view(address, "wiki:locks")
    assert (shown["state"], shown["is_public"], shown["through"]) == ("searched", True, [])
    assert shown["text"].strip() == LOCKS.strip()
    assert len(shown["sections"]) > 1
    assert all(shown["text"][part["start"] : part["end"]].strip() for part in shown["sections"])
    assert shown["reason"] == "it seems to hold a password or a key"
    assert "AKIAQ3" not in json.dumps(shown)
    assert [(event["release"], event["what"]) for event in shown["history"]] == [(1, "added")]


def test_reader_is_told_of_his_own_groups_alone(address: str, keys: dict[str, str]) -> None:
    shown = view(address, "wiki:salaries", keys["ann"])
    assert (shown["is_public"], shown["through"]) == (False, ["hr"])
    assert "board" not in json.dumps(shown)


def test_what_was_set_aside_is_known_to_its_readers_without_its_text(address: str, keys: dict[str, str]) -> None:
    shown = view(address, "wiki:deploy", keys["bob"])
    assert (shown["state"], shown["text"], shown["sections"]) == ("set_aside", "", [])
    assert shown["through"] == ["crew"]


@pytest.mark.parametrize("document", ["wiki:salaries", "wiki:deploy", "wiki:nothing", "", "' or 1=1"])
def test_missing_and_forbidden_look_alike(address: str, keys: dict[str, str], document: str) -> None:
    for key in (None, keys["bob"] if document != "wiki:deploy" else keys["ann"]):
        answer = get(address, "inspection", key, document=document)
        assert (answer.status_code, answer.json()["error"]["message"]) == (404, NOT_THERE)


def test_who_may_read_through_two_groups_sees_what_search_shows(address: str, home: Home) -> None:
    """The release names one group, the latest word another: whoever is in both finds the document, and opens it."""
    file = KeyFile(home.settings.api_keys)
    both, one = file.add("dan", ("board", "audit")), file.add("eve", ("audit",))
    record_changes(connect(home.settings), {"wiki:salaries": ["audit"]})
    try:
        hits = get(address, "search", both, query="When are salaries paid?").json()["results"]
        assert "wiki:salaries" in {hit["document_id"] for hit in hits}
        assert view(address, "wiki:salaries", both)["through"] == ["audit", "board"]
        assert get(address, "inspection", one, document="wiki:salaries").status_code == 404
    finally:
        record_changes(connect(home.settings), {"wiki:salaries": ["hr", "board"]})


def test_names_are_found_among_what_the_asker_may_read(address: str, keys: dict[str, str]) -> None:
    def found(wanted: str, key: str | None = None) -> list[str]:
        answer = get(address, "inspection/names", key, wanted=wanted)
        return [entry["document_id"] for entry in answer.json()["documents"]]

    assert found("LOCK") == ["wiki:locks"]
    assert found("https://wiki.example/locks") == ["wiki:locks"]
    assert found("salaries") == []
    assert found("salaries", keys["ann"]) == ["wiki:salaries"]
    assert found("deploy", keys["ann"]) == []
    assert found(" ") == []


def test_own_answers_are_named_and_those_of_others_counted(address: str, keys: dict[str, str]) -> None:
    for key in (keys["ann"], keys["bob"], None):
        body = {"model": "almanac", "messages": [{"role": "user", "content": QUESTION}]}
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        reply = httpx.post(f"{address}/v1/chat/completions", json=body, headers=headers, timeout=120)
        assert reply.json()["almanac"]["citations"]
    flush_traces()
    seen = {key: view(address, "wiki:locks", key) for key in (keys["ann"], None)}
    assert [entry["question"] for entry in seen[keys["ann"]]["own_answers"]] == [QUESTION]
    assert (seen[keys["ann"]]["num_other_answers"], seen[None]["num_other_answers"]) == (2, 3)
    assert seen[None]["own_answers"] == []


@pytest.fixture(scope="module", params=["desktop", "phone"])
def page(request: pytest.FixtureRequest, address: str) -> Iterator[Page]:
    """A page of that size; what it complains of, and what it loads from elsewhere, fails its tests."""
    size: Any = SIZES[request.param]
    with sync_playwright() as playwright:
        options = ["--no-sandbox", "--disable-dev-shm-usage"]
        browser = playwright.chromium.launch(executable_path=chromium(), args=options)
        opened = browser.new_page(viewport=size, color_scheme="light")
        opened.set_default_timeout(60_000)
        trouble: list[str] = []
        opened.on("pageerror", lambda error: trouble.append(str(error)))
        opened.on("request", lambda sent: None if sent.url.startswith(address) else trouble.append(sent.url))
        yield opened
        browser.close()
        assert trouble == []


def shoot(page: Page, name: str) -> None:
    if os.environ.get("ALMANAC_SCREENSHOTS") == "1":
        size = page.viewport_size
        assert size is not None
        save_picture(page, IMAGES / f"{name}-{'desktop' if size['width'] > 600 else 'phone'}.png")


def test_a_citation_leads_to_the_page_of_its_document(page: Page, address: str) -> None:
    page.goto(address)
    page.get_by_label("Your question").fill(QUESTION)
    page.get_by_label("Your question").press("Enter")
    page.locator(".sources button").first.click()
    with page.expect_popup() as opening:
        page.get_by_role("link", name="What became of this document").click()
    opened = opening.value
    expect(opened).to_have_url(f"{address}/document?id=wiki%3Alocks")
    expect(opened.get_by_role("heading", name="Locks")).to_be_visible()
    expect(opened.locator(".state")).to_have_text("Search finds it.")
    expect(opened.locator(".reason")).to_contain_text("A newer version was set aside: it seems to hold a password")
    expect(opened.locator("aside")).to_contain_text("Everyone who may ask here.")
    expect(opened.locator(".passage pre").first).to_contain_text("zephyr.lock(name)")
    assert opened.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    shoot(opened, "document")
    opened.close()


def test_a_page_is_found_by_its_name_with_the_key_that_may_read_it(
    page: Page, address: str, keys: dict[str, str]
) -> None:
    page.goto(f"{address}/document")
    page.get_by_label("Its title, path or address").fill("salaries")
    page.get_by_role("button", name="Find").click()
    expect(page.get_by_role("status")).to_contain_text("There is no such document, or you may not read it.")
    page.evaluate("key => sessionStorage.setItem('almanac.key', key)", keys["ann"])
    page.get_by_role("button", name="Find").click()
    expect(page.get_by_role("heading", name="Salaries")).to_be_visible()
    expect(page.locator("aside")).to_contain_text("You, as a member of hr.")
    page.evaluate("sessionStorage.clear()")
    page.reload()
    expect(page.get_by_role("status")).to_contain_text("There is no such document, or you may not read it.")


def test_text_is_cut_at_its_passages_and_nothing_is_lost(page: Page, address: str) -> None:
    page.goto(address)
    sections = [{"start": 4, "end": 7, "headings": "A"}, {"start": 6, "end": 9, "headings": ""}]
    parts = page.evaluate(
        "async ([text, sections]) => (await import('/page/parts.js')).textParts(text, sections)",
        ["ab😀\ncdefgh\nij", sections],
    )
    assert [(part["number"], part["text"]) for part in parts] == [(0, "ab😀"), (1, "cde"), (2, "efg"), (0, "h\nij")]
