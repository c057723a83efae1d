"""The stack and the browser of the tests of the pages: what they hold, and how a person uses them."""

import datetime as dt
import os
import re
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import psutil
from playwright.sync_api import BrowserContext, Locator, Page, expect

from tasks.answer.answerer import read_manifest, write_manifest
from tasks.releases.kind import ANSWERER
from tasks.releases.model_registry import CHALLENGER, CHAMPION, mlflow_client
from tests.answerers import register_answerer, save_answerer
from tests.chromium import save_picture
from tests.server import Home, make_home, record
from tests.serving.test_up import PROJECT

IMAGES = PROJECT / "docs" / "images"
PATIENCE_SECONDS = 120
"""The machine may be busy with other tests; the seconds that matter are measured and printed."""
PROMOTION_SECONDS = 30
DESKTOP, PHONE, WIDE = {"width": 1100, "height": 760}, {"width": 360, "height": 740}, {"width": 1280, "height": 760}
QUESTION = "How long are snapshots of the ledger kept?"
QUOTE = "Snapshots of the ledger are kept for ninety days in cold storage."
LEDGER = (
    # Two units of JavaScript's strings before the quote, one of Python's.
    "# Backups of class \N{MATHEMATICAL DOUBLE-STRUCK CAPITAL A}\n\n"
    f"{QUOTE} Restores are rehearsed every quarter by the team that owns the ledger.\n\n"
    "Whoever needs a snapshot asks in the channel of the storage team.\n"
)
MARKUP = "<img src=x onerror=alert(1)>"
ZEPHYR = f"# Zephyr\n\nZephyr is a task queue for Python {MARKUP} whose jobs are tried again three times.\n"
NAMED = re.compile(f"@.{CHAMPION}")
COMMENT = "Just what I needed."


@dataclass
class World:
    """The stack, and one browser with what its pages did."""

    home: Home
    ports: dict[str, int]
    context: BrowserContext
    hosts: set[str] = field(default_factory=set)
    trouble: list[str] = field(default_factory=list)

    @property
    def chat(self) -> str:
        return f"http://127.0.0.1:{self.ports['server']}/"

    @property
    def mlflow(self) -> str:
        return f"http://127.0.0.1:{self.ports['mlflow']}/"

    def open(self, address: str) -> Page:
        """A tab whose requests, and errors where it is the chat page, are noted."""
        page = self.context.new_page()
        page.set_default_timeout(1000 * PATIENCE_SECONDS)
        page.on("request", lambda request: self.hosts.add(request.url.split("/")[2]))
        if address == self.chat:
            page.on("console", lambda message: self.note(message.type, message.text))
            page.on("pageerror", lambda error: self.note("error", str(error)))
        page.goto(address)
        return page

    def note(self, kind: str, text: str) -> None:
        if kind in ("error", "warning"):
            self.trouble.append(text)

    @property
    def said(self) -> str:
        """What explains a failure: the stack's log, and what MLflow says of the versions."""
        log = (self.home.settings.home.parent / "up.log").read_text(encoding="utf-8", errors="replace")
        versions = [f"version {number}: {self.version(number)}" for number in ("1", "2")]
        return "\n".join([log, *versions, *(f"page at {page.url}" for page in self.context.pages)])

    def version(self, number: str) -> Any:
        with mlflow_client(self.home.settings) as client:
            return client.get_model_version(ANSWERER.model, number)

    def traces(self) -> list[Any]:
        from mlflow import MlflowClient

        client = MlflowClient(tracking_uri=self.home.settings.tracking_uri)
        experiment = client.get_experiment_by_name("almanac-answers")
        places = [experiment.experiment_id] if experiment else []
        return list(client.search_traces(locations=places, include_spans=False)) if places else []


def days_ago(days: int) -> str:
    return (dt.datetime.now(dt.UTC) - dt.timedelta(days=days)).isoformat()


def broken(folder: Path) -> Path:
    """An answerer that was trained for a prompt which this project does not have."""
    write_manifest(folder, replace(read_manifest(folder), prompt_digest="0" * 16))
    return folder


def make_world_home(folder: Path, migrated_mlflow: Path) -> Home:
    """Two documents, a challenger (version 1) and a broken version 2."""
    records = [
        record("ledger", LEDGER, "everyone") | {"updated_at": days_ago(3)},
        record("zephyr", ZEPHYR, "everyone") | {"updated_at": days_ago(40)},
    ]
    serving = {"anonymous_groups": ["everyone"], "poll_seconds": 1, "smoke_questions": [QUESTION]}
    home = make_home(folder, migrated_mlflow, records, serving=serving)
    for seed, name in ((1, "challenger"), (2, "broken")):
        saved = save_answerer(folder / name, home.params.generation, home.settings, seed=seed)
        files = broken(saved) if name == "broken" else saved
        assert register_answerer(home.settings, files, key=name) == str(seed)
    with mlflow_client(home.settings) as client:
        client.set_registered_model_alias(ANSWERER.model, CHALLENGER, "1")
    return home


def stop(process: "subprocess.Popen[bytes]") -> None:
    left = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(timeout=60)
    for child in left:
        with suppress(psutil.NoSuchProcess):
            child.kill()
    process.kill()
    process.wait()


def ask(chat: Page, question: str = QUESTION) -> Locator:
    """Ask by the keyboard; the finished answer."""
    num_before = chat.locator(".turn").count()
    chat.get_by_label("Your question").fill(question)
    chat.get_by_label("Your question").press("Enter")
    turn = chat.locator(".turn").nth(num_before)
    expect(turn.locator(".provenance")).to_be_visible()
    return turn


def set_champion(registry: Page, world: World, version: str, *, picture: str | None = None) -> float:
    """Put the alias on a version as a person does: open its page, edit its aliases, save; the moment of the click."""
    registry.bring_to_front()
    # From an empty page: MLflow's own page, while it still starts, would take the address after the `#` back.
    registry.goto("about:blank")
    registry.goto(f"{world.mlflow}#/models/{ANSWERER.model}/versions/{version}")
    registry.get_by_role("heading", name=f"Version {version}").wait_for()
    registry.locator('button[title="Add aliases"], button[title="Edit aliases"]').click()
    dialog = registry.get_by_role("dialog")
    box = dialog.get_by_role("combobox")
    box.fill(CHAMPION)
    expect(registry.locator(f'[class*="option-active"][title="{CHAMPION}"]')).to_be_visible()
    box.press("Enter")
    expect(dialog.get_by_title(CHAMPION, exact=True).first).to_be_visible()
    if picture:
        shoot(registry, picture)
    saved = time.monotonic()
    dialog.get_by_role("button", name=re.compile("Save aliases", re.IGNORECASE)).click()
    dialog.wait_for(state="hidden")
    return saved


def shoot(page: Page, name: str) -> None:
    if os.environ.get("ALMANAC_SCREENSHOTS") == "1":
        save_picture(page, IMAGES / f"{name}.png")
