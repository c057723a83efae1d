"""The way back: by command, by hand in MLflow, seen by processes that already run; and what the next refresh does."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from serving.promotion.live import LivePair
from tasks.errors import ConfigurationError, DependencyError, GateError
from tasks.index import candidate
from tasks.index.history import list_releases, roll_back_index
from tasks.index.live import LiveIndex
from tasks.index.search import Request
from tasks.params import Params
from tasks.releases.kind import INDEX
from tasks.releases.last_served import last_served
from tasks.releases.model_registry import CHAMPION, mlflow_client
from tasks.settings import Settings
from tests.chat_model import save_chat_model
from tests.conftest import files_source, wait_until

pytestmark = pytest.mark.slow

NINETY = "# Backups\n\nSnapshots of the ledger are kept for ninety days in cold storage.\n"
SEVEN = "# Backups\n\nSnapshots of the ledger are kept for seven years on tape.\n"
FIVE = "# Backups\n\nSnapshots of the ledger are kept for five weeks on disk.\n"
QUESTION = "how long are snapshots of the ledger kept?"
FOLLOWER = """
import sys
from tasks.settings import Settings, quiet_environment
quiet_environment()
from serving.promotion.live import LivePair
from tasks.index.search import Request
from tasks.params import load_params
settings = Settings()
live = LivePair(load_params(settings.params), settings)
for question in sys.stdin:
    live.follow()
    with live.acquire() as pair:
        print(pair.index.search(Request(question), live.access())[0].text.splitlines()[-1], flush=True)
