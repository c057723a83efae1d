"""The decision table, measured: retrieval alone, base and fine-tuned, closed-book and with retrieval, same questions.

measured: quality with intervals, latency, tokens, cost at a volume, freshness, traceability. What cannot be measured
(data preparation, a team's maturity) stands as text in docs/compare.md.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tasks.answer.answer import answer_question
from tasks.answer.answerer import (
    Answerer,
    base_answerer,
    excerpt_answerer,
    load_answerer,
    read_manifest,
    trainable_base,
)
from tasks.answer.calibration import Calibration
from tasks.bootstrap import Interval
from tasks.corpus.document import sha256
from tasks.corpus.plan import load_rates
from tasks.corpus.snapshot import fold_state
from tasks.errors import ConfigurationError
from tasks.index.search import Request
from tasks.model.comparison.report import SHOWN, Freshness, Report
from tasks.model.comparison.strategies import (
    STRATEGIES,
    Measured,
    Strategy,
    Weights,
    cost_of,
    recommend,
)
from tasks.model.evaluation.evaluate import Evaluation, Progress, evaluate, load_judge
from tasks.model.evaluation.judge import agreement
from tasks.model.evaluation.metrics import METRICS, Mode, Ratio, interval_of
from tasks.model.evaluation.probes import ungrounded
from tasks.model.evaluation.questions import HeldOut, Retrieval, held_out, open_retrieval
from tasks.params import Params
from tasks.registry.data_registry import Registry
from tasks.releases.folder import release_folder
from tasks.releases.kind import ANSWERER
from tasks.releases.lifecycle import versions
from tasks.releases.model_registry import CHALLENGER, CHAMPION
from tasks.settings import Settings

NUM_LATENCY_QUESTIONS = 16


def chosen_answerer(
    params: Params,
    settings: Settings,
    *,
    challenger: bool = False,
    version: str | None = None,
    folder: Path | None = None,
) -> tuple[Answerer, Path] | None:
    """The fine-tuned answerer to compare and its folder; by default the champion; None: none was ever trained.

    Raises:
        ConfigurationError: more than one is asked for, or what is asked for does not exist.
    """
    if sum((challenger, version is not None, folder is not None)) > 1:
        raise ConfigurationError("give one of --challenger, --version and --answerer, found more than one")
    if folder is not None:
        return load_answerer(folder, params.generation, settings, version=folder.name), folder
    wanted = CHALLENGER if challenger else CHAMPION
    for entry in versions(settings, ANSWERER):
        if version == entry.version or (version is None and wanted in entry.aliases):
            files = release_folder(settings, entry)
            return load_answerer(files, params.generation, settings, version=entry.version), files
    if challenger or version is not None:
        raise ConfigurationError(
            f"almanac-answerer must have {f'version {version}' if version else 'a challenger'}, found none; "
            "see `almanac releases`, or run `almanac retrain`"
        )
    return None


def compare_strategies(
    params: Params,
    settings: Settings,
    tuned: tuple[Answerer, Path] | None,
    *,
    progress: Progress | None = None,
) -> Report:
    """Measure the strategies; those of an absent fine-tuned answerer are left out, and the report says so.

    Raises:
        ConfigurationError: nothing was released, or no golden question can be asked.
    """
    retrieval = open_retrieval(params, settings)
    questions, missing = held_out(params, retrieval)
    lineage = read_manifest(tuned[1]).lineage if tuned else {}
    answerers: dict[Weights, Answerer] = {
        "none": excerpt_answerer(params.generation),
        "base": (trainable_base if tuned else base_answerer)(params.generation, settings),
    }
    if tuned:
        answerers["fine_tuned"] = tuned[0]
    evaluations = {
        weights: evaluate(
            answerer,
            questions,
            params,
            settings,
            retrieval=retrieval,
            modes=[strategy.mode for strategy in STRATEGIES if strategy.weights == weights],
            probes=(),
            progress=progress,
        )
        for weights, answerer in answerers.items()
    }
    measured = tuple(
        _measured(
            strategy,
            evaluations[strategy.weights],
            params,
            latency=_latency(answerers[strategy.weights], strategy.mode, questions, params, retrieval),
            training_seconds=_training_seconds(lineage),
            refresh_seconds=refresh_seconds(settings, retrieval),
        )
        for strategy in STRATEGIES
        if strategy.weights in answerers
    )
    freshness = changed_since(lineage, questions, settings, retrieval)
    gate = params.model_gate
    return Report(
        measured,
        recommend(
            measured,
            params.compare,
            headline=gate.headline,
            confidence=gate.confidence,
            num_resamples=gate.num_resamples,
        ),
        {answerers[weights].version: evaluation for weights, evaluation in evaluations.items()},
        len(questions),
        tuple(missing),
        freshness,
        _fresh(measured, freshness, params),
        (*_notes(measured, questions, tuned), *_judge_notes(questions, params, settings)),
        retrieval.release,
        params,
        index_gb(settings),
    )


def _training_seconds(lineage: Mapping[str, Any]) -> float | None:
    return float(lineage["training_seconds"]) if "training_seconds" in lineage else None


def index_gb(settings: Settings) -> float:
    """What the index takes on disk; 0 where it lies elsewhere."""
    folder = Path(settings.index_uri)
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e9 if folder.is_dir() else 0.0


def refresh_seconds(settings: Settings, retrieval: Retrieval) -> float:
    """Seconds of a refresh that embeds every chunk anew: an upper bound, at the rate last measured here."""
    return retrieval.data.index.table.count_rows() / load_rates(settings)["chunks_per_second"]


def _latency(
    answerer: Answerer, mode: Mode, questions: Sequence[HeldOut], params: Params, retrieval: Retrieval
) -> dict[str, float]:
    """Seconds of single questions, search included, by the clock on the wall; the first one warms up."""
    asked = sorted((entry.question.question for entry in questions), key=sha256)[: NUM_LATENCY_QUESTIONS + 1]
    ask = _asker(answerer, mode, params, retrieval)
    seconds = []
    for question in asked:
        started = time.perf_counter()
        ask(question)
        seconds.append(time.perf_counter() - started)
    kept = seconds[1:] or seconds
    p50, p95 = np.quantile(kept, [0.5, 0.95])
    return {"p50_seconds": float(p50), "p95_seconds": float(p95), "questions": float(len(kept))}


def _asker(answerer: Answerer, mode: Mode, params: Params, retrieval: Retrieval) -> Callable[[str], object]:
    data, alone = retrieval.data, ungrounded(answerer.generator)

    def closed_book(question: str) -> object:
        chat = [{"role": "user", "content": question}]
        return alone.generate(chat, max_new_tokens=params.evaluation.max_new_tokens_closed_book)

    def grounded(question: str) -> object:
        passages = data.index.search(Request(question, groups=(data.audience,)), data.access)
        return answer_question(
            question,
            passages,
            answerer.generator,
            answerer.params,
            data.index.embedder,
            calibration=Calibration.of_release(data.index.metrics),
        )

    return closed_book if mode == "closed_book" else grounded


def _measured(
    strategy: Strategy,
    evaluation: Evaluation,
    params: Params,
    *,
    latency: Mapping[str, float],
    training_seconds: float | None,
    refresh_seconds: float,
) -> Measured:
    gate = params.model_gate
    parts = {name: _by_question(evaluation, strategy.mode, name) for name in SHOWN}
    values = {
        name: interval_of(list(found.values()), confidence=gate.confidence, num_resamples=gate.num_resamples)
        for name, found in parts.items()
    }
    metrics = {name: value for name, value in values.items() if value is not None}
    cost = cost_of(
        strategy,
        params.compare,
        machine_seconds=metrics["machine_seconds"].mean,
        training_seconds=training_seconds,
        refresh_seconds=refresh_seconds,
    )
    return Measured(strategy, evaluation.answerer, metrics, parts, latency, cost)


def _by_question(evaluation: Evaluation, mode: Mode, name: str) -> dict[str, Ratio]:
    """By question id alone, so that strategies of two modes pair."""
    metric = METRICS[name]
    return {
        row.question_id: Ratio(metric.value(row), metric.weight(row)) for row in evaluation.rows if row.mode == mode
    }


def changed_since(
    lineage: Mapping[str, Any], questions: Sequence[HeldOut], settings: Settings, retrieval: Retrieval
) -> Freshness:
    """The questions on documents that are new or changed since the snapshot that an answerer was trained on."""
    tag = lineage.get("corpus")
    if not tag:
        return Freshness(frozenset(), "no fine-tuned answerer that names its corpus")
    if tag == retrieval.corpus:
        return Freshness(frozenset(), f"not measurable: none changed, corpus {tag} is the one that was trained on")
    try:
        files = Registry(settings.registry, settings.remote).restore(tag, settings.work / "snapshots" / tag)
    except ConfigurationError as error:
        return Freshness(frozenset(), f"not measurable: {error}")
    before = _content(files)
    changed = {name for name, content in _content(retrieval.data.snapshot).items() if before.get(name) != content}
    found = frozenset(entry.question.id for entry in questions if entry.question.document in changed)
    note = "" if found else f"not measurable: {len(changed)} documents changed since {tag}, no question is on them"
    return Freshness(found, note)


def _content(files: Sequence[Path]) -> dict[str, str]:
    state = fold_state(files)
    return dict(zip(state["document_id"].to_pylist(), state["content_hash"].to_pylist(), strict=True))


def _fresh(measured: Sequence[Measured], freshness: Freshness, params: Params) -> dict[str, Interval]:
    gate = params.model_gate
    values = {
        entry.strategy.name: interval_of(
            [part for name, part in entry.parts[gate.headline].items() if name in freshness.questions],
            confidence=gate.confidence,
            num_resamples=gate.num_resamples,
        )
        for entry in measured
    }
    return {name: value for name, value in values.items() if value is not None}


def _judge_notes(questions: Sequence[HeldOut], params: Params, settings: Settings) -> list[str]:
    """What the judge's verdicts are worth, where there is one."""
    judge = load_judge(params.evaluation, settings)
    if judge is None:
        return []
    references = [(entry.question.question, entry.question.answer or "") for entry in questions if entry.answerable]
    share = agreement(references, judge)
    if share is None:
        return []
    return [f"the judge {judge.identity} gets {share:.2f} of {2 * len(references)} known verdicts right"]


def _notes(measured: Sequence[Measured], questions: Sequence[HeldOut], tuned: object) -> list[str]:
    notes = []
    if tuned is None:
        notes.append("no fine-tuned answerer is champion: three strategies; run `almanac retrain`, or name one")
    if len(questions) < 200:
        notes.append(f"{len(questions)} questions are fewer than 200: intervals are wide")
    if any(entry.cost.training_per_month is None for entry in measured):
        notes.append("the answerer does not say how long it was trained: its training is left out of the cost")
    unanswerable = sum(not entry.answerable for entry in questions)
    notes.append(f"{unanswerable} of the questions have no answer in the documents")
    notes.append("latency: single questions by the clock on the wall; whatever else ran then made it longer")
    notes.append("cost of a question: CPU seconds by cores, of a machine kept busy with batches")
    notes.append("refresh: as if every chunk were embedded anew each time, an upper bound")
    return notes
