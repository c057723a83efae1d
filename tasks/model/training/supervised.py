"""The objective of the methods `lora`, `full` and `continual_pretraining`.

Likelihood of what is learnt, while replay anchors the model to what the base model says.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.answer.generators.transformers import TransformersGenerator
from tasks.corpus.document import sha256
from tasks.errors import ConfigurationError
from tasks.index.access import TrainingGroups, asker_groups
from tasks.model.examples.example import Example
from tasks.model.training.loss import Anchor, anchor, divergence, log_likelihood
from tasks.model.training.objective import ADAM_BETA2, Loss, Measurement, Share
from tasks.model.training.packing import PackedRow, rows_of
from tasks.model.training.schedule import TrainingSchedule, make_schedule
from tasks.model.training.sequences import TokenSequence, anchor_sequences, example_sequences, text_sequences
from tasks.params import Params
from tasks.use import may_train

if TYPE_CHECKING:
    import torch

REPLAY_WEIGHT = 1.0
"""Of one nat of divergence from the base model beside one nat of the answers' loss; set once, not searched."""
TOKENS_PER_ROW = 512
"""On a CPU longer rows gain nothing, and attention between sequences that do not see each other is waste."""
ACCELERATOR_TOKENS_PER_ROW = 16384
ANCHOR_TOKENS = 256
"""Longest sequence of replay: one goes with every step, so that short steps hold the model as often as long ones."""
MAX_PARAGRAPHS = 256
"""Paragraphs of the documents that the model is held to; more than a training has steps for are not read."""


@dataclass(frozen=True, slots=True)
class Supervised:
    """See `tasks.model.training.objective.Objective`.

    Attributes:
        plan: what each step learns.
        held_out: what the validation loss is measured on.
        anchors: chats of the replay; one of them goes with each process's share of a step, in turn.
        paragraphs: the same of the documents' own text, whose markup no chat holds.
    """

    plan: TrainingSchedule
    held_out: Sequence[TokenSequence] = ()
    anchors: Sequence[Anchor] = ()
    paragraphs: Sequence[Anchor] = ()
    tokens_per_row: int = TOKENS_PER_ROW
    replay_weight: float = REPLAY_WEIGHT
    adam_beta2: float = ADAM_BETA2

    @property
    def num_steps(self) -> int:
        """Optimiser steps."""
        return self.plan.num_steps

    def size(self, step: int) -> tuple[int, int]:
        """Return the tokens that the step computes and those that it learns, without anchors."""
        return self.plan.size(step)

    def losses(self, network: Any, step: int, share: Share) -> list[Loss]:
        """Return the mean over the step's learnt tokens, and the mean divergence of one anchor of each kind."""
        sequences = self.plan.step(step)
        num_learnt = sum(sequence.num_learnt for sequence in sequences)
        mine = rows_of(sequences[share.rank :: share.num_processes], max_tokens=self.tokens_per_row)
        scale = share.num_processes / num_learnt
        losses: list[Loss] = [partial(_answer_loss, network, row, scale) for row in mine]
        turn = step * share.num_processes + share.rank
        for anchors in filter(None, (self.anchors, self.paragraphs)):
            losses.append(partial(_anchor_loss, network, anchors[turn % len(anchors)], self.replay_weight))
        return losses

    def validation(self, network: Any, share: Share) -> list[Measurement]:
        """Return sum and count of the negative log-likelihoods of held-out tokens, a part a row."""
        mine = rows_of(self.held_out[share.rank :: share.num_processes], max_tokens=self.tokens_per_row)
        return [partial(_held_out_loss, network, row) for row in mine]


def _answer_loss(network: Any, row: PackedRow, scale: float) -> "torch.Tensor":
    return -log_likelihood(network, row).sum() * scale


def _held_out_loss(network: Any, row: PackedRow) -> tuple[float, float]:
    return -float(log_likelihood(network, row).sum()), float(len(row.targets))


def _anchor_loss(network: Any, kept: Anchor, weight: float) -> "torch.Tensor":
    return divergence(network, kept).mean() * weight


def make_supervised(
    examples: Sequence[Example],
    texts: Sequence[str] | None,
    base: TransformersGenerator,
    network: Any,
    params: Params,
) -> Supervised:
    """Return what `lora` and `full` learn of answers, or `continual_pretraining` of texts, with replay.

    Raises:
        ConfigurationError: nothing is to be learnt, or an example is too long.
    """
    plan, held_out = make_plan(examples, texts, base, params)
    chats, paragraphs = anchor_rows(examples, texts, base, params, num_steps=plan.num_steps)
    return Supervised(
        plan,
        held_out,
        [anchor(network, row) for row in chats],
        [anchor(network, row) for row in paragraphs],
        TOKENS_PER_ROW if network.device.type == "cpu" else ACCELERATOR_TOKENS_PER_ROW,
    )


