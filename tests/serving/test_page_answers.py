"""What an answer looks like: Markdown as elements, doubt underlined, three outcomes told apart, in a real Chromium.

`ALMANAC_SCREENSHOTS=1` renews the pictures of docs/chat.md.
"""

import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

from serving.api.app import create_app
from tasks.answer.generators.base import Generation
from tests.chromium import chromium, save_picture
from tests.server import Home, StaticPair, make_home, record, running

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

IMAGES = Path(__file__).parents[2] / "docs" / "images"
DESKTOP, PHONE = {"width": 1100, "height": 860}, {"width": 390, "height": 844}
PATIENCE_MS = 90_000
LOCKS = """# Locks

Take a lock with `zephyr.lock(name)` before a job runs. A lock ends after 60 seconds unless it is renewed by its holder.

```python
import zephyr

with zephyr.lock("jobs", timeout=60) as held:
    held.run(*args, **kwargs)  # x**2, argv[1]
```

Locks are fair: who asked first gets the lock first. The guide is at https://zephyr.example/locks.
"""
QUEUES = """# Queues

A queue keeps jobs in order. A job that fails is tried again three times, then it is set aside in the queue `failed`.

| Setting | Default |
|---|---|
| `retries` | 3 |
| `visibility` | 30 seconds |
"""
CODE, DOUBT, CLOSEST, NOTHING, LOOPED = (
    "How do I take a lock in Zephyr?",
    "How long does a Zephyr lock last?",
    "Which colour is the logo of Zephyr?",
    "What does finance say about locks?",
    "What becomes of a job that fails in a queue?",
)
CODE_LINES = (
    'import zephyr\n\nwith zephyr.lock("jobs", timeout=60) as held:\n    held.run(*args, **kwargs)  # x**2, argv[1]'
)
DRAFTS = {
    CODE: f"""### In short

Take it with `zephyr.lock(name)` **before** the job runs [1]:

```python
{CODE_LINES}
```

1. The lock ends after 60 seconds unless its holder renews it [1].
2. A job that fails is tried again three times [2].

| Setting | Default |
|---|---|
| `retries` | 3 [2] |

See [the guide](https://zephyr.example/locks), not [this one](https://evil.example/x). ![logo](https://evil.example/a.png)

<b onclick="alert(1)">Locks are fair</b> [1].""",
    DOUBT: "A lock ends after 60 seconds unless it is renewed by its holder [1]. "
    "Renew it with `zephyr.renew_lock()` [1].",
    CLOSEST: "Not in the documents.",
    LOOPED: "A job that fails is set aside" + ", and it is kept there" * 60,
}
WORDS_A_SECOND = 50


class ScriptedWriter:
    """A model whose drafts are known."""

    identity, context_length = "scripted", 8192

    def generate(self, messages: Sequence[Mapping[str, str]], *, max_new_tokens: int) -> Generation:
        asked = messages[-1]["content"]
        return Generation(next((draft for question, draft in DRAFTS.items() if question in asked), ""), 100, 20)

    def generate_many(
        self, conversations: Sequence[Sequence[Mapping[str, str]]], *, max_new_tokens: int
    ) -> list[Generation]:
        return [self.generate(messages, max_new_tokens=max_new_tokens) for messages in conversations]

    def stream(self, messages: Sequence[Mapping[str, str]], *, max_new_tokens: int) -> Any:
        generation = self.generate(messages, max_new_tokens=max_new_tokens)
        for word in re.findall(r"\s*\S+|\s+\Z", generation.text):
            yield word
            if LOOPED in messages[-1]["content"]:
                time.sleep(1 / WORDS_A_SECOND)
        return generation

    def count_tokens(self, text: str) -> int:
        return len(text.split())

    def count_prompt_tokens(self, messages: Sequence[Mapping[str, str]]) -> int:
        return sum(self.count_tokens(message["content"]) for message in messages)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, migrated_mlflow: Path) -> Home:
    records = [record("locks", LOCKS, "everyone"), record("queues", QUEUES, "everyone")]
    serving = {"anonymous_groups": ["everyone"], "smoke_questions": [CODE]}
    generation = {"max_new_tokens": 300, "max_passage_tokens": 256}
    folder = tmp_path_factory.mktemp("answers")
    return make_home(
        folder, migrated_mlflow, records, serving=serving, chunking={"max_tokens": 256}, generation=generation
    )


