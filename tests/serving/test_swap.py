"""Hot swap: what an alias names serves seconds later, what does not fit is refused, and no request notices."""

import errno
import json
import os
import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from serving.promotion.live import LivePair
from serving.promotion.pair import Pair
from serving.promotion.state import place
from tasks.answer.answerer import read_manifest, write_manifest
from tasks.answer.generators.base import Generation, Generator
from tasks.errors import DependencyError
from tasks.index.history import roll_back_index
from tasks.index.search import Request
from tasks.index.table import connect, open_latest
from tasks.params import Params
from tasks.releases import kind
from tasks.releases.lifecycle import required, roll_back
from tasks.releases.lifecycle import versions as all_versions
from tasks.releases.model_registry import CHALLENGER, CHAMPION, mlflow_client
from tasks.settings import Settings
from tests.answerers import register_answerer, save_answerer
from tests.chat_model import save_chat_model
from tests.conftest import BASE_PARAMS, files_source, merged, wait_until

pytestmark = pytest.mark.slow

QUESTION = "how long are snapshots of the ledger kept?"
KEPT = {1: "ninety days", 2: "seven years"}
ANSWERER, INDEX = kind.ANSWERER.model, kind.INDEX.model
MANIFEST = str(kind.ANSWERER.manifest)
PROMPT = [{"role": "user", "content": "say"}]


@dataclass(frozen=True)
class World:
    """A home with two index releases, the first champion, and three registered answerers, none of them champion."""

    settings: Settings
    params: Params
    folder: Path

    def point(self, model: str, version: str | None, alias: str = CHAMPION) -> None:
        """Move an alias as a person does in the UI; None: delete it."""
        with mlflow_client(self.settings) as client:
            if version is None:
                client.delete_registered_model_alias(model, alias)
            else:
                client.set_registered_model_alias(model, alias, version)

    def named(self, model: str, alias: str = CHAMPION) -> str | None:
        with mlflow_client(self.settings) as client:
            found = client.get_registered_model(model).aliases.get(alias)
        return None if found is None else str(found)

    def tags(self, model: str, version: str) -> dict[str, str]:
        with mlflow_client(self.settings) as client:
            return dict(client.get_model_version(model, version).tags)

    def answerer_folder(self, name: str) -> Path:
        """A copy of a whole answerer, to be broken."""
        return Path(shutil.copytree(self.folder / "answerer-1", self.folder.parent / name))


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory, migrated_mlflow: Path) -> World:
    from flows.refresh import refresh

    root = tmp_path_factory.mktemp("swap")
    home, notes = root / "home", root / "notes"
    home.mkdir()
    notes.mkdir()
    shutil.copy(migrated_mlflow, home / "mlflow.db")
    generation = {"model": str(save_chat_model(root / "base")), "gguf_file": None, "max_new_tokens": 6}
    raw = merged(BASE_PARAMS, {"sources": [files_source(notes)], "generation": generation})
    (root / "params.yaml").write_text(yaml.safe_dump(raw))
    params = Params.model_validate(raw)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ALMANAC_HOME", str(home))
        patch.setenv("ALMANAC_PARAMS", str(root / "params.yaml"))
        for number, kept in KEPT.items():
            (notes / "backup.md").write_text(f"# Backups\n\nSnapshots of the ledger are kept for {kept} in storage.\n")
            assert refresh.fn().release == number
        settings = Settings()
    for seed in (1, 2, 3):
        folder = save_answerer(root / f"answerer-{seed}", params.generation, settings, seed=seed)
        assert register_answerer(settings, folder, key=f"seed {seed}") == str(seed)
    world = World(settings, params, root)
    roll_back_index(settings, 1)
    world.point(ANSWERER, None, CHALLENGER)
    return world


@pytest.fixture
def world(template: World, tmp_path: Path) -> World:
    """The template, copied: its MLflow artifacts stay where they are."""
    home = Path(shutil.copytree(template.settings.home, tmp_path / "home"))
    shutil.copytree(template.folder / "answerer-1", tmp_path / "files" / "answerer-1")
    return World(template.settings.model_copy(update={"home": home}), template.params, tmp_path / "files")


