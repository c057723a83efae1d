"""Embedding speed and fidelity beside sentence-transformers' default, as a Markdown table.

Run `python benchmarks/embedding.py [--texts 150] [--rounds 3]`. Rounds are interleaved and the best of each way counts,
since other programs slow the wall clock; CPU seconds are the steadier figure.
"""

import argparse
import importlib.metadata
import json
import os
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from copy import copy, deepcopy
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from tasks.index.embedding.embedder import TorchEmbedder, Vectors, load_embedder
from tasks.index.embedding.files import find_model
from tasks.params import load_params
from tasks.settings import Settings, quiet_environment

PROJECT = Path(__file__).resolve().parent.parent
BENCH_DIR = Path(os.environ.get("ALMANAC_BENCH_DIR", PROJECT.parent / "shared" / "bench"))
README_CHUNK_TOKENS = 198

Encode = Callable[[list[str]], Any]


@dataclass(slots=True)
class Best:
    """Best of all rounds of one way, and its fidelity to sentence-transformers in float32."""

    wall: float = float("inf")
    cpu: float = float("inf")
    mean_cosine: float = 1.0
    min_cosine: float = 1.0


def main() -> None:
    """Print one table for each kind of text."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", type=int, default=150)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    quiet_environment()
    with TemporaryDirectory() as home:
        settings = Settings(home=Path(home), device="cpu")
        embedder = load_embedder(load_params(PROJECT / "params.yaml").embedding, settings)
        assert isinstance(embedder, TorchEmbedder)
        core_gflops = gemm_gflops()
        dtype = str(next(embedder._network.parameters()).dtype).removeprefix("torch.")
        print(f"{platform.machine()}, {settings.num_threads} threads; Almanac computes in {dtype}")
        print(f"float32 matrix product: {core_gflops:.0f} GFLOP a CPU second")
        ways = dict(all_ways(embedder, settings.num_threads))
        for name, texts in corpora(embedder, arguments.texts):
            print_table(name, texts, embedder, measure(ways, texts, arguments.rounds), core_gflops)
            print_batch_dependence(embedder, texts[:30])


def corpora(embedder: TorchEmbedder, num_texts: int) -> Iterator[tuple[str, list[str]]]:
    """READMEs cut to chunks of about 200 tokens, and Wikipedia paragraphs as they are."""
    yield "README chunks", readme_chunks(embedder, num_texts)
    squad = BENCH_DIR / "squad" / "corpus_large.jsonl"
    if not squad.is_file():
        print(f"skipped: paragraphs ({BENCH_DIR.name}/squad is absent; set ALMANAC_BENCH_DIR)")
        return
    with squad.open(encoding="utf-8") as lines:
        yield "SQuAD paragraphs", [json.loads(line)["text"] for line, _ in zip(lines, range(num_texts), strict=False)]


def readme_chunks(embedder: TorchEmbedder, num_texts: int) -> list[str]:
    chunks: list[str] = []
    for distribution in importlib.metadata.distributions():
        readme = str(distribution.metadata.get_payload() or "")
        offsets = embedder.tokenizer.encode(readme, add_special_tokens=False).offsets
        for begin in range(0, len(offsets) - README_CHUNK_TOKENS, README_CHUNK_TOKENS):
            chunks.append(readme[offsets[begin][0] : offsets[begin + README_CHUNK_TOKENS - 1][1]])
    return chunks[:num_texts]


def all_ways(embedder: TorchEmbedder, num_threads: int) -> Iterator[tuple[str, Encode]]:
    """Name and function of each way; the first is the reference."""
    folder = str(embedder_folder())
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError:
        raise SystemExit("sentence-transformers must be installed: pip install -e '.[bench]'") from None
    yield "sentence-transformers default", SentenceTransformer(folder, device="cpu").encode
    yield f"Almanac, {num_threads} x 1 threads", embedder.embed
    yield "Almanac, 1 thread", one_thread(embedder)
    yield "Almanac, int8 per channel, dynamic", int8(embedder)
    yield from openvino_way(folder, embedder)


def embedder_folder() -> Path:
    return find_model(load_params(PROJECT / "params.yaml").embedding.model, Settings()).folder


def one_thread(embedder: TorchEmbedder) -> Encode:
    single = copy(embedder)
    single._num_threads = 1
    return single.embed


def int8(embedder: TorchEmbedder) -> Encode:
    """Weights in int8 by output channel, activations by batch: a text's vector then depends on its neighbours."""
    import torch
    from torch.ao.quantization import per_channel_dynamic_qconfig, quantize_dynamic

    quantized = copy(embedder)
    network = deepcopy(embedder._network).float()
    quantized._network = quantize_dynamic(network, {torch.nn.Linear: per_channel_dynamic_qconfig}, dtype=torch.qint8)
    return quantized.embed


