"""What `almanac advise` reads of a home, and what it does where there is nothing to read and nobody to ask."""

import datetime as dt
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import typer

from cli import advise as command
from tasks.advise.home_facts import Reading, change_rate, read_home
from tasks.advise.measured import measured_out, read_measurement
from tasks.advise.scorecard import Fact
from tasks.advise.strategy import Strategy
from tasks.errors import CorruptionError
from tasks.index.release import Corpus, Fingerprint, Release
from tasks.params import Params
from tasks.settings import Settings
from tests.conftest import files_source


def release(number: int, day: int, *files: str) -> Release:
    return Release(
        number=number,
        created_at=(dt.datetime(2026, 9, 1, tzinfo=dt.UTC) + dt.timedelta(days=day)).isoformat(),
        base=None,
        lance_tag="t",
        lance_version=1,
        dim=8,
        fingerprint=Fingerprint("p", {}, "c", "e"),
        embedding={},
        corpus=Corpus(f"corpus-{number:04d}", "0", "0", "0", files),
        params_digest="0",
        git_commit=None,
        num_documents=100,
        num_chunks=500,
        metrics={},
    )


def write_rows(folder: Path, **files: int) -> None:
    for name, num_rows in files.items():
        pq.write_table(pa.table({"n": list(range(num_rows))}), folder / name)


def test_change_rate_counts_what_later_releases_appended(tmp_path: Path) -> None:
    write_rows(tmp_path, a=100, b=3, c=4)
    releases = [release(1, 0, "a"), release(2, 14, "a", "b"), release(3, 28, "a", "b", "c")]
    assert change_rate(releases, tmp_path) == pytest.approx(7 / 100 / 28 * 365.25 / 12)


def test_change_rate_of_one_release_or_of_some_days_is_not_known(tmp_path: Path) -> None:
    write_rows(tmp_path, a=100, b=3)
    assert change_rate([release(1, 0, "a")], tmp_path) is None
    assert change_rate([release(1, 0, "a"), release(2, 5, "a", "b")], tmp_path) is None


def test_time_over_which_files_were_compacted_is_left_out(tmp_path: Path) -> None:
    write_rows(tmp_path, whole=100, c=5)
    releases = [release(1, 0, "a"), release(2, 20, "whole"), release(3, 40, "whole", "c")]
    assert change_rate(releases, tmp_path) == pytest.approx(5 / 100 / 20 * 365.25 / 12)


def comparison(folder: Path, difference: dict[str, Any], p95: float = 0.5) -> None:
    cost = {"per_question": 0.001, "training_per_month": 0.0, "refresh_per_month": 1.0, "currency": "USD"}
    dearer = cost | {"per_question": 0.0005, "training_per_month": 6.0}
    entries = {"excerpt": cost, "base_retrieval": cost, "fine_tuned_retrieval": dearer}
    strategies = {name: {"latency": {"p95_seconds": p95}, "cost": entry} for name, entry in entries.items()}
    content = {"questions": 200, "index_release": "4", "strategies": strategies, "differences": [difference]}
    (folder / "comparison.json").write_text(json.dumps(content))


DIFFERENCE = {"of": "fine_tuned_retrieval", "against": "base_retrieval", "metric": "useful_share"}


@pytest.mark.parametrize(
    ("mean", "low", "high", "word"),
    [(0.1, 0.05, 0.15, "better"), (0.1, -0.01, 0.2, "not shown"), (-0.1, -0.2, -0.05, "worse")],
)
def test_gain_counts_only_where_its_interval_holds_no_zero(
    tmp_path: Path, mean: float, low: float, high: float, word: str
) -> None:
    comparison(tmp_path, DIFFERENCE | {"mean": mean, "low": low, "high": high})
    measurement = read_measurement(tmp_path, 10_000)
    assert measurement is not None and measurement.facts["tuning_gain"].value == word
    assert "almanac compare, 200 questions" in measurement.facts["tuning_gain"].source


def test_gain_is_turned_round_where_it_was_measured_the_other_way(tmp_path: Path) -> None:
    turned = {"of": "base_retrieval", "against": "fine_tuned_retrieval", "metric": "useful_share"}
    comparison(tmp_path, turned | {"mean": -0.1, "low": -0.2, "high": -0.05})
    measurement = read_measurement(tmp_path, 10_000)
    assert measurement is not None and measurement.facts["tuning_gain"].shown == "useful_share +0.100 [+0.050, +0.200]"


def test_costs_and_break_evens_are_of_the_stated_volume(tmp_path: Path) -> None:
    comparison(tmp_path, DIFFERENCE | {"mean": 0, "low": 0, "high": 0})
    measurement = read_measurement(tmp_path, 10_000)
    assert measurement is not None
    assert {cost.strategy: cost.total for cost in measurement.costs} == pytest.approx(
        {Strategy.RETRIEVAL: 11.0, Strategy.RAG: 11.0, Strategy.BOTH: 12.0}
    )
    assert {point.questions_per_month for point in measurement.break_evens} == {12_000}


