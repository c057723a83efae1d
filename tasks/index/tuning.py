"""The search for better retrieval settings, on the golden questions, within a latency budget.

Optuna's TPE sampler proposes settings of `search`; each proposal answers the golden questions of `train` and
`validation` on the release that serves. What does not hang on a proposal (vectors, each leg's longest list, rows, token
vectors) is computed once. The winner is then compared with today's settings on the `test` questions, by plain searches.
"""

import difflib
import logging
import re
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tasks.bootstrap import Interval, paired_difference
from tasks.errors import ConfigurationError
from tasks.files import write_text
from tasks.index.access_tables import load_access
from tasks.index.embedding.embedder import Embedder, load_embedder
from tasks.index.golden import Located, load_golden, locate, support_rank
from tasks.index.live import serving
from tasks.index.release import Release, embedding_params
from tasks.index.search import Index, Request
from tasks.index.search.rerank import Reranker, build_reranker
from tasks.index.snapshots import snapshot_files, texts_of
from tasks.index.table import connect, open_at
from tasks.params import Params, SearchParams
from tasks.settings import Settings

if TYPE_CHECKING:
    from lancedb.expr import Expr
    from lancedb.table import LanceTable
    from optuna import Trial

logger = logging.getLogger(__name__)

Setting = str | int | float

CANDIDATES = (50, 100, 200, 400)
_NUM_LATENCY_QUESTIONS = 12
_NUM_RESAMPLES = 10_000


@dataclass(frozen=True, slots=True)
class TuneResult:
    """What the search brought.

    Attributes:
        changes: settings of `search` that differ from today's; empty: today's were the best.
        difference: nDCG of the winner minus today's, on the test questions, with its 95 % interval.
        metrics: nDCG of both on the questions of tuning and of test, median milliseconds of a search.
        diff: the file that changes params.yaml to the winner; None where nothing changes.
    """

    changes: Mapping[str, Setting]
    difference: Interval
    metrics: Mapping[str, float]
    num_trials: int
    num_tuning_questions: int
    num_test_questions: int
    seconds: float
    diff: Path | None

    def as_json(self) -> dict[str, Any]:
        """Return the fields."""
        return asdict(self)


class _RememberedRows(Index):
    """An index whose rows are fetched once for all proposals; for one asker without filters."""

    def __init__(self, *args: Any, rows: "_Rows", **options: Any) -> None:
        super().__init__(*args, **options)
        self._rows = rows

    def vector_rows(self, vector: npt.NDArray[np.float32], filters: "Expr", limit: int) -> list[dict[str, Any]]:
        key = vector.tobytes()
        if key not in self._rows.near:
            self._rows.near[key] = super().vector_rows(vector, filters, max(CANDIDATES))
        return self._rows.near[key][:limit]

    def text_rows(self, question: str, filters: "Expr", limit: int) -> list[dict[str, Any]]:
        if question not in self._rows.text:
            rows = super().text_rows(question, filters, max(CANDIDATES))
            self._rows.text[question] = sorted(rows, key=lambda row: -row["_score"])
        return self._rows.text[question][:limit]

    def rows_of(self, row_ids: Sequence[int]) -> dict[int, dict[str, Any]]:
        missing = [row_id for row_id in row_ids if row_id not in self._rows.whole]
        self._rows.whole |= super().rows_of(missing)
        return {row_id: self._rows.whole[row_id] for row_id in row_ids}

    def rows_at(self, places: Sequence[tuple[str, int]]) -> list[dict[str, Any]]:
        key = tuple(sorted(places))
        if key not in self._rows.places:
            self._rows.places[key] = super().rows_at(places)
        return self._rows.places[key]


class _Rows:
    """Rows by what asks for them."""

    def __init__(self) -> None:
        self.near: dict[bytes, list[dict[str, Any]]] = {}
        self.text: dict[str, list[dict[str, Any]]] = {}
        self.whole: dict[int, dict[str, Any]] = {}
        self.places: dict[tuple[tuple[str, int], ...], list[dict[str, Any]]] = {}


