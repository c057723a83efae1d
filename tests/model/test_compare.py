import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tasks.answer.answerer import Manifest, weights_identity, write_manifest
from tasks.answer.generators.transformers import load_base
from tasks.answer.prompt import load_prompt
from tasks.bootstrap import Interval
from tasks.model.comparison.plots import break_evens, plot_cost, plot_quality
from tasks.model.comparison.strategies import EXCERPT, Cost, Measured, break_even, cost_of, recommend, strategies_of
from tasks.model.evaluation.metrics import Mode, Ratio
from tasks.params import CompareParams, load_params
from tasks.settings import Settings
from tests.conftest import Outcome
from tests.retrain_world import make_world

PARAMS = CompareParams(
    questions_per_month=10_000, machine_cost_per_hour=3.6, currency="USD", retrains_per_year=4, refreshes_per_year=12
)
MODES: tuple[Mode, ...] = ("closed_book", "retrieval")
STRATEGIES = (
    EXCERPT,
    *strategies_of("base", 0, is_trained=False, modes=MODES),
    *strategies_of("fine_tuned", 1, is_trained=True, modes=MODES),
)
_, CLOSED, RETRIEVAL, TUNED_CLOSED, TUNED = STRATEGIES


def measured(place: int, f1: float, *, spread: float = 0.0, cost: Cost | None = None) -> Measured:
    """Sixty questions whose F1 swings around a mean, independently in each strategy."""
    parts = {f"q{n}": Ratio(f1 + spread * (((n * (3 + place)) % 11) / 5 - 1), 1.0) for n in range(60)}
    value = Interval(f1, f1 - 0.05, f1 + 0.05)
    return Measured(
        STRATEGIES[place],
        "7",
        {"useful_share": value, "traceability": value},
        {"useful_share": parts},
        {"p50_seconds": 1.0, "p95_seconds": 2.0, "questions": 16.0},
        cost or Cost(0.001, 0.0, 0.0),
    )


def recommended(*entries: Measured) -> tuple[str, str]:
    found = recommend(entries, PARAMS, headline="useful_share", confidence=0.95, num_resamples=500)
    return found.strategy.name, "\n".join(found.reasons)


def test_training_is_spread_over_the_year_and_refreshes_over_the_months() -> None:
    cost = cost_of(TUNED, PARAMS, machine_seconds=2.0, training_seconds=3000.0, refresh_seconds=60.0)
    assert cost.per_question == pytest.approx(0.002)
    assert cost.training_per_month == pytest.approx(3000 * 0.001 * 4 / 12)
    assert cost.refresh_per_month == pytest.approx(0.06)
    assert cost.per_thousand(10_000) == pytest.approx(2.0 + 0.1 * 1.06)


def test_base_pays_no_training_and_closed_book_no_refresh() -> None:
    seconds = {"machine_seconds": 1.0, "training_seconds": 3000.0, "refresh_seconds": 60.0}
    assert cost_of(RETRIEVAL, PARAMS, **seconds).training_per_month == 0
    assert cost_of(TUNED_CLOSED, PARAMS, **seconds).refresh_per_month == 0


def test_unknown_training_time_is_said_not_guessed() -> None:
    cost = cost_of(TUNED, PARAMS, machine_seconds=1.0, training_seconds=None, refresh_seconds=0.0)
    assert cost.training_per_month is None
    assert cost.fixed_per_month == 0


def test_strategies_cost_the_same_at_the_break_even() -> None:
    cheap_to_run, cheap_to_make = Cost(0.001, 30.0, 0.0), Cost(0.004, 0.0, 0.0)
    volume = break_even(cheap_to_make, cheap_to_run)
    assert volume == pytest.approx(10_000)
    assert cheap_to_run.per_thousand(10_000) == pytest.approx(cheap_to_make.per_thousand(10_000))


def test_strategy_that_is_cheaper_in_all_has_no_break_even() -> None:
    assert break_even(Cost(0.001, 0.0, 0.0), Cost(0.002, 5.0, 0.0)) is None
    assert break_even(Cost(0.001, 0.0, 0.0), Cost(0.001, 5.0, 0.0)) is None


def test_strategy_that_is_better_with_confidence_is_recommended() -> None:
    name, reasons = recommended(measured(1, 0.1), measured(2, 0.3), measured(4, 0.6))
    assert name == "fine_tuned_retrieval"
    assert "fine-tuned + retrieval is better than base + retrieval: useful_share +0.300" in reasons


def test_simplest_is_recommended_where_the_data_do_not_tell_apart() -> None:
    name, reasons = recommended(measured(1, 0.1), measured(2, 0.50, spread=0.4), measured(4, 0.52, spread=0.4))
    assert name == "base_retrieval"
    assert "the data do not tell apart fine-tuned + retrieval and base + retrieval" in reasons
    assert "the simplest to keep" in reasons


def test_closed_book_is_said_to_cite_nothing() -> None:
    name, reasons = recommended(measured(1, 0.6), measured(2, 0.3))
    assert name == "base_closed_book"
    assert "cites nothing" in reasons


