"""Synthetic questions as seeds: spread over knowledge bases and documents, by rules offline or by a teacher.

Knowledge bases take turns: twenty documents of one are not drowned by ten thousand of another.
"""

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

from tasks.corpus.document import sha256
from tasks.index.passage import Passage
from tasks.model.examples.example import Origin
from tasks.model.examples.raft import Seed
from tasks.model.examples.release_data import ReleaseData
from tasks.model.examples.splits import Splits
from tasks.model.examples.synthetic import CLOZE, SyntheticQuestion, make_questions
from tasks.model.examples.teacher import Teacher

logger = logging.getLogger(__name__)

_CANDIDATES_PER_EXAMPLE = 4
_READ_DOCUMENTS = 64
_CLOZE_RANK = 3
"""A gap to fill is as good as the fourth question of another rule on the same document."""
_Entry = TypeVar("_Entry")
PassageQuestion = tuple[Passage, SyntheticQuestion]


def sample_passages(release: ReleaseData, splits: Splits, *, seed: int) -> Iterator[Passage]:
    """Yield chunks of the documents that may teach, in a seeded order in which knowledge bases take turns."""
    usable = [document for document in release.topics if splits.of(document) is not None]
    usable.sort(key=lambda document: sha256("sample", str(seed), document))
    turns = list(_round_robin(usable, lambda document: release.topics[document]))
    for begin in range(0, len(turns), _READ_DOCUMENTS):
        yield from release.chunks(turns[begin : begin + _READ_DOCUMENTS])


def read_sample(passages: Iterable[Passage], count: int) -> tuple[list[Passage], list[PassageQuestion]]:
    """Read passages until they give enough candidates for `count` questions; return both."""
    read: list[Passage] = []
    questions: list[PassageQuestion] = []
    for passage in passages:
        if (
            len(questions) >= count * _CANDIDATES_PER_EXAMPLE
            and len({entry.document_id for entry in read}) >= _READ_DOCUMENTS
        ):
            break
        read.append(passage)
        questions += [(passage, question) for question in make_questions(passage)]
    return read, questions


def rule_seeds(questions: Sequence[PassageQuestion], splits: Splits, *, seed: int) -> Iterator[Seed]:
    """Yield one question a document, then a second one, and so on, while knowledge bases take turns.

    Which one of a document comes first is drawn by the seed.
    """
    by_document: defaultdict[str, list[PassageQuestion]] = defaultdict(list)
    for entry in sorted(questions, key=lambda entry: _draw(entry, seed)):
        by_document[entry[0].document_id].append(entry)
    ranked = [
        (rank + (_CLOZE_RANK if entry[1].how == CLOZE else 0), _draw(entry, seed), entry)
        for entries in by_document.values()
        for rank, entry in enumerate(sorted(entries, key=lambda entry: entry[1].how == CLOZE))
    ]
    ordered = [entry for _, _, entry in sorted(ranked, key=lambda item: item[:2])]
    for passage, question in _round_robin(ordered, lambda entry: entry[0].knowledge_base):
        yield question_seed(passage, question, splits, origin="synthetic")


def teacher_seeds(passages: Sequence[Passage], teacher: Teacher, splits: Splits) -> Iterator[Seed]:
    """Yield questions of the teacher, one passage of each document first, until its budget is reached."""
    by_document = list(_round_robin(passages, lambda passage: passage.document_id))
    for passage in _round_robin(by_document, lambda passage: passage.knowledge_base):
        questions = teacher.ask(passage)
        if questions is None:
            return
        for question in questions:
            yield question_seed(passage, question, splits, origin="teacher")


def question_seed(passage: Passage, question: SyntheticQuestion, splits: Splits, *, origin: Origin) -> Seed:
    """Return the seed of a question that was made from one passage, whose document has a split."""
    split = splits.of(passage.document_id)
    assert split is not None
    return Seed(
        question=question.question,
        answer=question.answer,
        support=(passage,),
        anchor=None,
        origin=origin,
        how=question.how,
        topic=passage.knowledge_base,
        cluster=splits.clusters[passage.document_id],
        split=split,
    )


def _draw(entry: PassageQuestion, seed: int) -> str:
    return sha256("question", str(seed), entry[0].document_id, entry[1].question)


def _round_robin(entries: Sequence[_Entry], key: Callable[[_Entry], str]) -> Iterator[_Entry]:
    """Yield the first entry of each group, then the second, and so on; groups in the order of their first entries."""
    groups: defaultdict[str, list[_Entry]] = defaultdict(list)
    for entry in entries:
        groups[key(entry)].append(entry)
    for rank in range(max(map(len, groups.values()), default=0)):
        yield from (group[rank] for group in groups.values() if rank < len(group))
