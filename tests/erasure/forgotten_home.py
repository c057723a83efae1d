"""A home of three releases, a training set with a model, traces and logs; one document of it is to be forgotten."""

import shutil
from pathlib import Path

import pytest
import yaml

from flows.refresh import refresh
from tasks.answer.assistant import Assistant
from tasks.answer.trace import flush_traces
from tasks.corpus import inbox
from tasks.erasure.byte_search import needles_of, search_home
from tasks.files import sha256_of_file, write_json
from tasks.model.examples.example import Example, ExamplePassage, example_id, write_examples
from tasks.model.examples.training_set import FILE, TrainingSet, version_training_set
from tasks.params import load_params
from tasks.releases.kind import ANSWERER
from tasks.releases.lifecycle import register
from tasks.releases.model_registry import mlflow_client
from tasks.releases.tags import Tag
from tasks.releases.tracking_store import experiment_id
from tasks.settings import Settings
from tests.chat_model import save_chat_model
from tests.conftest import BASE_PARAMS, files_source, merged

SECRET = "Ms Mbeki of the Harare office had her salary raised to 4,711 dollars in March."
OTHER = "Snapshots of the cluster are kept for ninety days in cold storage, then deleted."
DOCUMENT = "notes:mbeki.md"
CORPUS = "corpus-0001"


def make_home(folder: Path, migrated_mlflow: Path, *, num_releases: int = 3) -> Path:
    """Make `home`, `notes` and `params.yaml` in an empty folder; return the folder."""
    (folder / "home").mkdir()
    shutil.copy(migrated_mlflow, folder / "home" / "mlflow.db")
    with pytest.MonkeyPatch.context() as patch:
        # Set, then deleted: what MLflow sets meanwhile is gone behind it, else every copy would use this database.
        patch.setenv("MLFLOW_TRACKING_URI", "")
        patch.delenv("MLFLOW_TRACKING_URI")
        fill(move_in(folder, patch), folder / "notes", num_releases)
    return folder


def fill(settings: Settings, notes: Path, num_releases: int) -> None:
    """Let the document reach every store."""
    notes.mkdir()
    (notes / "mbeki.md").write_text(f"# Salaries\n\n{SECRET}\n", encoding="utf-8")
    (notes / "backup.md").write_text(f"# Backups\n\n{OTHER}\n", encoding="utf-8")
    for number in range(1, num_releases + 1):
        (notes / "deploy.md").write_text(f"# Deploying\n\nThe script `swap.sh` moves traffic, revision {number}.\n")
        assert refresh.fn().release == number
    inbox.put(settings.layout, "notes", "mbeki.md", {"text": SECRET, "format": "md"}, None)
    assistant = Assistant(load_params(settings.params), settings)
    for question in ("how much does Ms Mbeki of Harare earn?", "how long are snapshots of the cluster kept?"):
        assistant.ask(question)
    flush_traces()
    _train(settings)
    settings.layout.logs.mkdir(exist_ok=True)
    (settings.layout.logs / "server.log").write_text(f"kept\nshown: {SECRET}\n", encoding="utf-8")


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
        corpus=CORPUS,
        sha256=sha256_of_file(folder / FILE),
        document_ids=("notes:backup.md", DOCUMENT),
        left_out={},
        params_digest="0",
    )
    fields = {name: getattr(built, name) for name in TrainingSet.__slots__ if name != "path"}
    write_json(folder / "manifest.json", fields | {"gate": []})
    revision = version_training_set(settings, built)
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
    passage, answer = ExamplePassage(f"{document}#0", document, "", text), f"{text} [1]"
    identifier = example_id(question, [passage], answer)
    return Example(identifier, question, (passage,), answer, None, (1,), "golden", "", "", CORPUS, document, "train")


def count_files(settings: Settings) -> dict[str, int]:
    """Return how many files of each store hold the document's text."""
    return search_home(settings.layout.root, needles_of({DOCUMENT: {SECRET}}, []))
