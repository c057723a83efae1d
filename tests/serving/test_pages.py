"""The chat page and MLflow's pages in a real Chromium, against `almanac up`: asked, rated, promoted with the mouse.

One stack and one browser serve all tests of this file; they run in the order in which a person would do it.
`ALMANAC_SCREENSHOTS=1` renews the pictures of docs/chat.md.
"""

import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Route, expect, sync_playwright

from tasks.model.examples.build import build_training_set
from tasks.model.examples.example import read_examples
from tasks.releases.kind import ANSWERER
from tasks.releases.model_registry import CHAMPION
from tests.chromium import chromium
from tests.conftest import answers, free_ports, wait_until
from tests.server import Home
from tests.serving.pages_world import (
    COMMENT,
    DESKTOP,
    MARKUP,
    NAMED,
    PATIENCE_SECONDS,
    PHONE,
    PROMOTION_SECONDS,
    QUESTION,
    QUOTE,
    WIDE,
    World,
    ask,
    make_world_home,
    set_champion,
    shoot,
    stop,
)
from tests.serving.test_up import PROJECT, command, environment

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        options = ["--no-sandbox", "--disable-dev-shm-usage"]
        opened = playwright.chromium.launch(executable_path=chromium(), args=options)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, migrated_mlflow: Path) -> Iterator[tuple[Home, dict[str, int]]]:
    folder = tmp_path_factory.mktemp("pages")
    home, ports = make_world_home(folder, migrated_mlflow), free_ports("prefect", "mlflow", "server")
    with (folder / "up.log").open("wb") as log:
        process = subprocess.Popen(
            command(ports), cwd=PROJECT, env=environment(folder), stdout=log, stderr=log, start_new_session=True
        )
    try:
        ready = f"http://127.0.0.1:{ports['server']}/readyz"
        wait_until(lambda: answers(ready) or process.poll() is not None, seconds=300)
        assert process.poll() is None, (folder / "up.log").read_text(encoding="utf-8")
        yield home, ports
    finally:
        stop(process)


@pytest.fixture(scope="module")
def world(stack: tuple[Home, dict[str, int]], browser: Browser) -> Iterator[World]:
    expect.set_options(timeout=1000 * PATIENCE_SECONDS)
    with browser.new_context(viewport=DESKTOP, color_scheme="light") as context:  # type: ignore[arg-type]
        yield World(*stack, context)


@pytest.fixture(scope="module")
def chat(world: World) -> Page:
    """The chat page, open from the first test to the last."""
    return world.open(world.chat)


@pytest.fixture(scope="module")
def registry(world: World) -> Page:
    """A second tab, in MLflow, whose assistant takes no room."""
    page = world.open(world.mlflow)
    page.set_viewport_size(WIDE)  # type: ignore[arg-type]
    page.add_init_script("localStorage.setItem('mlflow.assistant.panelOpen_v1', 'false')")
    return page


def test_open_page_says_what_serves_and_what_can_be_asked(chat: Page) -> None:
    expect(chat.locator(".serving")).to_contain_text("answerer excerpt")
    expect(chat.get_by_label("Your question")).to_be_focused()
    expect(chat.get_by_role("button", name=QUESTION)).to_be_visible()


def test_answer_comes_with_its_sources_versions_and_freshness(chat: Page) -> None:
    turn = ask(chat)

    expect(turn.locator(".markdown")).to_contain_text("ninety days")
    expect(turn.locator(".sources").first).to_contain_text("Ledger")
    expect(turn.locator(".sources").first).to_contain_text("wiki.example, updated 3 days ago")
    expect(turn.locator(".provenance")).to_contain_text("Index 1, answerer excerpt")


def test_source_opens_at_the_cited_words_and_closes_by_escape(chat: Page) -> None:
    marker = chat.locator(".marker").first
    marker.focus()
    chat.keyboard.press("Enter")

    dialog = chat.get_by_role("dialog")
    expect(dialog.locator("mark")).to_contain_text(QUOTE)
    expect(dialog.locator("mark")).to_be_in_viewport()
    expect(dialog).to_contain_text("updated 3 days ago")
    address = dialog.get_by_role("link", name="Open https://wiki.example").get_attribute("href")
    assert address is not None
    assert address.startswith("https://wiki.example/ledger#:~:text=Snapshots%20of%20the%20ledger"), address
    shoot(chat, "chat-source")

    chat.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    expect(marker).to_be_focused()


