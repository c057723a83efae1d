"""What serves at a moment: an index and an answerer together. A request takes one pair and keeps it to its end."""

from dataclasses import dataclass

from tasks.answer.answerer import Answerer
from tasks.index.release import Release
from tasks.index.search import Index


@dataclass(frozen=True, slots=True)
class Pair:
    """An open index release and a loaded answerer; immutable, so that no answer mixes two versions.

    Attributes:
        index_version: number of the release.
    """

    release: Release
    index: Index
    answerer: Answerer

    @property
    def index_version(self) -> str:
        """Number of the release, as text."""
        return str(self.release.number)

    @property
    def index_revision(self) -> str:
        """Number of the release and version of its table: an erasure writes the table of a release anew."""
        return f"{self.index_version}.{self.index.table.version}"

    @property
    def answerer_version(self) -> str:
        """MLflow's version of the answerer, or `base`."""
        return self.answerer.version
