"""A real server for tests: a tiny corpus with a tiny model in a home of its own, uvicorn on a free port."""

import json
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
import yaml
from fastapi import FastAPI

from serving.promotion.pair import Pair
from serving.promotion.status import AnswererStatus, IndexStatus, PairStatus
from tasks.answer.answerer import Answerer, default_answerer
from tasks.answer.generators.base import Generator
from tasks.index.live import open_index, serving
from tasks.index.table import connect
from tasks.params import Params
from tasks.settings import Settings
from tests.chat_model import save_chat_model
from tests.conftest import BASE_PARAMS, merged, wait_until

ZEPHYR = "# Zephyr\n\nZephyr is a task queue for Python. It needs Python 3.11 or newer.\n"
LOCKBOX = (
    "# Lockbox\n\nLockbox gives portable locks between processes. Install lockbox with pip from the package index.\n"
)


@dataclass(frozen=True)
class Home:
    """A home whose records are released."""

    params: Params
    settings: Settings


def record(key: str, text: str, *access: str, knowledge_base: str = "wiki") -> dict[str, Any]:
    """One record of the feed."""
    places = {"uri": f"https://wiki.example/{key}", "knowledge_base": knowledge_base}
    return {"id": key, "title": key.title(), "text": text, "access": list(access)} | places


def make_home(folder: Path, migrated_mlflow: Path, records: Sequence[dict[str, Any]], **changes: Any) -> Home:
    """Release records in a new home, with a model of a few kilobytes as answerer."""
    from flows.refresh import refresh

    home, feed, path = folder / "home", folder / "wiki.jsonl", folder / "params.yaml"
    home.mkdir()
    shutil.copy(migrated_mlflow, home / "mlflow.db")
    feed.write_text("".join(json.dumps(entry) + "\n" for entry in records), encoding="utf-8")
    source = {"name": "wiki", "kind": "records", "mode": "snapshot", "url": str(feed), "knowledge_base": "wiki"}
    model = {"model": str(save_chat_model(folder / "model")), "gguf_file": None, "answerer": "excerpt"}
    base = merged(
        BASE_PARAMS,
        {"sources": [source | {"access": ["everyone"], "max_removed_fraction": 0.9}], "generation": model},
    )
    raw = merged(base, changes)
    path.write_text(yaml.safe_dump(raw), encoding="utf-8")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("ALMANAC_HOME", str(home))
        environment.setenv("ALMANAC_PARAMS", str(path))
        refresh.fn()
    return Home(Params.model_validate(raw), Settings(home=home, params=path))


class StaticPair:
    """One pair that never changes: what serves at the start, or a generator of the test's own in its place."""

    def __init__(
        self,
        params: Params,
        settings: Settings,
        wrap: Callable[[Generator], Generator],
        *,
        generator: Generator | None = None,
    ) -> None:
        self._params, self._settings, self._wrap, self._generator = params, settings, wrap, generator
        self.pair: Pair | None = None

    def start(self) -> None:
        release = serving(self._settings).release
        index = open_index(connect(self._settings), release, self._params, self._settings)
        self.pair = Pair(release, index, self._answerer())

    def _answerer(self) -> Answerer:
        own = self._params.generation
        if self._generator is not None:
            return Answerer("base", self._wrap(self._generator), own.model_copy(update={"answerer": "model"}))
        answerer = default_answerer(own, self._settings)
        return replace(answerer, generator=self._wrap(answerer.generator))

    def stop(self) -> None:
        pass

    def poll_now(self) -> None:
        pass

    @contextmanager
    def acquire(self, user_key: str | None = None, knowledge_base: str | None = None) -> Iterator[Pair]:
        assert self.pair is not None
        yield self.pair

    def status(self) -> PairStatus:
        if self.pair is None:
            return PairStatus()
        release = self.pair.release
        return PairStatus(
            index=IndexStatus(self.pair.index_version, release.number, release.created_at, since=release.created_at),
            answerer=AnswererStatus(self.pair.answerer_version, self.pair.answerer.identity, since=release.created_at),
        )


@contextmanager
def running(app: FastAPI) -> Iterator[str]:
    """The address of Almanac's app, served for real in a thread, once it is ready."""
    with served(app) as address:
        wait_until(lambda: httpx.get(f"{address}/readyz", timeout=30).status_code != 503, seconds=120)
        yield address


@contextmanager
def served(app: FastAPI) -> Iterator[str]:
    """The address of any app, served for real in a thread."""
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning", access_log=False))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_until(lambda: server.started or not thread.is_alive(), seconds=120)
        assert server.started
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(timeout=60)
        assert not thread.is_alive()