class _RememberedVectors:
    """An embedder that embeds each question once."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self._vectors: dict[str, npt.NDArray[np.float32]] = {}
        self._tokens: dict[str, npt.NDArray[np.float16]] = {}

    def embed_questions(self, questions: Sequence[str]) -> npt.NDArray[np.float32]:
        for question in questions:
            if question not in self._vectors:
                self._vectors[question] = self._embedder.embed_questions([question])[0]
        return np.stack([self._vectors[question] for question in questions])

    def embed_tokens(self, texts: Sequence[str]) -> list[npt.NDArray[np.float16]]:
        missing = [text for text in dict.fromkeys(texts) if text not in self._tokens]
        if missing:
            self._tokens |= dict(zip(missing, self._embedder.embed_tokens(missing), strict=True))
        return [self._tokens[text] for text in texts]


@dataclass(frozen=True, slots=True)
class _Measured:
    gains: npt.NDArray[np.float64]
    latency_ms: float


class _Bench:
    """Measures settings on the release that serves."""

    def __init__(self, params: Params, settings: Settings, release: Release) -> None:
        self._params, self._settings = params, settings
        self._embedder = load_embedder(embedding_params(release), settings)
        db = connect(settings)
        self._table: LanceTable = open_at(db, release.lance_tag)
        self._access = load_access(db)
        self._groups = frozenset[str]().union(*self._access.sets.values())
        self._rows, self._vectors = _Rows(), _RememberedVectors(self._embedder)
        self._rerankers: dict[str, Reranker | None] = {}
        self._latencies: dict[tuple[Setting, ...], float] = {}

    def remembered(self, search: SearchParams) -> Index:
        """Return an index with these settings whose searches are cheap, and so not to be timed."""
        embedder: Any = self._vectors
        if search.rerank not in self._rerankers:
            self._rerankers[search.rerank] = build_reranker(search, embedder, self._settings)
        reranker = self._rerankers[search.rerank]
        return _RememberedRows(
            self._table, embedder, search, self._params.index, release="tuning", reranker=reranker, rows=self._rows
        )

    def plain(self, search: SearchParams) -> Index:
        """Return an index as the server has it, its reranker cold."""
        reranker = build_reranker(search, self._embedder, self._settings)
        return Index(self._table, self._embedder, search, self._params.index, release="tuning", reranker=reranker)

    def measure(self, index: Index, questions: Sequence[Located]) -> _Measured:
        """Ask as one who may read everything: settings are measured, not an asker."""
        gains: list[float] = []
        seconds: list[float] = []
        for entry in questions:
            begin = time.perf_counter()
            passages = index.search(Request(entry.question.question, groups=self._groups), self._access)
            seconds.append(time.perf_counter() - begin)
            rank = support_rank(entry, passages)
            gains.append(0.0 if rank is None else float(1 / np.log2(1 + rank)))
        return _Measured(np.array(gains), 1000 * statistics.median(seconds))

    def latency_ms(self, search: SearchParams, questions: Sequence[Located]) -> float:
        """Median of a few plain searches; once for settings that cost the same."""
        key = (search.rerank, search.rerank_candidates if search.rerank != "none" else 0, search.candidates)
        if key not in self._latencies:
            few = questions[:: max(len(questions) // _NUM_LATENCY_QUESTIONS, 1)]
            self._latencies[key] = self.measure(self.plain(search), few).latency_ms
        return self._latencies[key]


def tune(params: Params, settings: Settings, *, num_trials: int, max_seconds: float, budget_ms: float) -> TuneResult:
    """Search for better settings of `search`, and write the winner as `tune.diff` into the home.

    Args:
        params: today's; the first trial.
        settings: of the home whose release is asked.
        num_trials: proposals at most.
        max_seconds: no trial begins later.
        budget_ms: a proposal whose median search takes longer is not considered.

    Raises:
        ConfigurationError: golden questions are absent, or nothing was released.
    """
    begin = time.monotonic()
    release = serving(settings).release
    tuning, test = _questions(params, settings, release)
    bench = _Bench(params, settings, release)
    best, tried = _best(bench, params.search, tuning, num_trials, begin + max_seconds, budget_ms)
    today, winner = (bench.measure(bench.plain(search), test) for search in (params.search, best))
    tuned = [bench.measure(bench.remembered(search), tuning) for search in (params.search, best)]
    before = params.search.model_dump()
    changes = {name: value for name, value in best.model_dump().items() if value != before[name]}
    return TuneResult(
        changes=changes,
        difference=paired_difference(winner.gains, today.gains, confidence=0.95, num_resamples=_NUM_RESAMPLES),
        metrics={
            "tuning_ndcg": float(tuned[1].gains.mean()),
            "tuning_ndcg_today": float(tuned[0].gains.mean()),
            "test_ndcg": float(winner.gains.mean()),
            "test_ndcg_today": float(today.gains.mean()),
            "latency_ms": winner.latency_ms,
            "latency_ms_today": today.latency_ms,
        },
        num_trials=tried,
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


def _best(
    bench: _Bench, today: SearchParams, questions: Sequence[Located], num_trials: int, deadline: float, budget_ms: float
) -> tuple[SearchParams, int]:
    """Return the best settings within the budget, and how many were measured; today's win a tie."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    best, best_value = today, float(bench.measure(bench.remembered(today), questions).gains.mean())

    def objective(trial: "Trial") -> float:
        nonlocal best, best_value
        search = _proposed(trial, today)
        latency_ms = bench.latency_ms(search, questions)
        if latency_ms > budget_ms:
            raise optuna.TrialPruned(f"{latency_ms:.0f} ms")
        value = float(bench.measure(bench.remembered(search), questions).gains.mean())
        logger.info("trial %d: nDCG %.4f, %.0f ms, %s", trial.number, value, latency_ms, trial.params)
        if value > best_value:
            best, best_value = search, value
        return value

    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=0))
    study.optimize(objective, n_trials=num_trials, timeout=max(deadline - time.monotonic(), 1))
    return best, len(study.trials)


