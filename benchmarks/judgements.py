"""Collections with relevance judgements: documents, questions, and which documents answer which question.

Knows the forms of the public sets and nothing of indexes.
"""

import csv
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.data import bench_file

REPORTED = {"scifact": ("test",), "cranfield": ("all", "even"), "squad": ("all",)}
"""Subsets to report. Defaults were tuned on scifact's `train` and cranfield's `odd` questions; squad was kept out."""

TUNED = {"scifact": ("train",), "cranfield": ("odd",), "squad": ()}

Grades = dict[str, dict[str, int]]
"""Grade by document id, by question id."""


@dataclass(frozen=True, slots=True)
class Judged:
    """Questions of one subset that have a relevant document."""

    subset: str
    questions: Mapping[str, str]
    grades: Grades


def load_judged(name: str, subset: str) -> Judged:
    """Questions and grades of `scifact` (test, train), `cranfield` (all, even, odd) or `squad` (all)."""
    corpus = bench_file(f"{name}/corpus.jsonl")
    if corpus is None:
        raise SystemExit(f"{name} must be at hand; set ALMANAC_BENCH_DIR to the folder that holds it")
    questions, grades = _squad(corpus.parent) if name == "squad" else _beir(corpus.parent, subset)
    if subset in ("even", "odd"):
        grades = {key: grade for key, grade in grades.items() if int(key) % 2 == (subset == "odd")}
    return Judged(subset, {key: questions[key] for key in grades}, grades)


def _beir(folder: Path, subset: str) -> tuple[dict[str, str], Grades]:
    suffix = "_train" if subset == "train" else ""
    questions = {row["_id"]: row["text"] for row in _json_lines(folder / f"queries{suffix}.jsonl")}
    grades: Grades = {}
    with (folder / f"qrels{suffix}.tsv").open(encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines, delimiter="\t"):
            if int(row["score"]) > 0:
                grades.setdefault(row["query-id"], {})[row["corpus-id"]] = int(row["score"])
    return questions, grades


def _squad(folder: Path) -> tuple[dict[str, str], Grades]:
    rows = [row for row in _json_lines(folder / "qa.jsonl") if row["answerable"]]
    grades = {row["id"]: dict.fromkeys(row["context_ids"], 1) for row in rows}
    return {row["id"]: row["question"] for row in rows}, grades


def _json_lines(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as lines:
        yield from map(json.loads, lines)
