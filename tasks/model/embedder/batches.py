"""Batches for contrastive training: the other chunks of a batch are a question's negatives. Standard library alone.

Batches are filled document by document, so that neighbours of a chunk, which are hard to tell from it, are among them.
"""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from tasks.model.embedder.chunks import ChunkText
from tasks.model.embedder.pairs import Pair


@dataclass(frozen=True, slots=True)
class Batch:
    """Questions with the chunks that they choose from.

    Attributes:
        chunks: each text once, so that two questions on one chunk do not push it away from each other.
        targets: for each question the place of its chunk.
        also_relevant: (question, chunk) places that answer too and count neither for nor against.
    """

    questions: tuple[str, ...]
    chunks: tuple[ChunkText, ...]
    targets: tuple[int, ...]
    also_relevant: tuple[tuple[int, int], ...]


def num_batches(num_pairs: int, size: int) -> int:
    """Return the number of batches of an epoch, which are as even as can be."""
    return -(-num_pairs // size)


def step_batch(pairs: Sequence[Pair], *, size: int, seed: int, step: int) -> Batch:
    """Return the batch of a step; the same for the same arguments, and each epoch holds each pair once.

    Args:
        pairs: of the train split.
        size: questions in a batch, at most.
        seed: of the order.
        step: from 0; each epoch takes the next hard negative of a pair.
    """
    count = num_batches(len(pairs), size)
    epoch, turn = divmod(step, count)
    order = list(range(count))
    random.Random(f"{seed}:{epoch}:order").shuffle(order)  # noqa: S311
    ordered = _by_document(pairs, random.Random(f"{seed}:{epoch}"))  # noqa: S311
    place = order[turn]
    return _batch(ordered[len(pairs) * place // count : len(pairs) * (place + 1) // count], epoch)


def _by_document(pairs: Sequence[Pair], chance: random.Random) -> list[Pair]:
    groups: dict[str, list[Pair]] = {}
    for pair in pairs:
        groups.setdefault(pair.positive.group, []).append(pair)
    shuffled = list(groups.values())
    chance.shuffle(shuffled)
    for group in shuffled:
        chance.shuffle(group)
    return [pair for group in shuffled for pair in group]


def _batch(pairs: Sequence[Pair], epoch: int) -> Batch:
    negatives = [pair.negatives[epoch % len(pair.negatives)] for pair in pairs if pair.negatives]
    chunks = {chunk.text: chunk for chunk in (*(pair.positive for pair in pairs), *negatives)}
    places = {text: place for place, text in enumerate(chunks)}
    return Batch(
        questions=tuple(pair.question for pair in pairs),
        chunks=tuple(chunks.values()),
        targets=tuple(places[pair.positive.text] for pair in pairs),
        also_relevant=tuple(_also_relevant(pairs, chunks, places)),
    )


def _also_relevant(
    pairs: Sequence[Pair], chunks: Mapping[str, ChunkText], places: Mapping[str, int]
) -> Iterator[tuple[int, int]]:
    same = {pair.question: set[str]() for pair in pairs}
    for pair in pairs:
        same[pair.question] |= {*pair.relevant, pair.positive.key}
    for number, pair in enumerate(pairs):
        for text, chunk in chunks.items():
            if text != pair.positive.text and chunk.key in same[pair.question]:
                yield number, places[text]
