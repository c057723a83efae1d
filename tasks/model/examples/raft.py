"""From a question with its support to an example: passages as the answerer will read them, shuffled, with markers.

RAFT (Zhang et al. 2024, arXiv:2403.10131): support among distractors that retrieval really returns, and a share of
questions with the support left out, whose answer is the abstention. Knows neither where a question came from nor who
may read what: its passages come from `tasks.model.examples.release_data`.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from tasks.answer.draft import cited_numbers, without_markers
from tasks.answer.prompt import NOT_FOUND, fit_passage
from tasks.answer.support import support
from tasks.answer.words import terms
from tasks.corpus.document import sha256
from tasks.index.passage import Passage
from tasks.model.examples.example import Example, ExamplePassage, Origin, example_id
from tasks.model.examples.release_data import ReleaseData
from tasks.model.examples.splits import Split, Splits, hashed_share
from tasks.model.examples.synthetic import holds_span
from tasks.params import Params

MIN_SUPPORT = 0.6
"""From this share of an answer's content on, a passage may hold the answer, and is no distractor."""
_MIN_CANDIDATES = 12


@dataclass(frozen=True, slots=True)
class Seed:
    """What an example grows from.

    Attributes:
        answer: without markers; None: the documents hold none.
        support: whole chunks that hold the answer.
        anchor: words that a supporting passage must hold; None: the answer itself.
        near: passages that the answerer read with this question, taken before others as distractors.
        rejected: an answer that was rated down; its markers count the passages of `near`.
    """

    question: str
    answer: str | None
    support: tuple[Passage, ...]
    anchor: str | None
    origin: Origin
    how: str
    topic: str
    cluster: str
    split: Split
    near: tuple[Passage, ...] = ()
    rejected: str | None = None


class Raft:
    """Makes examples from seeds; deterministic, and no example depends on another."""

    def __init__(
        self, release: ReleaseData, splits: Splits, params: Params, count_tokens: Callable[[str], int]
    ) -> None:
        """Take passages from `release`; `count_tokens` is the answerer's."""
        self._release, self._splits = release, splits
        self._examples, self._generation = params.examples, params.generation
        self._max_passages = min(params.examples.num_passages, params.generation.num_passages)
        self._count_tokens = lru_cache(maxsize=100_000)(count_tokens)
        self._num_candidates = min(params.search.candidates, max(_MIN_CANDIDATES, 4 * self._max_passages))
        self._random: list[Passage] = []

    def use_at_random(self, passages: Sequence[Passage]) -> None:
        """Draw random distractors from these passages."""
        self._random = list(passages)

    def with_support(self, seed: Seed) -> Example | None:
        """Return a seed's example; None where no passage holds the answer once it is cut to what the answerer reads."""
        if seed.answer is None:
            return self.without_support(seed)
        supporting = [self._trimmed(passage, seed.question) for passage in seed.support]
        supporting = [passage for passage in supporting if _holds(passage, seed)][: self._max_passages]
        if not supporting:
            return None
        others = list(self._distractors(seed, self._max_passages - len(supporting)))
        shown = self._shuffled(seed, [*supporting, *others])
        numbers = tuple(
            number for number, passage in enumerate(shown, start=1) if any(passage is own for own in supporting)
        )
        cited = "".join(f"[{number}]" for number in numbers)
        return self._example(seed, shown, f"{seed.answer.rstrip('. ')} {cited}", numbers)

    def without_support(self, seed: Seed) -> Example | None:
        """Return the same question over passages none of which holds the answer; None where there are no such."""
        # A golden answer is in somebody's own words: its document may say it elsewhere in others.
        own = () if seed.origin in ("synthetic", "teacher") else {passage.document_id for passage in seed.support}
        shown = self._shuffled(seed, list(self._distractors(seed, self._max_passages, without=own)))
        return self._example(seed, shown, NOT_FOUND, ()) if shown else None

    def _distractors(self, seed: Seed, count: int, without: Collection[str] = ()) -> Iterator[Passage]:
        """Yield passages that do not hold the answer, of the split's documents but `without`, each chunk once."""
        taken = {passage.chunk_id for passage in seed.support}
        for passage in self._candidates(seed):
            if count <= 0:
                return
            if passage.chunk_id in taken or passage.document_id in without:
                continue
            if not self._splits.may_show(passage.document_id, seed.split):
                continue
            taken.add(passage.chunk_id)
            if seed.answer is None or not _may_hold(passage, seed):
                count -= 1
                yield self._trimmed(passage, seed.question)

    def _candidates(self, seed: Seed) -> Iterator[Passage]:
        yield from seed.near
        seeded = str(self._examples.seed)
        if hashed_share(seeded, "random", seed.question) < self._examples.random_distractor_fraction:
            start = int(hashed_share(seeded, "start", seed.question) * len(self._random))
            yield from self._random[start : start + self._num_candidates]
        yield from self._release.search(seed.question, self._num_candidates)

    def _trimmed(self, passage: Passage, question: str) -> Passage:
        part = fit_passage(passage, question, self._count_tokens, max_tokens=self._generation.max_passage_tokens)
        return replace(passage, text=passage.text[part.start : part.end])

    def _shuffled(self, seed: Seed, passages: list[Passage]) -> list[Passage]:
        return sorted(passages, key=lambda passage: sha256(str(self._examples.seed), seed.question, passage.chunk_id))

    def _example(self, seed: Seed, shown: Sequence[Passage], answer: str, numbers: tuple[int, ...]) -> Example:
        passages = tuple(
            ExamplePassage(passage.chunk_id, passage.document_id, passage.title, passage.text) for passage in shown
        )
        return Example(
            example_id=example_id(seed.question, passages, answer),
            question=seed.question,
            passages=passages,
            answer=answer,
            rejected=_rejected(seed, shown),
            support=numbers,
            origin=seed.origin,
            how=seed.how if numbers or seed.answer is None else f"{seed.how}, support left out",
            topic=seed.topic,
            corpus=self._release.corpus,
            cluster=seed.cluster,
            split=seed.split,
        )


def _holds(passage: Passage, seed: Seed) -> bool:
    """Return whether a supporting passage, cut to size, still holds the answer."""
    if seed.anchor is not None and seed.anchor not in passage.text:
        return False
    return seed.anchor is not None or _may_hold(passage, seed)


def _may_hold(passage: Passage, seed: Seed) -> bool:
    """Return whether a passage may hold the answer: its words in a row, the anchor, or most of its content."""
    answer = seed.answer or ""
    if holds_span(passage.text, answer) or (seed.anchor is not None and seed.anchor in passage.text):
        return True
    return support(terms(answer), passage, terms(seed.question)).score >= MIN_SUPPORT


def _rejected(seed: Seed, shown: Sequence[Passage]) -> str | None:
    """Return the rejected answer, its markers renumbered to the passages that are shown; others are dropped."""
    if seed.rejected is None:
        return None
    places = {passage.chunk_id: number for number, passage in enumerate(shown, start=1)}
    cited = [seed.near[marker - 1].chunk_id for marker in cited_numbers(seed.rejected) if marker <= len(seed.near)]
    numbers = [places[chunk_id] for chunk_id in cited if chunk_id in places]
    return " ".join(filter(None, (without_markers(seed.rejected).rstrip("."), "".join(f"[{n}]" for n in numbers))))
