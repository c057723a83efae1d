"""Tuning the embedder beside sentence-transformers' `SentenceTransformerTrainer` at its best, in one run.

    OMP_NUM_THREADS=1 python -m benchmarks.training_embedder --pairs FILE --steps 3

The same model, pairs with one hard negative each, number of pairs a step, optimiser and schedule. Theirs: multiple
negatives ranking loss in float32, in bfloat16, and in bfloat16 with batches of texts of like length; what its tokenizer
costs is taken off, as if its ids were cached as ours are. The held-out loss is the same formula for both, over the
validation pairs, before and after. CPU seconds are what counts on a machine that does other things too.
"""

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from tasks.index.embedding.embedder import TorchEmbedder, load_network
from tasks.index.embedding.files import find_model
from tasks.model.embedder.contrastive import SCALE, Contrastive, tokenize
from tasks.model.embedder.pairs import Pair, read_pairs
from tasks.model.embedder.questions import questions_of
from tasks.model.training.objective import Share
from tasks.model.training.schedule import LEARNING_RATE_FLOOR
from tasks.model.training.trainer import Trainer, make_accelerator
from tasks.params import load_params
from tasks.settings import Settings, quiet_environment

PAIRS_PER_STEP = 32
NUM_HELD_OUT = 64
LEARNING_RATE = 3e-5
MAX_LENGTH = 256
THEIR_ARMS = {
    "float32": {"bf16": False, "grouped": False},
    "bfloat16": {"bf16": True, "grouped": False},
    "bfloat16, like lengths together": {"bf16": True, "grouped": True},
}


class LastWeights(Contrastive):
    """Keeps the weights of the last step: nothing is held out that would choose others."""

    __slots__ = ()

    def validation(self, network: Any, share: Share) -> tuple[float, float]:  # noqa: ARG002
        """Return that nothing is held out."""
        return 0.0, 0.0


Embed = Callable[[Sequence[str]], Any]


