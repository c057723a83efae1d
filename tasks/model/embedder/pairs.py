"""Questions with the chunk that answers them and hard negatives: what the embedding model is tuned on.

Texts are those that the live index embedded, and only such as the training's audience may read.
"""

import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tasks.corpus.document import sha256
from tasks.errors import CorruptionError, GateError
from tasks.files import write_json_lines
from tasks.index.access import TrainingGroups
from tasks.index.golden import load_golden, locate
from tasks.index.passage import Passage
from tasks.model.embedder.chunks import ChunkText, TrainableChunks, write_pool
from tasks.model.examples.example import Example, read_examples
from tasks.model.examples.golden_seeds import supporting
from tasks.model.examples.release_data import ReleaseData, open_release_data

if TYPE_CHECKING:
    from tasks.index.access import AccessMap
    from tasks.index.search import Index, Mode
    from tasks.params import Params
    from tasks.settings import Settings

NEGATIVES_PER_QUESTION = 4
MAX_NEGATIVE_RATIO = 0.95
"""A chunk as near to the question as this share of the positive's similarity may answer it too: it is no negative.

Moreira et al., "NV-Retriever: Improving text embedding models with effective hard-negative mining", 2024.
"""
CANDIDATES = 30
ENOUGH_HELD_OUT = 400
"""Questions of which three in four measure: 300 tell a gain of .03 from chance four times in five.

Values of a question differ by .14 to .19 between two embedders (standard deviation on scifact), and
`(1.96 + 0.84)² · 0.185² / 0.03²` is 298.
"""
MAX_HELD_OUT = 0.4
"""Share of the questions that may be held out where there are fewer."""


Split = Literal["train", "validation", "golden"]
"""A golden question is one that people wrote, of the split that the index gate asks: its document trains nothing."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A question and its chunk.

    Attributes:
        relevant: keys of all chunks that answer it, `positive` among them; none of them is ever a negative.
        negatives: near to the question, nearest first.
        words: of a held-out question, the chunks that full-text search finds for it, by key with their scores.
    """

    question: str
    positive: ChunkText
    relevant: tuple[str, ...]
    negatives: tuple[ChunkText, ...]
    split: Split
    words: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class EmbedderQuestion:
    """A question, and the chunks of the live index that answer it.

    Attributes:
        cluster: what splits go by: a document and its near-duplicates.
    """

    question: str
    relevant: tuple[str, ...]
    cluster: str
    split: Split


def write_example_pairs(examples: Path, output: Path, pool: Path, params: "Params", settings: "Settings") -> int:
    """Write pairs of the answerable examples whose chunk is in the live index, with mined negatives; return how many.

    Args:
        examples: the training set.
        output: gets the pairs.
        pool: gets the chunks that embedders are ranked over.
        params: `examples.audience` and what search reads.
        settings: of the home whose live index is read.

    Raises:
        ConfigurationError: no index was released yet.
        CorruptionError: the training set or the index cannot be read.
        GateError: no example has its chunk in the live index.
    """
    from tasks.index.access_tables import load_access
    from tasks.index.live import open_index, serving
    from tasks.index.table import connect

    db, audience = connect(settings), params.examples.audience
    index, access = open_index(db, serving(settings).release, params, settings), load_access(db)
    questions = with_enough_held_out(list(questions_of_examples(read_examples(examples))))
    questions += golden_questions(params, open_release_data(params, settings))
    write_pool(index, access, pool, audience=audience)
    depth = min(CANDIDATES, params.search.candidates)
    count = write_pairs(mine_pairs(questions, index, access, audience=audience, depth=depth), output)
    if count == 0:
        raise GateError(
            f"the embedder needs answerable examples on chunks of the live index, found none among {len(questions)}; "
            "make the training set anew with `almanac retrain`"
        )
    return count


def questions_of_examples(examples: Iterable[Example]) -> Iterator[EmbedderQuestion]:
    """Yield the answerable examples' questions, each once."""
    seen: set[str] = set()
    for example in examples:
        if example.answerable and example.question not in seen:
            seen.add(example.question)
            relevant = tuple(example.passages[number - 1].chunk_id for number in example.support)
            yield EmbedderQuestion(example.question, relevant, example.cluster, example.split)


