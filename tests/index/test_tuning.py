"""The search for better retrieval settings: better, within the budget, and no file of the user's is changed."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cli import app
from tasks.errors import ConfigurationError
from tasks.index.embedding.embedder import load_embedder
from tasks.index.live import LiveIndex
from tasks.index.release import embedding_params
from tasks.index.search import Request
from tasks.index.table import connect, open_at
from tasks.index.tuning import params_diff, tune
from tasks.index.tuning.bench import Bench, Proposal
from tasks.index.tuning.scratch import resized
from tasks.params import ChunkingParams, Params
from tasks.settings import Settings
from tests.conftest import files_source

FACTS = {
    "deploy": ("the blue-green script moves traffic to the new cluster", "what moves traffic to the new cluster?"),
    "backup": ("snapshots of the ledger are kept for ninety days", "how long are snapshots of the ledger kept?"),
    "pager": ("the pager rotates every Tuesday among platform engineers", "when does the pager rotate?"),
    "leave": ("parental leave lasts sixteen weeks at full pay", "how long is parental leave?"),
}
SPLITS = ("train", "validation", "test", "test")


@pytest.fixture
def params(tmp_path: Path, write_params: Callable[..., Params]) -> Params:
    notes = tmp_path / "notes"
    notes.mkdir()
    golden = tmp_path / "golden.jsonl"
    with golden.open("w", encoding="utf-8") as lines:
        for (name, (fact, question)), split in zip(FACTS.items(), SPLITS, strict=True):
            (notes / f"{name}.md").write_text(f"# Page {name}\n\nThis page is about {name}. Note: {fact}.\n")
            entry = {"id": name, "question": question, "answer": fact, "document": f"notes:{name}.md", "anchor": fact}
            lines.write(json.dumps(entry | {"topic": "handbook", "split": split}) + "\n")
    return write_params([files_source(notes)], index_gate={"golden": str(golden)})


@pytest.fixture
def released(params: Params, refresh: Callable[..., dict[str, Any]]) -> Params:
    refresh()
    return params


@pytest.mark.slow
def test_the_winner_is_no_worse_and_shows_no_more_passages(released: Params, settings: Settings) -> None:
    one_leg = released.search.model_copy(update={"mode": "full_text", "top_k": 1})
    bad = released.model_copy(update={"search": one_leg})
    result = tune(bad, settings, num_trials=3, max_seconds=60, budget_ms=60_000)
    assert (result.num_tuning_questions, result.num_test_questions) == (2, 2)
    assert result.num_trials == 3
    assert result.metrics["tuning_ndcg"] >= result.metrics["tuning_ndcg_today"]
    assert result.changes.get("search.top_k", 1) == 1, "never more passages than today"


@pytest.mark.slow
def test_nothing_within_the_budget_keeps_today_s_settings(released: Params, settings: Settings) -> None:
    result = tune(released, settings, num_trials=3, max_seconds=60, budget_ms=0.001)
    assert result.changes == {}
    assert result.diff is None
    assert result.difference.mean == 0.0


@pytest.mark.slow
def test_remembered_rows_give_what_plain_searches_give(released: Params, settings: Settings) -> None:
    live = LiveIndex(released, settings)
    release = live.serving.release
    table = open_at(connect(settings), release.lance_tag)
    bench = Bench(released, settings, load_embedder(embedding_params(release), settings), {32: table})
    chunking = released.chunking.model_copy(update={"max_tokens": 32})
    for search in (
        released.search,
        released.search.model_copy(update={"candidates": 2, "top_k": 2, "fusion": "score"}),
        released.search.model_copy(update={"rerank": "late_interaction"}),
    ):
        for question in ("when does the pager rotate?", "snapshots of the ledgr"):
            request = Request(question, groups=frozenset({"everyone"}))
            proposal = Proposal(search, chunking)
            plain, remembered = bench.plain(proposal), bench.remembered(proposal)
            wanted = [passage.chunk_id for passage in plain.search(request, live.access())]
            for _ in range(2):
                assert [passage.chunk_id for passage in remembered.search(request, live.access())] == wanted


@pytest.mark.slow
def test_sizes_of_chunks_are_tried_within_the_prompt_of_today_and_leave_nothing(
    released: Params, settings: Settings
) -> None:
    size = released.chunking.max_tokens
    before = sorted(path.name for path in settings.layout.cache.iterdir())
    result = tune(released, settings, num_trials=8, max_seconds=120, budget_ms=60_000, chunk_sizes=(size // 2, size))

    assert set(result.chunk_sizes) == {size // 2, size}
    assert all(0 < value <= 1 for value in result.chunk_sizes.values())
    assert not (settings.work / "tune").exists()
    assert sorted(path.name for path in settings.layout.cache.iterdir()) == before
    if "chunking.max_tokens" in result.changes:
        assert result.changes.get("search.top_k", released.search.top_k) <= 2 * released.search.top_k


@pytest.mark.slow
def test_other_chunks_that_take_too_long_are_not_tried(released: Params, settings: Settings) -> None:
    other = released.chunking.max_tokens // 2
    result = tune(released, settings, num_trials=1, max_seconds=0.001, budget_ms=60_000, chunk_sizes=(other,))
    assert set(result.chunk_sizes) == {released.chunking.max_tokens}


@pytest.mark.slow
def test_chunking_that_was_changed_and_not_refreshed_is_refused(released: Params, settings: Settings) -> None:
    other = released.model_copy(update={"chunking": resized(released.chunking, released.chunking.max_tokens // 2)})
    with pytest.raises(ConfigurationError, match="run `almanac refresh` first"):
        tune(other, settings, num_trials=1, max_seconds=1, budget_ms=100)


def test_the_least_size_and_the_overlap_follow_the_size() -> None:
    chunking = ChunkingParams(max_tokens=256, min_tokens=64, overlap_tokens=16, max_context_tokens=40)
    assert resized(chunking, 128).model_dump() == {
        "max_tokens": 128,
        "min_tokens": 32,
        "overlap_tokens": 8,
        "max_context_tokens": 40,
    }


@pytest.mark.slow
def test_the_command_prints_one_json_object_and_changes_no_parameters(released: Params, settings: Settings) -> None:
    before = settings.params.read_bytes()
    outcome = CliRunner().invoke(app, ["tune", "--json", "--trials", "2", "--budget-ms", "60000"])
    assert outcome.exit_code == 0, outcome.output
    assert {"changes", "difference", "metrics", "diff", "num_trials"} <= set(json.loads(outcome.stdout))
    assert settings.params.read_bytes() == before


@pytest.mark.slow
def test_tuning_needs_golden_questions(released: Params, settings: Settings) -> None:
    without = released.model_copy(update={"index_gate": released.index_gate.model_copy(update={"golden": None})})
    with pytest.raises(ConfigurationError, match=r"index_gate\.golden must name"):
        tune(without, settings, num_trials=1, max_seconds=1, budget_ms=100)


def test_a_diff_changes_only_its_settings_and_keeps_comments() -> None:
    text = "search:\n  top_k: 8    # shown\n  candidates: 200\ncompare:\n  top_k: 8\n"
    diff = params_diff(text, {"search.top_k": 5})
    assert [line for line in diff.splitlines() if line[0] in "+-" and line[:3] not in ("---", "+++")] == [
        "-  top_k: 8    # shown",
        "+  top_k: 5    # shown",
    ]
