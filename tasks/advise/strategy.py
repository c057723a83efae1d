"""The strategies between which `almanac advise` chooses, and what each is called in a comparison."""

from enum import StrEnum


class Strategy(StrEnum):
    """A way to answer; in the order of what is simplest to keep."""

    NEITHER = "neither"
    RETRIEVAL = "retrieval"
    RAG = "rag"
    FINE_TUNING = "fine_tuning"
    BOTH = "both"

    @property
    def label(self) -> str:
        """Return what a person calls it."""
        return _LABELS[self]

    @property
    def measured_as(self) -> str:
        """Return its name among the strategies of `almanac compare`."""
        return _MEASURED[self]

    @property
    def rank(self) -> int:
        """Return its place: the simpler of two that score the same is recommended."""
        return list(Strategy).index(self)


_LABELS = {
    Strategy.NEITHER: "neither (a model with a good prompt)",
    Strategy.RETRIEVAL: "retrieval alone (the best passages, no model writes)",
    Strategy.RAG: "RAG (a model writes from retrieved passages)",
    Strategy.FINE_TUNING: "fine-tuning (no passages)",
    Strategy.BOTH: "both (a fine-tuned model writes from retrieved passages)",
}
_MEASURED = {
    Strategy.NEITHER: "base_closed_book",
    Strategy.RETRIEVAL: "excerpt",
    Strategy.RAG: "base_retrieval",
    Strategy.FINE_TUNING: "fine_tuned_closed_book",
    Strategy.BOTH: "fine_tuned_retrieval",
}
