"""Golden questions of the split `train` as seeds; the other splits only say what is held out."""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from tasks.answer.words import terms, vocabulary
from tasks.index.golden import GoldenQuestion, Located, load_evaluation, load_golden, locate
from tasks.index.passage import Passage
from tasks.model.examples.raft import Seed
from tasks.model.examples.release_data import ReleaseData
from tasks.model.examples.splits import Splits, make_splits
from tasks.params import Params


def load_questions(params: Params) -> list[GoldenQuestion]:
    """Return every golden question of evaluation and of the index gate.

    Raises:
        ConfigurationError: a file is absent or damaged.
    """
    asked, gate = params.evaluation, params.index_gate.golden
    questions = load_evaluation(asked.golden, asked.reviewed_golden)
    return questions + (load_golden(Path(gate)) if gate not in (None, asked.golden) else [])


def splits_of(questions: Sequence[GoldenQuestion], release: ReleaseData, params: Params) -> Splits:
    """Return the splits of the release's documents, those of golden questions held out."""
    documents = {
        split: {
            question.document for question in questions if question.split == split and question.document is not None
        }
        for split in ("validation", "test")
    }
    return make_splits(
        release.clusters(),
        tested=documents["test"],
        validated=documents["validation"],
        validation_fraction=params.examples.validation_fraction,
    )


def golden_seeds(
    questions: Sequence[GoldenQuestion], release: ReleaseData, splits: Splits
) -> tuple[list[Seed], Counter[str]]:
    """Return the seeds of the questions of split `train`, and why the others of that split are left out."""
    training = [question for question in questions if question.split == "train"]
    documents = {question.document for question in training if question.document is not None}
    located, missing = locate(training, release.texts(documents))
    left_out = Counter(f"golden: {reason}, or not for the audience" for _, reason in missing)
    seeds = [_unanswerable(question, splits) for question in training if question.document is None]
    for entry in located:
        seed = _answerable(entry, release, splits)
        if seed is None:
            left_out["golden: its document resembles one of a golden test question"] += 1
        else:
            seeds.append(seed)
    return seeds, left_out


def _answerable(entry: Located, release: ReleaseData, splits: Splits) -> Seed | None:
    question = entry.question
    split = splits.of(question.document or "")
    if split is None or question.document is None:
        return None
    return Seed(
        question=question.question,
        answer=question.answer or question.anchor,
        support=tuple(supporting(entry, release.chunks([question.document]))[:1]),
        anchor=question.anchor,
        origin="golden",
        how=question.id,
        topic=question.topic,
        cluster=splits.clusters[question.document],
        split=split,
    )


def supporting(entry: Located, chunks: Iterable[Passage]) -> list[Passage]:
    """Return the chunks that hold the anchor whole at one of its places, those first that hold most of the question."""
    length = len(entry.question.anchor or "")
    holding = [
        chunk
        for chunk in chunks
        if any(chunk.start <= position and position + length <= chunk.end for position in entry.positions)
    ]
    wanted = terms(f"{entry.question.answer} {entry.question.question}").content
    return sorted(holding, key=lambda chunk: -len(wanted & vocabulary(chunk.text)))


def _unanswerable(question: GoldenQuestion, splits: Splits) -> Seed:
    cluster = f"question:{question.id}"
    return Seed(
        question=question.question,
        answer=None,
        support=(),
        anchor=None,
        origin="golden",
        how=question.id,
        topic=question.topic,
        cluster=cluster,
        split=splits.of_name(cluster),
    )