def test_what_was_too_slow_or_too_dear_is_ruled_out_with_the_figure(tmp_path: Path) -> None:
    comparison(tmp_path, DIFFERENCE | {"mean": 0, "low": 0, "high": 0}, p95=2.5)
    measurement = read_measurement(tmp_path, 10_000)
    slow = measured_out(measurement, latency_seconds=2, budget_per_month=None)
    dear = measured_out(measurement, latency_seconds=None, budget_per_month=11.5)
    assert "2.50 s at the 95th percentile, 2 s allowed" in slow[Strategy.RAG][0]
    assert set(dear) == {Strategy.BOTH}


def test_what_was_measured_on_changed_documents_is_repeated_with_its_numbers(tmp_path: Path) -> None:
    comparison(tmp_path, DIFFERENCE | {"mean": 0, "low": 0, "high": 0})
    content = json.loads((tmp_path / "comparison.json").read_text())
    for entry in content["strategies"].values():
        entry |= {"freshness": {"mean": 0.5, "low": 0.2, "high": 0.8}, "unchanged": {"mean": 0.75}}
    content["freshness"] = {"questions": 12, "unchanged": 30, "note": ""}
    (tmp_path / "comparison.json").write_text(json.dumps(content))
    measurement = read_measurement(tmp_path, 10_000)
    assert measurement is not None
    assert "on 12 questions whose documents changed since the training, 30 on others" in measurement.freshness
    assert "both 0.500 [0.200, 0.800] (0.750 on unchanged)" in measurement.freshness


def test_comparison_in_which_no_document_changed_says_nothing_of_freshness(tmp_path: Path) -> None:
    comparison(tmp_path, DIFFERENCE | {"mean": 0, "low": 0, "high": 0})
    measurement = read_measurement(tmp_path, 10_000)
    assert measurement is not None and measurement.freshness == ""


def test_damaged_comparison_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "comparison.json").write_text("{}")
    with pytest.raises(CorruptionError, match="run `almanac compare` again"):
        read_measurement(tmp_path, 1)


def test_home_without_anything_is_read_without_an_error(settings: Settings, write_params: Any, tmp_path: Path) -> None:
    params: Params = write_params([files_source(tmp_path)])
    reading = read_home(params, settings, questions_per_month=100)
    assert reading.facts["labels"].value == 0 and "documents" not in reading.facts
    assert any("almanac refresh" in note for note in reading.notes)
    assert any("golden" in note for note in reading.notes)


def test_home_with_a_release_knows_its_documents_and_who_may_read_them(
    settings: Settings, write_params: Any, tmp_path: Path, refresh: Any
) -> None:
    notes = tmp_path / "notes"
    notes.mkdir()
    (notes / "open.md").write_text("# Open\n\nThe gate opens at eight.\n")
    (notes / "closed.md").write_text("---\naccess: [board]\n---\n# Closed\n\nThe vault opens at nine.\n")
    params: Params = write_params([files_source(notes)])
    refresh()

    facts = read_home(params, settings, questions_per_month=100).facts

    assert facts["documents"].value == 2
    assert facts["restricted"].value is True and facts["restricted"].shown == "1 of 2 not for `everyone`"


def test_without_a_terminal_it_asks_nothing_and_says_what_is_not_known(home: Path, tmp_path: Path) -> None:
    (tmp_path / "case.yaml").write_text("knowledge: most\ndocuments: 50\n")
    line = [sys.executable, "-m", "cli", "advise", "--no-home", "--needs", str(tmp_path / "case.yaml"), "--json"]
    parameters = {"ALMANAC_HOME": str(home), "ALMANAC_PARAMS": "params.yaml", "PATH": "/usr/bin:/bin"}
    parameters |= {"PYTHONPATH": str(Path.cwd())}
    done = subprocess.run(
        line, env=parameters, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    advice = json.loads(done.stdout)
    assert advice["strategy"] == "rag" and not advice["settled"]
    assert {"form", "written", "traceability"} <= {entry["criterion"] for entry in advice["unknown"]}


def test_answers_at_the_terminal_are_facts_and_an_empty_one_is_not_known(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    replies = {"written for the question": ["maybe", "written"]}

    def reply(text: str, **_: Any) -> str:
        waiting = next((answers for part, answers in replies.items() if part in text), [])
        return waiting.pop(0) if waiting else ""

    monkeypatch.setattr(typer, "prompt", reply)
    facts = {name: Fact(value, "") for name, value in {"knowledge": "most", "documents": 500}.items()}

    answers = command._asked(Reading(), facts)

    assert {name: fact.value for name, fact in answers.items()} == {"written": "written"}
    said = capsys.readouterr().err
    assert "must be one of passage, written, found 'maybe'" in said and "needs:\n  written: written" in said
