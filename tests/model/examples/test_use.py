"""What a document may be used for: only retrieved, it is in no training set; only for training, nobody is served it."""

import shutil
from pathlib import Path

import pytest
import yaml

from tasks.corpus.parsing.details import read_details
from tasks.errors import ParseError
from tasks.index.access import AccessMap, TrainingGroups, access_id, asker_groups
from tasks.index.access_tables import load_access, record_changes
from tasks.index.live import LiveIndex
from tasks.index.search import Request
from tasks.index.table import connect
from tasks.model.embedder.chunks import read_pool
from tasks.model.embedder.pairs import read_pairs, write_example_pairs
from tasks.model.evaluation.questions import open_retrieval
from tasks.model.examples.build import build_training_set
from tasks.model.examples.example import read_examples
from tasks.model.examples.release_data import open_release_data
from tasks.settings import Settings
from tasks.use import Use, marked, narrower
from tests.chat_model import save_chat_model
from tests.conftest import files_source, merged
from tests.model.examples_world import GOLDEN, TOOLS, index_once, page, raw_params, write_golden

RETRIEVED, TRAINED = ({f"notes:{TOOLS[n].lower()}.md" for n in numbers} for numbers in ((4, 5), (6, 7)))
CLOSED = {f"closed:{TOOLS[n].lower()}.md" for n in (8, 9)}
"""Of a source that is only retrieved; the second page says of itself that it is only for training: neither holds."""


@pytest.mark.parametrize(
    ("one", "other", "both"),
    [
        ("both", "both", "both"),
        ("both", "train", "train"),
        ("retrieve", "both", "retrieve"),
        ("train", "train", "train"),
        ("retrieve", "train", None),
    ],
)
def test_narrower_use_wins_whoever_says_it(one: Use, other: Use, both: Use | None) -> None:
    assert narrower(one, other) == narrower(other, one) == both


def test_use_that_is_no_use_leaves_the_document_to_nobody() -> None:
    with pytest.raises(ParseError, match="one of retrieve, train, both") as raised:
        read_details({"use": "training", "access": ["staff"]})
    assert raised.value.access == ()


def test_no_asker_can_bring_a_group_that_is_ours() -> None:
    train_only = marked(["staff"], "train")
    access = AccessMap({access_id(train_only): frozenset(train_only)}, {})
    for groups in (["staff"], ["only:train:staff"], ["everyone", *train_only]):
        assert not access.may_read("d", access_id(train_only), groups)
    assert access.may_read("d", access_id(train_only), TrainingGroups({"staff"}))
    assert not access.may_read("d", access_id(train_only), TrainingGroups({"finance"}))
    assert asker_groups(["only:retrieve"]) == {"everyone"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, migrated_mlflow: Path) -> Path:
    """A home with pages of every use, of which the examples and the search are asked."""
    folder = tmp_path_factory.mktemp("use")
    for name in ("notes", "closed", "home"):
        (folder / name).mkdir()
    for number, tool in enumerate(TOOLS[:10]):
        use = {4: "retrieve", 5: "retrieve", 6: "train", 7: "train", 9: "train"}.get(number)
        front = f"---\nuse: {use}\n---\n" if use else ""
        (folder / ("closed" if number > 7 else "notes") / f"{tool.lower()}.md").write_text(front + page(number))
    save_chat_model(folder / "model")
    write_golden(folder, GOLDEN)
    shutil.copy(migrated_mlflow, folder / "home" / "mlflow.db")
    closed = files_source(folder / "closed", name="closed") | {"use": "retrieve"}
    raw = merged(raw_params(folder), {"sources": [files_source(folder / "notes"), closed]})
    (folder / "params.yaml").write_text(yaml.safe_dump(raw))
    index_once(folder)
    return folder


@pytest.fixture
def settings(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("ALMANAC_HOME", str(folder / "home"))
    monkeypatch.setenv("ALMANAC_PARAMS", str(folder / "params.yaml"))
    return Settings()


def everything(settings: Settings, groups: tuple[str, ...] = ()) -> set[str]:
    """Every document that searches for each tool show."""
    from tasks.params import load_params

    index = LiveIndex(load_params(settings.params, None), settings)
    found = (index.search(Request(f"What does {tool} need?", groups, top_k=40)) for tool in TOOLS[:10])
    return {passage.document_id for passages in found for passage in passages}


@pytest.mark.slow
def test_search_serves_all_but_what_is_only_for_training(settings: Settings) -> None:
    shown = everything(settings, groups=("everyone", "only:train:everyone"))
    assert shown >= RETRIEVED
    assert not shown & TRAINED
    assert f"closed:{TOOLS[8].lower()}.md" in shown
    assert f"closed:{TOOLS[9].lower()}.md" not in shown


@pytest.mark.slow
def test_weights_learn_all_but_what_is_only_retrieved(folder: Path, settings: Settings, tmp_path: Path) -> None:
    from tasks.params import load_params

    params = load_params(settings.params, None)
    built = build_training_set(params, settings, tmp_path / "set")
    documents = set(built.document_ids)
    assert documents & TRAINED
    assert not documents & (RETRIEVED | CLOSED)
    write_example_pairs(built.path, tmp_path / "pairs.jsonl", tmp_path / "pool.jsonl", params, settings)
    embedded = {
        text.group for pair in read_pairs(tmp_path / "pairs.jsonl") for text in (pair.positive, *pair.negatives)
    }
    embedded |= {text.group for text in read_pool(tmp_path / "pool.jsonl")}
    assert embedded and not embedded & (RETRIEVED | CLOSED)
    assert {example.origin for example in read_examples(built.path)} >= {"synthetic"}


@pytest.mark.slow
def test_evaluation_asks_as_an_asker_does(settings: Settings) -> None:
    from tasks.params import load_params

    params = load_params(settings.params, None)
    topics = open_retrieval(params, settings).data.topics.keys()
    assert topics >= RETRIEVED and not topics & TRAINED
    assert open_release_data(params, settings).topics.keys() >= TRAINED


@pytest.mark.slow
def test_change_of_use_holds_at_once_for_the_release_that_serves(settings: Settings) -> None:
    from tasks.params import load_params

    params = load_params(settings.params, None)
    document = f"notes:{TOOLS[0].lower()}.md"
    record_changes(connect(settings), {document: marked(["everyone"], "retrieve")})
    assert document not in open_release_data(params, settings).topics
    record_changes(connect(settings), {document: marked(["everyone"], "train")})
    assert load_access(connect(settings)).changes[document] == {"only:train:everyone"}
    assert document not in everything(settings)
