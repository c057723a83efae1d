"""The data registry: what it publishes comes back, whatever kills it."""

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tasks.errors import BusyError, ConfigurationError, CorruptionError, DependencyError
from tasks.registry import repository
from tasks.registry.data_registry import CORPUS, Registry
from tests.corpus.registry_world import (
    KilledAfterAdd,
    KilledAfterCommit,
    KilledAfterFill,
    KilledAfterPush,
    KilledAfterTag,
    KilledBeforeCommit,
    KilledInPush,
    assert_one_commit_and_one_tag_a_week,
    content,
    fork,
    git,
    killed_in,
    open_registry,
    publish,
    publish_in_a_group,
    size_bytes,
    wipe_local_copies,
)

COLD_DVC = True


@pytest.fixture(scope="module")
def first_week(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with one published week and the files of the next two."""
    home = tmp_path_factory.mktemp("home")
    (home / "work").mkdir()
    (home / "work" / "0000.parquet").write_bytes(os.urandom(1_000_000))
    (home / "work" / "0001.parquet").write_bytes(os.urandom(10_000))
    (home / "work" / "0002.parquet").write_bytes(os.urandom(10_000))
    publish(home, 0)
    return home


@pytest.fixture
def home(first_week: Path, tmp_path: Path) -> Path:
    """A copy of that home: the registry works wherever the home is moved."""
    return shutil.copytree(first_week, tmp_path / "home")


def test_snapshot_is_a_commit_a_tag_and_a_pointer(home: Path) -> None:
    revision = publish(home, 1)
    assert revision.tag == "week-1"
    assert revision.commit == git(home, "rev-parse", "HEAD").strip()
    assert revision.md5 in (home / "registry" / f"{CORPUS}.dvc").read_text()
    assert git(home, "log", "--format=%s").splitlines() == ["Week 1", "Week 0", "Create the data registry"]
    assert git(home, "status", "--short") == ""
    assert open_registry(home).files("week-0") == ["0000.parquet"]
    assert open_registry(home).files("week-1") == ["0000.parquet", "0001.parquet"]


def test_cost_of_a_week_is_what_changed_in_it(home: Path) -> None:
    cache, remote = home / "registry" / ".dvc" / "cache", home / "dvc-remote"
    before = size_bytes(cache), size_bytes(remote)
    publish(home, 1)
    for folder, size in zip((cache, remote), before, strict=True):
        assert 10_000 <= size_bytes(folder) - size < 11_000


def test_published_files_share_their_bytes_with_the_cache(home: Path) -> None:
    publish(home, 1)
    place = home / "registry" / CORPUS / "0001.parquet"
    assert place.stat().st_nlink == 2
    assert not place.stat().st_mode & 0o222


def test_publishing_again_changes_nothing_and_starts_no_dvc(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = git(home, "rev-parse", "HEAD").strip()
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    assert publish(home, 0).commit == commit
    assert git(home, "rev-parse", "HEAD").strip() == commit


def test_old_snapshot_comes_back_when_the_local_copies_are_gone(home: Path) -> None:
    publish(home, 1)
    wipe_local_copies(home)
    files = open_registry(home).restore("week-0", home / "restored")
    assert files == [home / "restored" / "0000.parquet"]
    assert files[0].read_bytes() == (home / "work" / "0000.parquet").read_bytes()
    assert open_registry(home).restore("week-0", home / "restored") == files


def test_restore_starts_no_dvc_while_the_files_are_at_hand(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    files = open_registry(home).restore("week-0", home / "restored")
    assert files[0].read_bytes() == (home / "work" / "0000.parquet").read_bytes()


def test_file_that_a_compaction_replaced_is_still_in_the_old_snapshot(home: Path) -> None:
    (home / "work" / "base.parquet").write_bytes(b"compacted")
    open_registry(home).publish([home / "work" / "base.parquet"], "compacted", "Compact")
    assert content(home / "registry" / CORPUS) == {"base.parquet": b"compacted"}
    open_registry(home).restore("week-0", home / "restored")
    assert content(home / "restored") == {"0000.parquet": (home / "work" / "0000.parquet").read_bytes()}


def test_tag_of_an_unfinished_refresh_moves_to_the_new_files(home: Path) -> None:
    publish(home, 1)
    (home / "work" / "0001.parquet").write_bytes(b"parsed again")
    revision = publish(home, 1)
    assert git(home, "rev-parse", "week-1").strip() == revision.commit
    open_registry(home).restore("week-1", home / "restored")
    assert content(home / "restored")["0001.parquet"] == b"parsed again"


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind",
    [
        KilledAfterFill,
        KilledAfterAdd,
        KilledInPush,
        KilledAfterPush,
        KilledBeforeCommit,
        KilledAfterCommit,
        KilledAfterTag,
    ],
)
def test_publishing_completes_after_a_kill(home: Path, kind: type[Registry]) -> None:
    process = fork.Process(target=publish, args=(home, 1, kind))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    publish(home, 1)
    assert_one_commit_and_one_tag_a_week(home)


@pytest.mark.slow
@pytest.mark.parametrize("also_its_commands", [False, True])
def test_publishing_completes_after_kills_at_any_moment(home: Path, also_its_commands: bool) -> None:
    for seconds in (0.05, 0.3, 0.6, 0.9, 1.2):
        process = fork.Process(target=publish_in_a_group, args=(home, 1))
        process.start()
        time.sleep(seconds)
        if process.exitcode is None and process.pid is not None:
            with suppress(ProcessLookupError):  # it ended, or is not yet the leader of its group
                (os.killpg if also_its_commands else os.kill)(process.pid, signal.SIGKILL)
        process.join()
    publish(home, 1)
    assert_one_commit_and_one_tag_a_week(home)


@pytest.mark.parametrize("method", ["init", "add", "commit"])
def test_creating_completes_after_a_kill(tmp_path: Path, method: str) -> None:
    killed_in(tmp_path, Registry.ensure, method)
    for _ in range(2):
        open_registry(tmp_path).ensure()
    assert git(tmp_path, "log", "--format=%s").splitlines() == ["Create the data registry"]
    assert git(tmp_path, "status", "--short") == ""
    assert [path.name for path in tmp_path.iterdir()] == ["registry"]


def test_registry_is_laid_out_as_dvc_lays_it_out(tmp_path: Path) -> None:
    open_registry(tmp_path).ensure()
    (tmp_path / "plain").mkdir()
    environment = os.environ | {"DVC_NO_ANALYTICS": "1", "DVC_SITE_CACHE_DIR": str(tmp_path / "site")}
    for command in (["git", "init", "--quiet"], [sys.executable, "-m", "dvc", "init"]):
        subprocess.run(command, cwd=tmp_path / "plain", check=True, capture_output=True, env=environment)
    theirs, ours = tmp_path / "plain" / ".dvc", tmp_path / "registry" / ".dvc"
    assert sorted((ours / ".gitignore").read_text().split()) == sorted((theirs / ".gitignore").read_text().split())
    assert {path.name for path in theirs.iterdir()} - {"tmp"} == {path.name for path in ours.iterdir()} - {"tmp"}


def test_new_remote_gets_the_old_snapshots(home: Path) -> None:
    moved = Registry(home / "registry", str(home / "new-remote"))
    moved.ensure()
    assert git(home, "log", "-1", "--format=%s").strip() == "Move to another remote"
    shutil.rmtree(home / "dvc-remote")
    wipe_local_copies(home)
    moved.restore("week-0", home / "restored")
    assert content(home / "restored") == {"0000.parquet": (home / "work" / "0000.parquet").read_bytes()}


def test_remote_that_does_not_answer_leaves_no_commit_and_heals(home: Path) -> None:
    shutil.move(home / "dvc-remote", home / "aside")
    (home / "dvc-remote").write_text("no folder")
    with pytest.raises(DependencyError, match="dvc-remote") as error:
        publish(home, 1)
    assert "\n" not in str(error.value)
    assert git(home, "tag", "--list").split() == ["week-0"]
    (home / "dvc-remote").unlink()
    shutil.move(home / "aside", home / "dvc-remote")
    publish(home, 1)
    assert git(home, "tag", "--list").split() == ["week-0", "week-1"]


def test_missing_git_is_named(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(home))
    with pytest.raises(DependencyError, match="git must be installed"):
        publish(home, 1)


def test_needs_no_git_configuration_and_obeys_no_hook_of_the_caller(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/nonexistent")
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.setenv("GIT_DIR", str(home / "elsewhere"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(home / "elsewhere" / "index"))
    publish(home, 1)
    monkeypatch.delenv("GIT_DIR")
    monkeypatch.delenv("GIT_INDEX_FILE")
    assert git(home, "log", "-1", "--format=%an %s").strip() == "Almanac Week 1"
    assert not (home / "elsewhere").exists()


def test_waits_for_a_dvc_command_that_outlived_its_parent(home: Path) -> None:
    hold = (
        "import fcntl,sys,time; f=open(sys.argv[1],'a'); fcntl.flock(f,fcntl.LOCK_EX); print(flush=True); time.sleep(2)"
    )
    lock = home / "registry" / ".dvc" / "tmp" / "lock"
    with subprocess.Popen([sys.executable, "-c", hold, str(lock)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        publish(home, 1)
        assert process.poll() == 0


def test_dvc_command_that_never_ends_is_told_as_busy(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repository, "_LOCK_SECONDS", 0.2)
    with (home / "registry" / ".dvc" / "tmp" / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(BusyError, match="no other DVC command"):
            publish(home, 1)


def test_lock_entry_whose_process_number_was_given_to_another_does_not_block(home: Path) -> None:
    place = home / "registry" / CORPUS
    entry = f'{{"write": {{"{place}": {{"pid": {os.getpid()}, "cmd": "dvc add corpus"}}}}, "read": {{}}}}'
    (home / "registry" / ".dvc" / "tmp" / "rwlock").write_text(entry)
    publish(home, 1)


def test_damaged_copy_is_refused_and_the_remedy_that_is_named_helps(home: Path) -> None:
    place = home / "registry" / CORPUS / "0000.parquet"
    cache = home / "registry" / ".dvc" / "cache"
    [cached] = [path for path in cache.rglob("*") if path.is_file() and path.stat().st_size == 1_000_000]
    for path in (place, cached):
        path.chmod(0o644)
        path.write_bytes(bytes(1_000_000))
    with pytest.raises(CorruptionError, match=f"remove {cache} and restore again"):
        open_registry(home).restore("week-0", home / "restored")
    assert not (home / "restored").exists()
    shutil.rmtree(cache)
    open_registry(home).restore("week-0", home / "restored")
    assert content(home / "restored") == {"0000.parquet": (home / "work" / "0000.parquet").read_bytes()}


def test_unknown_tag_lists_those_that_exist(home: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"'week-9'.*found week-0"):
        open_registry(home).files("week-9")
    with pytest.raises(ConfigurationError, match="found none"):
        open_registry(tmp_path / "empty").restore("week-0", tmp_path / "restored")


def test_target_with_other_files_is_left_alone(home: Path) -> None:
    (home / "restored").mkdir()
    (home / "restored" / "mine.txt").write_text("mine")
    with pytest.raises(ConfigurationError, match="absent or hold"):
        open_registry(home).restore("week-0", home / "restored")
    assert content(home / "restored") == {"mine.txt": b"mine"}


def test_folder_that_is_no_registry_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "registry").mkdir()
    (tmp_path / "registry" / "mine.txt").write_text("mine")
    with pytest.raises(ConfigurationError, match="absent or a registry"):
        open_registry(tmp_path).ensure()
    assert content(tmp_path / "registry") == {"mine.txt": b"mine"}


def test_arguments_that_name_no_snapshot_are_refused(home: Path) -> None:
    registry = open_registry(home)
    file = home / "work" / "0001.parquet"
    for files, tag in (([file], "--force"), ([], "week-1"), ([file, home / "registry" / file.name], "week-1")):
        if len(files) == 2:
            shutil.copy(file, files[1])
        with pytest.raises(ConfigurationError):
            registry.publish(files, tag, "Week")