def _proposed(trial: "Trial", today: SearchParams) -> SearchParams:
    """Never more passages than today: they would make a longer prompt, not a better search."""
    fewest = min(4, today.top_k)
    changes: dict[str, Setting] = {
        "fusion": trial.suggest_categorical("fusion", ["score", "rrf"]),
        "vector_weight": round(trial.suggest_float("vector_weight", 0.2, 0.9, step=0.05), 2),
        "candidates": trial.suggest_categorical("candidates", CANDIDATES),
        "top_k": trial.suggest_int("top_k", fewest, today.top_k),
        "empty_chunk_weight": round(trial.suggest_float("empty_chunk_weight", 0.2, 1.0, step=0.1), 1),
        "rerank": trial.suggest_categorical("rerank", sorted({"none", "late_interaction", today.rerank})),
    }
    if changes["rerank"] != "none":
        changes["rerank_weight"] = round(trial.suggest_float("rerank_weight", 0.1, 0.9, step=0.1), 1)
        changes["rerank_candidates"] = trial.suggest_categorical("rerank_candidates", [10, 20, 30])
    return SearchParams(**today.model_dump() | changes)


def _write_diff(settings: Settings, changes: Mapping[str, Setting]) -> Path | None:
    if not changes:
        return None
    path = settings.home.resolve() / "tune.diff"
    write_text(path, params_diff(Path(settings.params).read_text(encoding="utf-8"), changes))
    return path


def params_diff(text: str, changes: Mapping[str, Setting]) -> str:
    """Return the unified diff (for `patch -p1`) that sets these settings in the block `search`; comments stay.

    For instance `{"top_k": 5}` changes the line `  top_k: 8  # shown` to `  top_k: 5  # shown`.
    """
    before = text.splitlines(keepends=True)
    after: list[str] = []
    block = ""
    for line in before:
        block = line.split(":")[0] if re.match(r"\w+:", line) else block
        setting = re.match(r"(  (\w+): *)([^\s#]+)(.*)", line, re.DOTALL)
        if block == "search" and setting and setting[2] in changes:
            after.append(f"{setting[1]}{changes[setting[2]]}{setting[4]}")
        else:
            after.append(line)
    return "".join(difflib.unified_diff(before, after, "a/params.yaml", "b/params.yaml"))
