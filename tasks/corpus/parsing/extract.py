"""A process of its own that turns PDF, office, web and mark-up formats into Markdown, and that can be killed.

A plain subprocess and no `multiprocessing` pool: it starts the same from a flow, a notebook and a daemonic Dask worker,
never re-imports the caller's main module, and ends by itself when its parent is killed, because its input closes.
"""

import json
import os
import selectors
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tasks.errors import ParseError
from tasks.params import ParsingParams

EXTRACTED: Mapping[str, str] = {
    ".pdf": "application/pdf",
    ".docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    ".pptx": "application/vnd.openxmlformats-officedocument.presentationml.presentation",
    ".xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    ".xls": "application/vnd.ms-excel",
    ".odt": "application/vnd.oasis.opendocument.text",
    ".epub": "application/epub+zip",
    ".fb2": "application/x-fictionbook+xml",
    ".ipynb": "application/x-ipynb+json",
    ".rtf": "application/rtf",
    ".html": "text/html",
    ".htm": "text/html",
    ".xhtml": "text/html",
    ".org": "text/x-org",
    ".tex": "application/x-latex",
    ".csv": "text/csv",
    ".tsv": "text/tab-separated-values",
    ".msg": "application/vnd.ms-outlook",
    ".eml": "message/rfc822",
}
"""File endings that are extracted, and the media type of each."""

_START_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Extracted:
    """Text of an item as Markdown, and the title that its own metadata carries, or ''.

    Attributes:
        metadata: what the document's metadata tells of the reading: characters left out, pages without text.
    """

    text: str
    title: str
    metadata: Mapping[str, str] = field(default_factory=dict)


class Extractor:
    """One worker process, started at the first item and again after it had to be killed."""

    def __init__(self, parsing: ParsingParams) -> None:
        self._parsing = parsing
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop()

    def extract(self, data: bytes, ending: str) -> Extracted:
        """Return Markdown of a file's bytes.

        Raises:
            ParseError: the file can't be read, or only beyond the limits of time, memory and size.
        """
        try:
            reply = self._ask(data, ending)
        except TimeoutError as error:
            self._stop()
            raise ParseError(
                "timeout",
                f"the item must be parsed within parsing.timeout_seconds ({self._parsing.timeout_seconds:g}), was "
                "still busy; simplify it or raise the limit",
            ) from error
        except (EOFError, BrokenPipeError) as error:
            self._stop()
            raise ParseError(
                "damaged",
                f"the item must be parsed within parsing.max_memory_mb ({self._parsing.max_memory_mb}), but the parser "
                "died on it; repair it, or raise the limit if it is only large",
            ) from error
        if "code" in reply:
            raise ParseError(reply["code"], reply["reason"])
        return Extracted(reply["text"], reply["title"], reply["metadata"])

    def _ask(self, data: bytes, ending: str) -> dict[str, Any]:
        process = self._process or self._start()
        assert process.stdin is not None
        process.stdin.write(json.dumps({"ending": ending, "size": len(data)}).encode() + b"\n" + data)
        process.stdin.flush()
        return self._reply(process, self._parsing.timeout_seconds)

    def _start(self) -> subprocess.Popen[bytes]:
        root = str(Path(__file__).resolve().parents[3])
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH")))),
            "MALLOC_ARENA_MAX": "2",  # each arena counts 64 MB against the limit of address space
        }
        limits = [str(self._parsing.max_memory_mb), str(self._parsing.max_characters), self._parsing.ocr or ""]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tasks.corpus.parsing.extract_worker", *limits],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
        )
        # Its imports must not count against the first item's time.
        self._reply(self._process, _START_SECONDS)
        return self._process

    def _reply(self, process: subprocess.Popen[bytes], seconds: float) -> dict[str, Any]:
        deadline = time.monotonic() + seconds
        size = int.from_bytes(_read(process, 8, deadline), "big")
        reply: dict[str, Any] = json.loads(_read(process, size, deadline))
        return reply

    def _stop(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def _read(process: subprocess.Popen[bytes], size: int, deadline: float) -> bytes:
    assert process.stdout is not None
    descriptor = process.stdout.fileno()
    parts: list[bytes] = []
    with selectors.DefaultSelector() as selector:
        selector.register(descriptor, selectors.EVENT_READ)
        while size > 0:
            if not selector.select(max(0.0, deadline - time.monotonic())):
                raise TimeoutError
            part = os.read(descriptor, min(size, 1 << 20))
            if not part:
                raise EOFError
            parts.append(part)
            size -= len(part)
    return b"".join(parts)
