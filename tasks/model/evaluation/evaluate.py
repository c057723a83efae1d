"""Honest evaluation: one answerer on the held-out questions, closed-book, with retrieval, and with set passages.

With passages it goes the way that serves (`tasks.answer.answer`): the same prompt, the same checks, the same
abstentions. Rows are kept by what decides them (answerer, release, questions, parameters), so that a base that was
evaluated last quarter is not asked again, and every comparison is paired.
"""

import json
import math
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tasks.answer.answer import Answer, GenerationRequest, finish, is_refusal, prepare
from tasks.answer.answerer import Answerer
from tasks.answer.calibration import Calibration
from tasks.answer.check.claims import TextEmbedder
from tasks.answer.draft import kept
from tasks.answer.generators.base import Generation, Generator
from tasks.answer.generators.transformers import TransformersGenerator
from tasks.answer.prompt import load_prompt
from tasks.corpus.document import sha256
from tasks.errors import CorruptionError
from tasks.files import whole_file
from tasks.index.passage import Passage
from tasks.model.evaluation.drafts import Draft, Drafts
from tasks.model.evaluation.house_style import NO_STYLE, HouseStyle
from tasks.model.evaluation.judge import judged_rows
from tasks.model.evaluation.metrics import (
    METRICS,
    MODES,
    EvaluationRow,
    Mode,
    Ratio,
    contains,
    exact_match,
    holds,
    metric_parts,
    ratio,
    token_f1,
    token_recall,
)
from tasks.model.evaluation.probes import PROBES, Observation, observe, ungrounded
from tasks.model.evaluation.questions import HeldOut, Retrieval, machine_clock
from tasks.params import EvaluationParams, GenerationParams, Params, digest
from tasks.settings import Settings

VERSION = 3
"""Counts up with any change of what a row holds: rows of another version are not reused."""

Progress = Callable[[str, int, int], None]
"""Called with stage, done and total."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What one answerer did.

    Attributes:
        answerer: MLflow's version, or `base`.
        identity: of the generator.
        release: number of the index release.
        probes: observations by probe; see `tasks.model.evaluation.probes`.
        style: what the rows' style was measured by.
    """

    answerer: str
    identity: str
    release: str
    rows: tuple[EvaluationRow, ...]
    probes: Mapping[str, tuple[Observation, ...]]
    style: HouseStyle = NO_STYLE

    def parts(self, name: str) -> dict[str, Ratio]:
        """A metric or a probe, question by question.

        Raises:
            KeyError: there is no such metric.
        """
        if name in PROBES:
            return {entry.id: Ratio(entry.value, entry.weight) for entry in self.probes.get(name, ())}
        return metric_parts(self.rows, name)

    def metric(self, name: str) -> float | None:
        """A metric's value; None where nothing counts.

        Raises:
            KeyError: there is no such metric.
        """
        value = ratio(self.parts(name).values())
        return math.exp(value) if value is not None and name.startswith("perplexity") else value

    def metrics(self) -> dict[str, float]:
        """All metrics: those of mode `retrieval` by their plain names, the other modes with the mode before it."""
        modes = {row.mode for row in self.rows}
        names = [*METRICS] + [f"{mode}_{name}" for mode in MODES if mode in modes for name in METRICS] + [*PROBES]
        values = {name: self.metric(name) for name in names if not name.startswith("retrieval_")}
        return {name: value for name, value in values.items() if value is not None}


@dataclass(frozen=True, slots=True)
class _Item:
    """A question as it is asked in a mode."""

    entry: HeldOut
    mode: Mode
    passages: tuple[Passage, ...]
    search_seconds: float = 0.0

    @property
    def answerable(self) -> bool:
        return self.entry.answerable and self.mode != "removed"


def evaluate(
    answerer: Answerer,
    questions: Sequence[HeldOut],
    params: Params,
    settings: Settings,
    *,
    retrieval: Retrieval,
    modes: Sequence[Mode] = MODES,
    probes: Sequence[str] = tuple(PROBES),
    style: HouseStyle = NO_STYLE,
    progress: Progress | None = None,
) -> Evaluation:
    """Ask an answerer the held-out questions in each mode, and probe what it forgot.

    What was asked before under the same conditions is read from `$ALMANAC_HOME/cache/evaluations`.

    Args:
        answerer: what would serve: adapter merged, refusals calibrated.
        questions: from `held_out`.
        params: `evaluation` and what retrieval reads.
        settings: the home.
        retrieval: the index release that all compared answerers share.
        modes: of `tasks.model.evaluation.metrics.MODES`.
        probes: of `tasks.model.evaluation.probes.PROBES`.
        style: of `tasks.model.evaluation.house_style.open_style`; as `NO_STYLE` it measures nothing.
        progress: told of each batch.
    """
    judge = load_judge(params.evaluation, settings)
    evaluations = settings.layout.cache / "evaluations"
    folder = evaluations / _key(answerer, questions, params, retrieval)
    drafts = Drafts.open(evaluations / "drafts", answerer.identity)
    rows = [
        _row(record)
        for mode in modes
        for record in _kept(
            folder / f"{mode}.jsonl",
            partial(_rows, mode, answerer, questions, params, retrieval, drafts, progress, judge),
        )
    ]
    observed = {
        name: tuple(
            Observation(**record)
            for record in _kept(
                folder / f"{name}.jsonl", partial(observe, name, answerer, questions, params, retrieval)
            )
        )
        for name in probes
    }
    return Evaluation(
        answerer.version, answerer.identity, retrieval.release, tuple(style.scored(rows)), observed, style
    )


