"""The search for better retrieval settings: better, within the budget, and no file of the user's is changed."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cli import app
from tasks.errors import ConfigurationError
from tasks.index.live import LiveIndex
from tasks.index.search import Request
from tasks.index.tuning import params_diff, tune
from tasks.params import Params
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
    assert result.changes.get("top_k", 1) == 1, "never more passages than today"


@pytest.mark.slow
def test_nothing_within_the_budget_keeps_today_s_settings(released: Params, settings: Settings) -> None:
    result = tune(released, settings, num_trials=3, max_seconds=60, budget_ms=0.001)
    assert result.changes == {}
    assert result.diff is None
    assert result.difference.mean == 0.0


@pytest.mark.slow
def test_remembered_rows_give_what_plain_searches_give(released: Params, settings: Settings) -> None:
    from tasks.index.live import serving
    from tasks.index.tuning import _Bench

    bench = _Bench(released, settings, serving(settings).release)
    live = LiveIndex(released, settings)
    for search in (
        released.search,
        released.search.model_copy(update={"candidates": 2, "top_k": 2, "fusion": "score"}),
        released.search.model_copy(update={"rerank": "late_interaction"}),
    ):
        for question in ("when does the pager rotate?", "snapshots of the ledgr"):
            request = Request(question, groups=frozenset({"everyone"}))
            plain, remembered = bench.plain(search), bench.remembered(search)
            wanted = [passage.chunk_id for passage in plain.search(request, live.access())]
            for _ in range(2):
                assert [passage.chunk_id for passage in remembered.search(request, live.access())] == wanted


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
    diff = params_diff(text, {"top_k": 5})
    assert [line for line in diff.splitlines() if line[0] in "+-" and line[:3] not in ("---", "+++")] == [
        "-  top_k: 8    # shown",
        "+  top_k: 5    # shown",
    ]
