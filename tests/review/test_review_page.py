"""The review page and its API: twenty drafts judged by keyboard in Chromium, and what was dropped is in no set.

`ALMANAC_SCREENSHOTS=1` renews the pictures of docs/review.md.
"""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Page, expect, sync_playwright

from serving.api.app import create_app
from serving.api.people.keys import KeyFile
from serving.api.people.roles import Role
from tasks.index.access_tables import record_changes
from tasks.index.golden import load_golden
from tasks.index.table import connect
from tasks.model.examples.build import build_training_set
from tasks.model.examples.example import read_examples
from tasks.model.examples.review.collect import fill_queue
from tasks.model.examples.review.draft import Decision, Draft, DraftPassage
from tasks.model.examples.review.queue import decide, drafts, offer
from tasks.params import Params
from tests.chromium import chromium, save_picture
from tests.model.examples_world import GOLDEN, TOOLS, page, write_golden
from tests.server import Home, StaticPair, make_home, record, running

pytestmark = pytest.mark.slow
IMAGES = Path(__file__).parents[2] / "docs" / "images"
NUM_DRAFTS = 20


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, migrated_mlflow: Path) -> Home:
    folder = tmp_path_factory.mktemp("review")
    write_golden(folder, [line | {"document": None, "answer": None, "anchor": None} for line in GOLDEN])
    changes = {
        "evaluation": {"golden": str(folder / "golden.jsonl"), "reviewed_golden": str(folder / "own.jsonl")},
        "examples": {"num_synthetic": NUM_DRAFTS - 4, "replay_fraction": 0.0, "unanswerable_fraction": 0.25},
        "generation": {"max_passage_tokens": 600},
    }
    records = [record(tool.lower(), page(number), "everyone") for number, tool in enumerate(TOOLS)]
    return make_home(folder, migrated_mlflow, records, **changes)


@pytest.fixture(scope="module")
def server(home: Home) -> Iterator[str]:
    with running(create_app(home.params, home.settings, StaticPair)) as address:
        yield address


@pytest.fixture(scope="module")
def key(home: Home) -> str:
    return KeyFile(home.settings.api_keys).add("reviewer", (), roles=(Role.REVIEWER,))


def opened(address: str, key: str, *, width: int, height: int) -> Iterator[Page]:
    with sync_playwright() as playwright:
        options = ["--no-sandbox", "--disable-dev-shm-usage"]
        browser = playwright.chromium.launch(executable_path=chromium(), args=options)
        opened = browser.new_page(viewport={"width": width, "height": height})
        opened.goto(f"{address}/review")
        opened.get_by_label("Only a reviewer's key opens this page").fill(key)
        opened.keyboard.press("Enter")
        yield opened
        browser.close()


def shoot(page: Page, name: str) -> None:
    if os.environ.get("ALMANAC_SCREENSHOTS"):
        save_picture(page, IMAGES / f"{name}.png")


def test_key_without_the_right_reads_and_decides_nothing(home: Home, server: str) -> None:
    plain = KeyFile(home.settings.api_keys).add("reader", ())
    headers = {"Authorization": f"Bearer {plain}"}
    assert httpx.get(f"{server}/v1/review").status_code == 401
    refused = httpx.get(f"{server}/v1/review", headers=headers)
    assert refused.status_code == 403 and "--role reviewer" in refused.json()["error"]["message"]
    assert httpx.post(f"{server}/v1/review/1", json={"verdict": "drop"}, headers=headers).status_code == 403


def test_twenty_drafts_are_judged_by_keyboard_and_what_was_dropped_is_in_no_set(
    home: Home, server: str, key: str, tmp_path: Path
) -> None:
    result = fill_queue(home.params, home.settings, num_golden=4)
    assert (result.examples, result.golden) == (NUM_DRAFTS - 4, 4)
    waiting = drafts(home.settings.layout, status="draft")
    for tab in opened(server, key, width=1100, height=760):
        expect(tab.get_by_role("heading", level=2)).to_have_text(waiting[0].question)
        expect(tab.locator("mark").first).to_be_visible()
        shoot(tab, "review-desktop")
        for number, draft in enumerate(waiting):
            expect(tab.get_by_role("heading", level=2)).to_have_text(draft.question)
            if number == 2:
                tab.keyboard.press("e")
                tab.locator("textarea[name=question]").fill("Corrected by a person?")
                tab.keyboard.press("Enter")
            else:
                tab.keyboard.press("d" if number % 2 else "a")
        expect(tab.get_by_text("No draft waits")).to_be_visible()
    judged = drafts(home.settings.layout)
    assert [draft.status for draft in judged[:4]] == ["accepted", "dropped", "corrected", "dropped"]
    assert {draft.status for draft in judged} == {"accepted", "corrected", "dropped"}
    _check_sets(home, judged, tmp_path)


