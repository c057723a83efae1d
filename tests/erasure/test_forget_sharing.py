"""Releases that share their files share them after an erasure too, and each is what it was without the document."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tasks.corpus.document import EVERYONE
from tasks.erasure.byte_search import Needles, files_with
from tasks.erasure.index_rows import hide_at_once, remove_old_bytes, rewrite_releases, tagged_versions
from tasks.index.access_tables import load_access
from tasks.index.search import Request
from tasks.index.table import open_at
from tasks.params import Params
from tasks.settings import Settings
from tests.index.access_world import Doc, World, params_of

NUM_DOCUMENTS = 400
SECRET = "heliotrope quorum zebrafish"
FORGOTTEN = ["s:secret"]


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Six releases of some hundred documents: the fifth goes on from the first, the last has hardly a row of before."""
    params = Params.model_validate(params_of("files", vector_index_min_rows=256, max_delta_indexes=3))
    world = World(tmp_path, params.index)
    for number in range(NUM_DOCUMENTS):
        put(world, f"doc{number}")
    put(world, "secret", SECRET)
    world.refresh()
    for number in range(3):
        put(world, f"doc{number}")
        del world.source[f"s:doc{100 + number}"]
        put(world, f"new{number}")
        world.refresh()
    world.serving, world.source = 0, dict(world.releases[0])
    put(world, "doc7")
    world.refresh()
    for number in range(NUM_DOCUMENTS):
        put(world, f"doc{number}")
    world.refresh()
    return world


def put(world: World, key: str, word: str | None = None) -> None:
    doc = Doc(key, frozenset({EVERYONE}), "wiki", word or world.word())
    world.source[doc.id] = doc


def rows(world: World, number: int) -> list[dict[str, Any]]:
    """All rows of a release but those of the document, by chunk."""
    table = open_at(world.db, world.tag(number)).to_arrow().sort_by("chunk_id")
    return [row for row in table.to_pylist() if row["document_id"] not in FORGOTTEN]


def index_bytes(world: World) -> int:
    return sum(path.stat().st_size for path in (world.home / "lancedb").rglob("*") if path.is_file())


@pytest.mark.parametrize("kill_behind", [None, "release-0000", "release-0002", "release-0005"])
def test_releases_share_their_files_afterwards_as_before(world: World, kill_behind: str | None) -> None:
    settings, numbers = Settings(home=world.home), range(len(world.releases))
    whole, size = [rows(world, number) for number in numbers], index_bytes(world)
    versions, done, counts = tagged_versions(settings), list[str](), dict[str, int]()

    def finished(tag: str, _: int, num_rows: int) -> None:
        if tag == kill_behind and tag not in counts:
            counts[tag] = 0
            raise KeyboardInterrupt
        done.append(tag)
        counts[tag] = num_rows

    rewritten = partial(
        rewrite_releases, settings, world.index, FORGOTTEN, versions=versions, done=done, finished=finished
    )
    hide_at_once(settings, FORGOTTEN)
    if kill_behind is not None:
        with pytest.raises(KeyboardInterrupt):
            rewritten()
    num_gone = rewritten()
    remove_old_bytes(settings, FORGOTTEN)

    assert num_gone == 2 * (len(numbers) - (0 if kill_behind is None else numbers.index(int(kill_behind[-1])) + 1))
    assert done == [world.tag(number) for number in numbers]
    assert [rows(world, number) for number in numbers] == whole
    assert counts == {world.tag(number): len(whole[number]) for number in numbers}
    for number in numbers:
        assert open_at(world.db, world.tag(number)).count_rows() == len(whole[number])
    assert not files_with(world.home / "lancedb", Needles((SECRET,), ()))
    # The first and the last are written whole; a copy for each release would be 1.8 times as much.
    assert index_bytes(world) < 1.3 * size
    for number in numbers:
        question = Request(world.releases[number]["s:doc9"].word, mode="full_text")
        hits = world.open(number).search(question, load_access(world.db))
        assert hits[0].document_id == "s:doc9"