def openvino_way(folder: str, embedder: TorchEmbedder) -> Iterator[tuple[str, Encode]]:
    try:
        import openvino
    except ImportError:
        print("skipped: OpenVINO (pip install openvino)")
        return
    import torch
    from transformers import AutoModel

    example = {name: torch.ones((2, 8), dtype=torch.long) for name in ("input_ids", "attention_mask")}
    network = AutoModel.from_pretrained(folder).eval()
    converted = openvino.convert_model(network, example_input=example)
    hints = {"PERFORMANCE_HINT": "THROUGHPUT", "INFERENCE_PRECISION_HINT": "f32", "NUM_STREAMS": "2"}
    compiled = openvino.Core().compile_model(converted, "CPU", hints)

    def encode(texts: list[str]) -> Vectors:
        tokens = [encoding.ids for encoding in embedder._cutting_tokenizer.encode_batch_fast(texts)]
        order = sorted(range(len(tokens)), key=lambda index: -len(tokens[index]))
        vectors = np.empty((len(texts), embedder.dim), dtype=np.float32)
        queue = openvino.AsyncInferQueue(compiled)

        def collect(request: Any, work: tuple[list[int], Any]) -> None:
            batch, mask = work
            pooled = (request.get_output_tensor(0).data * mask[:, :, None]).sum(1)
            vectors[batch] = pooled / np.linalg.norm(pooled, axis=1, keepdims=True)

        queue.set_callback(collect)
        for begin in range(0, len(order), 4):
            batch = order[begin : begin + 4]
            ids = np.zeros((len(batch), len(tokens[batch[0]])), dtype=np.int64)
            for row, index in enumerate(batch):
                ids[row, : len(tokens[index])] = tokens[index]
            lengths = np.array([[len(tokens[index])] for index in batch])
            mask = (np.arange(ids.shape[1]) < lengths).astype(np.int64)
            queue.start_async({"input_ids": ids, "attention_mask": mask}, (batch, mask))
        queue.wait_all()
        return vectors

    yield "OpenVINO f32, throughput hint", encode


def measure(ways: dict[str, Encode], texts: list[str], num_rounds: int) -> dict[str, Best]:
    best = {name: Best() for name in ways}
    reference: Vectors | None = None
    for _ in range(num_rounds):
        for name, encode in ways.items():
            wall, cpu = time.perf_counter(), time.process_time()
            vectors = encode(texts)
            row = best[name]
            row.wall = min(row.wall, time.perf_counter() - wall)
            row.cpu = min(row.cpu, time.process_time() - cpu)
            reference = vectors if reference is None else reference
            cosine = (vectors * reference).sum(1)
            row.mean_cosine, row.min_cosine = float(cosine.mean()), float(cosine.min())
    return best


def print_table(
    name: str, texts: Sequence[str], embedder: TorchEmbedder, rows: dict[str, Best], core_gflops: float
) -> None:
    lengths = [len(encoding.ids) for encoding in embedder._cutting_tokenizer.encode_batch_fast(list(texts))]
    gflop = sum(model_flop(embedder, length) for length in lengths) / 1e9
    base = next(iter(rows.values()))
    print(f"\n{name}: {len(texts)} texts, mean {np.mean(lengths):.0f} tokens, {gflop / len(texts):.2f} GFLOP a text\n")
    print(
        "| way | chunks/s | ratio | chunks/CPU-s | ratio | cosine mean / min | share of the f32 matrix product a core |"
    )
    print("|---|---|---|---|---|---|---|")
    for way, row in rows.items():
        print(
            f"| {way} | {len(texts) / row.wall:.1f} | {base.wall / row.wall:.2f} "
            f"| {len(texts) / row.cpu:.1f} | {base.cpu / row.cpu:.2f} "
            f"| {row.mean_cosine:.5f} / {row.min_cosine:.5f} | {gflop / row.cpu / core_gflops:.0%} |"
        )


def print_batch_dependence(embedder: TorchEmbedder, texts: list[str]) -> None:
    alone = np.concatenate([embedder.embed([text]) for text in texts])
    print(f"\nA text alone and in a batch: vectors differ by at most {np.abs(alone - embedder.embed(texts)).max():.1e}")


def model_flop(embedder: TorchEmbedder, num_tokens: int) -> float:
    """Multiplications and additions of one text: the linear layers, and attention's two products."""
    config: Any = embedder._network.config
    hidden, inner, layers = config.hidden_size, config.intermediate_size, config.num_hidden_layers
    return float(layers * num_tokens * (2 * (4 * hidden**2 + 2 * hidden * inner) + 4 * hidden * num_tokens))


def gemm_gflops() -> float:
    """Best float32 GFLOP a CPU second of one thread, at the model's own product, 800 x 384 by 384 x 1536."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    rows, weights = torch.randn(800, 384), torch.randn(1536, 384)
    seconds = []
    for _ in range(20):
        begin = time.process_time()
        for _ in range(5):
            torch.nn.functional.linear(rows, weights)
        seconds.append(time.process_time() - begin)
    torch.set_num_threads(before)
    return 5 * 2 * 800 * 384 * 1536 / min(seconds) / 1e9


if __name__ == "__main__":
    main()
