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


class EmbedderTuningParams(Block):
    """What the tuning of the embedder has in place of the same parameters of `fine_tuning`; the others are shared.

    `with_answerer`: whether a retrain tries it before the answerer; false: only where the method is `embedder`.
    """

    with_answerer: bool
    learning_rate: Annotated[float, Field(gt=0)]
    num_train_epochs: Annotated[float, Field(gt=0)]
    max_steps: Annotated[int, Field(ge=1)] | None = None
    per_device_train_batch_size: Annotated[int, Field(ge=2)]
    max_length: Annotated[int, Field(ge=128)]
    eval_steps: Annotated[int, Field(ge=1)]
