"""Pairs of questions and chunks about made-up topics."""

from typing import Any

from tasks.model.embedder.chunks import ChunkText
from tasks.model.embedder.pairs import Pair

TOPICS = [
    "ledger", "pager", "cluster", "backup", "invoice", "turbine", "harbour", "orchard",
    "glacier", "violin", "compiler", "vaccine", "railway", "beehive", "kiln", "lighthouse",
]  # fmt: skip


def chunk(topic: str, part: int = 0) -> ChunkText:
    return ChunkText(f"{topic}-{part}", f"notes:{topic}", f"The {topic} is checked on weekday {part} by its warden.")


def pair(topic: str, split: str = "train", **changes: Any) -> Pair:
    values = {
        "question": f"Who checks the {topic}?",
        "positive": chunk(topic),
        "relevant": (f"{topic}-0",),
        "negatives": (chunk(topic, 1), chunk(topic, 2)),
        "split": split,
    }
    return Pair(**(values | changes))


def some_pairs() -> list[Pair]:
    train = [pair(topic) for topic in TOPICS]
    held = [pair(f"old {topic}", "validation") for topic in TOPICS[:12]]
    return train + held
