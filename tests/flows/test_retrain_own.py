"""A retrain of one knowledge base alone: its documents, its questions, its own registered model, its own champion."""

import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from serving.promotion.live import LivePair
from serving.promotion.pair import Pair
from tasks.answer.prompt import load_prompt, render
from tasks.erasure.tracking import trained_on
from tasks.index.search import Request
from tasks.lineage.walk import trace_lineage
from tasks.model.examples.training_set import FILE, FOLDER
from tasks.params import load_params
from tasks.registry.shared import open_registry
from tasks.releases.folder import release_folder
from tasks.releases.kind import ANSWERER, answerer_of
from tasks.releases.lifecycle import champion, versions
from tasks.releases.model_registry import CHALLENGER
from tasks.releases.tags import Tag
from tasks.settings import QUIET_ENVIRONMENT, Settings
from tests.conftest import Outcome, files_source
from tests.retrain_world import ANSWER, SPLITS, stone_params, world_environment, write_stones

pytestmark = pytest.mark.slow
OTHER_ANSWER = "black"
"""No letter twice, as in the other one: more than that a model so small does not tell apart."""
NOTES, WIKI = answerer_of("notes"), answerer_of("wiki")


@pytest.fixture(scope="module")
def indexed(tmp_path_factory: pytest.TempPathFactory, migrated_mlflow: Path) -> Path:
    """A home whose index knows the stones of two knowledge bases, which have other colours."""
    from flows.refresh import refresh

    folder = tmp_path_factory.mktemp("two")
    write_stones(folder)
    write_stones(folder, "wiki", OTHER_ANSWER, seed=8)
    raw = stone_params(folder)
    raw["fine_tuning"]["num_train_epochs"] = 8
    raw["sources"].append(files_source(folder / "wiki", name="wiki", knowledge_base="wiki"))
    (folder / "params.yaml").write_text(yaml.safe_dump(raw), encoding="utf-8")
    (folder / "home").mkdir()
    shutil.copy(migrated_mlflow, folder / "home" / "mlflow.db")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (QUIET_ENVIRONMENT | world_environment(folder)).items():
            patch.setenv(name, value)
        refresh.fn()
    return folder


