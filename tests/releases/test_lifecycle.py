"""One lifecycle for every kind of release: shown with a kind that Almanac does not have."""

import json
import shutil
import sqlite3
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from tasks.errors import ConfigurationError, CorruptionError, DependencyError, UnavailableError
from tasks.model.training.run_log import log_files, open_run
from tasks.releases.answerers import answerer_kinds
from tasks.releases.folder import FORMAT, read_manifest, release_folder, write_manifest
from tasks.releases.kind import ReleaseKind, answerer_of
from tasks.releases.last_served import last_served, own_that_served, remember_served
from tasks.releases.lifecycle import (
    challenge,
    champion,
    note_champion,
    note_rolled_back,
    promote,
    register,
    reject,
    roll_back,
    versions,
)
from tasks.releases.model_registry import CHALLENGER, CHAMPION, mlflow_client
from tasks.releases.tags import Tag
from tasks.releases.version import ReleaseVersion
from tasks.settings import Settings

pytestmark = pytest.mark.slow

RERANKER = ReleaseKind(
    name="reranker",
    description="Rerankers.",
    artifacts="reranker",
    key_tag=Tag.RETRAIN,
    manifest="reranker.json",
    default="none",
)


@dataclass(frozen=True, slots=True)
class RerankerManifest:
    base: str
    files: Mapping[str, str]
    format: int = FORMAT


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    files = tmp_path / "reranker"
    files.mkdir()
    (files / "weights.safetensors").write_bytes(b"weights")
    write_manifest(files, RERANKER, RerankerManifest("base@1", {}))
    return files


@pytest.fixture
def three(settings: Settings, folder: Path) -> list[ReleaseVersion]:
    return [register_one(settings, folder, key) for key in ("k1", "k2", "k3")]


def register_one(settings: Settings, folder: Path, key: str) -> ReleaseVersion:
    run_id = open_run(settings, RERANKER.model, key, name=key)
    log_files(settings, run_id, folder, RERANKER.artifacts)
    version = register(settings, RERANKER, key=key, run_id=run_id, tags={}, description=key)
    challenge(settings, version)
    return version


def states(settings: Settings) -> dict[str, tuple[tuple[str, ...], bool, bool]]:
    return {entry.version: (entry.aliases, entry.served, entry.rolled_back) for entry in versions(settings, RERANKER)}


def test_new_kind_of_release_is_registered_promoted_and_rolled_back(
    three: list[ReleaseVersion], settings: Settings, folder: Path
) -> None:
    assert register_one(settings, folder, "k1").version == "1"
    assert states(settings)["3"] == ((CHALLENGER,), False, False)

    promote(settings, RERANKER, "1")
    promote(settings, RERANKER, "3")
    assert states(settings) == {
        "1": ((), True, False),
        "2": ((), False, False),
        "3": ((CHAMPION,), True, False),
    }

    abandoned, serving = roll_back(settings, RERANKER)
    assert (abandoned.version, serving and serving.version) == ("3", "1")
    assert states(settings)["3"] == ((), True, True)

    abandoned, serving = roll_back(settings, RERANKER)
    assert (abandoned.version, serving) == ("1", None)
    with pytest.raises(ConfigurationError, match="the default reranker serving"):
        roll_back(settings, RERANKER)


def test_rejected_version_gives_its_alias_back_and_says_why(three: list[ReleaseVersion], settings: Settings) -> None:
    promote(settings, RERANKER, "1")
    promote(settings, RERANKER, "2")
    unfit = champion(settings, RERANKER)
    assert unfit is not None

    outcome = reject(settings, unfit, "it gives no numbers", serves="1", default_serves=False)

    assert outcome.text == "the alias was put back to version 1"
    tags = {entry.version: entry.tags for entry in versions(settings, RERANKER)}
    assert (tags["2"][Tag.REFUSED], states(settings)["1"][0]) == ("it gives no numbers", (CHAMPION,))


