"""What a search returns: a chunk with its place, its score and what a reader needs to judge it."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Passage:
    """A chunk that was found.

    Attributes:
        text: `document.text[start:end]`.
        score: rank score after fusion; orders the passages, not comparable between questions.
        similarity: cosine of question and chunk in [-1, 1]; None when only the full-text leg ran.
    """

    chunk_id: str
    document_id: str
    knowledge_base: str
    uri: str
    title: str
    headings: str
    text: str
    start: int
    end: int
    score: float
    similarity: float | None
    updated_at: datetime | None