@pytest.fixture
def world(indexed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A copy of that home."""
    shutil.copytree(indexed / "home", tmp_path / "home")
    shutil.copy(indexed / "params.yaml", tmp_path / "params.yaml")
    for name, value in world_environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    return Settings()


def training_set_of(settings: Settings, tag: str, folder: Path) -> list[dict[str, object]]:
    open_registry(settings, folder=FOLDER).restore(tag, folder)
    return [json.loads(line) for line in (folder / FILE).read_text().splitlines()]


def colours_said(pair: Pair, live: LivePair) -> list[str]:
    """Return the colours that a model writes of the same stone and passages of `wiki`."""
    question, params = "What colour is it?", pair.answerer.params
    passages = pair.index.search(Request(question, knowledge_bases=("wiki",)), live.access())[: params.num_passages]
    messages = render(load_prompt(params.prompt), question, passages)
    text = pair.answerer.generator.generate(messages, max_new_tokens=16).text
    return [colour for colour in (ANSWER, OTHER_ANSWER) if colour in text]


def test_retrain_of_each_knowledge_base_ends_in_a_server_that_answers_each_by_what_it_learnt(
    world: Settings, almanac: Callable[..., Outcome], tmp_path: Path
) -> None:
    results = {}
    for kind in (NOTES, WIKI):
        done = almanac("retrain", "--knowledge-base", str(kind.knowledge_base), "--json")
        assert done.code == 0, done.err
        results[kind] = json.loads(done.out)

    assert versions(world, ANSWERER) == []
    for kind, result in results.items():
        (version,) = versions(world, kind)
        assert (version.aliases, version.passed_gate) == ((CHALLENGER,), True)
        assert version.tags[Tag.KNOWLEDGE_BASE] == kind.knowledge_base
        taught = training_set_of(world, result["training_set"], tmp_path / kind.name)
        documents = {passage["document_id"] for example in taught for passage in example["passages"]}
        assert {document.partition(":")[0] for document in documents} == {kind.knowledge_base}
        assert trained_on(world, [result["training_set"]], []) == [version]
        assert [entry["knowledge_base"] for entry in result["outcomes"]] == [kind.knowledge_base]
        promoted = almanac("promote", "answerer", version.version, "--knowledge-base", str(kind.knowledge_base))
        assert promoted.code == 0, promoted.err

    live = LivePair(load_params(world.params), world)
    live.follow()
    assert live.status().degraded is False, live.status().reasons
    labels, said = {}, {}
    for name in (None, "notes", "wiki"):
        with live.acquire(None, name) as pair:
            labels[name], said[name] = pair.answerer_version, colours_said(pair, live)
    assert labels == {None: "base", "notes": "notes/1", "wiki": "wiki/1"}
    assert said == {None: [], "notes": [ANSWER], "wiki": [OTHER_ANSWER]}

    listed = json.loads(almanac("releases", "--json").out)["releases"]
    assert {(entry["kind"], entry["version"]) for entry in listed} >= {
        ("answerer.notes", "1"),
        ("answerer.wiki", "1"),
    }
    _compared_on_wiki(almanac, world)
    status = almanac("status")
    assert "notes: version 1 of" in status.out
    assert "its passages trained it" in str(trace_lineage(world, "answerer.notes 1"))
    back = almanac("rollback", "answerer", "--knowledge-base", "notes", "--json")
    assert json.loads(back.out)["version"] == "general"
    live.follow()
    with live.acquire(None, "notes") as pair:
        assert pair.answerer_version == "base"
    assert champion(world, WIKI) is not None


def _compared_on_wiki(almanac: Callable[..., Outcome], world: Settings) -> None:
    """Compare on the questions of `wiki` alone: its own answerer knows its colour, that of `notes` does not."""
    with tempfile.TemporaryDirectory() as folder:
        notes = release_folder(world, versions(world, NOTES)[0])
        of_notes = str(shutil.copytree(notes, Path(folder) / "of-notes"))
        named = [part for name in ("base", of_notes, "champion") for part in ("--answerer", name)]
        done = almanac("compare", "--knowledge-base", "wiki", *named, "--no-closed-book", "--json")
    assert done.code == 0, done.err
    result = json.loads(done.out)
    strategies = result["strategies"]
    assert (result["knowledge_base"], result["questions"]) == ("wiki", SPLITS.count("test"))
    assert strategies["champion_retrieval"]["answerer"] == "wiki/1"
    right = {name: entry["metrics"]["contains"]["mean"] for name, entry in strategies.items()}
    assert right["champion_retrieval"] > max(right["base_retrieval"], right["of-notes_retrieval"])
    assert Path(result["folder"]) == world.layout.comparison / "knowledge-bases" / "wiki"
    assert not (world.layout.comparison / "comparison.json").exists()
    without = almanac("compare", "--knowledge-base", "wiki", "--answerer", "general")
    assert (without.code, "almanac-answerer must have a champion, found none" in without.err) == (2, True)


def test_quarter_trains_listed_knowledge_bases_too_and_says_what_one_of_them_lacks(
    world: Settings, almanac: Callable[..., Outcome]
) -> None:
    raw = yaml.safe_load(world.params.read_text())
    raw["knowledge_bases"] = {"answerers": ["nowhere", "wiki"]}
    raw["fine_tuning"] |= {"max_steps": 1, "learning_rate": 1e-9}
    world.params.write_text(yaml.safe_dump(raw))

    done = almanac("retrain", "--json")

    assert done.code == 3, done.err
    outcomes = json.loads(done.out)["outcomes"]
    assert [entry["knowledge_base"] for entry in outcomes] == [None, "nowhere", "wiki"]
    assert "the knowledge base nowhere must hold documents that everyone may read" in outcomes[1]["reasons"][0]
    assert "not better with confidence" in outcomes[2]["reasons"][0]
    assert "refused that of wiki: not better with confidence" in done.err


def test_embedder_of_one_knowledge_base_is_a_mistake(world: Settings, almanac: Callable[..., Outcome]) -> None:
    done = almanac("retrain", "--knowledge-base", "wiki", "--method", "embedder")

    assert done.code == 2
    assert "an embedder must be of all knowledge bases" in done.err
