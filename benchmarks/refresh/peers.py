"""Incremental indexing by the libraries that people use for it, each at its best: vectors cost nothing.

LlamaIndex and LangChain keep their vectors in memory, which is in their favour; CocoIndex writes to LanceDB as Almanac
does. Each function reads `documents.jsonl` of a folder and brings its own store in that folder up to it.
"""

import json
import os
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt

from benchmarks.refresh.measure import measured

DIM = 384


def records(folder: Path) -> list[dict[str, str]]:
    """Return the documents of a folder."""
    with (folder / "documents.jsonl").open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def llama_index(folder: Path) -> dict[str, Any]:
    """IngestionPipeline with its document store on disk, which deletes too; its vectors are not kept."""
    from llama_index.core import Document
    from llama_index.core.embeddings import MockEmbedding
    from llama_index.core.ingestion import DocstoreStrategy, IngestionPipeline
    from llama_index.core.storage.docstore import SimpleDocumentStore
    from llama_index.core.vector_stores import SimpleVectorStore

    documents = [Document(text=record["text"], doc_id=record["_id"]) for record in records(folder)]
    store = folder / "llama_index"

    def run() -> int:
        pipeline = IngestionPipeline(
            transformations=[MockEmbedding(embed_dim=DIM)],
            docstore=SimpleDocumentStore(),
            vector_store=SimpleVectorStore(),
            docstore_strategy=DocstoreStrategy.UPSERTS_AND_DELETE,
        )
        if store.exists():
            pipeline.load(str(store))
        nodes = pipeline.run(documents=documents)
        pipeline.persist(str(store))
        return len(nodes)

    return measured(run)


def langchain(folder: Path) -> dict[str, Any]:
    """`index()` with a SQLite record manager, cleanup full: the mode that deletes."""
    from langchain_classic.indexes import SQLRecordManager
    from langchain_core.documents import Document
    from langchain_core.embeddings import DeterministicFakeEmbedding
    from langchain_core.indexing import index
    from langchain_core.vectorstores import InMemoryVectorStore

    documents = [
        Document(page_content=record["text"], metadata={"source": record["_id"]}) for record in records(folder)
    ]

    class NoEmbedding(DeterministicFakeEmbedding):
        def embed_documents(self, texts: list[str]) -> list[list[float]]:
            return [[0.0] * DIM for _ in texts]

    def run() -> int:
        manager = SQLRecordManager("squad", db_url=f"sqlite:///{folder / 'langchain.db'}")
        manager.create_schema()
        store = InMemoryVectorStore(NoEmbedding(size=DIM))
        done = index(documents, manager, store, cleanup="full", source_id_key="source", key_encoder="sha256")
        return int(done["num_added"])

    return measured(run)


@dataclass
class Row:
    """A row of CocoIndex's table."""

    id: str
    text: str
    vector: Annotated[npt.NDArray[np.float32], "replaced below by the schema of its vectors"]


def cocoindex(folder: Path) -> dict[str, Any]:
    """CocoIndex 1.0: one memoised component a document, its rows in LanceDB."""
    os.environ["COCOINDEX_DISABLE_USAGE_TRACKING"] = "1"
    os.environ["COCOINDEX_DB"] = str(folder / "cocoindex.db")
    import cocoindex as coco
    from cocoindex.connectors import lancedb
    from cocoindex.resources.schema import VectorSchema

    connection = coco.ContextKey[Any]("lancedb")
    schema = VectorSchema(dtype=np.dtype(np.float32), size=DIM)
    Row.__annotations__["vector"] = Annotated[npt.NDArray[np.float32], schema]
    embedded = 0
    zero = np.zeros(DIM, np.float32)

    @coco.lifespan
    async def opened(builder: Any) -> Any:
        builder.provide(connection, await lancedb.connect_async(str(folder / "cocoindex.lancedb")))
        yield

    @coco.fn(memo=True)
    async def one(record: dict[str, str], table: Any) -> None:
        nonlocal embedded
        embedded += 1
        table.declare_row(row=Row(record["_id"], record["text"], zero))

    @coco.fn
    async def everything(documents: list[dict[str, str]]) -> None:
        table = await lancedb.mount_table_target(
            connection, table_name="rows", table_schema=await lancedb.TableSchema.from_class(Row, primary_key=["id"])
        )
        await coco.mount_each(one, [(record["_id"], record) for record in documents], table)

    app = coco.App(coco.AppConfig(name="squad"), everything, records(folder))

    def run() -> int:
        app.update_blocking()
        return embedded

    return measured(run)


def stored_ids(folder: Path, name: str) -> list[str]:
    """Return the ids of the documents that a peer's store holds; a document that stands twice is there twice."""
    if name == "llama_index":
        raw = json.loads((folder / "llama_index" / "docstore.json").read_text(encoding="utf-8"))
        return list(raw["docstore/metadata"])
    if name == "langchain":
        with closing(sqlite3.connect(folder / "langchain.db")) as connection:
            return [row[0] for row in connection.execute("SELECT group_id FROM upsertion_record")]
    import lancedb

    table = lancedb.connect(folder / "cocoindex.lancedb").open_table("rows")
    ids: list[str] = table.to_arrow().column("id").to_pylist()
    return ids