@pytest.fixture
def open_live(world: World) -> Iterator[Callable[..., LivePair]]:
    opened: list[LivePair] = []

    def make(settings: Settings | None = None, wrap: Any = None, **serving: Any) -> LivePair:
        params = world.params.model_copy(
            update={"serving": world.params.serving.model_copy(update={"poll_seconds": 0.1} | serving)}
        )
        options = {} if wrap is None else {"wrap": wrap}
        opened.append(LivePair(params, settings or world.settings, **options))
        return opened[-1]

    yield make
    for live in opened:
        live.stop()


def versions(live: LivePair, user_key: str | None = None) -> tuple[str, str]:
    with live.acquire(user_key) as pair:
        return pair.index_version, pair.answerer_version


def written(pair: Pair) -> str:
    return pair.answerer.generator.generate(PROMPT, max_new_tokens=6).text


def found(live: LivePair, pair: Pair) -> str:
    return pair.index.search(Request(QUESTION), live.access())[0].text


def test_base_model_answers_until_an_answerer_is_promoted(open_live: Callable[..., LivePair]) -> None:
    live = open_live()
    live.follow()

    assert versions(live) == ("1", "base")
    status = live.status()
    assert (status["ready"], status["degraded"], status["challenger"]) == (True, False, None)


def test_version_promoted_in_mlflow_answers_within_seconds(world: World, open_live: Callable[..., LivePair]) -> None:
    live = open_live()
    live.start()

    moved = time.monotonic()
    world.point(ANSWERER, "1")
    wait_until(lambda: versions(live) == ("1", "1"), seconds=120)
    answerer_seconds = time.monotonic() - moved
    moved = time.monotonic()
    world.point(INDEX, "2")
    wait_until(lambda: versions(live) == ("2", "1"), seconds=120)
    print(f"answerer {answerer_seconds:.2f} s, index {time.monotonic() - moved:.2f} s from alias to answer")

    wait_until(lambda: "promotion" in world.tags(INDEX, "2"), seconds=120)
    assert {"served", "promotion"} <= world.tags(ANSWERER, "1").keys()
    assert "rolled_back" not in world.tags(INDEX, "2")
    with live.acquire() as pair:
        assert KEPT[2] in found(live, pair)


def test_index_moved_back_is_marked_as_taken_back(world: World, open_live: Callable[..., LivePair]) -> None:
    live = open_live()
    world.point(INDEX, "2")
    live.follow()

    world.point(INDEX, "1")
    live.follow()

    assert versions(live)[0] == "1"
    assert "rolled_back" in world.tags(INDEX, "2")
    assert live.status()["last_swap"]["kind"] == "rolled_back"


def test_both_aliases_moved_between_two_polls_are_one_swap(world: World, open_live: Callable[..., LivePair]) -> None:
    live = open_live()
    live.follow()
    with live.acquire() as before:
        world.point(INDEX, "2")
        world.point(ANSWERER, "2")
        live.follow()
        assert (before.index_version, before.answerer_version) == ("1", "base")

    assert versions(live) == ("2", "2")


def test_half_of_a_pair_that_fails_leaves_the_other_half_to_serve(
    world: World, open_live: Callable[..., LivePair]
) -> None:
    live = open_live()
    live.follow()
    broken = world.answerer_folder("broken")
    break_base(broken)
    version = register_answerer(world.settings, broken, key="broken")
    world.point(INDEX, "2")
    world.point(ANSWERER, version)

    live.follow()

    assert versions(live) == ("2", "base")
    assert world.named(INDEX) == "2"
    assert world.named(ANSWERER) is None


@dataclass
class Closing:
    """A wrapped generator that says when it was closed."""

    generator: Generator
    closed: list[str] = field(default_factory=list)

    @property
    def identity(self) -> str:
        return self.generator.identity

    @property
    def context_length(self) -> int:
        return self.generator.context_length

    def generate(self, messages: Any, *, max_new_tokens: int) -> Generation:
        assert not self.closed
        return self.generator.generate(messages, max_new_tokens=max_new_tokens)

    def generate_many(self, conversations: Any, *, max_new_tokens: int) -> list[Generation]:
        return self.generator.generate_many(conversations, max_new_tokens=max_new_tokens)

    def count_tokens(self, text: str) -> int:
        return self.generator.count_tokens(text)

    def count_prompt_tokens(self, messages: Any) -> int:
        return self.generator.count_prompt_tokens(messages)

    def close(self) -> None:
        self.closed.append(self.identity)