@pytest.fixture(scope="module")
def address(home: Home) -> Iterator[str]:
    with running(create_app(home.params, home.settings, partial(StaticPair, generator=ScriptedWriter()))) as place:
        yield place


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        options = ["--no-sandbox", "--disable-dev-shm-usage"]
        opened = playwright.chromium.launch(executable_path=chromium(), args=options)
        expect.set_options(timeout=PATIENCE_MS)
        yield opened
        opened.close()


@pytest.fixture(scope="module", params=["desktop", "phone"])
def page(request: pytest.FixtureRequest, browser: Browser, address: str) -> Iterator[Page]:
    """A page of that size; whatever it complains of, and whatever it loads from elsewhere, fails its tests."""
    viewport: Any = DESKTOP if request.param == "desktop" else PHONE
    with browser.new_context(
        viewport=viewport, color_scheme="light", permissions=["clipboard-read", "clipboard-write"]
    ) as context:
        opened = context.new_page()
        opened.set_default_timeout(PATIENCE_MS)
        trouble: list[str] = []
        opened.on("pageerror", lambda error: trouble.append(str(error)))
        opened.on("console", lambda message: trouble.append(message.text) if message.type == "error" else None)
        opened.on("request", lambda sent: None if sent.url.startswith(address) else trouble.append(sent.url))
        opened.goto(address)
        yield opened
        assert trouble == []


def ask(page: Page, question: str) -> Locator:
    num_before = page.locator(".turn").count()
    page.get_by_label("Your question").fill(question)
    page.get_by_label("Your question").press("Enter")
    turn = page.locator(".turn").nth(num_before)
    expect(turn.locator(".provenance")).to_be_visible()
    return turn


def start_anew(page: Page) -> None:
    page.get_by_role("button", name="Options").click()
    page.get_by_role("button", name="New conversation").click()
    expect(page.locator(".turn")).to_have_count(0)


def shoot(page: Page, turn: Locator, name: str) -> None:
    """A picture of one turn at the top of the window."""
    if os.environ.get("ALMANAC_SCREENSHOTS") != "1":
        return
    turn.evaluate("turn => turn.scrollIntoView({block: 'start'})")
    size = page.viewport_size
    assert size is not None
    where = "desktop" if size["width"] > 600 else "phone"
    save_picture(page, IMAGES / f"{name}-{where}.png")


def test_answer_is_built_of_elements_as_its_markdown_says(page: Page) -> None:
    turn = ask(page, CODE)
    shown = turn.locator(".markdown")
    expect(shown.get_by_role("heading", name="In short")).to_be_visible()
    expect(shown.locator("strong")).to_have_text("before")
    expect(shown.locator("p > code").first).to_have_text("zephyr.lock(name)")
    expect(shown.locator("ol > li")).to_have_count(2)
    expect(shown.locator("th")).to_have_text(["Setting", "Default"])
    assert shown.locator("pre code").inner_text() == CODE_LINES
    expect(shown.locator("pre .keyword").first).to_have_text("import")
    expect(shown.locator("pre .comment")).to_have_text("# x**2, argv[1]")
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    shoot(page, turn, "answer-code")


def test_code_is_copied_as_it_is(page: Page) -> None:
    button = page.locator(".turn").first.get_by_role("button", name="Copy this code")
    button.click()
    expect(button).to_have_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()").strip() == CODE_LINES


def test_links_lead_only_where_a_passage_does_and_html_is_text(page: Page) -> None:
    shown = page.locator(".turn").first.locator(".markdown")
    expect(shown.locator("a")).to_have_count(1)
    assert shown.locator("a").get_attribute("href") == "https://zephyr.example/locks"
    expect(shown).to_contain_text("this one")
    expect(shown).to_contain_text('<b onclick="alert(1)">Locks are fair</b>')
    assert shown.locator("img, b").count() == 0