"""

Refresh = Callable[..., dict[str, Any]]


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    folder = tmp_path / "notes"
    folder.mkdir()
    (folder / "backup.md").write_text(NINETY)
    (folder / "oncall.md").write_text("# On call\n\nThe pager rotates every Tuesday among the engineers.\n")
    return folder


@pytest.fixture
def params(notes: Path, write_params: Callable[..., Params], tmp_path: Path) -> Params:
    model = {"model": str(save_chat_model(tmp_path / "chat")), "gguf_file": None}
    return write_params([files_source(notes)], generation=model)


def answer(params: Params, settings: Settings) -> str:
    return first(LiveIndex(params, settings))


def first(index: LiveIndex) -> str:
    return index.search(Request(QUESTION))[0].text


def shown(server: LivePair) -> str:
    with server.acquire() as pair:
        return pair.index.search(Request(QUESTION), server.access())[0].text


@pytest.fixture
def serve(params: Params, settings: Settings) -> Iterator[Callable[[], LivePair]]:
    """Starts what the server follows the aliases with."""
    started: list[LivePair] = []

    def start() -> LivePair:
        started.append(LivePair(params, settings))
        started[-1].start()
        return started[-1]

    yield start
    for server in started:
        server.stop()


def releases(settings: Settings) -> dict[int, list[str]]:
    return {int(entry.version): list(entry.aliases) for entry in list_releases(settings)}


def two_releases(notes: Path, refresh: Refresh) -> None:
    assert refresh()["release"] == 1
    (notes / "backup.md").write_text(SEVEN)
    assert refresh()["release"] == 2


def test_running_server_follows_a_rollback(
    notes: Path, refresh: Refresh, settings: Settings, serve: Callable[[], LivePair]
) -> None:
    two_releases(notes, refresh)
    running = serve()
    assert "seven years" in shown(running)

    back = roll_back_index(settings, None)

    assert (back.version, back.abandoned) == (1, 2)
    wait_until(lambda: "ninety days" in shown(running), seconds=120)


@pytest.fixture
def follower(home: Path) -> Iterator[Callable[[], str]]:
    """Asks a process of its own, started at the first question."""
    started: list[subprocess.Popen[str]] = []

    def ask() -> str:
        if not started:
            root = Path(__file__).parents[2]
            started.append(
                subprocess.Popen(
                    [sys.executable, "-c", FOLLOWER],
                    cwd=root,
                    env=os.environ | {"PYTHONPATH": str(root)},
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
        process = started[0]
        assert process.stdin
        assert process.stdout
        process.stdin.write(f"{QUESTION}\n")
        process.stdin.flush()
        return process.stdout.readline()

    yield ask
    for process in started:
        process.kill()
        process.communicate()


def test_another_process_follows_release_and_rollback(
    notes: Path, params: Params, refresh: Refresh, settings: Settings, follower: Callable[[], str]
) -> None:
    refresh()
    assert "ninety days" in follower()
    (notes / "backup.md").write_text(SEVEN)
    refresh()
    assert "seven years" in follower()

    roll_back_index(settings, None)

    assert "ninety days" in follower()


def test_content_that_was_rolled_back_is_released_again_only_on_demand(
    notes: Path, params: Params, refresh: Refresh, settings: Settings
) -> None:
    two_releases(notes, refresh)
    roll_back_index(settings, None)

    with pytest.raises(GateError, match="than release 2, which was rolled back"):
        refresh()

    assert "ninety days" in answer(params, settings)
    again = refresh(again=True)
    assert (again["release"], again["embedded"]) == (3, 0)
    assert "seven years" in answer(params, settings)


def test_corrected_content_is_released_from_the_release_that_serves(
    notes: Path, params: Params, refresh: Refresh, settings: Settings
) -> None:
    two_releases(notes, refresh)
    roll_back_index(settings, None)
    (notes / "backup.md").write_text(FIVE)

    result = refresh()

    assert (result["release"], result["embedded"], result["chunks"]) == (3, 1, 2)
    assert list_releases(settings)[0].lineage["base"] == 1
    assert "five weeks" in answer(params, settings)
    assert refresh()["release"] is None


def test_alias_moved_by_hand_is_followed(
    notes: Path, refresh: Refresh, settings: Settings, serve: Callable[[], LivePair]
) -> None:
    two_releases(notes, refresh)
    running = serve()

    with mlflow_client(settings) as client:
        client.set_registered_model_alias(INDEX.model, CHAMPION, "1")

    wait_until(lambda: "ninety days" in shown(running), seconds=120)
    assert releases(settings)[1] == ["champion"]


def test_refresh_after_an_alias_moved_back_by_hand_does_not_bring_the_content_back(
    notes: Path, params: Params, refresh: Refresh, settings: Settings
) -> None:
    two_releases(notes, refresh)
    with mlflow_client(settings) as client:
        client.set_registered_model_alias(INDEX.model, CHAMPION, "1")

    with pytest.raises(GateError, match="release 2"):
        refresh()

    assert "ninety days" in answer(params, settings)
    assert [entry.rolled_back for entry in list_releases(settings)] == [True, False]


def test_release_that_was_taken_back_and_serves_again_is_no_longer_marked(
    notes: Path, params: Params, refresh: Refresh, settings: Settings
) -> None:
    two_releases(notes, refresh)
    roll_back_index(settings, None)

    roll_back_index(settings, 2)

    assert [entry.rolled_back for entry in list_releases(settings)] == [False, True]
    assert refresh()["release"] is None


def test_release_to_roll_back_to_must_exist(notes: Path, params: Params, refresh: Refresh, settings: Settings) -> None:
    refresh()
    with pytest.raises(ConfigurationError, match="found none"):
        roll_back_index(settings, None)
    with pytest.raises(ConfigurationError, match="found 7"):
        roll_back_index(settings, 7)


def test_manual_policy_waits_for_a_person(
    notes: Path, write_params: Callable[..., Params], refresh: Refresh, settings: Settings
) -> None:
    write_params([files_source(notes)])
    refresh()
    params = write_params([files_source(notes)], release={"policy": "manual"})
    (notes / "backup.md").write_text(SEVEN)

    waiting = refresh()

    assert (waiting["release"], waiting["released"]) == (2, False)
    assert releases(settings) == {2: ["challenger"], 1: ["champion"]}
    assert "ninety days" in answer(params, settings)
    assert refresh()["release"] is None
    with mlflow_client(settings) as client:
        client.set_registered_model_alias(INDEX.model, CHAMPION, "2")
    assert "seven years" in answer(params, settings)


def test_release_that_mlflow_missed_is_announced_by_the_next_refresh(
    notes: Path, params: Params, refresh: Refresh, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    refresh()
    (notes / "backup.md").write_text(SEVEN)
    register_release = candidate.register_release

    def without_mlflow(settings: Settings, *args: Any, **kwargs: Any) -> str:
        nobody_listens = settings.model_copy(update={"mlflow_tracking_uri": "http://127.0.0.1:9"})
        return register_release(nobody_listens, *args, **kwargs)

    with monkeypatch.context() as outage:
        outage.setattr(candidate, "register_release", without_mlflow)
        with pytest.raises(DependencyError, match="MLflow at http://127"):
            refresh()
    assert "ninety days" in answer(params, settings)

    result = refresh()

    assert (result["release"], result["embedded"]) == (None, 0)
    assert "seven years" in answer(params, settings)
    assert releases(settings) == {2: ["champion"], 1: []}


def test_search_answers_from_the_last_release_while_mlflow_is_down(
    notes: Path, params: Params, refresh: Refresh, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    two_releases(notes, refresh)
    down = settings.model_copy(update={"mlflow_tracking_uri": "http://127.0.0.1:9"})

    index = LiveIndex(params, down)

    assert index.serving.release.number == 2
    assert last_served(down, INDEX) == index.serving.version