def test_old_answerer_is_closed_behind_its_last_request(world: World, open_live: Callable[..., LivePair]) -> None:
    made: list[Closing] = []

    def wrap(generator: Generator) -> Generator:
        made.append(Closing(generator))
        return made[-1]

    live = open_live(wrap=wrap)
    live.follow()
    with live.acquire() as first, live.acquire():
        world.point(ANSWERER, "1")
        live.follow()
        assert written(first)
        assert made[0].closed == []
    assert len(made[0].closed) == 1
    assert versions(live) == ("1", "1")
    assert made[1].closed == []


def test_eight_clients_lose_no_request_and_get_no_mixed_answer_in_ten_swaps(
    world: World, open_live: Callable[..., LivePair]
) -> None:
    live = open_live()
    live.start()
    expected = {name: answer_of(world, open_live, name) for name in ("1", "2")}
    assert len(set(expected.values())) == 2
    world.point(ANSWERER, "1")
    wait_until(lambda: versions(live) == ("1", "1"), seconds=120)
    over, answered, failures = threading.Event(), Counter[tuple[str, str]](), list[str]()

    def ask() -> None:
        while not over.is_set():
            try:
                with live.acquire() as pair:
                    before = written(pair)
                    text = found(live, pair)
                    after = written(pair)
            except BaseException as error:
                failures.append(repr(error))
                raise
            whole = before == after == expected[pair.answerer_version] and KEPT[int(pair.index_version)] in text
            if not whole:
                failures.append(f"mixed in {pair.index_version}, {pair.answerer_version}")
            answered[pair.index_version, pair.answerer_version] += 1

    clients = [threading.Thread(target=ask) for _ in range(8)]
    for client in clients:
        client.start()
    for swap in range(10):
        wanted = ("2" if swap % 2 == 0 else "1", "2" if swap % 4 < 2 else "1")
        world.point(INDEX, wanted[0])
        world.point(ANSWERER, wanted[1])
        wait_until(lambda wanted=wanted: versions(live) == wanted, seconds=60)
    over.set()
    for client in clients:
        client.join()

    print(f"answers by pair: {dict(answered)}")
    assert failures == []
    assert set(answered) >= {("1", "1"), ("2", "2")}
    assert live.status()["degraded"] is False


def answer_of(world: World, open_live: Callable[..., LivePair], version: str) -> str:
    """What an answerer writes when nothing is swapped."""
    from serving.promotion.swap import load_registered

    entry = required(all_versions(world.settings, kind.ANSWERER), kind.ANSWERER, version)
    loaded = load_registered(entry, world.params, world.settings, lambda generator: generator)
    return loaded.answerer.generator.generate(PROMPT, max_new_tokens=6).text


def break_manifest(folder: Path) -> None:
    (folder / MANIFEST).unlink()


def break_base(folder: Path) -> None:
    rewrite(folder, base="another-model@0000")


def break_prompt(folder: Path) -> None:
    rewrite(folder, prompt_digest="0" * 16)


def break_file(folder: Path) -> None:
    (folder / "adapter" / "adapter_model.safetensors").write_bytes(b"no weights")


def break_weights(folder: Path) -> None:
    path = folder / "adapter" / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:-64])
    rewrite(folder)