def test_marker_opens_the_document_at_the_cited_words(page: Page) -> None:
    page.locator(".turn").first.locator(".marker").first.click()
    dialog = page.get_by_role("dialog")
    expect(dialog.locator("mark").first).to_contain_text("zephyr.lock(name)")
    expect(dialog.locator("mark").first).to_be_in_viewport()
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)


def test_unverified_claim_is_underlined_and_says_what_was_not_found(page: Page) -> None:
    start_anew(page)
    turn = ask(page, DOUBT)
    doubted = turn.locator(".unverified")
    expect(doubted).to_have_count(1)
    expect(doubted).to_contain_text("Renew it with zephyr.renew_lock()")
    expect(turn.locator(".doubt")).to_contain_text("One statement was not found")
    assert "zephyr.renew_lock" in (doubted.get_attribute("data-note") or "")
    doubted.focus()
    style = doubted.evaluate("span => getComputedStyle(span, '::after').content")
    assert "Not found in the sources" in style
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    shoot(page, turn, "answer-unverified")


def test_closest_passages_are_no_answer(page: Page) -> None:
    start_anew(page)
    turn = ask(page, CLOSEST)
    expect(turn.locator(".answer.closest_passages")).to_be_visible()
    expect(turn.get_by_role("heading", name="No sure answer: the closest passages")).to_be_visible()
    expect(turn.locator(".answer > .quiet").first).to_contain_text(re.compile("about something else|found no answer"))
    expect(turn.locator(".marker").first).to_be_visible()
    shoot(page, turn, "answer-closest")


def test_draft_that_repeats_itself_is_shown_up_to_there(page: Page) -> None:
    start_anew(page)
    page.evaluate(
        """() => {
          window.drafts = [];
          const look = () => window.drafts.push(document.querySelector(".draft")?.textContent ?? "");
          new MutationObserver(look).observe(document.body, { childList: true, subtree: true, characterData: true });
        }"""
    )
    turn = ask(page, LOOPED)
    expect(turn.locator(".answer.closest_passages")).to_be_visible()
    expect(turn.locator(".answer > .quiet").first).to_have_text("The answerer repeated itself to the end.")
    drafts = page.evaluate("window.drafts")
    assert any("A job that fails is set aside, and it" in draft for draft in drafts)
    assert max(draft.count("kept there") for draft in drafts) <= 2


def test_nothing_found_says_why_in_a_persons_words(page: Page) -> None:
    start_anew(page)
    page.get_by_role("button", name="Options").click()
    page.get_by_label("Search only these knowledge bases").fill("finance")
    page.keyboard.press("Escape")
    turn = ask(page, NOTHING)
    expect(turn.locator(".answer.nothing_found")).to_be_visible()
    expect(turn.get_by_role("heading", name="Nothing found in the documents")).to_be_visible()
    expect(turn.locator(".answer > .quiet").first).to_contain_text("No document that you may read")
    shoot(page, turn, "answer-nothing")


def test_text_is_shown_while_it_is_written(page: Page) -> None:
    module = "/page/draft.js"
    parts = page.evaluate(
        "async ([module, text]) => (await import(module)).draftParts(text)",
        [module, "Take it:\n\n```python\nwith lock:\n    run()\n```\n\nThen\n\n~~~\nopen"],
    )
    assert [(part["isCode"], part["text"].strip("\n")) for part in parts] == [
        (False, "Take it:"),
        (True, "with lock:\n    run()"),
        (False, "Then"),
        (True, "open"),
    ]


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("python", 'x = "a # b"  # remark\nif x: return 1.5'),
        ("bash", "pip install 'zephyr[all]' # now"),
        ("", 'plain `text` with "quotes" and \'one'),
        ("js", "const a = `b ${c}`; // remark\n/* two\nlines */"),
        ("text", "if and or not 12"),
    ],
)
def test_highlighted_parts_are_the_text(page: Page, language: str, text: str) -> None:
    parts = page.evaluate(
        "async ([text, language]) => (await import('/page/code.js')).codeParts(text, language)", [text, language]
    )
    assert "".join(part["text"] for part in parts) == text
