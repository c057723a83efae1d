"""kill -9 at any moment of an erasure: the next forget or refresh finishes it, and the home is as if nothing had been.

`ALMANAC_KILL_POINTS=all` adds the moments behind every step, `ALMANAC_KILL_MOMENTS` sets how many random moments are
tried besides, `ALMANAC_KILL_SEED` which.
"""

import os
import random
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tasks.corpus.tombstones import erasure_is_unfinished, load_tombstones
from tasks.erasure.receipt import EXPERIMENT, verify_receipt
from tasks.index.release import MANIFEST, load_release, manifest_bytes, release_numbers
from tasks.index.table import connect, open_at
from tasks.model.examples.example import read_examples
from tasks.model.examples.training_set import FOLDER
from tasks.registry.data_registry import Registry
from tasks.releases.kind import ANSWERER, INDEX
from tasks.releases.lifecycle import version_with_key, versions
from tasks.releases.model_registry import mlflow_client
from tasks.releases.tags import Tag
from tasks.settings import Settings
from tests.erasure.forgotten_home import DOCUMENT, count_files, make_home
from tests.forked import KILLED, Forked

pytestmark = pytest.mark.slow

ERASE = "tasks.erasure.erase"
FIRST_POINTS = (f"before {ERASE}:rewrite_snapshots", f"after {ERASE}:remove_old_bytes")
ALL_POINTS = (
    f"before {ERASE}:_keep",
    f"before {ERASE}:add_tombstones",
    f"after {ERASE}:hide_at_once",
    "before tasks.erasure.index_rows:build_indexes",
    "after tasks.erasure.index_rows:_rewrite",
    "before tasks.registry.data_registry:Registry._commit",
    "before tasks.registry.data_registry:Registry._tag",
    f"before {ERASE}:rewrite_training_sets",
    f"after {ERASE}:separate_tags",
    f"after {ERASE}:collect_garbage",
    f"after {ERASE}:renew_manifest",
    f"before {ERASE}:mark_models",
    f"after {ERASE}:delete_traces",
    f"after {ERASE}:erase_vectors",
    f"after {ERASE}:scrub",
    "before tasks.erasure.index_rows:_clean",
    f"after {ERASE}:_clean_databases",
    f"after {ERASE}:keep_receipt",
    f"after {ERASE}:log_receipt",
    f"after {ERASE}:_remove_partial_work",
)
POINTS = FIRST_POINTS + ALL_POINTS if os.environ.get("ALMANAC_KILL_POINTS") == "all" else FIRST_POINTS
NUM_MOMENTS = int(os.environ.get("ALMANAC_KILL_MOMENTS", "1"))
SEED = int(os.environ.get("ALMANAC_KILL_SEED", "20261127"))


@dataclass(frozen=True)
class World:
    """A home before the erasure, and what an erasure that nobody kills makes of it."""

    forked: Forked
    kept: Path
    whole: dict[str, Any]
    seconds: float


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, migrated_mlflow: Path) -> Iterator[World]:
    root = make_home(tmp_path_factory.mktemp("forgotten"), migrated_mlflow, num_releases=1)
    kept = shutil.copytree(root / "home", root / "kept")
    forked = Forked(root / "params.yaml")
    try:
        done = forked.forget(root / "home", DOCUMENT)
        assert done["status"] == 0, done
        whole = state(forked, root / "home", root / "scratch")
        assert whole["files"] == {} and all(whole["in_mlflow"])
        yield World(forked, kept, whole, done["seconds"])
    finally:
        forked.close()


def state(forked: Forked, home: Path, scratch: Path) -> dict[str, Any]:
    """Return all that must be the same however often an erasure was killed."""
    refreshed = forked.refresh(home)
    assert refreshed["status"] == 0, refreshed
    settings = Settings(home=home)
    (receipt,) = (settings.layout.forgotten / "receipts").glob("*.json")
    examples = Registry(settings.registry, settings.remote, folder=FOLDER).restore("examples-0001", scratch)
    with mlflow_client(settings) as client:
        experiment = client.get_experiment_by_name(EXPERIMENT)
        runs = client.search_runs([experiment.experiment_id])
    return {
        "forgotten": (refreshed["forgotten"], refreshed["documents"], refreshed["release"]),
        "releases": [load_release(settings, number).num_documents for number in release_numbers(settings)],
        "in_mlflow": [manifest_in_mlflow(settings, number) for number in release_numbers(settings)],
        "rows": [rows(settings, number) for number in release_numbers(settings)],
        "examples": [example.question for example in read_examples(examples[0])],
        "marked": [Tag.TRAINED_ON_FORGOTTEN in version.tags for version in versions(settings, ANSWERER)],
        "tombstones": len(load_tombstones(settings).hashes),
        "unfinished": erasure_is_unfinished(settings),
        "verified": verify_receipt(settings, receipt, DOCUMENT),
        "runs": [run.info.status for run in runs],
        "files": count_files(settings),
    }


def manifest_in_mlflow(settings: Settings, number: int) -> bool:
    """Say whether the release's manifest in MLflow is the one that holds now."""
    version = version_with_key(settings, INDEX, str(number))
    assert version is not None
    with mlflow_client(settings) as client:
        path = client.download_artifacts(version.run_id, f"{INDEX.artifacts}/{MANIFEST}")
    return Path(path).read_bytes() == manifest_bytes(load_release(settings, number))


def rows(settings: Settings, number: int) -> list[dict[str, Any]]:
    """Return all rows of a release, by chunk."""
    table = open_at(connect(settings), load_release(settings, number).lance_tag).to_arrow()
    return table.sort_by("chunk_id").to_pylist()


def finish(world: World, home: Path, *, by_refresh: bool) -> dict[str, Any]:
    """Let the next writer come; before anything was kept, only the command given again can know what is meant."""
    if by_refresh and erasure_is_unfinished(Settings(home=home)):
        return world.forked.refresh(home)
    return world.forked.forget(home, DOCUMENT)


@pytest.mark.parametrize("point", POINTS)
def test_erasure_killed_at_a_step_ends_as_one_that_was_not(world: World, tmp_path: Path, point: str) -> None:
    home = shutil.copytree(world.kept, tmp_path / "home")

    killed = world.forked.forget(home, DOCUMENT, kill_at=point)

    assert killed["status"] == KILLED, killed
    done = finish(world, home, by_refresh=POINTS.index(point) % 2 == 0)
    assert done["status"] == 0, done
    assert state(world.forked, home, tmp_path / "scratch") == world.whole


def test_erasure_killed_at_any_moment_ends_as_one_that_was_not(world: World, tmp_path: Path) -> None:
    moments = random.Random(SEED)
    for number in range(NUM_MOMENTS):
        home = shutil.copytree(world.kept, tmp_path / f"home-{number}")
        moment = moments.uniform(0, world.seconds)

        killed = world.forked.forget(home, DOCUMENT, kill_after_seconds=moment)

        assert killed["status"] in (KILLED, 0), killed
        if killed["status"] == KILLED:
            done = finish(world, home, by_refresh=number % 2 == 0)
            assert done["status"] == 0, (moment, done)
        assert state(world.forked, home, tmp_path / f"scratch-{number}") == world.whole, moment
        shutil.rmtree(home)
