"""A document that is taken back is found nowhere afterwards, and no refresh brings it in again."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from flows.forget import forget as flow
from flows.refresh import refresh as refresh_flow
from serving.promotion.live import LivePair
from tasks.answer.assistant import Assistant
from tasks.answer.trace import flush_traces
from tasks.corpus import inbox
from tasks.corpus.tombstones import erasure_is_unfinished, load_tombstones
from tasks.erasure import erase as erasing
from tasks.erasure.byte_search import needles_of, search_home
from tasks.erasure.erase import plan_erasure
from tasks.erasure.receipt import Receipt, verify_receipt
from tasks.erasure.subject import Wanted
from tasks.errors import ConfigurationError
from tasks.files import sha256_of_file, write_json
from tasks.index.live import LiveIndex
from tasks.index.release import load_release, release_numbers
from tasks.index.search import Request
from tasks.model.examples.example import Example, ExamplePassage, read_examples, write_examples
from tasks.model.examples.training_set import FILE, FOLDER, TrainingSet, version_training_set
from tasks.params import load_params
from tasks.registry.data_registry import Registry
from tasks.releases.kind import ANSWERER
from tasks.releases.lifecycle import versions
from tasks.releases.tags import Tag
from tasks.settings import Settings
from tests.chat_model import save_chat_model
from tests.conftest import BASE_PARAMS, files_source, merged

pytestmark = pytest.mark.slow

SECRET = "Ms Mbeki of the Harare office had her salary raised to 4,711 dollars in March."
OTHER = "Snapshots of the cluster are kept for ninety days in cold storage, then deleted."
DOCUMENT = "notes:mbeki.md"


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory, migrated_mlflow: Path) -> Path:
    """A folder with a home of three releases, a training set with a model, and traces, all with the document."""
    folder = tmp_path_factory.mktemp("original")
    (folder / "home").mkdir()
    shutil.copy(migrated_mlflow, folder / "home" / "mlflow.db")
    notes = folder / "notes"
    notes.mkdir()
    (notes / "mbeki.md").write_text(f"# Salaries\n\n{SECRET}\n", encoding="utf-8")
    (notes / "backup.md").write_text(f"# Backups\n\n{OTHER}\n", encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        settings = move_in(folder, patch)
        for number in (1, 2, 3):
            (notes / "deploy.md").write_text(f"# Deploying\n\nThe script `swap.sh` moves traffic, revision {number}.\n")
            assert refresh_flow.fn().release == number
        inbox.put(settings.layout, "notes", "mbeki.md", {"text": SECRET, "format": "md"}, None)
        assistant = Assistant(load_params(settings.params), settings)
        for question in ("how much does Ms Mbeki of Harare earn?", "how long are snapshots of the cluster kept?"):
            assistant.ask(question)
        flush_traces()
        _train(settings)
    (folder / "home" / "logs").mkdir(exist_ok=True)
    (folder / "home" / "logs" / "server.log").write_text(f"kept\nshown: {SECRET}\n", encoding="utf-8")
    return folder


@pytest.fixture
def world(original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A copy of the home, which works alone."""
    shutil.copytree(original, tmp_path / "world")
    return move_in(tmp_path / "world", monkeypatch)


def move_in(folder: Path, patch: pytest.MonkeyPatch) -> Settings:
    """Let the home of a folder, with parameters that name its notes, be the one that commands see."""
    model = folder / "model"
    if not model.exists():
        save_chat_model(model)
    raw = merged(BASE_PARAMS, {"sources": [files_source(folder / "notes")], "serving": {"poll_seconds": 0.1}})
    raw = merged(raw, {"generation": {"model": str(model), "gguf_file": None}})
    (folder / "params.yaml").write_text(yaml.safe_dump(raw), encoding="utf-8")
    patch.setenv("ALMANAC_HOME", str(folder / "home"))
    patch.setenv("ALMANAC_PARAMS", str(folder / "params.yaml"))
    return Settings()


