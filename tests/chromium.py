"""The browser of the tests of pages, and its pictures."""

import io
import shutil
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page

NUM_COLOURS = 64


def chromium() -> str:
    """The path of Chromium on this machine."""
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    assert path, "the tests of the pages need Chromium, found none; `make setup` installs it on Debian as root"
    return path


def save_picture(page: Page, path: Path) -> None:
    """Save what the page shows, in as few colours as text on a ground needs: a third of the bytes."""
    path.parent.mkdir(exist_ok=True)
    taken = Image.open(io.BytesIO(page.screenshot(animations="disabled"))).convert("RGB")
    taken.quantize(NUM_COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)
