"""What a comparison counts on documents that changed after training, beside those that are as they were."""

import json
from pathlib import Path

import pytest

from tasks.advise.measured import read_measurement
from tasks.model.comparison.answerers import compared_answerers
from tasks.model.comparison.compare import compare_strategies
from tasks.model.comparison.report import table, write_report
from tasks.params import load_params
from tasks.settings import Settings
from tests.model.test_compare import save_answerer
from tests.retrain_world import SPLITS, make_world

NUM_CHANGED = 3


@pytest.mark.slow
def test_comparison_counts_changed_documents_beside_unchanged_ones(
    tmp_path: Path, migrated_mlflow: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in make_world(tmp_path, migrated_mlflow).items():
        monkeypatch.setenv(name, value)
    settings, params = Settings(), load_params(tmp_path / "params.yaml")
    gate = params.model_gate.model_copy(update={"headline": "useful_share"})
    params = params.model_copy(update={"model_gate": gate})
    tuned = save_answerer(tmp_path / "tuned", tmp_path / "params.yaml", settings)
    questions = [json.loads(line) for line in (tmp_path / "golden.jsonl").read_text().splitlines()]
    asked = [one for one in questions if one["split"] == "test"]
    for one in asked[:NUM_CHANGED]:
        note = tmp_path / "notes" / one["document"].partition(":")[2]
        note.write_text(note.read_text().replace("crimson", "azure"))
    from flows.refresh import refresh

    assert refresh.fn().release == 2

    answerers = compared_answerers([str(tuned)], params, settings)
    report = compare_strategies(params, settings, answerers, modes=("retrieval",))
    assert report.freshness.questions == {one["id"] for one in asked[:NUM_CHANGED]}
    assert len(report.freshness.unchanged) == SPLITS.count("test") - NUM_CHANGED
    assert len(report.freshness.questions | report.freshness.unchanged) == report.num_questions
    num_unchanged = report.num_questions - NUM_CHANGED
    lines = {line[""]: line["retrieval alone"] for line in table(report)}
    changed, unchanged, whole = (
        float(lines[name].split()[0])
        for name in (
            f"useful_share on {NUM_CHANGED} changed",
            f"useful_share on {num_unchanged} unchanged",
            "useful_share",
        )
    )
    assert NUM_CHANGED * changed + num_unchanged * unchanged == pytest.approx(report.num_questions * whole, abs=0.05)
    assert changed > 0

    said = read_measurement(write_report(report, tmp_path / "out"), 1000)
    assert said is not None
    assert said.freshness.startswith(f"useful_share on {NUM_CHANGED} questions whose documents changed")
