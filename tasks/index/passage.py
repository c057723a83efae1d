"""What a search returns: a chunk with its place, its score and what a reader needs to judge it."""

from dataclasses import dataclass
from datetime import datetime

PASSAGE_COLUMNS = (
    "chunk_id",
    "document_id",
    "knowledge_base",
    "uri",
    "title",
    "headings",
    "text",
    "start",
    "end",
    "updated_at",
)
"""Columns of the table that a passage of one chunk takes over as they are."""


@dataclass(frozen=True, slots=True)
class Passage:
    """What was found: a chunk, or several of one document that stand side by side.

    Attributes:
        chunk_id: of the chunk that was found; `headings` are its own.
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