def anchor_rows(
    examples: Sequence[Example],
    texts: Sequence[str] | None,
    base: TransformersGenerator,
    params: Params,
    *,
    num_steps: int,
) -> tuple[list[PackedRow], list[PackedRow]]:
    """Return the chats of the replay and the documents' paragraphs that hold the model; a step takes one of each."""
    longest = min(params.fine_tuning.max_length, ANCHOR_TOKENS)
    replay = [example for example in examples if not example.is_learnt and example.split == "train"]
    chats = anchor_sequences(replay, base, max_tokens=longest) if replay else []
    paragraphs = text_sequences(anchor_paragraphs(examples), base, max_tokens=longest) if texts is None else []
    return (
        list(rows_of(chats, max_tokens=ANCHOR_TOKENS)),
        list(rows_of(paragraphs[:num_steps], max_tokens=ANCHOR_TOKENS)),
    )


def make_plan(
    examples: Sequence[Example], texts: Sequence[str] | None, base: TransformersGenerator, params: Params
) -> tuple[TrainingSchedule, list[TokenSequence]]:
    """Return what is learnt step by step, and what is held out.

    Raises:
        ConfigurationError: nothing is to be learnt, or an example is too long.
    """
    longest = params.fine_tuning.max_length
    if texts is None:
        learnt, held_out = _answer_sequences(examples, base, longest)
    else:
        learnt, held_out = _text_sequences(texts, base, longest, params.examples.validation_fraction)
    if not learnt:
        raise ConfigurationError("training needs at least one train example, found none; add examples")
    return make_schedule(learnt, params.fine_tuning), held_out


def anchor_paragraphs(examples: Iterable[Example], *, count: int = MAX_PARAGRAPHS) -> list[str]:
    """Return texts of the passages that training reads, one of each document before a second of any.

    Answers of a few words are learnt over text that is read and never predicted: without these the model drifts from
    what it says of documentation, with its code and markup, while it stays at prose (docs/experiments.md).
    """
    by_document: defaultdict[str, list[str]] = defaultdict(list)
    shown = (passage for example in examples if example.split == "train" for passage in example.passages)
    for text, document in sorted({(passage.text, passage.document_id) for passage in shown}, key=_paragraph_order):
        by_document[document].append(text)
    ranked = sorted(
        (rank, sha256(document), text) for document, texts in by_document.items() for rank, text in enumerate(texts)
    )
    return [text for _, _, text in ranked[:count]]


def _paragraph_order(paragraph: tuple[str, str]) -> str:
    return sha256("paragraph", *paragraph)


def readable_texts(documents: Path, audience: str) -> list[str]:
    """Return the texts of a Parquet file of documents that the audience may read, in order of the identifiers."""
    import pyarrow.parquet as pq

    table = pq.read_table(documents, columns=["document_id", "text", "access"])
    rows = sorted(table.to_pylist(), key=lambda row: str(row["document_id"]))
    readers = asker_groups(TrainingGroups({audience}))
    return [str(row["text"]) for row in rows if readers & set(row["access"]) and may_train(row["access"])]


def _answer_sequences(
    examples: Sequence[Example], base: TransformersGenerator, longest: int
) -> tuple[list[TokenSequence], list[TokenSequence]]:
    taught = [example for example in examples if example.is_learnt]
    learnt, held_out = (
        example_sequences((e for e in taught if e.split == split), base, max_tokens=longest)
        for split in ("train", "validation")
    )
    return learnt, held_out


def _text_sequences(
    texts: Sequence[str], base: TransformersGenerator, longest: int, validation_fraction: float
) -> tuple[list[TokenSequence], list[TokenSequence]]:
    """Hold documents out whole, by a digest of their text, so that growth of the corpus moves none."""
    held_out = [text for text in texts if _fraction(text) < validation_fraction]
    learnt = [text for text in texts if _fraction(text) >= validation_fraction]
    return (
        text_sequences(learnt, base, max_tokens=longest),
        text_sequences(held_out, base, max_tokens=longest),
    )


def _fraction(text: str) -> float:
    return int(hashlib.sha256(text.encode()).hexdigest()[:8], 16) / 2**32
