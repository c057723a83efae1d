"""kill -9 at any moment of a refresh: what serves answers as before, and the next refresh completes the work.

`ALMANAC_KILL_POINTS=all` adds the moments before and after each step; `ALMANAC_KILL_MOMENTS` sets how many random
moments are tried, `ALMANAC_KILL_SEED` which.
"""

import itertools
import os
import random
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from tasks.errors import ConfigurationError
from tasks.index.live import LiveIndex
from tasks.index.search import Request
from tasks.index.table import connect, open_at
from tasks.params import Params, load_params
from tasks.settings import Settings
from tests.conftest import BASE_PARAMS, files_source, merged
from tests.forked import KILLED, Forked

pytestmark = pytest.mark.slow

FLOW = "flows.refresh"
CANDIDATE = "tasks.index.candidate"
STEPS = ("list_sources", "parse", "gate", "snapshot", "chunk", "embed", "write", "judge", "release", "register_release")
AROUND_STEPS = tuple(f"{when} {FLOW}:{name}" for name in STEPS for when in ("before", "after"))
WITHIN_STEPS = (
    "after tasks.index.refresh.inputs:record_changes",
    f"before {FLOW}:keep_vectors",
    "after tasks.index.embedding.cache:EmbeddingCache.put",
    f"after {CANDIDATE}:update",
    f"after {CANDIDATE}:build_indexes",
    "before tasks.registry.data_registry:Registry._commit",
    "before tasks.registry.data_registry:Registry._tag",
    f"after {CANDIDATE}:tag_version",
    f"after {CANDIDATE}:save_release",
    "before tasks.releases.lifecycle:ensure_model",
    f"after {CANDIDATE}:register_index",
    "before tasks.releases.lifecycle:_arrive",
    f"after {CANDIDATE}:promote",
    f"before {CANDIDATE}:prune",
    f"after {CANDIDATE}:retire",
    f"after {CANDIDATE}:clean_up",
)
POINTS = AROUND_STEPS + WITHIN_STEPS if os.environ.get("ALMANAC_KILL_POINTS") == "all" else WITHIN_STEPS
FIRST_POINTS = (
    f"after {FLOW}:ensure_tables",
    f"after {CANDIDATE}:rewrite",
    "after tasks.registry.data_registry:Registry.ensure",
    f"after {CANDIDATE}:save_release",
)
NUM_MOMENTS = int(os.environ.get("ALMANAC_KILL_MOMENTS", "5"))
SEED = int(os.environ.get("ALMANAC_KILL_SEED", "20261122"))
QUESTIONS = ("how long are snapshots of the ledger kept?", "who carries the pager?", "how is traffic moved?")

BEFORE = {
    "deploy.md": "# Deploying\n\nRun the blue-green script `swap.sh` to move traffic to the new cluster.\n",
    "backup.md": "# Backups\n\nSnapshots of the ledger are kept for ninety days in cold storage.\n",
    "oncall.md": "# On call\n\nThe pager rotates every Tuesday at noon among the platform engineers.\n",
    "wiki.md": "# Wiki\n\nPages that nobody has read for a year are archived by the librarian.\n",
    "secret.md": "---\naccess: [board]\n---\n# Merger\n\nThe merger with the rival is planned for spring.\n",
    "holiday.md": "# Holidays\n\nThe office is closed between the years.\n",
}
LONG = "\n\n".join(
    f"## Part {n}\n\nStep {n} of the audit asks the owner of ledger {n} for its balance and signs it.\n"
    for n in range(8)
)


def change(folder: Path) -> None:
    """Edit, add, remove, move, and close to most."""
    (folder / "backup.md").write_text("# Backups\n\nSnapshots of the ledger are kept for seven years on tape.\n")
    (folder / "audit.md").write_text(f"# Audit\n\n{LONG}")
    (folder / "wiki.md").unlink()
    (folder / "holiday.md").rename(folder / "closing-days.md")
    (folder / "deploy.md").write_text("---\naccess: [platform]\n---\n" + BEFORE["deploy.md"])


@dataclass
class World:
    """A home as the first refresh left it, its sources changed since, and what a refresh from nothing makes of them."""

    forked: Forked
    params: Params
    mlflow: Path
    kept: Path
    answers: dict[str, Any]
    scratch: list[dict[str, Any]]
    seconds: float


@dataclass
class Round:
    """A copy of that home, or an empty home, to be killed in."""

    world: World
    home: Path

    @property
    def embedded(self) -> Path:
        return self.home.with_suffix(".embedded")

    @property
    def settings(self) -> Settings:
        return Settings(home=self.home)

    def refresh(self, **options: Any) -> dict[str, Any]:
        return self.world.forked.refresh(self.home, embedded=self.embedded, **options)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, migrated_mlflow: Path) -> Iterator[World]:
    root = tmp_path_factory.mktemp("kill")
    notes = root / "notes"
    notes.mkdir()
    for name, text in BEFORE.items():
        (notes / name).write_text(text)
    changes = {"execution": {"items_per_shard": 2, "chunks_per_shard": 3}, "chunking": {"max_tokens": 48}}
    raw = merged(BASE_PARAMS, {"sources": [files_source(notes)]} | changes)
    path = root / "params.yaml"
    path.write_text(yaml.safe_dump(raw))
    forked = Forked(path)
    try:
        yield _world(forked, root, notes, migrated_mlflow, load_params(path))
    finally:
        forked.close()


