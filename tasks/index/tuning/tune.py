"""The search for better retrieval settings, on the golden questions, within a latency budget.

Optuna's TPE sampler proposes settings of `search` and a size of chunks; each proposal answers the golden questions of
`train` and `validation` on the corpus that serves. The winner is then compared with today's settings on the `test`
questions, by plain searches.
"""

import logging
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.bootstrap import Interval, paired_difference
from tasks.errors import ConfigurationError
from tasks.files import write_text
from tasks.index.embedding.embedder import load_embedder
from tasks.index.golden import Located, load_golden, locate
from tasks.index.live import serving
from tasks.index.release import Release, embedding_params, fingerprint
from tasks.index.snapshots import snapshot_files, texts_of
from tasks.index.table import connect, open_at
from tasks.index.tuning.bench import CANDIDATES, Bench, Proposal
from tasks.index.tuning.diff import Setting, params_diff
from tasks.index.tuning.scratch import build_table, resized, scratch_folder
from tasks.params import Params, SearchParams
from tasks.settings import Settings

if TYPE_CHECKING:
    from optuna import Trial

logger = logging.getLogger(__name__)

_NUM_RESAMPLES = 10_000
_BUILDING_SHARE = 0.6
"""So much of the time may go into indexes of other chunks."""


@dataclass(frozen=True, slots=True)
class TuneResult:
    """What the search brought.

    Attributes:
        changes: parameters, named `block.parameter`, that differ from today's; empty: today's were the best.
        difference: nDCG of the winner minus today's, on the test questions, with its 95 % interval.
        metrics: nDCG of both on the questions of tuning and of test, median milliseconds of a search.
        chunk_sizes: values of `chunking.max_tokens` that were tried, with the best nDCG on the questions of tuning.
        diff: the file that changes params.yaml to the winner; None where nothing changes.
    """

    changes: Mapping[str, Setting]
    difference: Interval
    metrics: Mapping[str, float]
    chunk_sizes: Mapping[int, float]
    num_trials: int
    num_tuning_questions: int
    num_test_questions: int
    seconds: float
    diff: Path | None

    def as_json(self) -> dict[str, Any]:
        """Return the fields."""
        return asdict(self)


def tune(
    params: Params,
    settings: Settings,
    *,
    num_trials: int,
    max_seconds: float,
    budget_ms: float,
    chunk_sizes: Sequence[int] = (),
) -> TuneResult:
    """Search for better settings, and write the winner as `tune.diff` into the home.

    Args:
        params: today's; the first trial.
        settings: of the home whose release is asked.
        num_trials: proposals at most.
        max_seconds: no trial begins later.
        budget_ms: a proposal whose median search takes longer is not considered.
        chunk_sizes: values of `chunking.max_tokens` to try beside today's; each needs an index of its own.

    Raises:
        ConfigurationError: golden questions are absent, nothing was released, or with another chunking.
    """
    begin = time.monotonic()
    release = serving(settings).release
    tuning, test = _questions(params, settings, release)
    folder = scratch_folder(settings)
    try:
        bench = _bench(params, settings, release, chunk_sizes, folder, begin + _BUILDING_SHARE * max_seconds)
        study = _Study(bench, Proposal(params.search, params.chunking), tuning, budget_ms)
        study.run(num_trials, begin + max_seconds)
        today, winner = (bench.measure(bench.plain(proposal), test) for proposal in (study.today, study.best))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    changes = _changes(study.today, study.best)
    return TuneResult(
        changes=changes,
        difference=paired_difference(winner.gains, today.gains, confidence=0.95, num_resamples=_NUM_RESAMPLES),
        metrics={
            "tuning_ndcg": study.best_value,
            "tuning_ndcg_today": study.today_value,
            "test_ndcg": float(winner.gains.mean()),
            "test_ndcg_today": float(today.gains.mean()),
            "latency_ms": winner.latency_ms,
            "latency_ms_today": today.latency_ms,
        },
        chunk_sizes=study.best_by_size,
        num_trials=study.num_trials,
        num_tuning_questions=len(tuning),
        num_test_questions=len(test),
        seconds=round(time.monotonic() - begin, 1),
        diff=_write_diff(settings, changes),
    )


def _questions(params: Params, settings: Settings, release: Release) -> tuple[list[Located], list[Located]]:
    """Golden questions to tune on, and those that are held out."""
    if params.index_gate.golden is None:
        raise ConfigurationError("index_gate.golden must name golden questions to tune on, found null; set it")
    questions = load_golden(Path(params.index_gate.golden))
    wanted = {question.document for question in questions if question.document is not None}
    located, _ = locate(questions, texts_of(snapshot_files(settings, release), wanted))
    test = [entry for entry in located if entry.question.split == "test"]
    tuning = [entry for entry in located if entry.question.split != "test"]
    if not tuning or not test:
        raise ConfigurationError(
            "tuning needs golden questions in train or validation and in test whose anchor is in the corpus, found "
            f"{len(tuning)} and {len(test)}; add some to {params.index_gate.golden}"
        )
    return tuning, test


