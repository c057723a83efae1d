"""The decision table, measured: retrieval alone and any number of answerers, closed-book and with retrieval.

All on the same questions: quality with intervals, latency, tokens, cost at a volume, freshness, traceability. What
cannot be measured (data preparation, a team's maturity) stands as text in docs/compare.md.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tasks.answer.answer import answer_question
from tasks.answer.answerer import Answerer, excerpt_answerer
from tasks.answer.calibration import Calibration
from tasks.bootstrap import Interval
from tasks.corpus.document import sha256
from tasks.corpus.plan import load_rates
from tasks.corpus.snapshot import fold_state
from tasks.errors import ConfigurationError
from tasks.index.lance_errors import num_rows_of
from tasks.index.search import Request
from tasks.model.comparison.answerers import Compared, retrain_command
from tasks.model.comparison.report import SHOWN, Freshness, Report
from tasks.model.comparison.strategies import EXCERPT, Measured, Strategy, cost_of, recommend, strategies_of
from tasks.model.evaluation.evaluate import Evaluation, Progress, evaluate, load_judge
from tasks.model.evaluation.house_style import HouseStyle, open_style
from tasks.model.evaluation.judge import agreement
from tasks.model.evaluation.metrics import METRICS, Mode, Ratio, interval_of
from tasks.model.evaluation.probes import ungrounded
from tasks.model.evaluation.questions import HeldOut, Retrieval, held_out, open_retrieval
from tasks.params import EvaluationParams, ModelGateParams, Params
from tasks.registry.shared import open_registry
from tasks.releases.kind import GENERAL
from tasks.releases.tags import Tag
from tasks.settings import Settings

NUM_LATENCY_QUESTIONS = 16
MIN_LATENCY_QUESTIONS = 3
MAX_LATENCY_SECONDS = 180


def compare_strategies(
    params: Params,
    settings: Settings,
    answerers: Sequence[Compared],
    *,
    modes: Sequence[Mode] = ("closed_book", "retrieval"),
    progress: Progress | None = None,
) -> Report:
    """Measure retrieval alone and each answerer in each mode, all on the same questions.

    Args:
        params: `evaluation`, `compare`, what retrieval reads, and of which knowledge base (`knowledge_bases.only`).
        settings: the home.
        answerers: the simpler ones first.
        modes: in which each answerer is asked.
        progress: told of each batch.

    Raises:
        ConfigurationError: nothing was released, or no golden question can be asked.
    """
    retrieval = open_retrieval(params, settings)
    questions, missing = held_out(params, retrieval)
    style = open_style(params, settings)
    pairs = [
        (Compared(EXCERPT.answerer, excerpt_answerer(params.generation)), [EXCERPT]),
        *(
            (each, strategies_of(each.name, place, is_trained=each.manifest is not None, modes=modes))
            for place, each in enumerate(answerers)
        ),
    ]
    evaluations: dict[str, Evaluation] = {}
    measured: list[Measured] = []
    for compared, strategies in pairs:
        evaluation = evaluate(
            compared.answerer,
            questions,
            params,
            settings,
            retrieval=retrieval,
            modes=[strategy.mode for strategy in strategies],
            probes=(),
            style=style,
            progress=progress,
        )
        evaluations[compared.name] = evaluation
        measured += [
            _measured(
                strategy,
                evaluation,
                params,
                latency=_latency(
                    compared.answerer, strategy.mode, questions, params.evaluation.max_new_tokens_closed_book, retrieval
                ),
                training_seconds=_training_seconds(lineage_of(compared)),
                refresh_seconds=refresh_seconds(settings, retrieval),
            )
            for strategy in strategies
        ]
    trained = next((each for each in answerers if each.manifest), None)
    freshness = changed_since(lineage_of(trained), questions, settings, retrieval)
    gate = params.model_gate
    return Report(
        tuple(measured),
        recommend(
            measured,
            params.compare,
            headline=gate.headline,
            confidence=gate.confidence,
            num_resamples=gate.num_resamples,
        ),
        evaluations,
        len(questions),
        tuple(missing),
        freshness,
        _headline_on(freshness.questions, measured, params.model_gate),
        _headline_on(freshness.unchanged, measured, params.model_gate),
        (
            *_notes(measured, questions, params.knowledge_bases.only),
            *_judge_notes(questions, params.evaluation, settings),
            *style.notes(),
            *_rule_notes(style, evaluations),
        ),
        retrieval.release,
        params,
        index_gb(settings),
    )


def lineage_of(compared: Compared | None) -> Mapping[str, Any]:
    """Return what a trained answerer was made of; empty for one that nobody trained."""
    return compared.manifest.lineage if compared and compared.manifest else {}


def _training_seconds(lineage: Mapping[str, Any]) -> float | None:
    return float(lineage["training_seconds"]) if "training_seconds" in lineage else None


def index_gb(settings: Settings) -> float:
    """Return what the index takes on disk; 0 where it lies elsewhere."""
    folder = Path(settings.index_uri)
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e9 if folder.is_dir() else 0.0


def refresh_seconds(settings: Settings, retrieval: Retrieval) -> float:
    """Return seconds of a refresh that embeds every chunk anew: an upper bound, at the rate last measured here."""
    return num_rows_of(retrieval.data.index.table) / load_rates(settings)["chunks_per_second"]


def _latency(
    answerer: Answerer, mode: Mode, questions: Sequence[HeldOut], max_new_tokens_closed_book: int, retrieval: Retrieval
) -> dict[str, float]:
    """Seconds of single questions, search included, by the clock on the wall; the first one warms up.

    A slow answerer is asked fewer, three at least.
    """
    asked = sorted((entry.question.question for entry in questions), key=sha256)[: NUM_LATENCY_QUESTIONS + 1]
    ask = _asker(answerer, mode, max_new_tokens_closed_book, retrieval)
    seconds: list[float] = []
    for question in asked:
        if sum(seconds) > MAX_LATENCY_SECONDS and len(seconds) > MIN_LATENCY_QUESTIONS:
            break
        started = time.perf_counter()
        ask(question)
        seconds.append(time.perf_counter() - started)
    kept = seconds[1:] or seconds
    p50, p95 = np.quantile(kept, [0.5, 0.95])
    return {"p50_seconds": float(p50), "p95_seconds": float(p95), "questions": float(len(kept))}


def _asker(
    answerer: Answerer, mode: Mode, max_new_tokens_closed_book: int, retrieval: Retrieval
) -> Callable[[str], object]:
    data, alone = retrieval.data, ungrounded(answerer.generator)

    def closed_book(question: str) -> object:
        chat = [{"role": "user", "content": question}]
        return alone.generate(chat, max_new_tokens=max_new_tokens_closed_book)

    def grounded(question: str) -> object:
        request = Request(question, groups=(data.audience,), knowledge_bases=data.searched)
        passages = data.index.search(request, data.access)
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
        name: interval_of(list(part.values()), confidence=gate.confidence, num_resamples=gate.num_resamples)
        for name, part in parts.items()
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
    """Return the questions on documents that are new or changed since the snapshot that an answerer was trained on."""
    tag = lineage.get(Tag.CORPUS)
    if not tag:
        return Freshness(frozenset(), "no fine-tuned answerer that names its corpus")
    if tag == retrieval.corpus:
        return Freshness(frozenset(), f"not measurable: none changed, corpus {tag} is the one that was trained on")
    try:
        files = open_registry(settings, tag=tag).restore(tag, settings.work / "snapshots" / tag)
    except ConfigurationError as error:
        return Freshness(frozenset(), f"not measurable: {error}")
    before = _content(files)
    changed = {name for name, content in _content(retrieval.data.snapshot).items() if before.get(name) != content}
    ids = frozenset(entry.question.id for entry in questions if entry.question.document in changed)
    if not ids:
        note = f"not measurable: {len(changed)} documents changed since {tag}, no question is on them"
        return Freshness(ids, note)
    return Freshness(ids, "", frozenset(entry.question.id for entry in questions if entry.answerable) - ids)


def _content(files: Sequence[Path]) -> dict[str, str]:
    state = fold_state(files)
    return dict(zip(state["document_id"].to_pylist(), state["content_hash"].to_pylist(), strict=True))


def _headline_on(questions: frozenset[str], measured: Sequence[Measured], gate: ModelGateParams) -> dict[str, Interval]:
    values = {
        entry.strategy.name: interval_of(
            [part for name, part in entry.parts[gate.headline].items() if name in questions],
            confidence=gate.confidence,
            num_resamples=gate.num_resamples,
        )
        for entry in measured
    }
    return {name: value for name, value in values.items() if value is not None}


def _judge_notes(questions: Sequence[HeldOut], evaluation: EvaluationParams, settings: Settings) -> list[str]:
    """What the judge's verdicts are worth, where there is one."""
    judge = load_judge(evaluation, settings)
    if judge is None:
        return []
    references = [(entry.question.question, entry.question.answer or "") for entry in questions if entry.answerable]
    share = agreement(references, judge)
    if share is None:
        return []
    return [f"the judge {judge.identity} gets {share:.2f} of {2 * len(references)} known verdicts right"]