def load_judge(params: EvaluationParams, settings: Settings) -> Generator | None:
    """Return the judge of `evaluation.judge`; None: there is none.

    Raises:
        ConfigurationError: the endpoint has no such model.
        DependencyError: it does not answer.
    """
    if params.judge is None:
        return None
    from tasks.answer.generators.endpoint import EndpointGenerator

    return EndpointGenerator(params.judge.endpoint, params.judge.model, settings)


def _key(answerer: Answerer, questions: Sequence[HeldOut], params: Params, retrieval: Retrieval) -> str:
    asked = [json.dumps(asdict(entry), sort_keys=True) for entry in questions]
    blocks = [digest(block) for block in (answerer.params, params.evaluation, params.search)]
    prompt = load_prompt(answerer.params.prompt).digest
    return sha256(str(VERSION), answerer.identity, prompt, *blocks, retrieval.identity, *asked)[:24]


def _kept(path: Path, make: Callable[[], Sequence[Any]]) -> list[dict[str, Any]]:
    """Records of a part; made and written whole where they were not."""
    if not path.exists():
        made = make()
        with whole_file(path) as beside, beside.open("w", encoding="utf-8") as stream:
            stream.writelines(json.dumps(asdict(record), ensure_ascii=False) + "\n" for record in made)
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except ValueError as error:
        raise CorruptionError(f"{path} must hold one JSON record a line, found: {error}; delete it") from error


def _row(record: dict[str, Any]) -> EvaluationRow:
    return EvaluationRow(**record | {name: tuple(record[name]) for name in ("read", "holding", "cited")})


def _rows(
    mode: Mode,
    answerer: Answerer,
    questions: Sequence[HeldOut],
    params: Params,
    retrieval: Retrieval,
    drafts: Drafts,
    progress: Progress | None,
    judge: Generator | None,
) -> list[EvaluationRow]:
    items = list(_items(mode, questions, answerer.params.num_passages, retrieval))
    generator = ungrounded(answerer.generator) if mode == "closed_book" else answerer.generator
    embedder = retrieval.data.index.embedder
    calibration = Calibration.of_release(retrieval.data.index.metrics)
    asked, prepared = [], []
    for item in items:
        began = machine_clock()
        asked.append(_asked(item, generator, answerer.params, params.evaluation, embedder, calibration))
        prepared.append(machine_clock() - began)
    rows: dict[int, EvaluationRow] = {}
    for place, answer, draft, seconds in _answers(asked, generator, drafts, batch_size=params.evaluation.batch_size):
        rows[place] = _scored(items[place], answer, draft, seconds + prepared[place])
        if progress:
            progress(f"{answerer.version} {mode}", len(rows), len(items))
    ordered = [rows[place] for place in range(len(items))]
    return ordered if judge is None or mode != "retrieval" else judged_rows(ordered, judge)


def _asked(
    item: _Item,
    generator: Generator,
    params: GenerationParams,
    evaluation: EvaluationParams,
    embedder: TextEmbedder,
    calibration: Calibration,
) -> GenerationRequest | Answer:
    question = item.entry.question.question
    if item.mode != "closed_book":
        return prepare(question, item.passages, generator, params, embedder, calibration=calibration)
    alone = params.model_copy(update={"max_new_tokens": evaluation.max_new_tokens_closed_book})
    return GenerationRequest(question, [{"role": "user", "content": question}], (), (), alone)


def _items(mode: Mode, questions: Sequence[HeldOut], num_passages: int, retrieval: Retrieval) -> Iterator[_Item]:
    for entry in questions:
        asked = entry.question.question
        if mode == "closed_book":
            yield _Item(entry, mode, ())
        elif mode == "retrieval":
            yield _Item(entry, mode, retrieval.search(asked), retrieval.seconds(asked))
        elif entry.answerable:
            yield from _set_passages(mode, entry, num_passages, retrieval)