def break_numbers(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    path = folder / "adapter" / "adapter_model.safetensors"
    save_file({name: tensor * float("nan") for name, tensor in load_file(path).items()}, path)
    rewrite(folder)


def break_context(folder: Path) -> None:
    rewrite(folder, generation={"max_new_tokens": 4096})


def rewrite(folder: Path, **changes: Any) -> None:
    raw = json.loads((folder / MANIFEST).read_text())
    from tasks.answer.answerer import Manifest

    write_manifest(folder, Manifest(**raw | changes))


BREAKS: dict[str, tuple[Callable[[Path], None], str]] = {
    "no manifest": (break_manifest, "readable answerer.json"),
    "another base": (break_base, "must run on base another-model"),
    "another prompt": (break_prompt, "trained for prompt"),
    "damaged file": (break_file, "files must be those of its manifest"),
    "cut weights": (break_weights, "Safetensor"),
    "not a number": (break_numbers, "must be finite|NaN"),
    "too long a prompt": (break_context, "leave room for 4096 tokens"),
}


@pytest.mark.parametrize("name", BREAKS)
def test_broken_answerer_is_refused_its_alias_goes_back_and_its_tag_says_why(
    name: str, world: World, open_live: Callable[..., LivePair]
) -> None:
    import re

    live = open_live()
    world.point(ANSWERER, "1")
    live.follow()
    broken = world.answerer_folder("broken")
    change, why = BREAKS[name]
    change(broken)
    version = register_unchecked(world, broken)
    world.point(ANSWERER, version)

    live.follow()

    assert versions(live) == ("1", "1")
    assert world.named(ANSWERER) == "1"
    tags = world.tags(ANSWERER, version)
    assert re.search(why, tags["refused"]), tags["refused"]
    assert "\n" not in tags["refused"]
    assert tags["refused_at"]
    assert "put back to version 1" in live.status()["last_refusal"]["alias"]
    live.follow()
    assert live.status()["degraded"] is False


def register_unchecked(world: World, folder: Path, **tags: str) -> str:
    """Register as a person may by hand, without the checks of a retrain."""
    with mlflow_client(world.settings) as client:
        experiment = client.get_experiment_by_name(ANSWERER)
        assert experiment
        run = client.create_run(experiment.experiment_id)
        client.log_artifacts(run.info.run_id, str(folder), "answerer")
        made = client.create_model_version(
            ANSWERER, "runs:/by-hand", run_id=run.info.run_id, tags={"gate": "passed"} | tags
        )
    return str(made.version)


def test_answerer_that_did_not_pass_its_gate_is_refused(world: World, open_live: Callable[..., LivePair]) -> None:
    live = open_live()
    live.follow()
    version = register_unchecked(world, world.answerer_folder("failed"), gate="failed")
    world.point(ANSWERER, version)

    live.follow()

    assert "gate 'failed'" in world.tags(ANSWERER, version)["refused"]
    assert versions(live)[1] == "base"


def test_version_that_finds_the_disk_full_is_tried_again_and_not_refused(
    world: World, open_live: Callable[..., LivePair], monkeypatch: pytest.MonkeyPatch
) -> None:
    live = open_live()
    live.follow()
    shutil.rmtree(world.settings.home / "cache" / "answerers")
    monkeypatch.setattr("serving.promotion.follow.RETRY_SECONDS", 0.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("shutil.rmtree", fails_with(errno.ENOSPC))
        world.point(ANSWERER, "1")
        live.follow()
    assert versions(live) == ("1", "base")
    assert live.status()["degraded"] is True
    assert "refused" not in world.tags(ANSWERER, "1")
    assert world.named(ANSWERER, CHAMPION) == "1"

    live.follow()

    assert versions(live) == ("1", "1")


def fails_with(number: int) -> Callable[..., None]:
    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    return fail


def test_version_without_files_is_refused(world: World, open_live: Callable[..., LivePair]) -> None:
    live = open_live()
    live.follow()
    with mlflow_client(world.settings) as client:
        made = client.create_model_version(ANSWERER, "runs:/nothing", tags={"gate": "passed"})
    world.point(ANSWERER, str(made.version))

    live.follow()

    assert "run with its files" in world.tags(ANSWERER, str(made.version))["refused"]


def test_alias_is_deleted_where_the_base_model_serves_on(world: World, open_live: Callable[..., LivePair]) -> None:
    live = open_live()
    live.follow()
    broken = world.answerer_folder("broken")
    break_base(broken)
    version = register_unchecked(world, broken)
    world.point(ANSWERER, version)

    live.follow()

    assert world.named(ANSWERER) is None
    assert versions(live)[1] == "base"
    assert "the default answerer serves" in live.status()["last_refusal"]["alias"]


def test_mended_version_serves_when_it_is_promoted_again(world: World, open_live: Callable[..., LivePair]) -> None:
    live = open_live()
    live.follow()
    version = register_unchecked(world, world.answerer_folder("late"), gate="failed")
    world.point(ANSWERER, version)
    live.follow()
    with mlflow_client(world.settings) as client:
        client.set_model_version_tag(ANSWERER, version, "gate", "passed")

    world.point(ANSWERER, version)
    live.follow()

    assert versions(live)[1] == version
    assert not {"refused", "refused_at", "rolled_back"} & world.tags(ANSWERER, version).keys()


def test_index_release_whose_tag_is_gone_is_refused(world: World, open_live: Callable[..., LivePair]) -> None:
    live = open_live()
    live.follow()
    open_latest(connect(world.settings)).tags.delete("release-0002")
    world.point(INDEX, "2")

    live.follow()

    assert versions(live)[0] == "1"
    assert world.named(INDEX) == "1"
    assert "release-0002" in world.tags(INDEX, "2")["refused"]
    assert "rolled_back" in world.tags(INDEX, "2")


def test_index_version_that_no_refresh_made_is_refused(world: World, open_live: Callable[..., LivePair]) -> None:
    live = open_live()
    live.follow()
    with mlflow_client(world.settings) as client:
        made = client.create_model_version(INDEX, "runs:/nothing", tags={"gate": "passed"})
    world.point(INDEX, str(made.version))

    live.follow()

    assert "no refresh made it" in world.tags(INDEX, str(made.version))["refused"]
    assert world.named(INDEX) == "1"


def test_index_with_other_chunks_than_its_manifest_says_is_refused(
    world: World, open_live: Callable[..., LivePair]
) -> None:
    live = open_live()
    live.follow()
    manifest = world.settings.home / "releases" / "0002.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"num_chunks": 77}))
    world.point(INDEX, "2")

    live.follow()

    assert "77 chunks" in world.tags(INDEX, "2")["refused"]


def test_lost_alias_changes_nothing_and_status_says_so(world: World, open_live: Callable[..., LivePair]) -> None:
    live = open_live()
    world.point(ANSWERER, "1")
    live.follow()

    world.point(ANSWERER, None)
    world.point(INDEX, None)
    live.follow()

    assert versions(live) == ("1", "1")
    assert [reason for reason in live.status()["reasons"] if "has no champion" in reason][1].endswith(
        "version 1 serves on"
    )


def test_deleted_version_serves_on_also_after_a_restart(world: World, open_live: Callable[..., LivePair]) -> None:
    live = open_live()
    world.point(ANSWERER, "1")
    live.follow()
    with mlflow_client(world.settings) as client:
        client.delete_model_version(ANSWERER, "1")
    live.follow()
    assert versions(live) == ("1", "1")

    again = open_live()
    again.follow()

    assert versions(again) == ("1", "1")


def test_rollback_to_the_base_model_is_followed(world: World, open_live: Callable[..., LivePair]) -> None:
    live = open_live()
    world.point(ANSWERER, "1")
    live.follow()

    roll_back(world.settings, kind.ANSWERER)
    live.follow()

    assert versions(live) == ("1", "base")
    assert live.status()["degraded"] is False


def test_restart_without_mlflow_serves_the_pair_that_served_last(
    world: World, open_live: Callable[..., LivePair]
) -> None:
    live = open_live()
    world.point(INDEX, "2")
    world.point(ANSWERER, "2")
    live.follow()
    with live.acquire() as pair:
        before = written(pair)
    down = world.settings.model_copy(update={"mlflow_tracking_uri": "http://127.0.0.1:9"})

    again = open_live(down)
    again.start()

    assert versions(again) == ("2", "2")
    with again.acquire() as pair:
        assert written(pair) == before
        assert KEPT[2] in found(again, pair)
    status = again.status()
    assert (status["ready"], status["degraded"], status["mlflow"]["reachable"]) == (True, True, False)


def test_mlflow_that_goes_away_and_comes_back_is_followed_again(
    world: World, open_live: Callable[..., LivePair], tmp_path: Path
) -> None:
    live = open_live()
    live.follow()
    database = world.settings.home / "mlflow.db"
    other = tmp_path / "elsewhere.db"
    follower = live._follower
    follower._settings = world.settings.model_copy(update={"mlflow_tracking_uri": "http://127.0.0.1:9"})
    live.follow()
    assert (versions(live), live.status()["mlflow"]["reachable"]) == (("1", "base"), False)
    assert not other.exists()
    assert database.exists()

    follower._settings = world.settings
    world.point(ANSWERER, "3")
    live.follow()

    assert versions(live) == ("1", "3")
    assert live.status()["degraded"] is False


def test_restart_without_mlflow_and_with_damaged_files_is_not_ready_and_says_why(
    world: World, open_live: Callable[..., LivePair]
) -> None:
    live = open_live()
    world.point(ANSWERER, "1")
    live.follow()
    folder = next((world.settings.home / "cache" / "answerers").glob("1-*/adapter"))
    (folder / "adapter_model.safetensors").write_bytes(b"")
    down = world.settings.model_copy(update={"mlflow_tracking_uri": "http://127.0.0.1:9"})

    again = open_live(down)
    again.follow()

    assert again.status()["ready"] is False
    assert any("files must be those of its manifest" in reason for reason in again.status()["reasons"])
    with pytest.raises(DependencyError, match="found none yet"), again.acquire():
        pass


def test_damaged_copy_of_the_champion_is_fetched_again(world: World, open_live: Callable[..., LivePair]) -> None:
    live = open_live()
    world.point(ANSWERER, "1")
    live.follow()
    folder = next((world.settings.home / "cache" / "answerers").glob("1-*/adapter")).parent
    (folder / "adapter" / "adapter_model.safetensors").write_bytes(b"")

    again = open_live()
    again.follow()

    assert versions(again) == ("1", "1")
    assert read_manifest(folder)


def test_champion_that_is_broken_at_the_start_gives_way_to_what_served_last(
    world: World, open_live: Callable[..., LivePair]
) -> None:
    world.point(ANSWERER, "1")
    open_live().follow()
    broken = world.answerer_folder("broken")
    break_base(broken)
    version = register_unchecked(world, broken)
    world.point(ANSWERER, version)

    live = open_live()
    live.follow()

    assert versions(live) == ("1", "1")
    assert world.named(ANSWERER) == "1"
    assert "refused" in world.tags(ANSWERER, version)


def test_server_waits_for_the_first_release(world: World, open_live: Callable[..., LivePair]) -> None:
    world.point(INDEX, None)
    shutil.rmtree(world.settings.home / "served")
    live = open_live()
    live.start()
    with pytest.raises(DependencyError, match="run `almanac refresh`"), live.acquire():
        pass

    world.point(INDEX, "2")

    wait_until(lambda: live.status()["ready"], seconds=120)
    assert versions(live)[0] == "2"


def test_challenger_answers_its_share_of_users_always_the_same_ones(
    world: World, open_live: Callable[..., LivePair]
) -> None:
    live = open_live(challenger_share=0.3)
    world.point(ANSWERER, "1")
    world.point(ANSWERER, "2", CHALLENGER)
    live.follow()

    users = [f"user {number}" for number in range(200)]
    first = {user: versions(live, user)[1] for user in users}
    assert first == {user: versions(live, user)[1] for user in users}
    assert first == {user: "2" if place(user) < 0.3 else "1" for user in users}
    assert 40 <= Counter(first.values())["2"] <= 80
    assert versions(live)[1] == "1"
    assert live.status()["challenger"]["version"] == "2"

    world.point(ANSWERER, "2")
    live.follow()
    assert {versions(live, user)[1] for user in users} == {"2"}
    assert live.status()["challenger"] is None


def test_broken_challenger_answers_nobody(world: World, open_live: Callable[..., LivePair]) -> None:
    broken = world.answerer_folder("broken")
    break_numbers(broken)
    version = register_unchecked(world, broken)
    world.point(ANSWERER, version, CHALLENGER)
    live = open_live(challenger_share=1.0)

    live.follow()

    assert versions(live, "anybody")[1] == "base"
    assert "refused" in world.tags(ANSWERER, version)
    assert world.named(ANSWERER, CHALLENGER) == version


def test_server_that_lacks_a_manifest_takes_it_from_mlflow(
    world: World, open_live: Callable[..., LivePair], tmp_path: Path
) -> None:
    one, two = two_servers(world, open_live, tmp_path / "other")
    shutil.rmtree(tmp_path / "other" / "releases")
    world.point(INDEX, "2")

    assert at_rest(world, one, two) == ("2", "2", "2")
    assert "refused" not in world.tags(INDEX, "2")
    assert two.status()["degraded"] is False


def test_version_is_not_refused_for_a_file_that_one_machine_cannot_have(
    world: World, open_live: Callable[..., LivePair], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two homes of one MLflow: what one cannot open, the other serves on, and the alias stays."""
    monkeypatch.setattr("serving.promotion.follow.RETRY_SECONDS", 0.0)
    one, two = two_servers(world, open_live, tmp_path / "other")
    shutil.rmtree(tmp_path / "other" / "releases")
    monkeypatch.setattr("tasks.releases.folder._has_artifact", lambda *_: False)
    world.point(INDEX, "2")

    assert at_rest(world, one, two) == ("2", "2", "1")
    assert not {"refused", "rolled_back"} & world.tags(INDEX, "2").keys()
    assert any("release/manifest.json" in reason for reason in two.status()["reasons"])


@pytest.mark.parametrize("manifest", ["newer field", "newer format", "damaged"])
def test_version_is_not_refused_for_a_manifest_that_this_machine_cannot_read(
    manifest: str, world: World, open_live: Callable[..., LivePair]
) -> None:
    live = open_live()
    live.follow()
    path = world.settings.home / "releases" / "0002.json"
    raw = json.loads(path.read_text())
    texts = {
        "newer field": json.dumps(raw | {"colour": "blue", "corpus": raw["corpus"] | {"size": 7}}),
        "newer format": json.dumps(raw | {"format": 99}),
        "damaged": path.read_text()[:40],
    }
    path.write_text(texts[manifest])
    world.point(INDEX, "2")

    live.follow()

    assert versions(live)[0] == ("2" if manifest == "newer field" else "1")
    assert world.named(INDEX) == "2"
    assert "refused" not in world.tags(INDEX, "2")


def two_servers(world: World, open_live: Callable[..., LivePair], other_home: Path) -> tuple[LivePair, LivePair]:
    """Start two servers that share MLflow and the index, each with a home of its own, as two machines."""
    shutil.copytree(world.settings.home, other_home)
    shared = {"mlflow_tracking_uri": world.settings.tracking_uri, "lancedb_uri": world.settings.index_uri}
    one = open_live(world.settings.model_copy(update=shared))
    two = open_live(world.settings.model_copy(update=shared | {"home": other_home}))
    one.follow()
    two.follow()
    return one, two


def at_rest(world: World, *servers: LivePair) -> tuple[str | None, ...]:
    """Let the servers poll until nothing moves any more; return what the alias names and what each serves."""
    settled = []
    for _ in range(5):
        for server in servers:
            server.follow()
        settled.append((world.named(INDEX), *(versions(server)[0] for server in servers)))
    assert settled[1:] == [settled[1]] * 4
    return settled[1]


def test_servers_of_which_one_finds_a_version_unfit_come_to_rest(
    world: World, open_live: Callable[..., LivePair], tmp_path: Path
) -> None:
    """The second server finds other chunks than its manifest says; both must end at what both can load."""
    one, two = two_servers(world, open_live, tmp_path / "other")
    manifest = tmp_path / "other" / "releases" / "0002.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"num_chunks": 77}))
    world.point(INDEX, "2")

    assert at_rest(world, one, two) == ("1", "1", "1")


def test_smoke_question_that_does_not_fit_refuses_the_version(world: World, open_live: Callable[..., LivePair]) -> None:
    live = open_live(smoke_questions=("is it " + "long " * 300 + "?",))
    live.follow()
    assert live.status()["ready"] is True

    hint = open_live(smoke_questions=("x " * 5000,))
    hint.follow()

    assert hint.status()["ready"] is False


def test_hint_polls_at_once(world: World, open_live: Callable[..., LivePair]) -> None:
    live = open_live(poll_seconds=3600.0)
    live.start()
    world.point(ANSWERER, "1")
    time.sleep(0.3)
    assert versions(live)[1] == "base"

    live.poll_now()

    wait_until(lambda: versions(live)[1] == "1", seconds=120)