def _check_sets(home: Home, judged: list[Draft], folder: Path) -> None:
    examples = [draft for draft in judged if draft.kind == "example"]
    dropped = {draft.question for draft in examples if draft.status == "dropped"}
    for review in ("optional", "required"):
        changed = home.params.examples.model_copy(update={"review": review})
        # A few accepted ones are fewer than the gate of these parameters wants.
        params = home.params.model_copy(update={"examples": changed, "example_gate": _lenient(home.params)})
        built = build_training_set(params, home.settings, folder / review)
        asked = {example.question for example in read_examples(built.path)}
        assert not asked & dropped
        assert any("dropped in the review" in reason for reason in built.left_out)
        assert "Corrected by a person?" in asked
        if review == "required":
            own = {draft.question_now for draft in examples if draft.status != "dropped"}
            assert asked <= own | {str(line["question"]) for line in GOLDEN}
    golden = load_golden(Path(str(home.params.evaluation.reviewed_golden)))
    assert {one.question for one in golden} == {
        draft.question for draft in judged if draft.kind == "golden" and draft.status == "accepted"
    }


def _lenient(params: Params) -> object:
    return params.example_gate.model_copy(update={"min_examples": 1, "rules": ()})


def test_back_edit_and_undo_work_on_a_phone_and_nothing_is_wider_than_the_screen(
    home: Home, server: str, key: str
) -> None:
    places = home.settings.layout
    for number in range(2):
        text = "The workbench needs a disk of nine gigabytes and a very_long_identifier_that_does_not_break_" + "x" * 90
        passages = (DraftPassage("wiki:harrow", "Harrow", text),)
        asked = f"How large is disk {number}?"
        draft = Draft(f"phone{number}", "golden", "unanswered", "trace", asked, None, passages, "wiki", split="test")
        offer(places, [replace(draft, question_now=asked)])
    for tab in opened(server, key, width=360, height=740):
        heading = tab.get_by_role("heading", level=2)
        expect(heading).to_have_text("How large is disk 0?")
        tab.keyboard.press("e")
        tab.locator("textarea[name=answer]").fill("as large as the moon")
        tab.keyboard.press("Enter")
        expect(tab.get_by_role("alert")).to_contain_text("found none in the draft's passages")
        tab.locator("textarea[name=answer]").fill("nine gigabytes")
        shoot(tab, "review-phone")
        assert tab.evaluate("document.documentElement.scrollWidth") <= 360
        tab.keyboard.press("Enter")
        expect(heading).to_have_text("How large is disk 1?")
        tab.keyboard.press("k")
        expect(tab.locator(".verdict")).to_have_text("corrected")
        tab.keyboard.press("u")
        expect(tab.locator(".verdict")).to_have_count(0)
        tab.keyboard.press("j")
        tab.get_by_role("button", name="Drop").click()
        expect(heading).to_have_text("How large is disk 0?")
    assert [draft.status for draft in drafts(places) if draft.id.startswith("phone")] == ["draft", "dropped"]


def test_draft_of_a_document_that_the_reviewer_may_not_read_is_not_shown(home: Home, server: str, key: str) -> None:
    draft = drafts(home.settings.layout)[0]
    decide(home.settings.layout, draft.id, Decision("draft"))
    (document,) = draft.document_ids
    headers = {"Authorization": f"Bearer {key}"}
    shown = httpx.get(f"{server}/v1/review", headers=headers).json()["drafts"]
    assert draft.id in {entry["id"] for entry in shown}
    record_changes(connect(home.settings), {document: frozenset({"finance"})})
    shown = httpx.get(f"{server}/v1/review", headers=headers).json()["drafts"]
    assert draft.id not in {entry["id"] for entry in shown}
    answer = httpx.post(f"{server}/v1/review/{draft.id}", json={"verdict": "accept"}, headers=headers)
    assert answer.status_code == 404
    withdrawn = fill_queue(home.params, home.settings, num_golden=0).withdrawn
    assert withdrawn >= 1
    assert draft.id not in {entry.id for entry in drafts(home.settings.layout, status="draft")}


def test_draft_records_who_decided(home: Home, server: str, key: str) -> None:
    place = home.settings.layout
    first = replace(drafts(place)[0], id="whodecided01", status="draft", passages=(), kind="example")
    offer(place, [first])
    response = httpx.post(
        f"{server}/v1/review/whodecided01", json={"verdict": "accept"}, headers={"Authorization": f"Bearer {key}"}
    )
    assert response.json()["draft"]["status"] == "accepted"
    assert len(response.json()["draft"]["reviewer"]) == 32