def _world(forked: Forked, root: Path, notes: Path, mlflow: Path, params: Params) -> World:
    home, scratch = root / "home", root / "scratch"
    for folder in (home, scratch):
        folder.mkdir()
        shutil.copy(mlflow, folder / "mlflow.db")
    first = forked.refresh(home)
    assert first["status"] == 0, first
    kept = shutil.copytree(home, root / "kept")
    answers = ask(params, Settings(home=home))
    change(notes)
    whole = forked.refresh(scratch)
    assert whole["status"] == 0, whole
    update = forked.refresh(home)
    assert update["embedded"] > 6, update
    return World(forked, params, mlflow, kept, answers, rows(Settings(home=scratch), 1), update["seconds"])


@pytest.fixture
def make_round(world: World, tmp_path: Path) -> Callable[[], Round]:
    numbers = itertools.count(1)
    return lambda: Round(world, shutil.copytree(world.kept, tmp_path / f"home-{next(numbers)}"))


@pytest.fixture
def empty(world: World, tmp_path: Path) -> Round:
    (tmp_path / "home").mkdir()
    shutil.copy(world.mlflow, tmp_path / "home" / "mlflow.db")
    return Round(world, tmp_path / "home")


def ask(params: Params, settings: Settings) -> dict[str, Any]:
    """What everyone finds, and what the board finds."""
    index = LiveIndex(params, settings)
    return {
        f"{question} {groups}": list(map(asdict, index.search(Request(question, groups=groups, top_k=20))))
        for question in QUESTIONS
        for groups in ((), ("board",))
    }


def rows(settings: Settings, release: int) -> list[dict[str, Any]]:
    """All rows of a release, by chunk."""
    found = open_at(connect(settings), f"release-{release:04d}").to_arrow().to_pylist()
    return sorted(found, key=lambda row: str(row["chunk_id"]))


def same_rows(found: list[dict[str, Any]], wanted: list[dict[str, Any]]) -> None:
    vectors, others = [row.pop("vector") for row in map(dict, found)], [row["vector"] for row in wanted]
    bare = [{name: value for name, value in row.items() if name != "vector"} for row in found]
    assert bare == [{name: value for name, value in row.items() if name != "vector"} for row in wanted]
    np.testing.assert_allclose(vectors, others, atol=1e-4)


def hidden(answers: dict[str, Any]) -> dict[str, Any]:
    """Answers without the document that the changed sources close to most: a restriction holds at once."""
    return {
        question: [passage for passage in found if passage["document_id"] != "notes:deploy.md"]
        for question, found in answers.items()
    }


def check_recovery(place: Round, killed: dict[str, Any]) -> None:
    """What serves after the kill, and after the refresh that follows it."""
    params, settings, world = place.world.params, place.settings, place.world
    assert killed["status"] in (KILLED, 0), killed
    found = LiveIndex(params, settings).serving.release.number
    assert found in (1, 2)
    if found == 1:
        assert hidden(ask(params, settings)) == hidden(world.answers)

    completed = place.refresh()

    assert completed["status"] == 0, completed
    assert LiveIndex(params, settings).serving.release.number == 2
    same_rows(rows(settings, 2), world.scratch)
    assert not {key: times for key, times in Counter(_lines(place.embedded)).items() if times > 1}


def _lines(path: Path) -> list[str]:
    return path.read_text().split() if path.exists() else []


@pytest.mark.parametrize("point", POINTS)
def test_refresh_completes_what_one_killed_at_a_step_began(make_round: Callable[[], Round], point: str) -> None:
    place = make_round()

    killed = place.refresh(kill_at=point)

    assert killed["status"] == KILLED, killed
    check_recovery(place, killed)
    assert place.refresh()["release"] is None


def test_refresh_completes_what_one_killed_at_any_moment_began(make_round: Callable[[], Round]) -> None:
    moments = random.Random(SEED)
    for _ in range(NUM_MOMENTS):
        place = make_round()

        killed = place.refresh(kill_after_seconds=moments.uniform(0, place.world.seconds))

        check_recovery(place, killed)


@pytest.mark.parametrize("point", FIRST_POINTS)
def test_refresh_completes_what_the_first_one_began(empty: Round, point: str) -> None:
    killed = empty.refresh(kill_at=point)

    assert killed["status"] == KILLED, killed
    with pytest.raises(ConfigurationError, match="must be released before it can be asked"):
        LiveIndex(empty.world.params, empty.settings)
    assert empty.refresh()["status"] == 0
    same_rows(rows(empty.settings, 1), empty.world.scratch)


@pytest.mark.parametrize("tables", [("access_sets",), ("access_sets", "access_changes"), ("chunks",)])
def test_tables_that_a_killed_first_refresh_left_half_made_are_made_anew(empty: Round, tables: tuple[str, ...]) -> None:
    """LanceDB lists a table as soon as its folder stands, before its first version does."""
    for name in tables:
        folder = empty.home / "lancedb" / f"{name}.lance" / "data"
        folder.mkdir(parents=True)
        (folder / "half.lance").write_bytes(b"half")

    assert empty.refresh()["status"] == 0

    same_rows(rows(empty.settings, 1), empty.world.scratch)


def test_no_table_is_made_while_a_release_serves(world: World) -> None:
    """A kill while a table is made would leave half a table, which no search can read."""
    assert {path.name for path in (world.kept / "lancedb").iterdir()} >= {"access_sets.lance", "access_changes.lance"}
