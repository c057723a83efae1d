"""Pieces, questions and vectors of SQuAD, with splits by article that no result can have steered.

Paragraphs are cut into pieces of at most `max_passage_tokens`, as the answerer reads them. Splits go by article: the
set's own test articles with as many train articles as make `NUM_TEST` questions, and some train articles held out for
validation.
"""

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from benchmarks.data import bench_file
from tasks.answer.sentences import sentences
from tasks.errors import ConfigurationError
from tasks.index.embedding.embedder import Vectors, load_embedder
from tasks.index.golden import GoldenQuestion
from tasks.model.examples.example import ExamplePassage
from tasks.params import Params
from tasks.settings import Settings

NUM_VALIDATION = 60
NUM_TEST = 200


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a paragraph, as long as an answerer may read."""

    paragraph: str
    start: int
    text: str
    title: str

    @property
    def article(self) -> str:
        """What splits go by."""
        return self.paragraph.partition("#")[0]

    def passage(self) -> ExamplePassage:
        """As an example holds it."""
        return ExamplePassage(f"squad:{self.paragraph}:{self.start}", f"squad:{self.paragraph}", self.title, self.text)


@dataclass(frozen=True, slots=True)
class Asked:
    """A question with the piece that answers it."""

    id: str
    question: str
    answers: tuple[str, ...]
    gold: int
    split: str


@dataclass(frozen=True, slots=True)
class SquadData:
    """Pieces of all paragraphs, the questions, and unit vectors of both."""

    pieces: Sequence[Piece]
    asked: Sequence[Asked]
    piece_vectors: Vectors
    question_vectors: Vectors

    def nearest(self, vector: Any, allowed: Sequence[int], count: int) -> list[int]:
        """The allowed pieces nearest to a vector, best first."""
        order = np.argsort(-(self.piece_vectors[list(allowed)] @ vector), kind="stable")[:count]
        return [allowed[place] for place in order]


def load_data(
    params: Params, settings: Settings, count_tokens: Callable[[str], int], max_passage_tokens: int
) -> SquadData:
    """Read the set, cut its paragraphs and embed pieces and questions."""
    pieces = [
        piece
        for record in read_records("corpus.jsonl")
        for piece in cut_pieces(record, count_tokens, max_passage_tokens)
    ]
    asked = list(_asked(read_records("qa.jsonl"), pieces))
    embedder = load_embedder(params.embedding, settings)
    return SquadData(
        pieces,
        asked,
        embedder.embed([f"{piece.title}\n{piece.text}" for piece in pieces]),
        embedder.embed([question.question for question in asked]),
    )


def golden_questions(data: SquadData) -> list[GoldenQuestion]:
    """All questions, each with the words around its answer as the anchor."""
    return [
        GoldenQuestion(
            id=f"squad-{question.id}",
            question=question.question,
            answer=question.answers[0],
            document=f"squad:{data.pieces[question.gold].paragraph}",
            anchor=_anchor(data.pieces[question.gold].text, question.answers[0]),
            topic=data.pieces[question.gold].article,
            split=question.split,
        )
        for question in data.asked
    ]


def write_params(source: Path, target: Path, *, golden: str, corpus: Path) -> None:
    """The project's parameters over SQuAD's corpus, with its golden questions."""
    raw = yaml.safe_load(source.read_text(encoding="utf-8"))
    raw["sources"] = [records_source("squad", corpus)]
    raw["index_gate"] |= {"golden": golden, "split": "validation"}
    raw["evaluation"] |= {"golden": golden, "split": "test"}
    target.write_text(yaml.safe_dump(raw, sort_keys=False), encoding="utf-8")


def records_source(name: str, corpus: Path) -> dict[str, Any]:
    """A source of `params.yaml` over a corpus of the sets, which everyone may read."""
    return {
        "name": name,
        "kind": "records",
        "url": str(corpus),
        "mode": "snapshot",
        "fields": {"id": "_id", "uri": None, "updated_at": None, "expires_at": None, "access": None},
        "knowledge_base": name,
        "access": ["everyone"],
        "max_removed_fraction": 0.2,
    }


def read_records(name: str) -> list[dict[str, Any]]:
    path = bench_file(f"squad/{name}")
    if path is None:
        raise ConfigurationError(f"the benchmark needs squad/{name}, found none; set ALMANAC_BENCH_DIR")
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def cut_pieces(record: dict[str, Any], count_tokens: Callable[[str], int], max_tokens: int) -> Iterator[Piece]:
    text = record["text"]
    start = end = None
    for span in sentences(text):
        if start is not None and count_tokens(text[start : span.end]) > max_tokens:
            yield Piece(record["_id"], start, text[start:end], record["title"])
            start = None
        start, end = span.start if start is None else start, span.end
    if start is not None:
        yield Piece(record["_id"], start, text[start:end], record["title"])


def _asked(records: Sequence[dict[str, Any]], pieces: Sequence[Piece]) -> Iterator[Asked]:
    validation, test = _held_out_articles(records)
    by_paragraph: dict[str, list[int]] = defaultdict(list)
    for number, piece in enumerate(pieces):
        by_paragraph[piece.paragraph].append(number)
    for record in records:
        start, answer = record["answer_start"], record["answer"]
        held = (
            number
            for number in by_paragraph[record["context_ids"][0]]
            if pieces[number].start <= start and start + len(answer) <= pieces[number].start + len(pieces[number].text)
        )
        gold = next(held, None)
        if gold is not None:
            article = record["article"]
            split = "validation" if article in validation else "test" if article in test else "train"
            yield Asked(record["id"], record["question"], tuple(record["answers"]), gold, split)


def _held_out_articles(records: Sequence[dict[str, Any]]) -> tuple[set[str], set[str]]:
    """Articles of validation and of test, in an order that no result can have steered."""
    articles = sorted(
        {record["article"] for record in records if record["split"] == "train"},
        key=lambda article: hashlib.sha256(article.encode()).hexdigest(),
    )
    validation: set[str] = set()
    test = {record["article"] for record in records if record["split"] == "test"}
    for article in articles:
        if _num_asked(records, validation) < NUM_VALIDATION:
            validation.add(article)
        elif _num_asked(records, test) < NUM_TEST:
            test.add(article)
    return validation, test


def _num_asked(records: Sequence[dict[str, Any]], articles: set[str]) -> int:
    return sum(record["article"] in articles for record in records)


def _anchor(text: str, answer: str) -> str:
    place = text.find(answer)
    return text[max(0, place - 20) : place + len(answer) + 20].strip() if place >= 0 else answer
