"""The index gate: is the candidate whole, and does it find at least what the live release finds?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tasks.bootstrap import Interval, paired_difference
from tasks.index.access import AccessMap
from tasks.index.golden import GoldenQuestion, Located, support_rank
from tasks.index.lance_errors import lance_errors
from tasks.index.search import Index, Request
from tasks.params import IndexGateParams

if TYPE_CHECKING:
    from lancedb.table import LanceTable

UNIT_TOLERANCE = 1e-3
ROWS_PER_BATCH = 8192


@dataclass(frozen=True, slots=True)
class IndexGateReport:
    """What the gate found.

    Attributes:
        reasons: why the candidate is refused; empty: it passed.
        metrics: `recall_at_k`, `mrr_at_k` of the candidate, with `live_` and `difference_` beside where compared.
        lost: ids of the golden questions that the live release answers and the candidate does not.
        gained: the reverse.
        missing: golden questions whose support is not in the corpus, with the reason.
    """

    passed: bool
    reasons: tuple[str, ...]
    metrics: Mapping[str, float]
    lost: tuple[str, ...]
    gained: tuple[str, ...]
    missing: tuple[tuple[str, str], ...]


@lance_errors("the candidate")
def check_integrity(table: "LanceTable", *, documents: Sequence[str], embedder: str) -> list[str]:
    """Return what is wrong with a candidate version; empty: nothing.

    Each document of the corpus has its chunks and no other document has any, ids are distinct, vectors are finite
    and of unit length, one embedder made them all, and every index covers every row.
    """
    problems: list[str] = []
    ids: list[pa.Array] = []
    owners: set[str] = set()
    embedders: set[str] = set()
    bad_vectors = 0
    columns = ["chunk_id", "document_id", "embedder", "vector"]
    for batch in table.to_lance().to_batches(columns=columns, batch_size=ROWS_PER_BATCH):
        ids.append(batch["chunk_id"])
        owners.update(pc.unique(batch["document_id"]).to_pylist())
        embedders.update(pc.unique(batch["embedder"]).to_pylist())
        bad_vectors += _count_bad(batch["vector"])
    num_rows = sum(len(array) for array in ids)
    num_distinct = len(pc.unique(pa.chunked_array(ids, pa.string())))
    if num_distinct != num_rows:
        problems.append(f"chunk ids must be distinct, found {num_rows} rows with {num_distinct} ids")
    if bad_vectors:
        problems.append(f"vectors must be finite and of unit length, found {bad_vectors} that are not")
    if embedders - {embedder}:
        problems.append(f"one embedder must have made all vectors, found also {sorted(embedders - {embedder})[:3]}")
    problems.extend(_ownership(set(documents), owners))
    problems.extend(_uncovered(table))
    return problems


def _count_bad(vectors: pa.Array) -> int:
    values = np.asarray(vectors.flatten()).reshape(len(vectors), -1)
    norms = np.linalg.norm(values, axis=1)
    return int(np.count_nonzero(~(np.abs(norms - 1.0) <= UNIT_TOLERANCE)))


def _ownership(documents: set[str], owners: set[str]) -> list[str]:
    problems = []
    if without := sorted(documents - owners):
        problems.append(f"each document must have chunks, found {len(without)} without: {', '.join(without[:3])}")
    if orphans := sorted(owners - documents):
        problems.append(f"each chunk must have its document, found {len(orphans)} orphans: {', '.join(orphans[:3])}")
    return problems


def _uncovered(table: "LanceTable") -> list[str]:
    problems = []
    for index in table.list_indices():
        statistics = table.index_stats(index.name)
        if statistics is not None and statistics.num_unindexed_rows:
            rows = statistics.num_unindexed_rows
            problems.append(f"index {index.name} must cover every row, found {rows} that it does not")
    return problems


def compare_retrieval(
    candidate: Index,
    live: Index | None,
    located: Sequence[Located],
    missing: Sequence[tuple[GoldenQuestion, str]],
    access: AccessMap,
    params: IndexGateParams,
) -> IndexGateReport:
    """Ask the golden questions of both indexes and refuse a candidate that is worse beyond the tolerance.

    Worse: the mean difference in recall at k is below minus the tolerance and its paired bootstrap interval excludes
    zero. Without a live release, recall at k must reach `min_recall_at_k`.
    """
    gone = tuple((question.id, reason) for question, reason in missing)
    if not located:
        return IndexGateReport(True, (), {"golden_questions": 0.0, "golden_missing": float(len(gone))}, (), (), gone)
    new = _ranks(candidate, located, access, params.k)
    old = _ranks(live, located, access, params.k) if live is not None else None
    metrics = {"golden_questions": float(len(located)), "golden_missing": float(len(gone)), **_quality(new, "")}
    if old is None:
        reasons = _floor(metrics["recall_at_k"], params)
        return IndexGateReport(not reasons, tuple(reasons), metrics, (), (), gone)
    difference = paired_difference(
        [rank is not None for rank in new],
        [rank is not None for rank in old],
        confidence=params.confidence,
        num_resamples=params.num_resamples,
    )
    metrics |= _quality(old, "live_") | _interval(difference)
    lost = _ids(located, old, new)
    reasons = _worse(difference, lost, params)
    return IndexGateReport(not reasons, tuple(reasons), metrics, lost, _ids(located, new, old), gone)


def _ranks(index: Index, located: Sequence[Located], access: AccessMap, k: int) -> list[int | None]:
    """Asked by one who may read everything: the gate measures the index, not the asker."""
    everyone = frozenset().union(*access.sets.values())
    return [
        support_rank(entry, index.search(Request(entry.question.question, groups=everyone, top_k=k), access))
        for entry in located
    ]


def _quality(ranks: Sequence[int | None], prefix: str) -> dict[str, float]:
    return {
        f"{prefix}recall_at_k": sum(rank is not None for rank in ranks) / len(ranks),
        f"{prefix}mrr_at_k": sum(1 / rank for rank in ranks if rank is not None) / len(ranks),
    }


def _interval(difference: Interval) -> dict[str, float]:
    return {
        "difference_recall_at_k": difference.mean,
        "difference_recall_at_k_low": difference.low,
        "difference_recall_at_k_high": difference.high,
    }


def _ids(located: Sequence[Located], hits: Sequence[int | None], misses: Sequence[int | None]) -> tuple[str, ...]:
    pairs = zip(located, hits, misses, strict=True)
    return tuple(entry.question.id for entry, has, lacks in pairs if has is not None and lacks is None)


def _floor(recall: float, params: IndexGateParams) -> list[str]:
    if recall >= params.min_recall_at_k:
        return []
    return [f"recall at {params.k} of a first release must reach {params.min_recall_at_k}, found {recall:.3f}"]


def _worse(difference: Interval, lost: Sequence[str], params: IndexGateParams) -> list[str]:
    if difference.mean >= -params.tolerance or difference.high >= 0:
        return []
    return [
        f"recall at {params.k} must not fall by more than {params.tolerance}, found {difference.mean:+.3f} "
        f"[{difference.low:+.3f}, {difference.high:+.3f}]; lost questions: {', '.join(lost)}"
    ]
