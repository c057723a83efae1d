"""The assistant: retrieve, generate, cite, trace. What both the command line and the server call."""

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from tasks.answer.answer import Answer, answer_question, stream_answer
from tasks.answer.answerer import Answerer
from tasks.answer.asking_back.clarify import ask_back
from tasks.answer.calibration import FALLBACK, Calibration
from tasks.answer.check.claims import TextEmbedder
from tasks.answer.conversation import Turn
from tasks.answer.generators.base import Generator, JsonFormat
from tasks.answer.registry import alone, load_champion, load_own
from tasks.answer.structured.answer import answer_in_json
from tasks.answer.trace import TraceContext, current_trace_id, traced
from tasks.audit.audit import open_audit, process_owner
from tasks.index.live import LiveIndex
from tasks.index.passage import Passage
from tasks.index.search import Request
from tasks.params import GenerationParams, Params
from tasks.settings import Settings
from tasks.telemetry import note, span

COURTESY = "You are welcome. Ask what the documents say."
Search = Callable[[Request], Sequence[Passage]]
"""Finds what the asker of a request may read."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer with what gave it.

    Attributes:
        question: as it was searched.
        cached: whether it was there already.
        is_cut: whether it took all the tokens that it might have.
    """

    answer: Answer
    index_version: str
    answerer_version: str
    trace_id: str | None
    seconds: float
    question: str
    cached: bool = False
    is_cut: bool = False


def reply_json(reply: Reply) -> dict[str, Any]:
    """Return the fields of `almanac ask --json`."""
    answer = reply.answer
    return {
        "answer": answer.text,
        "abstained": answer.abstained,
        "outcome": answer.outcome,
        "reason": answer.reason,
        "citations": [asdict(citation) for citation in answer.citations],
        "claims": [asdict(claim) for claim in answer.claims],
        "passages": [asdict(passage) for passage in answer.passages],
        "index_version": reply.index_version,
        "answerer_version": reply.answerer_version,
        "trace_id": reply.trace_id,
        "seconds": reply.seconds,
    }


def ask(
    request: Request,
    search: Search,
    answerer: Answerer,
    *,
    index_version: str,
    settings: Settings,
    embedder: TextEmbedder | None = None,
    calibration: Calibration = FALLBACK,
    client_system: str = "",
    turn: Turn | None = None,
    user: str | None = None,
    session: str | None = None,
    given: Answer | None = None,
    emit: Callable[[str], None] | None = None,
    observe: Callable[[Sequence[Passage], str | None], None] = lambda *_: None,
    form: JsonFormat | None = None,
) -> Reply:
    """Answer one question from what its asker may read, within a trace.

    Args:
        request: the question and who asks.
        search: finds passages in the release `index_version`, by the access of now.
        answerer: writes the answer.
        index_version: number of the release.
        settings: where traces go.
        embedder: that of the index, which judges what the answer claims.
        calibration: the thresholds of the release.
        client_system: the system message of whoever calls.
        turn: what the question of the request was made of, where it leans on earlier ones.
        user: a pseudonym of the asker; it stands in the trace.
        session: a pseudonym of the conversation.
        given: the answer, where it is there already: it gets a trace of its own, by which it can be rated.
        emit: is given the text as it is written; without it the model may write in a batch. What holds is the answer.
        observe: is given the passages and the trace's id before any of them is used; what it raises ends the answer.
        form: of an answer that is one JSON value; it is not emitted, since it must be checked as a whole.

    Raises:
        FormatError: the model wrote no value of the form.
    """
    started = time.monotonic()
    params = answerer.params.limited_to(request.knowledge_bases)
    context = TraceContext(
        index_version=index_version,
        answerer_version=answerer.version,
        groups=tuple(sorted(request.groups)),
        filters={"knowledge_bases": sorted(request.knowledge_bases)},
        prompt=params.prompt,
        user=user,
        session=session,
    )

    def retrieved() -> Sequence[Passage]:
        with span("search"):
            passages = search(request) if given is None else given.passages
            note(num_passages=len(passages), cached=given is not None)
        observe(passages, current_trace_id())
        return passages

    def from_passages(passages: Sequence[Passage]) -> Answer:
        if given is not None:
            return given
        question = turn.about(passage.title for passage in passages) if turn else request.question
        # A model at an endpoint judges by itself what is asked; a small one, or an excerpt, takes any of them.
        clarifying = ask_back(question, passages, turn) if params.endpoint is None else None
        if clarifying is not None:
            return clarifying
        answered = answer_question if emit is None else partial(_streamed, emit)
        if form is not None:
            answered = partial(answer_in_json, form)
        with span("answer", index_version=index_version, answerer_version=answerer.version):
            answer = answered(
                question,
                passages,
                answerer.generator,
                params,
                embedder,
                calibration=calibration,
                client_system=client_system,
            )
            note(outcome=answer.outcome, num_completion_tokens=answer.num_completion_tokens)
        return answer

    answer, trace_id = traced(
        request.question,
        retrieved,
        from_passages,
        context=context,
        settings=settings,
    )
    seconds = round(time.monotonic() - started, 3)
    return Reply(
        answer,
        index_version,
        answerer.version,
        trace_id,
        seconds,
        question=request.question,
        is_cut=0 < answerer.params.max_new_tokens <= answer.num_completion_tokens,
    )


def courtesy() -> Answer:
    """Return what is said to thanks or a greeting: no document is asked."""
    return Answer(COURTESY, "answer", None, (), (), (), "", 0, 0)


def _streamed(
    emit: Callable[[str], None],
    question: str,
    passages: Sequence[Passage],
    generator: Generator,
    params: GenerationParams,
    embedder: TextEmbedder | None,
    *,
    calibration: Calibration,
    client_system: str,
) -> Answer:
    """Pass on the text as it comes; the answer stands at the end."""
    pieces = stream_answer(
        question, passages, generator, params, embedder, calibration=calibration, client_system=client_system
    )
    for piece in pieces:
        if isinstance(piece, Answer):
            return piece
        emit(piece)
    raise AssertionError("a stream must end with its answer")


class Assistant:
    """Answers from the live index with the answerer that was champion at its start, or a knowledge base's own."""

    def __init__(self, params: Params, settings: Settings) -> None:
        """Open the live index and load the champion answerer.

        Raises:
            ConfigurationError: nothing was released, or a model is absent.
        """
        self._settings = settings
        self.index = LiveIndex(params, settings)
        self._params, self._answerer = params, load_champion(params, settings)

    def ask(self, question: str, *, groups: Collection[str] = (), knowledge_bases: Collection[str] = ()) -> Reply:
        """Answer one question from what the asker may read."""
        answerer, only = self._answerer, alone(knowledge_bases)
        if only is not None:
            answerer = load_own(only, self._params, self._settings) or answerer
        return ask(
            Request(question, groups=tuple(groups), knowledge_bases=tuple(knowledge_bases)),
            self.index.search,
            answerer,
            index_version=str(self.index.serving.release.number),
            settings=self._settings,
            embedder=self.index.embedder,
            calibration=Calibration.of_release(self.index.serving.release.metrics),
            observe=partial(self._observe, answerer.version),
        )

    def _observe(self, answerer: str, passages: Sequence[Passage], trace_id: str | None) -> None:
        open_audit(self._settings.layout).shown(
            process_owner(),
            [passage.document_id for passage in passages],
            release=str(self.index.serving.release.number),
            answerer=answerer,
            trace=trace_id,
        )