def test_rating_with_a_comment_is_an_assessment_on_its_trace(chat: Page, world: World) -> None:
    turn = chat.locator(".turn").first
    slow: list[Route] = []
    chat.route("**/v1/feedback", lambda route: slow.append(route), times=1)  # noqa: PLW0108 - Playwright asks for a function
    turn.get_by_role("button", name="Helpful", exact=True).click()
    turn.get_by_label("Comment (optional)").fill(COMMENT)
    turn.get_by_role("button", name="Send").click()
    chat.wait_for_timeout(500)
    slow[0].continue_()  # the thumb must not arrive behind the comment
    expect(turn.get_by_text("your rating is kept")).to_be_visible()

    def rated() -> list[Any]:
        asked = [trace for trace in world.traces() if QUESTION in str(trace.info.request_preview)]
        return [assessment for trace in asked for assessment in trace.info.assessments]

    wait_until(lambda: COMMENT in [assessment.rationale for assessment in rated()], seconds=PATIENCE_SECONDS)
    assert [(assessment.name, assessment.value) for assessment in rated()] == [("user_rating", True)]


def test_rated_answer_is_in_the_next_training_set(world: World, tmp_path: Path) -> None:
    (tmp_path / "golden.jsonl").touch()
    own = world.home.params
    params = own.model_copy(
        update={
            "evaluation": own.evaluation.model_copy(update={"golden": str(tmp_path / "golden.jsonl")}),
            "examples": own.examples.model_copy(
                update={"num_synthetic": 0, "replay_fraction": 0.0, "unanswerable_fraction": 0.0}
            ),
        }
    )

    made = build_training_set(params, world.home.settings, tmp_path / "examples")

    asked = [example for example in read_examples(made.path) if example.origin == "feedback"]
    assert [example.question for example in asked] == [QUESTION]
    assert "ninety days" in asked[0].answer


def test_question_without_an_answer_is_told_from_an_answer(chat: Page) -> None:
    turn = ask(chat, "Who invented the xylograph-9000?")

    expect(turn.get_by_role("heading", name=re.compile("closest passages|Nothing found"))).to_be_visible()
    expect(turn.locator(".answer > .quiet").first).to_be_visible()


def test_keyboard_alone_sends_and_closes(chat: Page) -> None:
    box = chat.get_by_label("Your question")
    box.focus()
    box.press("Shift+Enter")
    expect(box).to_have_value("\n")
    chat.keyboard.press("Tab")
    expect(chat.get_by_role("button", name="Send", exact=True).last).to_be_focused()
    chat.keyboard.press("Shift+Tab")
    expect(box).to_be_focused()
    chat.get_by_role("button", name="Options").press("Enter")
    options = chat.locator("#options")
    expect(options).to_be_visible()
    chat.keyboard.press("Escape")
    expect(options).to_be_hidden()
    box.fill("")


def test_page_fits_a_phone_and_the_dark(chat: Page) -> None:
    chat.set_viewport_size(PHONE)  # type: ignore[arg-type]
    chat.emulate_media(color_scheme="dark")
    try:
        widest = chat.evaluate("Math.max(...Array.from(document.querySelectorAll('*'), (each) => each.scrollWidth))")
        chat.locator(".turn").first.scroll_into_view_if_needed()
        shoot(chat, "chat-phone")
    finally:
        chat.emulate_media(color_scheme="light")
        chat.set_viewport_size(DESKTOP)  # type: ignore[arg-type]

    assert widest <= PHONE["width"]


def test_alias_set_by_mouse_changes_what_the_open_page_answers_with(chat: Page, registry: Page, world: World) -> None:
    saved = set_champion(registry, world, "1", picture="mlflow-1-alias")
    expect(chat.locator(".serving")).to_contain_text("answerer 1")
    seconds = time.monotonic() - saved
    print(f"{seconds:.1f} s from the click on Save to the open page")

    expect(chat.locator(".news")).to_have_text("From now on: answerer 1 in place of excerpt.")
    chat.bring_to_front()
    # Before the next answer: the promoted model of this test has random weights, and writes like that.
    shoot(chat, "chat-promoted")
    turn = ask(chat)
    expect(turn.locator(".provenance")).to_contain_text("Index 1, answerer 1")
    registry.bring_to_front()
    wait_until(lambda: "promotion" in world.version("1").tags, seconds=PATIENCE_SECONDS)
    registry.reload()
    expect(registry.get_by_text(NAMED).first).to_be_visible()
    expect(registry.get_by_text("promotion", exact=True)).to_be_visible()
    shoot(registry, "mlflow-1-promoted")
    assert seconds < PROMOTION_SECONDS


