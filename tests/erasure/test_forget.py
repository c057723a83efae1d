"""A document that is taken back is found nowhere afterwards, and no refresh brings it in again."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from flows.forget import forget as flow
from flows.refresh import refresh as refresh_flow
from serving.promotion.live import LivePair
from tasks.corpus.tombstones import erasure_is_unfinished, load_tombstones
from tasks.erasure import erase as erasing
from tasks.erasure.erase import plan_erasure
from tasks.erasure.receipt import Receipt, verify_receipt
from tasks.erasure.subject import Wanted
from tasks.errors import ConfigurationError
from tasks.index.live import LiveIndex
from tasks.index.release import load_release, release_numbers
from tasks.index.search import Request
from tasks.model.examples.example import read_examples
from tasks.model.examples.training_set import FOLDER
from tasks.params import load_params
from tasks.registry.data_registry import Registry
from tasks.releases.kind import ANSWERER
from tasks.releases.lifecycle import versions
from tasks.releases.tags import Tag
from tasks.settings import Settings
from tests.erasure.forgotten_home import DOCUMENT, count_files, make_home, move_in

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory, migrated_mlflow: Path) -> Path:
    """A folder with a home to be copied."""
    return make_home(tmp_path_factory.mktemp("original"), migrated_mlflow)


@pytest.fixture
def world(original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A copy of the home, which works alone."""
    shutil.copytree(original, tmp_path / "world")
    return move_in(tmp_path / "world", monkeypatch)


@pytest.fixture
def notes(world: Settings) -> Path:
    """The source of the documents."""
    return world.home.parent / "notes"


def forget(wanted: Wanted) -> Receipt:
    """Run the flow in this process, without a Prefect server."""
    receipt: Receipt = flow.fn(wanted)
    return receipt


def test_forgotten_document_is_found_nowhere_and_stays_away(world: Settings, notes: Path) -> None:
    before = count_files(world)
    plan = plan_erasure(world, Wanted((DOCUMENT,)))

    receipt = forget(Wanted((DOCUMENT,)))

    assert {"lancedb", "registry", "dvc-remote", "mlflow.db", "logs"} <= before.keys()
    assert plan.documents == (DOCUMENT,)
    assert plan.traces >= 1
    assert receipt.found_after == {}
    assert count_files(world) == {}
    assert receipt.models == ("almanac-answerer 1",)
    assert Tag.TRAINED_ON_FORGOTTEN in versions(world, ANSWERER)[0].tags
    kept = Registry(world.registry, world.remote, folder=FOLDER).restore("examples-0001", world.home.parent / "again")
    assert [example.question for example in read_examples(kept[0])] == ["how long?"]
    assert (world.layout.logs / "server.log").read_text(encoding="utf-8") == "kept\n"
    # Releases keep their numbers, and every one of them answers without it.
    assert release_numbers(world) == [1, 2, 3]
    assert [load_release(world, number).num_documents for number in (1, 2, 3)] == [2, 2, 2]
    live = LiveIndex(load_params(world.params), world)
    for as_of in (None, 1, 2):
        hits = live.search(replace(Request("Mbeki Harare salary cluster snapshots", frozenset()), as_of=as_of))
        assert hits and DOCUMENT not in {hit.document_id for hit in hits}
    # The source still holds it, and gets it under another name too.
    (notes / "moved.md").write_text((notes / "mbeki.md").read_text(encoding="utf-8"), encoding="utf-8")
    again = refresh_flow.fn()
    assert (again.forgotten, again.documents) == (1, 2)
    (notes / "deploy.md").write_text("# Deploying\n\nThe script is gone.\n", encoding="utf-8")
    assert refresh_flow.fn().documents == 2
    assert count_files(world) == {}


def test_receipt_names_the_document_to_who_holds_the_key_alone(world: Settings) -> None:
    forget(Wanted(subject="harare OFFICE"))
    (path,) = (world.layout.forgotten / "receipts").glob("*.json")

    assert verify_receipt(world, path, DOCUMENT)
    assert not verify_receipt(world, path, "notes:backup.md")
    assert "mbeki" not in path.read_text(encoding="utf-8").casefold()
    raw = json.loads(path.read_text(encoding="utf-8"))
    raw["receipt"]["found_after"] = {"lancedb": 1}
    path.write_text(json.dumps(raw), encoding="utf-8")
    assert not verify_receipt(world, path)


def test_killed_erasure_is_finished_by_the_same_command_and_another_goes_on_from_there(
    world: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`test_forget_kill.py` kills at every step, and lets a refresh finish too."""

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(erasing, "rewrite_snapshots", killed)
        with pytest.raises(KeyboardInterrupt):
            forget(Wanted((DOCUMENT,)))
    assert erasure_is_unfinished(world)
    # From its tombstone on, nobody is shown it.
    live = LiveIndex(load_params(world.params), world)
    hits = live.search(Request("Mbeki Harare salary", frozenset()))
    assert DOCUMENT not in {hit.document_id for hit in hits}

    receipt = forget(Wanted((DOCUMENT,)))

    assert receipt.models == ("almanac-answerer 1",)
    assert not erasure_is_unfinished(world)
    assert count_files(world) == {}
    assert Tag.TRAINED_ON_FORGOTTEN in versions(world, ANSWERER)[0].tags
    forget(Wanted(subject="ninety DAYS"))
    with pytest.raises(ConfigurationError):
        forget(Wanted(("notes:backup.md",)))


def test_what_matches_nothing_is_refused_and_names_what_is_near(world: Settings) -> None:
    with pytest.raises(ConfigurationError, match=r"near are notes:mbeki\.md"):
        forget(Wanted(("notes:mbeki.txt",)))
    assert load_tombstones(world).hashes == frozenset()


def test_running_server_goes_on_without_it(world: Settings) -> None:
    live = LivePair(load_params(world.params), world)
    live.start()
    try:
        with live.acquire() as pair:
            before = pair.index_revision
        forget(Wanted((DOCUMENT,)))
        live.follow()
        with live.acquire() as pair:
            assert pair.index_revision != before
            hits = pair.index.search(Request("Mbeki Harare salary cluster snapshots", frozenset()), live.access())
    finally:
        live.stop()
    assert hits
    assert DOCUMENT not in {hit.document_id for hit in hits}
