"""What each family of embedding models needs: words before a question and before a text, pooling, lengths.

As their model cards say. A model's own folder goes before this table (`1_Pooling` and
`config_sentence_transformers.json`), and what `params.yaml` says before both. A name is matched by its last part, so
that a local copy counts too. Vectors are scaled to unit length for every model: the index compares them by cosine.
"""

import re
from dataclasses import dataclass
from typing import Literal

Pooling = Literal["mean", "cls", "lasttoken"]

_RETRIEVE = "Represent this sentence for searching relevant passages: "
_INSTRUCT = "Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery: "


@dataclass(frozen=True, slots=True)
class ModelNeeds:
    """What a model was trained with.

    Attributes:
        query_prefix: before a question.
        document_prefix: before a text of the index.
        pooling: where its folder names none.
        dims: shorter vectors that it was trained for (Matryoshka), their first numbers; empty: none.
        max_tokens: of a text, where its folder names no limit; None: not known.
    """

    query_prefix: str = ""
    document_prefix: str = ""
    pooling: Pooling = "mean"
    dims: tuple[int, ...] = ()
    max_tokens: int | None = None


UNKNOWN = ModelNeeds()
"""Of a model that the table does not hold: no prefix, the mean of its tokens."""

_FAMILIES: tuple[tuple[str, ModelNeeds], ...] = (
    (r"bge-m3", ModelNeeds(pooling="cls", max_tokens=8192)),
    (r"bge-(small|base|large)-en(-v1\.5)?", ModelNeeds(_RETRIEVE, pooling="cls", max_tokens=512)),
    (r"multilingual-e5-large-instruct", ModelNeeds(_INSTRUCT, max_tokens=512)),
    (r"e5-mistral-7b-instruct", ModelNeeds(_INSTRUCT, pooling="lasttoken", max_tokens=4096)),
    (r"(multilingual-)?e5-(small|base|large)(-v2|-unsupervised)?", ModelNeeds("query: ", "passage: ", max_tokens=512)),
    (r"gte-qwen2-[\d.]+b-instruct", ModelNeeds(_INSTRUCT, pooling="lasttoken", max_tokens=32768)),
    (r"gte-(modernbert-base|multilingual-base|(base|large)-en-v1\.5)", ModelNeeds(pooling="cls", max_tokens=8192)),
    (r"gte-(small|base|large)", ModelNeeds(max_tokens=512)),
    (r"snowflake-arctic-embed-[ml]-v2\.0", ModelNeeds("query: ", pooling="cls", dims=(256,), max_tokens=8192)),
    (r"snowflake-arctic-embed-m-v1\.5", ModelNeeds(_RETRIEVE, pooling="cls", dims=(256,), max_tokens=512)),
    (r"snowflake-arctic-embed-(xs|s|m|l)", ModelNeeds(_RETRIEVE, pooling="cls", max_tokens=512)),
    (r"snowflake-arctic-embed-m-long", ModelNeeds(_RETRIEVE, pooling="cls", max_tokens=2048)),
    (
        r"nomic-embed-text-v1\.5",
        ModelNeeds("search_query: ", "search_document: ", dims=(64, 128, 256, 512), max_tokens=8192),
    ),
    (r"nomic-embed-text-v2-moe", ModelNeeds("search_query: ", "search_document: ", dims=(256,), max_tokens=512)),
    (r"nomic-embed-text-v1", ModelNeeds("search_query: ", "search_document: ", max_tokens=8192)),
    (r"modernbert-embed-base", ModelNeeds("search_query: ", "search_document: ", dims=(256,), max_tokens=8192)),
    (r"mxbai-embed-large-v1", ModelNeeds(_RETRIEVE, pooling="cls", dims=(512,), max_tokens=512)),
    (r"jina-embeddings-v2-(small|base)-\w+", ModelNeeds(max_tokens=8192)),
    (
        r"qwen3-embedding-[\d.]+b",
        ModelNeeds(_INSTRUCT, pooling="lasttoken", dims=(32, 64, 128, 256, 512, 768), max_tokens=32768),
    ),
    (r"(all|multi-qa|paraphrase)-(multilingual-)?(minilm|mpnet|distilbert|distilroberta)-.*", UNKNOWN),
)


def needs_of(model: str) -> ModelNeeds:
    """Return what the model of this name, id or folder needs; nothing for one that the table does not hold.

    For instance `BAAI/bge-small-en-v1.5` and `/models/bge-small-en-v1.5/` need the same.
    """
    name = re.split(r"[/\\:]", model.rstrip("/\\"))[-1].lower()
    return next((needs for pattern, needs in _FAMILIES if re.fullmatch(pattern, name)), UNKNOWN)