def _rule_notes(style: HouseStyle, evaluations: Mapping[str, Evaluation]) -> Iterator[str]:
    """Which rules of the style guide the answers of each answerer hold, with retrieval."""
    for name, evaluation in evaluations.items():
        answers = [row.answer for row in evaluation.rows if row.mode == "retrieval" and row.style_rules is not None]
        shares = style.rule_shares(answers)
        if shares:
            yield f"style rules held by {name}: {', '.join(f'{rule} {share:.2f}' for rule, share in shares.items())}"


def _notes(measured: Sequence[Measured], questions: Sequence[HeldOut], only: str | None) -> list[str]:
    notes = []
    if not any(entry.strategy.is_trained and entry.strategy.answerer != GENERAL for entry in measured):
        what = "no fine-tuned answerer" if only is None else f"no answerer of {only} alone"
        notes.append(f"{what} is compared: run `{retrain_command(only)}`, or name one")
    if len(questions) < 200:
        notes.append(f"{len(questions)} questions are fewer than 200: intervals are wide")
    if any(entry.cost.training_per_month is None for entry in measured):
        notes.append("the answerer does not say how long it was trained: its training is left out of the cost")
    unanswerable = sum(not entry.answerable for entry in questions)
    notes.append(f"{unanswerable} of the questions have no answer in the documents")
    notes.append("latency: single questions by the clock on the wall; whatever else ran then made it longer")
    notes.append("cost of a question: CPU seconds by cores, of a machine kept busy with batches")
    notes.append("refresh: as if every chunk were embedded anew each time, an upper bound")
    if only is not None:
        notes.append(f"refresh and storage: of the whole index, which {only} shares with all knowledge bases")
    return notes
