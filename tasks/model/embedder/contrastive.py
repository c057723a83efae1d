"""The objective of the method `embedder`: a question's vector nearer to its chunk's than to the batch's other chunks.

Oord, Li, Vinyals, "Representation Learning with Contrastive Predictive Coding", 2018 (the loss over a batch).

Why not sentence-transformers' trainer: it does 592 tokens a CPU second where this does 890 to 976, at no lower loss
(2026-11-27, docs/experiments.md).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from tasks.device import fastest_dtype
from tasks.index.embedding.embedder import Run, TokenIds, TorchEmbedder, batches, pooled
from tasks.index.embedding.files import ModelFiles, tokenizer_of
from tasks.model.embedder.batches import Batch, num_batches, step_batch
from tasks.model.embedder.pairs import Pair
from tasks.model.embedder.questions import Questions
from tasks.model.embedder.ranking import cross_entropies
from tasks.model.training.objective import Loss, Measurement, Share
from tasks.params.fine_tuning import FineTuningParams

if TYPE_CHECKING:
    import torch

SCALE = 20.0
"""Cosines are multiplied by this before the softmax."""


@dataclass(frozen=True, slots=True)
class Contrastive:
    """See `tasks.model.training.objective.Objective`; trains in one process.

    Attributes:
        pairs: of the train split.
        tokens: token ids of every text of the pairs, cut to `max_length`.
        files, run: of the network that is trained; see `tasks.index.embedding.embedder`.
        embedder: the same network as the index would use it, on which the validation loss is measured.
        selection: held-out questions that choose the step.
        tokens_per_batch: of a slice that fits the processor's cache.
    """

    pairs: Sequence[Pair]
    tokens: Mapping[str, TokenIds]
    files: ModelFiles
    run: Run
    embedder: TorchEmbedder
    selection: Questions
    params: FineTuningParams
    tokens_per_batch: int
    adam_beta2: float = 0.999

    @property
    def num_steps(self) -> int:
        """Optimiser steps."""
        params = self.params
        needed = math.ceil(params.num_train_epochs * num_batches(len(self.pairs), params.per_device_train_batch_size))
        return needed if params.max_steps is None else min(needed, params.max_steps)

    def size(self, step: int) -> tuple[int, int]:
        """Return the tokens of the step's texts, all of which are learnt from."""
        num_tokens = sum(len(self.tokens[text]) for text in texts_of(self._batch(step)))
        return num_tokens, num_tokens

    def losses(self, network: Any, step: int, share: Share) -> list[Loss]:  # noqa: ARG002
        """Return the one part: cross entropy of each question over the batch's chunks."""
        return [partial(self._loss, network, self._batch(step))]

    def validation(self, network: Any, share: Share) -> list[Measurement]:  # noqa: ARG002
        """Return the one part: the same loss of held-out questions, each over the whole pool.

        Smooth, where ranks jump: a few questions can choose a step by it.
        """
        return [self._held_out_loss]

    def _held_out_loss(self) -> tuple[float, float]:
        losses = cross_entropies(SCALE * self.selection.scores(self.embedder), self.selection.relevant)
        return float(losses.sum()), float(len(losses))

    def _batch(self, step: int) -> Batch:
        size, seed = self.params.per_device_train_batch_size, self.params.seed
        return step_batch(self.pairs, size=size, seed=seed, step=step)

    def _loss(self, network: Any, batch: Batch) -> "torch.Tensor":
        import torch

        vectors = self._vectors(network, texts_of(batch))
        num_questions = len(batch.questions)
        logits = SCALE * vectors[:num_questions] @ vectors[num_questions:].T
        ignored = torch.zeros_like(logits, dtype=torch.bool)
        for question, chunk in batch.also_relevant:
            ignored[question, chunk] = True
        targets = torch.tensor(batch.targets, device=logits.device)
        return torch.nn.functional.cross_entropy(logits.masked_fill(ignored, float("-inf")), targets)

    def _vectors(self, network: Any, texts: Sequence[str]) -> "torch.Tensor":
        """Return unit vectors `(len(texts), dim)` with their gradients, computed in slices of like lengths."""
        import torch

        device = next(network.parameters()).device
        tokens = [self.tokens[text] for text in texts]
        slices = list(batches([len(ids) for ids in tokens], self.tokens_per_batch))
        enabled = fastest_dtype(device.type) == torch.bfloat16
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=enabled):
            vectors = [
                pooled(self.run(network, [tokens[n] for n in part], device), self.files.pooling) for part in slices
            ]
        order = torch.tensor([place for part in slices for place in part], device=device).argsort()
        return torch.nn.functional.normalize(torch.cat(vectors).float()[order], dim=1)


def texts_of(batch: Batch) -> list[str]:
    """Return the questions of a batch, then its chunks."""
    return [*batch.questions, *(chunk.text for chunk in batch.chunks)]


def tokenize(pairs: Sequence[Pair], files: ModelFiles, *, max_length: int) -> dict[str, TokenIds]:
    """Return the token ids of every text of the pairs, cut to what the model and `max_length` allow."""
    read = {chunk.text: files.document_prefix for pair in pairs for chunk in (pair.positive, *pair.negatives)}
    read |= {pair.question: files.query_prefix for pair in pairs}
    ordered = sorted(read)
    tokenizer = tokenizer_of(files)
    tokenizer.enable_truncation(min(files.max_tokens, max_length))
    encodings = tokenizer.encode_batch_fast([read[text] + text for text in ordered])
    return {text: np.array(entry.ids, dtype=np.int32) for text, entry in zip(ordered, encodings, strict=True)}