def _bench(
    params: Params, settings: Settings, release: Release, chunk_sizes: Sequence[int], folder: Path, deadline: float
) -> Bench:
    """The release that serves, and its documents in chunks of other sizes as far as the time allows."""
    now = fingerprint(params, parser="", embedder="")
    if now.chunking != release.fingerprint.chunking:
        raise ConfigurationError(
            f"chunking in params.yaml must be that of release {release.number}, which serves, found another; run "
            "`almanac refresh` first"
        )
    embedding = embedding_params(release)
    embedder = load_embedder(embedding, settings)
    tables = {params.chunking.max_tokens: open_at(connect(settings), release.lance_tag)}
    snapshot = snapshot_files(settings, release)
    for max_tokens in dict.fromkeys(chunk_sizes):
        if max_tokens in tables:
            continue
        other = params.model_copy(update={"embedding": embedding, "chunking": resized(params.chunking, max_tokens)})
        table = build_table(snapshot, folder / str(max_tokens), embedder, other, settings, deadline=deadline)
        if table is not None:
            tables[max_tokens] = table
    return Bench(params, settings, embedder, tables)


class _Study:
    """Optuna's search; today's settings win a tie."""

    def __init__(self, bench: Bench, today: Proposal, questions: Sequence[Located], budget_ms: float) -> None:
        self._bench, self._questions, self._budget_ms = bench, questions, budget_ms
        self.today = self.best = today
        self.today_value = self.best_value = self._value(today)
        self.best_by_size = {today.chunking.max_tokens: self.today_value}
        self.num_trials = 0

    def run(self, num_trials: int, deadline: float) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=0))
        study.optimize(self._try, n_trials=num_trials, timeout=max(deadline - time.monotonic(), 1))
        self.num_trials = len(study.trials)

    def _try(self, trial: "Trial") -> float:
        import optuna

        proposal = _proposed(trial, self.today, self._bench.chunk_sizes)
        latency_ms = self._bench.latency_ms(proposal, self._questions)
        if latency_ms > self._budget_ms:
            raise optuna.TrialPruned(f"{latency_ms:.0f} ms")
        value = self._value(proposal)
        logger.info("trial %d: nDCG %.4f, %.0f ms, %s", trial.number, value, latency_ms, trial.params)
        size = proposal.chunking.max_tokens
        self.best_by_size[size] = max(value, self.best_by_size.get(size, 0.0))
        if value > self.best_value:
            self.best, self.best_value = proposal, value
        return value

    def _value(self, proposal: Proposal) -> float:
        return float(self._bench.measure(self._bench.remembered(proposal), self._questions).gains.mean())


def _proposed(trial: "Trial", today: Proposal, chunk_sizes: Sequence[int]) -> Proposal:
    """Never more tokens of passages than today: they would make a longer prompt, not a better search."""
    max_tokens = trial.suggest_categorical("max_tokens", chunk_sizes)
    most = max(today.search.top_k * today.chunking.max_tokens // max_tokens, 1)
    changes: dict[str, Setting] = {
        "fusion": trial.suggest_categorical("fusion", ["score", "rrf"]),
        "vector_weight": round(trial.suggest_float("vector_weight", 0.2, 0.9, step=0.05), 2),
        "candidates": trial.suggest_categorical("candidates", CANDIDATES),
        "top_k": trial.suggest_int(f"top_k_{max_tokens}", min(4, most), most),
        "empty_chunk_weight": round(trial.suggest_float("empty_chunk_weight", 0.2, 1.0, step=0.1), 1),
        "rerank": trial.suggest_categorical("rerank", sorted({"none", "late_interaction", today.search.rerank})),
    }
    if changes["rerank"] != "none":
        changes["rerank_weight"] = round(trial.suggest_float("rerank_weight", 0.1, 0.9, step=0.1), 1)
        changes["rerank_candidates"] = trial.suggest_categorical("rerank_candidates", [10, 20, 30])
    is_today = max_tokens == today.chunking.max_tokens
    return Proposal(
        SearchParams(**today.search.model_dump() | changes),
        today.chunking if is_today else resized(today.chunking, max_tokens),
    )


def _changes(today: Proposal, best: Proposal) -> dict[str, Setting]:
    changes: dict[str, Setting] = {}
    for block, before, after in (
        ("chunking", today.chunking.model_dump(), best.chunking.model_dump()),
        ("search", today.search.model_dump(), best.search.model_dump()),
    ):
        changes |= {f"{block}.{name}": value for name, value in after.items() if value != before[name]}
    return changes


def _write_diff(settings: Settings, changes: Mapping[str, Setting]) -> Path | None:
    if not changes:
        return None
    path = settings.home.resolve() / "tune.diff"
    write_text(path, params_diff(Path(settings.params).read_text(encoding="utf-8"), changes))
    return path