@pytest.fixture
def notes(world: Settings) -> Path:
    """The source of the documents."""
    return world.home.parent / "notes"


def _train(settings: Settings) -> None:
    """Version a training set with two examples, and register a model that names it."""
    folder = settings.home.parent / "set"
    folder.mkdir()
    examples = [_example("who?", DOCUMENT, SECRET), _example("how long?", "notes:backup.md", OTHER)]
    write_examples(examples, folder / FILE)
    built = TrainingSet(
        path=folder / FILE,
        num_train=2,
        num_validation=0,
        num_unanswerable=0,
        origins={"golden": 2},
        quarantined=0,
        corpus="corpus-0003",
        sha256=sha256_of_file(folder / FILE),
        document_ids=("notes:backup.md", DOCUMENT),
        left_out={},
        params_digest="0",
    )
    fields = {name: getattr(built, name) for name in TrainingSet.__slots__ if name != "path"}
    write_json(folder / "manifest.json", fields | {"gate": []})
    revision = version_training_set(settings, built)
    from tasks.releases.lifecycle import register
    from tasks.releases.model_registry import mlflow_client
    from tasks.releases.tracking_store import experiment_id

    with mlflow_client(settings) as client:
        run = client.create_run(experiment_id(client, settings, ANSWERER.model))
    register(
        settings,
        ANSWERER,
        key="1",
        run_id=run.info.run_id,
        tags={Tag.TRAINING_SET: revision.tag},
        description="",
    )


def _example(question: str, document: str, text: str) -> Example:
    passage = ExamplePassage(f"{document}#0", document, "", text)
    return Example(
        question, question, (passage,), f"{text} [1]", None, (1,), "golden", "", "", "corpus-0003", document, "train"
    )


def forget(wanted: Wanted) -> Receipt:
    """Run the flow in this process, without a Prefect server."""
    receipt: Receipt = flow.fn(wanted)
    return receipt


def found(settings: Settings) -> dict[str, int]:
    return search_home(settings.layout.root, needles_of({DOCUMENT: {SECRET}}, []))


def test_forgotten_document_is_found_nowhere_and_stays_away(world: Settings, notes: Path) -> None:
    before = found(world)
    plan = plan_erasure(world, Wanted((DOCUMENT,)))

    receipt = forget(Wanted((DOCUMENT,)))

    assert {"lancedb", "registry", "dvc-remote", "mlflow.db", "logs"} <= before.keys()
    assert plan.documents == (DOCUMENT,)
    assert plan.traces >= 1
    assert receipt.found_after == {}
    assert found(world) == {}
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
    assert found(world) == {}


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


def again_and_another() -> None:
    """Give the command that was killed once more, then one for another document."""
    receipt = forget(Wanted((DOCUMENT,)))
    assert receipt.models == ("almanac-answerer 1",)
    forget(Wanted(subject="ninety DAYS"))
    with pytest.raises(ConfigurationError):
        forget(Wanted(("notes:backup.md",)))


@pytest.mark.parametrize(
    ("step", "finish"), [("rewrite_snapshots", refresh_flow.fn), ("remove_old_bytes", again_and_another)]
)
def test_killed_erasure_is_finished_by_whoever_writes_next(
    world: Settings, step: str, finish: Callable[[], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(erasing, step, killed)
        with pytest.raises(KeyboardInterrupt):
            forget(Wanted((DOCUMENT,)))
    assert erasure_is_unfinished(world)
    # From its tombstone on, nobody is shown it.
    live = LiveIndex(load_params(world.params), world)
    hits = live.search(Request("Mbeki Harare salary", frozenset()))
    assert DOCUMENT not in {hit.document_id for hit in hits}

    finish()

    assert not erasure_is_unfinished(world)
    assert found(world) == {}
    assert Tag.TRAINED_ON_FORGOTTEN in versions(world, ANSWERER)[0].tags


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
