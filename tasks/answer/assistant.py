"""The assistant: retrieve from what serves, generate, cite, trace. What both the command line and a server call."""

import time
from collections.abc import Collection
from dataclasses import dataclass

from tasks.answer.answer import Answer, answer_question
from tasks.answer.registry import load_champion
from tasks.answer.trace import TraceContext, traced
from tasks.index.live import LiveIndex
from tasks.index.search import Request
from tasks.params import Params
from tasks.settings import Settings


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer with what gave it."""

    answer: Answer
    index_version: str
    answerer_version: str
    trace_id: str | None
    seconds: float


class Assistant:
    """Answers from the live index with the answerer that was champion at its start."""

    def __init__(self, params: Params, settings: Settings) -> None:
        """Open the live index and load the champion answerer.

        Raises:
            ConfigurationError: nothing was released, or a model is absent.
        """
        self._settings = settings
        self.index = LiveIndex(params, settings)
        self._answerer = load_champion(params, settings)

    def ask(self, question: str, *, groups: Collection[str] = (), knowledge_bases: Collection[str] = ()) -> Reply:
        """Answer one question from what the asker may read."""
        started, answerer = time.monotonic(), self._answerer
        request = Request(question, groups=tuple(groups), knowledge_bases=tuple(knowledge_bases))
        release = self.index.serving.release.number
        context = TraceContext(
            index_version=str(release),
            answerer_version=answerer.version,
            groups=tuple(sorted(groups)),
            filters={"knowledge_bases": sorted(knowledge_bases)},
        )
        answer, trace_id = traced(
            question,
            lambda: self.index.search(request),
            lambda passages: answer_question(question, passages, answerer.generator, answerer.params),
            context=context,
            settings=self._settings,
        )
        return Reply(answer, str(release), answerer.version, trace_id, round(time.monotonic() - started, 3))
