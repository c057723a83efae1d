"""What does not fit is refused: the old one serves on, the alias goes back, and the version's tag says why."""

import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from serving.promotion.live import LivePair
from tasks.index.table import connect, open_latest
from tasks.releases.lifecycle import mark
from tasks.releases.model_registry import CHALLENGER, CHAMPION, mlflow_client
from tasks.releases.tags import Tag
from tasks.releases.trial import current_challenger
from tests.answerers import register_answerer
from tests.serving.swap.swap_world import (
    ANSWERER,
    INDEX,
    World,
    break_base,
    break_context,
    break_file,
    break_manifest,
    break_numbers,
    break_prompt,
    break_weights,
    register_unchecked,
    versions,
)

pytestmark = pytest.mark.slow


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
    assert "put back to version 1" in live.status().last_refusal.alias
    live.follow()
    assert live.status().degraded is False


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
    assert live.status().degraded is True
    assert "refused" not in world.tags(ANSWERER, "1")
    assert world.named(ANSWERER, CHAMPION) == "1"

    live.follow()

    assert versions(live) == ("1", "1")


def test_answerer_without_room_for_its_weights_is_tried_again_and_not_refused(
    world: World, open_live: Callable[..., LivePair], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A system that is out of memory would end the server, and what serves with it."""
    live = open_live()
    live.follow()
    monkeypatch.setattr("serving.promotion.follow.RETRY_SECONDS", 0.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tasks.device.free_memory", lambda _: 1000)
        world.point(ANSWERER, "1")
        live.follow()
    assert versions(live) == ("1", "base")
    assert any("GB of memory" in reason for reason in live.status().reasons)
    assert "refused" not in world.tags(ANSWERER, "1")
    assert world.named(ANSWERER, CHAMPION) == "1"

    live.follow()

    assert versions(live) == ("1", "1")


def test_answerer_too_slow_for_any_request_is_refused(world: World, open_live: Callable[..., LivePair]) -> None:
    live = open_live(world.settings.model_copy(update={"request_timeout_seconds": 1e-6}))
    live.follow()
    world.point(ANSWERER, "1")

    live.follow()

    assert versions(live) == ("1", "base")
    assert "within 1e-06 seconds" in world.tags(ANSWERER, "1")["refused"]


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
    assert "the default answerer serves" in live.status().last_refusal.alias


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


def test_challenger_that_lost_its_trial_answers_nobody_from_the_next_poll_on(
    world: World, open_live: Callable[..., LivePair]
) -> None:
    live = open_live(challenger_share=1.0)
    world.point(ANSWERER, "2", CHALLENGER)
    live.follow()
    assert versions(live, "anybody")[1] == "2"

    challenger = current_challenger(world.settings)
    assert challenger is not None
    mark(world.settings, challenger, {Tag.TRIAL: "worse: abstentions +0.2"})
    live.follow()

    assert versions(live, "anybody")[1] == "base" and live.status().challenger is None
    assert any("lost its trial" in reason for reason in live.status().reasons)
    live.follow()
    assert versions(live, "anybody")[1] == "base"


def test_server_that_lacks_a_manifest_takes_it_from_mlflow(
    world: World, open_live: Callable[..., LivePair], tmp_path: Path
) -> None:
    one, two = two_servers(world, open_live, tmp_path / "other")
    shutil.rmtree(tmp_path / "other" / "releases")
    world.point(INDEX, "2")

    assert at_rest(world, one, two) == ("2", "2", "2")
    assert "refused" not in world.tags(INDEX, "2")
    assert two.status().degraded is False


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
    assert any("release/manifest.json" in reason for reason in two.status().reasons)


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
    assert live.status().ready is True

    hint = open_live(smoke_questions=("x " * 5000,))
    hint.follow()

    assert hint.status().ready is False