def test_promotion_killed_behind_the_alias_is_corrected_by_who_looks_next(
    three: list[ReleaseVersion], settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("tasks.releases.lifecycle._arrive", killed)
        promote(settings, RERANKER, "2")
    assert states(settings)["2"] == ((CHAMPION,), False, False)

    version = champion(settings, RERANKER)
    assert version is not None
    note_champion(settings, version)

    assert states(settings)["2"] == ((CHAMPION,), True, False)


def test_champion_is_a_challenger_no_longer_whoever_moved_its_alias(
    three: list[ReleaseVersion], settings: Settings
) -> None:
    with mlflow_client(settings) as client:
        client.set_registered_model_alias(RERANKER.model, CHAMPION, "3")
    assert states(settings)["3"] == ((CHALLENGER, CHAMPION), False, False)
    version = champion(settings, RERANKER)
    assert version is not None

    note_champion(settings, version)

    assert states(settings)["3"] == ((CHAMPION,), True, False)


def test_rollback_killed_before_the_alias_leaves_what_serves(
    three: list[ReleaseVersion], settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    promote(settings, RERANKER, "1")
    note_rolled_back(settings, RERANKER, "1")
    version = champion(settings, RERANKER)
    assert version is not None
    assert version.rolled_back

    note_champion(settings, version)

    assert states(settings)["1"] == ((CHAMPION,), True, False)


def test_files_are_fetched_once_and_again_where_they_are_damaged(
    three: list[ReleaseVersion], settings: Settings
) -> None:
    place = release_folder(settings, three[0])
    (place / "weights.safetensors").write_bytes(b"")

    assert (release_folder(settings, three[0]) / "weights.safetensors").read_bytes() == b"weights"


def test_homes_that_share_the_folder_of_a_kind_fetch_its_files_once_and_for_every_user(
    three: list[ReleaseVersion], settings: Settings, tmp_path: Path
) -> None:
    shared, homes = tmp_path / "volume", [tmp_path / name for name in ("first", "second")]
    shared.mkdir()
    for home in homes:
        (home / "cache").mkdir(parents=True)
        (home / "cache" / "rerankers").symlink_to(shared)
    servers = [Settings(home=home, MLFLOW_TRACKING_URI=settings.tracking_uri) for home in homes]

    with ThreadPoolExecutor(len(servers)) as threads:
        places = list(threads.map(lambda server: release_folder(server, three[0]), servers))

    assert {place.resolve() for place in places} == {shared / places[0].name}
    assert [path.name for path in shared.iterdir() if path.is_dir()] == [places[0].name]
    for path in (shared / places[0].name).rglob("*"):
        assert path.stat().st_mode & 0o044 == 0o044


def test_manifest_of_newer_software_is_read_as_far_as_it_is_known(folder: Path) -> None:
    path = folder / "reranker.json"
    raw = json.loads(path.read_text())
    path.write_text(json.dumps(raw | {"colour": "blue"}))
    assert read_manifest(folder, RERANKER, RerankerManifest).base == "base@1"

    path.write_text(json.dumps(raw | {"format": FORMAT + 1}))
    with pytest.raises(UnavailableError, match="upgrade Almanac"):
        read_manifest(folder, RERANKER, RerankerManifest)

    path.write_text(json.dumps({"files": raw["files"]}))
    with pytest.raises(CorruptionError, match="must hold its fields"):
        read_manifest(folder, RERANKER, RerankerManifest)


def test_what_served_last_is_one_record_a_kind(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    version = ReleaseVersion(RERANKER, "4", "r4", {"release": "9"})
    assert last_served(settings, RERANKER) is None

    remember_served(settings, RERANKER, version)
    assert last_served(settings, RERANKER) == version

    remember_served(settings, RERANKER, None)
    assert last_served(settings, RERANKER) is None

    (tmp_path / "served" / "reranker.json").write_text("{")
    with pytest.raises(CorruptionError, match="delete it and start MLflow"):
        last_served(settings, RERANKER)


def test_disk_that_refuses_mlflow_is_not_said_to_be_a_server_that_is_away(settings: Settings) -> None:
    with pytest.raises(DependencyError) as disk, mlflow_client(settings):
        raise sqlite3.OperationalError("attempt to write a readonly database")
    with pytest.raises(DependencyError) as server, mlflow_client(settings):
        raise sqlite3.OperationalError("connection to server failed")

    assert "must be able to write" in str(disk.value)
    assert "start it" not in str(disk.value)
    assert str(server.value).endswith("start it or set MLFLOW_TRACKING_URI")


@pytest.mark.parametrize("is_embedded", [True, False])
def test_answerers_of_knowledge_bases_are_listed_and_nothing_that_is_only_named_alike(
    tmp_path: Path, migrated_mlflow: Path, is_embedded: bool
) -> None:
    database = tmp_path / ("home" if is_embedded else "elsewhere") / "mlflow.db"
    database.parent.mkdir()
    shutil.copy(migrated_mlflow, database)
    settings = Settings(home=tmp_path / "home", mlflow_tracking_uri=None if is_embedded else f"sqlite:///{database}")
    alike = ("almanac-answerer", "almanac-answerer-2", "almanac-acme-answerer.notes", "Almanac-answerer.capitals")
    odd = ("almanac-answerer.", "almanac-answerer...", "almanac-answerer.a b")
    with mlflow_client(settings) as client:
        for name in (*alike, *odd, "almanac-answerer.wiki_1", "almanac-answerer.notes-approved"):
            client.create_registered_model(name)

    names = [kind.name for kind in answerer_kinds(settings)]

    assert names == ["answerer", "answerer.notes-approved", "answerer.wiki_1"]


def test_records_of_a_knowledge_base_are_no_others_whatever_its_name(settings: Settings) -> None:
    kinds = [answerer_of(name) for name in (None, "notes", "notes-approved", "answerer")]
    for number, kind in enumerate(kinds, start=1):
        remember_served(settings, kind, ReleaseVersion(kind, str(number), f"run-{number}"))

    assert [version.version for kind in kinds if (version := last_served(settings, kind))] == ["1", "2", "3", "4"]
    assert own_that_served(settings) == ["answerer", "notes", "notes-approved"]