def test_broken_version_is_refused_and_its_page_says_why(chat: Page, registry: Page, world: World) -> None:
    set_champion(registry, world, "2")
    wait_until(lambda: "refused" in world.version("2").tags, seconds=PATIENCE_SECONDS)
    wait_until(lambda: CHAMPION in world.version("1").aliases, seconds=PATIENCE_SECONDS)

    turn = ask(chat)
    expect(turn.locator(".provenance")).to_contain_text("Index 1, answerer 1")
    registry.reload()
    expect(registry.get_by_text("refused", exact=True)).to_be_visible()
    expect(registry.get_by_text(re.compile("was trained for prompt"))).to_be_visible()
    expect(registry.get_by_text(NAMED)).to_have_count(0)
    shoot(registry, "mlflow-2-refused")
    registry.goto(f"{world.mlflow}#/models/{ANSWERER.model}/versions/1")
    expect(registry.get_by_text(NAMED).first).to_be_visible()


def test_page_says_that_the_server_is_gone_and_keeps_the_question(chat: Page, world: World) -> None:
    quiet_so_far = list(world.trouble)
    world.context.set_offline(True)
    try:
        expect(chat.locator(".serving")).to_have_text("The server does not answer")
        chat.get_by_label("Your question").fill(QUESTION)
        chat.get_by_role("button", name="Send").click()
        failed = chat.locator(".turn").last
        expect(failed.locator(".trouble")).to_contain_text("The server does not answer")
    finally:
        world.context.set_offline(False)
    failed.get_by_role("button", name="Try again").click()
    expect(failed.locator(".provenance")).to_contain_text("answerer 1")

    assert quiet_so_far == []


def test_pages_ask_no_other_host(chat: Page, registry: Page, world: World) -> None:
    assert world.hosts == {f"127.0.0.1:{world.ports['server']}", f"127.0.0.1:{world.ports['mlflow']}"}


def test_wrong_key_is_asked_for_again(world: World) -> None:
    page = world.open(f"{world.chat}#key")
    expect(page.get_by_role("button", name=QUESTION)).to_be_visible()
    page.evaluate("sessionStorage.setItem('almanac.key', 'almanac-wrong')")
    page.reload()

    field = page.get_by_label("The server does not take this API key")
    field.fill("almanac-wrong-too")
    page.get_by_role("button", name="Use this key").click()
    expect(field).to_be_visible()
    page.get_by_role("button", name="Options").click()
    page.get_by_role("button", name="Forget the API key").click()
    expect(field).to_have_count(0)
    expect(page.get_by_role("button", name=QUESTION)).to_be_visible()
    page.close()


def test_busy_server_is_asked_again_when_it_says_so(world: World) -> None:
    page = world.open(f"{world.chat}#busy")
    busy = {"error": {"message": "so many wait", "type": "rate_limit_error", "param": None, "code": "queue_full"}}
    page.route(
        "**/v1/chat/completions",
        lambda route: route.fulfill(status=429, headers={"Retry-After": "3"}, json=busy),
        times=1,
    )
    page.get_by_label("Your question").fill(QUESTION)
    page.get_by_label("Your question").press("Enter")

    expect(page.locator(".waiting")).to_contain_text("trying again in 3 s")
    expect(page.locator(".provenance")).to_contain_text("answerer 1")
    page.close()


def test_text_of_documents_and_askers_is_never_markup(world: World) -> None:
    page = world.open(f"{world.chat}#markup")
    turn = ask(page, f"{MARKUP} What is Zephyr?")
    turn.locator(".sources button", has_text="Zephyr").first.evaluate("button => button.click()")

    expect(page.get_by_role("dialog").locator("blockquote")).to_contain_text(MARKUP)
    expect(turn.locator(".question")).to_contain_text(MARKUP)
    assert page.locator("img").count() == 0
    page.close()