@dataclass(frozen=True, slots=True)
class Bench:
    """What all arms have in common."""

    train: list[Pair]
    held_out: list[Pair]
    num_tokens: int
    settings: Settings

    def all(self) -> Iterator[tuple[str, Callable[[str], str]]]:
        """Yield each arm's name and what measures it."""
        yield "ours", self.ours
        for name, options in THEIR_ARMS.items():
            yield f"sentence-transformers, {name}", partial(self.theirs, **options)

    def ours(self, name: str) -> str:
        """Measure `Contrastive` in our trainer."""
        params = load_params(self.settings.params)
        changes = {
            "learning_rate": LEARNING_RATE,
            "num_train_epochs": 1,
            "max_steps": None,
            "per_device_train_batch_size": PAIRS_PER_STEP,
            "max_length": MAX_LENGTH,
            "eval_steps": 10**6,
            "save_steps": 10**6,
        }
        tuning = params.fine_tuning.model_copy(update=changes)
        files = find_model(params.embedding.model, self.settings)
        network, run = load_network(files, params.embedding.model, self.settings.device)
        tokens_per_batch = params.embedding.tokens_per_batch
        embedder = TorchEmbedder(
            files, "benchmark", network, run, tokens_per_batch=tokens_per_batch, num_threads=self.settings.num_threads
        )
        objective = LastWeights(
            pairs=self.train,
            tokens=tokenize(self.train, files, max_length=MAX_LENGTH),
            files=files,
            run=run,
            embedder=embedder,
            selection=questions_of(self.held_out[:1], max_chunks=2),
            params=tuning,
            tokens_per_batch=tokens_per_batch,
        )
        before = self.held_out_loss(embedder.embed)
        with TemporaryDirectory() as folder:
            accelerator = make_accelerator(tuning, self.settings)
            trainer = Trainer(objective, network, tuning, folder=Path(folder), key="benchmark", accelerator=accelerator)
            seconds = timed(trainer.run)
        return self.row(name, seconds, before, self.held_out_loss(embedder.embed))

    def theirs(self, name: str, *, bf16: bool, grouped: bool) -> str:
        """Measure `SentenceTransformerTrainer`."""
        from datasets import Dataset
        from sentence_transformers import (
            SentenceTransformer,
            SentenceTransformerTrainer,
            SentenceTransformerTrainingArguments,
        )
        from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

        params = load_params(self.settings.params)
        model = SentenceTransformer(str(find_model(params.embedding.model, self.settings).folder), device="cpu")
        model.max_seq_length = MAX_LENGTH
        embed = partial(model.encode, normalize_embeddings=True, show_progress_bar=False)
        before = self.held_out_loss(embed)
        rows = [
            {"anchor": pair.question, "positive": pair.positive.text, "negative": pair.negatives[0].text}
            for pair in self.train
        ]
        tokenizing = timed(lambda: [model.tokenizer(list(row.values())) for row in rows])
        with TemporaryDirectory() as folder:
            arguments = SentenceTransformerTrainingArguments(
                output_dir=folder,
                num_train_epochs=1,
                per_device_train_batch_size=PAIRS_PER_STEP,
                learning_rate=LEARNING_RATE,
                lr_scheduler_type="cosine_with_min_lr",
                lr_scheduler_kwargs={"min_lr_rate": LEARNING_RATE_FLOOR},
                bf16=bf16,
                use_cpu=True,
                batch_sampler=like_lengths if grouped else "no_duplicates",
                save_strategy="no",
                report_to="none",
                disable_tqdm=True,
            )
            trainer = SentenceTransformerTrainer(
                model=model,
                args=arguments,
                train_dataset=Dataset.from_list(sorted(rows, key=lambda row: len(row["positive"] + row["negative"]))),
                loss=MultipleNegativesRankingLoss(model, scale=SCALE),
            )
            seconds = timed(trainer.train)
        return self.row(name, seconds - tokenizing, before, self.held_out_loss(embed))

    def held_out_loss(self, embed: Embed) -> float:
        """Return the mean cross entropy of each held-out question over all held-out chunks."""
        questions = np.asarray(embed([pair.question for pair in self.held_out]))
        chunks = np.asarray(embed([pair.positive.text for pair in self.held_out]))
        logits = SCALE * questions @ chunks.T
        shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
        return float(-np.log(np.diag(shifted) / shifted.sum(axis=1)).mean())

    def row(self, name: str, seconds: float, before: float, after: float) -> str:
        """Return a row of Markdown."""
        return (
            f"| {name} | {self.num_tokens / seconds:.0f} | {len(self.train) / seconds:.1f} | {seconds:.1f} | "
            f"{before:.3f} to {after:.3f} |"
        )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--arms", nargs="*", default=[""], help="parts of the names of the arms to measure")
    arguments = parser.parse_args()
    quiet_environment()
    settings = Settings()
    files = find_model(load_params(settings.params).embedding.model, settings)
    train = one_question_a_chunk(read_pairs(arguments.pairs), "train")[: arguments.steps * PAIRS_PER_STEP]
    tokens = tokenize(train, files, max_length=MAX_LENGTH)
    num_tokens = sum(
        len(tokens[text]) for pair in train for text in (pair.question, pair.positive.text, pair.negatives[0].text)
    )
    held_out = one_question_a_chunk(read_pairs(arguments.pairs), "validation")[:NUM_HELD_OUT]
    bench = Bench(train, held_out, num_tokens, settings)
    print("| arm | tokens / CPU second | pairs / CPU second | CPU seconds | held-out loss |")
    print("|---|---|---|---|---|")
    for name, measure in bench.all():
        if any(part in name for part in arguments.arms):
            print(measure(name), flush=True)


def one_question_a_chunk(pairs: Sequence[Pair], split: str) -> list[Pair]:
    """Return pairs with a negative, no chunk twice, so that both trainers learn the same from a batch."""
    once = {
        pair.positive.text: replace(pair, negatives=pair.negatives[:1])
        for pair in pairs
        if pair.split == split and pair.negatives
    }
    return list(once.values())


def like_lengths(dataset: Any, batch_size: int, drop_last: bool, **_: Any) -> Any:
    """Return a sampler of batches in the order of the rows, which are sorted by length."""
    from sentence_transformers.base.sampler import DefaultBatchSampler
    from torch.utils.data import SequentialSampler

    return DefaultBatchSampler(SequentialSampler(dataset), batch_size=batch_size, drop_last=drop_last)


def timed(work: Callable[[], Any]) -> float:
    """Return CPU seconds."""
    started = time.process_time()
    work()
    return time.process_time() - started


if __name__ == "__main__":
    main()
