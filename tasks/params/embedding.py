"""What an embedding model needs, where `params.yaml` says otherwise than the model does."""

from typing import Annotated, Literal

from pydantic import Field

from tasks.params.sources import Block


class EmbeddingNeeds(Block):
    """None, as in older releases: what the model's folder says, else `tasks.index.embedding.models`.

    `dims` shortens the vectors of a model that was trained for it.
    """

    query_prefix: str | None = None
    document_prefix: str | None = None
    pooling: Literal["mean", "cls", "lasttoken"] | None = None
    dims: Annotated[int, Field(ge=8)] | None = None
    max_tokens: Annotated[int, Field(ge=16)] | None = None
