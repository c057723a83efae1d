"""One record of the training set, and its file: JSON lines, one example each, that DVC versions."""

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tasks.errors import CorruptionError
from tasks.files import write_json_lines
from tasks.index.passage import Passage

Origin = Literal["golden", "feedback", "synthetic", "teacher", "chat", "replay"]


@dataclass(frozen=True, slots=True)
class ExamplePassage:
    """A chunk as the answerer reads it: `text` may be a part of the chunk."""

    chunk_id: str
    document_id: str
    title: str
    text: str

    def as_passage(self) -> Passage:
        """Return what `tasks.answer.prompt.render` takes."""
        return Passage(
            self.chunk_id, self.document_id, "", "", self.title, "", self.text, 0, len(self.text), 0.0, None, None
        )


@dataclass(frozen=True, slots=True)
class ChatTurn:
    """What was said before the question: `role` is system, user or assistant."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class Example:
    """A question with the passages that the answerer reads and what it should write.

    Attributes:
        example_id: from question, passages and answer; see `example_id`.
        passages: in the order of their markers; empty for `replay` (a prompt without passages) and in most chats.
        answer: short text that ends in its markers (`4.2 seconds [2]`), or `NOT_FOUND`.
        rejected: an answer that people rated down, for preference training; else None.
        support: numbers (from 1) of the passages that hold the answer; empty where there is none.
        how: what made it, for a reader: a rule's name, a teacher's model, a trace's id.
        corpus: tag of the snapshot of the corpus.
        cluster: what splits go by: a document and its near-duplicates.
        history: of a chat, what was said before the question.
    """

    example_id: str
    question: str
    passages: tuple[ExamplePassage, ...]
    answer: str
    rejected: str | None
    support: tuple[int, ...]
    origin: Origin
    how: str
    topic: str
    corpus: str
    cluster: str
    split: Literal["train", "validation"]
    history: tuple[ChatTurn, ...] = ()

    @property
    def is_learnt(self) -> bool:
        """Whether its answer is learnt; what is replayed only holds the model to what it says already."""
        return self.origin != "replay"

    @property
    def answerable(self) -> bool:
        """Whether a passage holds the answer."""
        return bool(self.support)

    @property
    def document_ids(self) -> tuple[str, ...]:
        """Documents whose text the example holds, in order of first use."""
        return tuple(dict.fromkeys(passage.document_id for passage in self.passages))


def example_id(question: str, passages: Iterable[ExamplePassage], answer: str) -> str:
    """Return sixteen hex characters that two examples share only if they train the same."""
    content = json.dumps([question, [passage.text for passage in passages], answer], ensure_ascii=False)
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def write_examples(examples: Iterable[Example], path: Path) -> int:
    """Write whole or not at all; return the number of examples."""
    return write_json_lines(path, examples)


def read_examples(path: Path) -> Iterator[Example]:
    """Read a training set.

    Raises:
        CorruptionError: a line is no example.
    """
    with path.open(encoding="utf-8") as stream:
        for number, line in enumerate(stream, start=1):
            yield _parse(path, number, line)


def _parse(path: Path, number: int, line: str) -> Example:
    try:
        raw = json.loads(line)
        passages = tuple(ExamplePassage(**passage) for passage in raw.pop("passages"))
        history = tuple(ChatTurn(**turn) for turn in raw.pop("history", ()))
        return Example(**raw | {"passages": passages, "support": tuple(raw["support"]), "history": history})
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise CorruptionError(
            f"{path}:{number} must be one example in JSON, found: {error}; restore the training set with DVC"
        ) from error