def golden_questions(params: "Params", release: ReleaseData) -> list[EmbedderQuestion]:
    """Return the questions that the index gate will ask, with the chunks that hold their anchors.

    Raises:
        ConfigurationError: the file is absent or damaged.
    """
    gate = params.index_gate
    if gate.golden is None:
        return []
    golden = load_golden(Path(gate.golden), gate.split)
    located, _ = locate(golden, release.texts({one.document for one in golden if one.document is not None}))
    found = [(entry, supporting(entry, release.chunks([str(entry.question.document)]))) for entry in located]
    return [
        EmbedderQuestion(
            entry.question.question, tuple(chunk.chunk_id for chunk in chunks), str(entry.question.document), "golden"
        )
        for entry, chunks in found
        if chunks
    ]


def with_enough_held_out(questions: Sequence[EmbedderQuestion]) -> list[EmbedderQuestion]:
    """Return the questions, whole clusters of train moved to validation until enough are held out to see a gain.

    None goes the other way: what evaluation asks about is never trained on.
    """
    enough = min(ENOUGH_HELD_OUT, int(MAX_HELD_OUT * len(questions)))
    held_out = sum(question.split == "validation" for question in questions)
    sizes = Counter(question.cluster for question in questions if question.split == "train")
    moved: set[str] = set()
    for cluster in sorted(sizes, key=lambda name: sha256("held out", name)):
        if held_out + sizes[cluster] <= enough:
            held_out += sizes[cluster]
            moved.add(cluster)
    return [replace(question, split="validation") if question.cluster in moved else question for question in questions]


def mine_pairs(
    questions: Sequence[EmbedderQuestion],
    index: "Index",
    access: "AccessMap",
    *,
    audience: str,
    depth: int = CANDIDATES,
) -> Iterator[Pair]:
    """Find positives and hard negatives in a release; a question without a readable chunk is left out.

    For held-out questions full-text search chooses: what the index's own embedder picked, or left out, would measure
    that embedder and a tuned one by different standards.

    Args:
        questions: with the ids of their chunks.
        index: the release.
        access: who may read what, as of now.
        audience: the group whose documents may enter the weights.
        depth: how far down the results negatives are sought.
    """
    from tasks.index.search import Request
    from tasks.index.search.request import filters_of

    groups = TrainingGroups({audience})
    readable_ids = access.readable_ids(groups)
    rows = TrainableChunks(index, access, audience)
    rows.fetch([key for question in questions for key in question.relevant])
    for question in questions:
        readable = [key for key in dict.fromkeys(question.relevant) if key in rows.rows]
        if not readable:
            continue
        held_out = question.split != "train"
        mode: Mode | None = "full_text" if held_out else None
        request = Request(question.question, groups=groups, mode=mode, top_k=depth)
        passages = index.search(request, access)
        if held_out:
            positive, bound = next((p.chunk_id for p in passages if p.chunk_id in readable), readable[0]), math.inf
        else:
            positive, nearest = rows.nearest(readable, index.embedder.embed_questions([question.question])[0])
            bound = MAX_NEGATIVE_RATIO * nearest
        near = [passage.chunk_id for passage in passages if _is_negative(passage, question, bound)]
        rows.fetch(near)
        negatives = [rows.rows[key].text for key in near if key in rows.rows][:NEGATIVES_PER_QUESTION]
        text = rows.rows[positive].text
        different = tuple(negative for negative in negatives if negative.text != text.text)
        words = index.word_scores(request.question, filters_of(request, readable_ids)) if held_out else {}
        yield Pair(question.question, text, tuple(readable), different, question.split, words)


def _is_negative(passage: Passage, question: EmbedderQuestion, bound: float) -> bool:
    near = passage.similarity is not None and passage.similarity < bound
    return near and passage.chunk_id not in question.relevant


def write_pairs(pairs: Iterable[Pair], path: Path) -> int:
    """Write JSON lines whole or not at all; return the number of pairs."""
    return write_json_lines(path, pairs)


def read_pairs(path: Path) -> list[Pair]:
    """Read the pairs of a file.

    Raises:
        CorruptionError: it cannot be read, or a line is no pair.
    """
    try:
        with path.open(encoding="utf-8") as stream:
            return [_pair(json.loads(line)) for line in stream]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CorruptionError(f"{path} must hold one pair in JSON a line, found: {error}; make it anew") from error


def _pair(raw: dict[str, Any]) -> Pair:
    return Pair(
        question=raw["question"],
        positive=ChunkText(**raw["positive"]),
        relevant=tuple(raw["relevant"]),
        negatives=tuple(ChunkText(**negative) for negative in raw["negatives"]),
        split=raw["split"],
        words=raw["words"],
    )
