"""Held-out questions over one index release: what search finds for each, and which passages hold the answer.

Asked as `examples.audience`: a question whose document this group may not read is reported and left out.
"""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from tasks.corpus.document import sha256
from tasks.errors import ConfigurationError
from tasks.index.golden import GoldenQuestion, load_evaluation, load_golden, locate
from tasks.index.passage import Passage
from tasks.index.search import Request
from tasks.model.evaluation.metrics import contains, normalized
from tasks.model.examples.release_data import ReleaseData, open_release_data
from tasks.params import Params
from tasks.settings import Settings

MAX_SPAN_TOKENS = 6
"""A reference of so few tokens is a span: a passage that holds it may answer the question, whatever its anchor."""


@dataclass(frozen=True, slots=True)
class HeldOut:
    """A golden question with the places of its anchor in its document; no place: no answer in the documents."""

    question: GoldenQuestion
    positions: tuple[int, ...]

    @property
    def answerable(self) -> bool:
        """Whether the documents hold the answer."""
        return bool(self.positions)

    def is_held_by(self, passage: Passage) -> bool:
        """Whether a passage holds the anchor."""
        if passage.document_id != self.question.document:
            return False
        return any(passage.start <= position < passage.end for position in self.positions)


@dataclass(frozen=True, slots=True)
class Retrieval:
    """One index release, asked as the audience; each question is searched once and remembered.

    Attributes:
        release: its number, as text.
        corpus: tag of its snapshot.
    """

    data: ReleaseData
    _passages: dict[str, tuple[tuple[Passage, ...], float]] = field(default_factory=dict, repr=False)

    @property
    def release(self) -> str:
        """Number of the release, as text."""
        return self.data.index.release

    @property
    def corpus(self) -> str:
        """Tag of its snapshot."""
        return self.data.corpus

    @property
    def identity(self) -> str:
        """Equal identity, equal passages."""
        asked = ":".join([self.data.audience, *self.data.searched])
        return f"{self.release}:{self.corpus}:{self.data.index.embedder.identity}:{asked}"

    def search(self, question: str) -> tuple[Passage, ...]:
        """The passages that the audience would be answered from, best first."""
        return self._searched(question)[0]

    def seconds(self, question: str) -> float:
        """What the search cost, in seconds of the whole machine."""
        return self._searched(question)[1]

    def _searched(self, question: str) -> tuple[tuple[Passage, ...], float]:
        if question not in self._passages:
            started = machine_clock()
            request = Request(question, groups=(self.data.audience,), knowledge_bases=self.data.searched)
            passages = tuple(self.data.index.search(request, self.data.access))
            self._passages[question] = (passages, machine_clock() - started)
        return self._passages[question]

    def support(self, entry: HeldOut) -> Passage | None:
        """The passage that holds the anchor: where search ranks it best, else from the document; None: unreadable."""
        question = entry.question.question
        for passage in self.search(question):
            if entry.is_held_by(passage):
                return passage
        documents = [entry.question.document] if entry.question.document else []
        held = next((passage for passage in self.data.chunks(documents) if entry.is_held_by(passage)), None)
        return None if held is None else self._with_similarity(held, question)

    def _with_similarity(self, passage: Passage, question: str) -> Passage:
        embedder = self.data.index.embedder
        (asked,), (text,) = embedder.embed_questions([question]), embedder.embed([passage.text])
        return replace(passage, similarity=float(np.dot(asked, text)))

    def distractors(self, entry: HeldOut) -> tuple[Passage, ...]:
        """What search finds beside the support, best first: passages that cannot answer the question."""
        reference = entry.question.answer or ""
        is_span = 0 < len(normalized(reference)) <= MAX_SPAN_TOKENS
        return tuple(
            passage
            for passage in self.search(entry.question.question)
            if not entry.is_held_by(passage) and not (is_span and contains(passage.text, reference))
        )


def machine_clock() -> float:
    """CPU seconds of this process, all threads, by the cores of the machine.

    What a question costs on a machine that is kept busy, whoever else runs on it now.
    """
    return time.process_time() / (os.cpu_count() or 1)


def open_retrieval(params: Params, settings: Settings) -> Retrieval:
    """The release that serves now, asked as `examples.audience`.

    Raises:
        ConfigurationError: nothing was released yet.
    """
    return Retrieval(open_release_data(params, settings, for_training=False))


def held_out(
    params: Params, retrieval: Retrieval, *, golden: Path | None = None
) -> tuple[list[HeldOut], list[tuple[GoldenQuestion, str]]]:
    """The questions of `evaluation.split`, and those that cannot be asked with the reason.

    Where `evaluation.max_questions` asks for fewer, they are those with the smallest hashes of their ids: the same ones
    for every model, whatever their order in the file.

    Raises:
        ConfigurationError: the file is absent or damaged, or holds no question that can be asked.
    """
    asked, split = params.evaluation, params.evaluation.split
    path = golden or Path(asked.golden)
    questions = load_golden(path, split) if golden else load_evaluation(asked.golden, asked.reviewed_golden, split)
    wanted = {question.document for question in questions if question.document is not None}
    located, missing = locate(questions, retrieval.data.texts(wanted))
    positions = {entry.question.id: entry.positions for entry in located}
    known = [
        HeldOut(question, positions.get(question.id, ()))
        for question in questions
        if (question.document is None or question.id in positions) and retrieval.data.may_ask(question.document)
    ]
    chosen = _chosen(known, params.evaluation.max_questions)
    if not chosen:
        where = " of ".join([retrieval.release, *retrieval.data.searched])
        raise ConfigurationError(
            f"{path} must hold questions of split {params.evaluation.split} on documents of release "
            f"{where}, found none; correct evaluation.golden or evaluation.split"
        )
    return chosen, missing


def _chosen(questions: Sequence[HeldOut], max_questions: int | None) -> list[HeldOut]:
    if max_questions is None or len(questions) <= max_questions:
        return list(questions)
    kept = sorted(questions, key=lambda entry: sha256(entry.question.id))[:max_questions]
    ids = {entry.question.id for entry in kept}
    return [entry for entry in questions if entry.question.id in ids]
