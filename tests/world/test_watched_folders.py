"""A folder that is watched: one refresh for a burst of changes, none beside another, none while it is paused."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Cancelled, Completed, Running

from flows.deployments import deploy
from flows.folders import Burst, ask_for_refresh, watch_folders, watched
from tasks.errors import ConfigurationError
from tasks.params import Params, load_params
from tasks.params.sources import FilesSource
from tasks.settings import Settings
from tests.conftest import files_source, wait_until

PROJECT = Path(__file__).parents[2]
QUIET = 1.5


def test_burst_is_due_once_it_is_quiet() -> None:
    burst = Burst(quiet_seconds=30, max_wait_seconds=600)
    assert not burst.is_due(1000)
    for second in range(60):
        burst.note(1000 + second)
        assert not burst.is_due(1000 + second)
    assert not burst.is_due(1088)
    assert burst.is_due(1089)
    burst.put_off(1089)
    assert not burst.is_due(1098)
    assert burst.is_due(1099)
    burst.clear()
    assert not burst.is_due(5000)


def test_folder_that_never_falls_silent_is_refreshed_all_the_same() -> None:
    burst = Burst(quiet_seconds=30, max_wait_seconds=600)
    dues = [burst.note(second) or burst.is_due(second) for second in range(0, 601, 10)]
    assert dues == [False] * 60 + [True]


def source(folder: Path, **more: Any) -> FilesSource:
    return FilesSource.model_validate(files_source(folder) | {"watch": True} | more)


@contextmanager
def watching(
    sources: list[FilesSource], settings: Settings, answers: list[bool] | None = None
) -> Iterator[list[float]]:
    """A watch that notes when it asked for a refresh; it is told `answers`, then always that one was begun."""
    asked: list[float] = []
    told = answers or []

    def start() -> bool:
        asked.append(time.monotonic())
        return told.pop(0) if told else True

    stop = threading.Event()
    quiet = settings.model_copy(update={"watch_quiet_seconds": QUIET})
    thread = threading.Thread(target=watch_folders, args=(sources, quiet), kwargs={"stop": stop, "start": start})
    thread.start()
    time.sleep(1.5)
    yield asked
    stop.set()
    thread.join(timeout=30)
    assert not thread.is_alive()


def test_a_thousand_files_give_one_refresh(tmp_path: Path, settings: Settings) -> None:
    with watching([source(tmp_path)], settings) as asked:
        for number in range(1000):
            (tmp_path / f"{number}.md").write_text("# A page\n")
        wait_until(lambda: bool(asked), seconds=30)
        time.sleep(2 * QUIET)
    assert len(asked) == 1


def test_what_the_source_does_not_take_starts_nothing(tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / "work").mkdir(parents=True)
    taken = source(tmp_path, include=["**/*.md"], exclude=["drafts/**"])
    (tmp_path / "drafts").mkdir()
    with watching([taken], Settings(home=home)) as asked:
        for name in ("a.log", ".hidden.md", "drafts/b.md", "home/work/c.md"):
            (tmp_path / name).write_text("text")
        time.sleep(3 * QUIET)
        assert asked == []
        (tmp_path / "d.md").write_text("text")
        wait_until(lambda: bool(asked), seconds=30)


def test_a_deleted_and_a_moved_file_count(tmp_path: Path, settings: Settings) -> None:
    for name in ("a.md", "b.md"):
        (tmp_path / name).write_text("text")
    with watching([source(tmp_path)], settings) as asked:
        (tmp_path / "a.md").unlink()
        wait_until(lambda: len(asked) == 1, seconds=30)
        (tmp_path / "b.md").rename(tmp_path / "c.md")
        wait_until(lambda: len(asked) == 2, seconds=30)


def test_a_folder_that_is_not_there_yet_is_looked_for(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flows.folders.RETRY_SECONDS", 0.5)
    with watching([source(tmp_path / "late")], settings) as asked:
        (tmp_path / "late").mkdir()
        wait_until(lambda: bool(asked), seconds=30)


def test_a_refused_refresh_is_asked_for_again(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flows.folders.RETRY_SECONDS", 0.5)
    with watching([source(tmp_path)], settings, [False, False]) as asked:
        (tmp_path / "a.md").write_text("text")
        wait_until(lambda: len(asked) == 3, seconds=30)
        time.sleep(3 * QUIET)
    assert len(asked) == 3


def test_only_local_folders_are_watched(
    tmp_path: Path, write_params: Callable[..., Params], settings: Settings
) -> None:
    params = write_params([files_source(tmp_path) | {"watch": True}])
    assert [entry.name for entry in watched(params)] == ["notes"]
    assert watched(write_params([files_source(tmp_path)])) == ()
    path = settings.params
    path.write_text(
        path.read_text().replace(str(tmp_path), "s3://bucket/docs").replace("kind: files", "kind: files\n  watch: true")
    )
    with pytest.raises(ConfigurationError, match="`watch` needs a local folder"):
        load_params(path)


@pytest.mark.slow
def test_a_refresh_is_never_asked_for_beside_another_or_while_it_is_paused(
    prefect_server: str, write_params: Callable[..., Params], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", prefect_server)
    params = write_params([files_source(tmp_path)])
    with temporary_settings({PREFECT_API_URL: prefect_server}), get_client(sync_client=True) as client:
        deployment = deploy(params, PROJECT)["refresh"]

        def ask() -> FlowRun | bool:
            return ask_for_refresh(client, now=datetime.now(UTC))

        run = ask()
        assert isinstance(run, FlowRun)
        assert ask() is False, "one waits for a worker"
        client.set_flow_run_state(run.id, Running(), force=True)
        assert ask() is False, "one runs"
        client.set_flow_run_state(run.id, Completed(), force=True)
        address = f"{prefect_server}/deployments/{deployment}"
        assert httpx.patch(address, json={"paused": True}, timeout=30).is_success
        assert ask() is True, "a person paused it"
        assert httpx.patch(address, json={"paused": False}, timeout=30).is_success
        again = ask()
        assert isinstance(again, FlowRun)
        client.set_flow_run_state(again.id, Cancelled(), force=True)
