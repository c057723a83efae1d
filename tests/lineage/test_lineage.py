"""`almanac lineage` on a small real home: one document in a release, a training set, a model and answers."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli import app
from tasks.errors import ConfigurationError
from tasks.lineage.graph import Graph, Lineage, Node, as_mermaid, as_text
from tasks.lineage.openlineage import SCHEMA_URL, events_of
from tasks.lineage.walk import trace_lineage
from tasks.settings import Settings
from tests.erasure.forgotten_home import DOCUMENT, SECRET, make_home, move_in


def linked(lineage: Lineage) -> set[tuple[str, str]]:
    """Return the edges by the kinds of their ends."""
    kinds = {node.id: node.kind for node in lineage.nodes}
    return {(kinds[edge.source], kinds[edge.target]) for edge in lineage.edges}


def names(lineage: Lineage, kind: str) -> set[str]:
    return {node.name for node in lineage.nodes if node.kind == kind}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, migrated_mlflow: Path) -> Path:
    return make_home(tmp_path_factory.mktemp("lineage"), migrated_mlflow, num_releases=2)


@pytest.fixture
def settings(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    return move_in(folder, monkeypatch)


@pytest.mark.slow
def test_document_is_followed_to_every_place_and_an_answer_back_to_its_documents(settings: Settings) -> None:
    forth = trace_lineage(settings, DOCUMENT)

    assert linked(forth) >= {
        ("source", "document"),
        ("document", "corpus"),
        ("document", "chunk"),
        ("chunk", "release"),
        ("chunk", "example"),
        ("example", "training set"),
        ("training set", "model"),
        ("chunk", "answer"),
        ("release", "answer"),
    }
    assert names(forth, "release") == {"1", "2"}
    assert names(forth, "corpus") == {"corpus-0001", "corpus-0002"}
    assert names(forth, "model") >= {"answerer 1"}
    assert names(forth, "document") == {DOCUMENT}

    trace = next(iter(names(forth, "answer")))
    back = trace_lineage(settings, trace)
    assert DOCUMENT in names(back, "document")
    assert names(back, "release") == {"1", "2"}  # it answered by the second, which was made from the first
    (release,) = [node for node in back.nodes if node.id == "release 2"]
    assert release.facts["serves"] == "now"
    assert all(release.facts[name] for name in ("params", "embedder", "created", "gate", "served"))
    (corpus,) = [node for node in back.nodes if node.id == "corpus corpus-0002"]
    assert corpus.facts["commit"] and corpus.facts["md5"]

    (example,) = names(forth, "example")
    model, release_1, of_example = (trace_lineage(settings, name) for name in ("answerer 1", "release 1", example))
    assert ("training set", "model") in linked(model)
    assert names(model, "document") == {DOCUMENT, "notes:backup.md"}
    assert ("release", "release") in linked(release_1)
    assert {("document", "chunk"), ("chunk", "example"), ("training set", "model")} <= linked(of_example)

    for lineage in (forth, back, model, release_1, of_example):
        assert SECRET[:20] not in json.dumps(lineage.as_json()) + as_text(lineage) + events_of(lineage)
    assert not list(settings.work.glob("lineage-*"))


@pytest.mark.slow
def test_what_is_not_kept_is_refused_with_what_is(settings: Settings) -> None:
    for wanted, said in (
        ("release 9", "found 1, 2"),
        ("answerer 7", "found: 1"),
        (f"tr-{'0' * 32}", "must have its trace"),
        ("notes:mbeki.txt", "did you mean notes:mbeki.md"),
    ):
        with pytest.raises(ConfigurationError, match=said):
            trace_lineage(settings, wanted)


@pytest.mark.slow
def test_command_draws_and_writes_events(settings: Settings, tmp_path: Path) -> None:
    runner, events = CliRunner(), tmp_path / "events.jsonl"

    text = runner.invoke(app, ["lineage", "release 2", "--openlineage", str(events)]).output
    chart = runner.invoke(app, ["lineage", DOCUMENT, "--mermaid"]).output
    as_json = json.loads(runner.invoke(app, ["lineage", DOCUMENT, "--json"]).output)

    assert "made from\n  corpus corpus-0002" in text
    assert chart.startswith("flowchart LR\n")
    assert as_json["root"] == f"document {DOCUMENT}"
    (release,) = [
        event
        for event in map(json.loads, events.read_text(encoding="utf-8").splitlines())
        if event["outputs"] == [{"namespace": "almanac", "name": "release/2"}]
    ]
    # What the RunEvent of the specification must have.
    assert release.keys() >= {"eventTime", "producer", "schemaURL", "run", "job"}
    assert (release["eventType"], release["schemaURL"]) == ("COMPLETE", SCHEMA_URL)
    assert {"namespace": "almanac", "name": "corpus/corpus-0002"} in release["inputs"]
    assert len(release["run"]["runId"]) == 36


def test_what_stands_twice_is_drawn_once_and_too_many_are_counted() -> None:
    graph, document = Graph(), Node("document", 'a"b]:\n<c>')
    release = Node("release", "1")
    for number in range(14):
        chunk = Node("chunk", f"{number}")
        graph.join(document, chunk)
        graph.join(chunk, release)

    lineage = graph.lineage(document)

    text = as_text(lineage)
    assert text.count("release 1") == 12
    assert "and 2 more of kind chunk" in text
    assert "nothing that is kept" in text
    assert '["document a_b_:__c_"]' in as_mermaid(lineage)
