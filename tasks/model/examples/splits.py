"""Which document may teach, and where: splits by document and near-duplicate cluster. Formulas only.

A cluster is named by the member whose identifier has the smallest hash, and its split follows from that name alone: a
document that resembles no other never changes sides when the corpus grows, and copies are always on one side.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from tasks.corpus.document import sha256
from tasks.corpus.gate.near_duplicates import NearDuplicates

Split = Literal["train", "validation"]

MIN_SIMILARITY = 0.7
"""From this estimated Jaccard similarity of word runs on, two documents share a cluster: rather one pair too many."""


@dataclass(frozen=True, slots=True)
class Splits:
    """Where each document of the corpus belongs.

    Attributes:
        clusters: name of the cluster by `document_id`.
        held_out: clusters with a golden test question: in no example at all.
        validation_only: clusters with a golden validation question: never in train.
        validation_fraction: share of the other clusters that validates.
    """

    clusters: Mapping[str, str]
    held_out: frozenset[str]
    validation_only: frozenset[str]
    validation_fraction: float

    def of(self, document_id: str) -> Split | None:
        """Return the split of a document's examples; None: it is unknown or held out."""
        cluster = self.clusters.get(document_id)
        if cluster is None or cluster in self.held_out:
            return None
        return "validation" if cluster in self.validation_only else self.of_name(cluster)

    def of_name(self, name: str) -> Split:
        """Return the split of what belongs to no document (a question without an answer, a replayed prompt)."""
        return "validation" if hashed_share("split", name) < self.validation_fraction else "train"

    def may_show(self, document_id: str, split: Split) -> bool:
        """Return whether an example of this split may hold a passage of the document, as support or as distractor."""
        own = self.of(document_id)
        return own is not None and (own == "train" or split == "validation")


def make_splits(
    clusters: Mapping[str, str],
    *,
    tested: Collection[str],
    validated: Collection[str],
    validation_fraction: float,
) -> Splits:
    """Return the splits, the clusters of golden questions held out.

    Args:
        clusters: from `cluster_documents`.
        tested: documents of golden test questions.
        validated: documents of golden validation questions.
        validation_fraction: share of the other clusters that validates.
    """
    held_out = frozenset(clusters[document] for document in tested if document in clusters)
    validation_only = frozenset(clusters[document] for document in validated if document in clusters) - held_out
    return Splits(clusters, held_out, validation_only, validation_fraction)


def cluster_documents(batches: Iterable[tuple[Sequence[str], Sequence[str]]]) -> dict[str, str]:
    """Return the name of each document's cluster, from batches of identifiers and texts; texts are not kept.

    For instance, B resembles A and C resembles B, but C does not resemble A: one cluster {A, B, C}, so that no two of
    them are on both sides of a split; D resembles nothing and is a cluster of its own.
    """
    from scipy.cluster.hierarchy import DisjointSet

    near = NearDuplicates()
    clusters = DisjointSet()
    for ids, texts in batches:
        for document_id, nearest in zip(ids, near.add(ids, texts), strict=True):
            clusters.add(document_id)
            if nearest.document_id is not None and nearest.similarity >= MIN_SIMILARITY:
                clusters.merge(document_id, nearest.document_id)
    names = {
        document_id: min(subset, key=lambda member: sha256("cluster", member))
        for subset in clusters.subsets()
        for document_id in subset
    }
    return {document_id: names[document_id] for document_id in clusters}


def hashed_share(*parts: str) -> float:
    """Return a number in [0, 1) that depends on the parts alone: a draw that does not shift when others are added."""
    return int(sha256(*parts)[:13], 16) / 16**13