def test_both_plots_are_images(tmp_path: Path) -> None:
    entries = [
        measured(2, 0.4, cost=Cost(0.004, 0.0, 0.0)),
        measured(4, 0.6, cost=Cost(0.001, 30.0, 0.0)),
    ]
    plot_quality(entries, tmp_path / "quality.png", headline="useful_share")
    plot_cost(entries, PARAMS, tmp_path / "cost.png")
    assert break_evens(entries) == [(pytest.approx(10_000), pytest.approx(4.0))]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in tmp_path.glob("*.png"))
    assert len(list(tmp_path.iterdir())) == 2


@pytest.fixture(scope="module")
def indexed(tmp_path_factory: pytest.TempPathFactory, migrated_mlflow: Path) -> tuple[Path, dict[str, str]]:
    """A live index over notes about stones, and the environment that names it."""
    folder = tmp_path_factory.mktemp("stones")
    return folder, make_world(folder, migrated_mlflow)


@pytest.fixture
def world(indexed: tuple[Path, dict[str, str]], monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of that index, which commands of this process find."""
    for name, value in indexed[1].items():
        monkeypatch.setenv(name, value)
    return indexed[0]


def save_answerer(folder: Path, params_file: Path, settings: Settings) -> Path:
    """The base's own weights as if they had been trained: what is compared must then not be told apart."""
    params = load_params(params_file)
    base = load_base(params.generation, settings)
    base.model.save_pretrained(folder / "model")
    base.tokenizer.save_pretrained(folder / "model")
    manifest = Manifest(
        base=weights_identity(base),
        model=params.generation.model,
        gguf_file=None,
        method="full",
        prompt=params.generation.prompt,
        prompt_digest=load_prompt(params.generation.prompt).digest,
        refusal_bias=0.0,
        generation={},
        lineage={"corpus": "corpus-0001", "training_seconds": "120"},
        files={},
    )
    write_manifest(folder, manifest)
    return folder


@pytest.mark.slow
def test_comparison_shows_all_strategies_in_terminal_markdown_and_mlflow(
    world: Path, almanac: Callable[..., Outcome], tmp_path: Path
) -> None:
    tuned = save_answerer(tmp_path / "tuned", world / "params.yaml", Settings())
    named = ("--answerer", "base", "--answerer", str(tuned))
    done = almanac("compare", *named, "--output", str(tmp_path / "out"), "--json")
    assert done.code == 0, done.err
    result: dict[str, Any] = json.loads(done.out)

    assert list(result["strategies"]) == [strategy.name for strategy in STRATEGIES]
    for entry in result["strategies"].values():
        assert {"metrics", "latency", "cost"} <= entry.keys()
        assert 0 <= entry["metrics"]["answer_f1"]["mean"] <= 1
        assert entry["latency"]["p50_seconds"] <= entry["latency"]["p95_seconds"]
    same = next(
        entry
        for entry in result["differences"]
        if (entry["of"], entry["against"], entry["metric"]) == ("fine_tuned_retrieval", "base_retrieval", "answer_f1")
    )
    assert (same["mean"], same["distinct"]) == (0.0, False)
    assert not result["strategies"][result["recommendation"]]["answerer"].startswith("tuned")
    assert "none changed" in result["freshness"]["note"]
    page = (tmp_path / "out" / "comparison.md").read_text()
    assert "base + retrieval" in page
    assert "not told apart" in page
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "comparison.md", "comparison.json", "quality.png", "cost.png", "scale.png",
    }  # fmt: skip
    _logged(world / "home", result)


def _logged(home: Path, result: dict[str, Any]) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{home / 'mlflow.db'}")
    run = client.get_run(result["mlflow_run"])
    quality = result["strategies"]["base_retrieval"]["metrics"]["answer_f1"]["mean"]
    assert run.data.metrics["base_retrieval/answer_f1"] == pytest.approx(quality)
    assert {entry.path for entry in client.list_artifacts(run.info.run_id, "comparison")} >= {
        "comparison/comparison.md", "comparison/quality.png", "comparison/cost.png",
    }  # fmt: skip
    names = {entry.info.run_name for entry in client.search_runs([run.info.experiment_id])}
    assert {"excerpt", "base", "fine_tuned"} <= names
    traces = client.search_traces(locations=[run.info.experiment_id], max_results=500)
    assert len(traces) == 3 * result["questions"]
    assert all({"useful_share", "answer_f1"} <= {one.name for one in trace.info.assessments} for trace in traces)


@pytest.mark.slow
def test_without_a_fine_tuned_answerer_three_strategies_are_compared_and_it_is_said(
    world: Path, almanac: Callable[..., Outcome], tmp_path: Path
) -> None:
    done = almanac("compare", "--output", str(tmp_path / "out"))
    assert done.code == 0, done.err
    assert "no fine-tuned answerer is compared" in done.out
    assert "recommended: " in done.out


@pytest.mark.slow
def test_challenger_that_does_not_exist_is_refused(world: Path, almanac: Callable[..., Outcome]) -> None:
    done = almanac("compare", "--challenger", "--json")
    assert done.code == 2
    assert "must have a challenger, found none" in done.err
