"""The index gate: a candidate that finds less, or is not whole, is refused, and what serves stays."""

import dataclasses
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tasks.corpus.document import sha256
from tasks.errors import GateError
from tasks.index import candidate
from tasks.index.candidate import Candidate
from tasks.index.chunking import chunk as chunking
from tasks.index.live import LiveIndex
from tasks.index.search import Request
from tasks.index.table import connect, open_latest
from tasks.params import Params
from tasks.settings import Settings
from tests.conftest import files_source

pytestmark = pytest.mark.slow

REAL_CHUNK_ROWS = chunking.chunk_rows

TOPICS = {
    "deploy": ("the blue-green script moves traffic to the new cluster", "what moves traffic to the new cluster?"),
    "backup": ("snapshots of the ledger are kept for ninety days", "how long are snapshots of the ledger kept?"),
    "oncall": ("the pager rotates every Tuesday among platform engineers", "when does the pager rotate?"),
    "leave": ("parental leave lasts sixteen weeks at full pay", "how long is parental leave?"),
    "travel": ("train tickets are booked by the travel desk in Lyon", "who books train tickets?"),
    "badge": ("lost badges are reported to the gate house at once", "where are lost badges reported?"),
}


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    folder = tmp_path / "notes"
    folder.mkdir()
    for name, (fact, _) in TOPICS.items():
        (folder / f"{name}.md").write_text(
            f"# Page {name}\n\nThis page belongs to the handbook of {name}. Note: {fact}.\n"
        )
    return folder


@pytest.fixture
def params(notes: Path, tmp_path: Path, write_params: Callable[..., Params]) -> Params:
    golden = tmp_path / "golden.jsonl"
    golden.write_text("".join(json.dumps(question) + "\n" for question in golden_questions()))
    gate = {"golden": str(golden), "k": 3, "num_resamples": 200, "min_recall_at_k": 0.8}
    return write_params([files_source(notes)], index_gate=gate)


def golden_questions() -> Iterator[dict[str, Any]]:
    for name, (fact, question) in TOPICS.items():
        yield {
            "id": f"q-{name}",
            "question": question,
            "answer": fact,
            "document": f"notes:{name}.md",
            "anchor": fact,
            "topic": "handbook",
            "split": "test",
        }


def touch_all(notes: Path) -> None:
    for path in notes.iterdir():
        path.write_text(path.read_text() + "\nReviewed this week.\n")


def serving(params: Params, settings: Settings) -> tuple[int, list[str]]:
    index = LiveIndex(params, settings)
    return index.serving.release.number, [passage.text for passage in index.search(Request("ledger snapshots"))]


def only_the_beginning(texts: Sequence[Any], tokenizer: Any, params: Any) -> Iterator[dict[str, object]]:
    """A broken chunker: it keeps the first thirty characters of a document."""
    for document in texts:
        cut = dataclasses.replace(document, text=document.text[:30])
        yield from REAL_CHUNK_ROWS([cut], tokenizer, params)


def wrong_slices(texts: Sequence[Any], tokenizer: Any, params: Any) -> Iterator[dict[str, object]]:
    """A broken chunker: offsets that do not say where the text stands, and a text that says nothing."""
    for row in REAL_CHUNK_ROWS(texts, tokenizer, params):
        yield row | {"start": 0, "end": 5, "text": "", "search_text": "-", "text_key": sha256("-")}


@pytest.mark.parametrize("broken", [only_the_beginning, wrong_slices])
def test_candidate_of_a_broken_chunker_is_refused_with_the_questions_that_it_lost(
    notes: Path,
    params: Params,
    settings: Settings,
    refresh: Callable[..., dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
    broken: Callable[..., Any],
) -> None:
    assert refresh()["metrics"]["recall_at_k"] == 1.0
    before = serving(params, settings)
    touch_all(notes)
    monkeypatch.setattr(chunking, "chunk_rows", broken)

    with pytest.raises(GateError, match="recall at 3 must not fall") as refused:
        refresh()

    assert all(f"q-{name}" in str(refused.value) for name in TOPICS)
    assert serving(params, settings) == before
    monkeypatch.setattr(chunking, "chunk_rows", REAL_CHUNK_ROWS)
    healed = refresh()
    assert healed["release"] == 2
    assert healed["metrics"]["recall_at_k"] == 1.0


def test_first_release_below_the_floor_is_refused(
    params: Params, settings: Settings, refresh: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunking, "chunk_rows", only_the_beginning)

    with pytest.raises(GateError, match=r"first release must reach 0\.8"):
        refresh()


def duplicate_rows(table: Any) -> None:
    table.add(table.to_arrow().slice(0, 2))


def zero_vector(table: Any) -> None:
    change(table, lambda row: {"vector": [0.0] * len(row["vector"])})


def orphan(table: Any) -> None:
    change(table, lambda row: {"document_id": "notes:nowhere.md"})


def foreign_embedder(table: Any) -> None:
    change(table, lambda row: {"embedder": "another model"})


def no_chunks(table: Any) -> None:
    table.delete("document_id = 'notes:badge.md'")


def change(table: Any, edit: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    row = table.to_arrow().slice(0, 1).to_pylist()[0]
    table.delete(f"chunk_id = '{row['chunk_id']}'")
    table.add(pa.Table.from_pylist([row | edit(row)], schema=table.schema))


@pytest.mark.parametrize(
    ("breakage", "complaint"),
    [
        (duplicate_rows, "chunk ids must be distinct"),
        (zero_vector, "of unit length"),
        (orphan, "1 orphans: notes:nowhere.md"),
        (foreign_embedder, "another model"),
        (no_chunks, "found 1 without: notes:badge.md"),
    ],
)
def test_candidate_that_is_not_whole_is_refused(
    notes: Path,
    params: Params,
    settings: Settings,
    refresh: Callable[..., dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
    breakage: Callable[[Any], None],
    complaint: str,
) -> None:
    refresh()
    before = serving(params, settings)
    touch_all(notes)
    write_candidate = candidate.write_candidate

    def break_after(*args: Any, **kwargs: Any) -> Candidate:
        made = write_candidate(*args, **kwargs)
        table = open_latest(connect(settings))
        breakage(table)
        return dataclasses.replace(made, version=int(table.version))

    monkeypatch.setattr(candidate, "write_candidate", break_after)

    with pytest.raises(GateError, match=complaint):
        refresh()

    assert serving(params, settings) == before


def test_rows_that_no_index_covers_are_refused(
    notes: Path,
    params: Params,
    settings: Settings,
    refresh: Callable[..., dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    refresh()
    touch_all(notes)
    monkeypatch.setattr(candidate, "build_indexes", lambda db, _: int(open_latest(db).version))

    with pytest.raises(GateError, match="must cover every row"):
        refresh()


def test_gate_measures_with_the_groups_of_all_documents(
    notes: Path, params: Params, refresh: Callable[..., dict[str, Any]]
) -> None:
    closed = notes / "backup.md"
    closed.write_text("---\naccess: [board]\n---\n" + closed.read_text())

    assert refresh()["metrics"]["recall_at_k"] == 1.0


def test_question_whose_document_left_is_reported_and_not_counted(
    notes: Path, params: Params, refresh: Callable[..., dict[str, Any]], settings: Settings
) -> None:
    refresh()
    (notes / "badge.md").unlink()

    metrics = refresh()["metrics"]

    assert metrics["golden_missing"] == 1.0
    assert metrics["golden_questions"] == len(TOPICS) - 1
    assert np.isclose(metrics["difference_recall_at_k"], 0.0)