def _set_passages(mode: Mode, entry: HeldOut, num_passages: int, retrieval: Retrieval) -> Iterator[_Item]:
    """`oracle`: support and hard distractors, shuffled by the question's hash; `removed`: distractors alone."""
    support, others = retrieval.support(entry), retrieval.distractors(entry)
    if support is None:
        return
    shown = [support, *others[: num_passages - 1]] if mode == "oracle" else list(others[:num_passages])
    random.Random(sha256(mode, entry.question.id)).shuffle(shown)  # noqa: S311
    yield _Item(entry, mode, tuple(shown))


def _answers(
    asked: Sequence[GenerationRequest | Answer], generator: Generator, drafts: Drafts, *, batch_size: int
) -> Iterator[tuple[int, Answer, str, float]]:
    """Place, answer, draft and machine seconds of each question; batches of like lengths, so that little is padding."""
    yield from ((place, entry, "", 0.0) for place, entry in enumerate(asked) if isinstance(entry, Answer))
    waiting = []
    for place, entry in enumerate(asked):
        if isinstance(entry, GenerationRequest):
            draft = drafts.get(entry.messages, entry.params.max_new_tokens)
            if draft is None:
                waiting.append((place, entry))
            else:
                yield place, *_finished(entry, draft)
    waiting.sort(key=lambda pair: sum(len(message["content"]) for message in pair[1].messages))
    clock = clock_of(generator)
    for start in range(0, len(waiting), batch_size):
        batch = waiting[start : start + batch_size]
        chats = [entry.messages for _, entry in batch]
        made = drafts.write(chats, batch[0][1].params.max_new_tokens, generator, clock)
        for (place, entry), draft in zip(batch, made, strict=True):
            yield place, *_finished(entry, draft)


def _finished(entry: GenerationRequest, draft: Draft) -> tuple[Answer, str, float]:
    answer = finish(entry, draft.generation) if entry.read else _closed_book(draft.generation)
    return answer, draft.generation.text, draft.seconds


def _closed_book(generation: Generation) -> Answer:
    text = kept(generation.text, ())
    declined = is_refusal(text)
    reason = "The model declined." if declined else None
    counts = (generation.num_prompt_tokens, generation.num_completion_tokens)
    return Answer(text, "nothing_found" if declined else "answer", reason, (), (), (), "", *counts)


def clock_of(generator: Generator) -> Callable[[], float]:
    """Machine seconds: CPU time by cores where the model runs on this CPU, else the time that passes."""
    from tasks.answer.generators.llama_cpp import LlamaCppGenerator

    if isinstance(generator, TransformersGenerator):
        return machine_clock if generator.model.device.type == "cpu" else time.perf_counter
    return machine_clock if isinstance(generator, LlamaCppGenerator) else time.perf_counter


def _scored(item: _Item, answer: Answer, draft: str, seconds: float) -> EvaluationRow:
    question, reference = item.entry.question, item.entry.question.answer
    wanted = (reference or "") if item.answerable else ""
    said = "" if answer.abstained else answer.text
    return EvaluationRow(
        question_id=question.id,
        topic=question.topic,
        document=question.document,
        mode=item.mode,
        question=question.question,
        reference=reference,
        answerable=item.answerable,
        draft=draft,
        answer=answer.text,
        abstained=answer.abstained,
        outcome=answer.outcome,
        reason=answer.reason,
        holds_anchor=bool(question.anchor) and holds(answer.text, question.anchor or ""),
        num_claims=len(answer.claims),
        num_unverified_claims=sum(claim.verdict == "unverified" for claim in answer.claims),
        judged=None,
        read=tuple(passage.chunk_id for passage in answer.passages),
        holding=tuple(n for n, passage in enumerate(answer.passages, start=1) if item.entry.is_held_by(passage)),
        cited=tuple(dict.fromkeys(citation.marker for citation in answer.citations)),
        f1=_score(token_f1, said, wanted),
        exact_match=_score(exact_match, said, wanted),
        contains=_score(contains, said, wanted),
        token_recall=_score(token_recall, said, wanted),
        draft_f1=_score(token_f1, draft, wanted),
        draft_contains=_score(contains, draft, wanted),
        groundedness=_groundedness(answer),
        num_prompt_tokens=answer.num_prompt_tokens,
        num_completion_tokens=answer.num_completion_tokens,
        machine_seconds=seconds + item.search_seconds,
    )


def _score(formula: Callable[[str, str], float], text: str, wanted: str) -> float:
    return formula(text, wanted) if text and wanted else 0.0


def _groundedness(answer: Answer) -> float | None:
    """Share of the claims that what was read supports; None: it claims nothing."""
    if not answer.claims:
        return None
    return sum(claim.verdict == "supported" for claim in answer.claims) / len(answer.claims)
