"""A home to compare strategies in: SQuAD indexed, its test articles as held-out questions.

    python -m benchmarks.squad.compare FOLDER
    ALMANAC_HOME=FOLDER/home ALMANAC_PARAMS=FOLDER/params.yaml almanac compare --answerer ANSWERER

Two test articles are left out of the index: their questions have no answer in the documents.
"""

import json
import sys
from dataclasses import asdict
from pathlib import Path

from benchmarks.data import home_in
from benchmarks.squad.data import golden_questions, load_data, write_params
from tasks.answer.generators.transformers import load_base
from tasks.index.golden import GoldenQuestion
from tasks.params import load_params

LEFT_OUT = ("Packet_switching", "Steam_engine")


def main(folder: Path) -> None:
    """Write corpus, golden questions and parameters, and refresh."""
    settings = home_in(folder)
    source = Path("params.yaml")
    params = load_params(source)
    generator = load_base(params.generation, settings)
    data = load_data(params, settings, generator.count_tokens, params.generation.max_passage_tokens)
    _write_lines(folder / "golden.jsonl", [asdict(_asked(question)) for question in golden_questions(data)])
    _write_lines(folder / "corpus.jsonl", _indexed())
    write_params(source, folder / "params.yaml", golden=str(folder / "golden.jsonl"), corpus=folder / "corpus.jsonl")

    from flows.refresh import refresh

    print(json.dumps(refresh.fn().as_json()))


def _asked(question: GoldenQuestion) -> GoldenQuestion:
    if question.topic not in LEFT_OUT:
        return question
    return GoldenQuestion(question.id, question.question, None, None, None, question.topic, question.split)


def _indexed() -> list[dict[str, str]]:
    from benchmarks.data import bench_file

    path = bench_file("squad/corpus.jsonl")
    if path is None:
        raise SystemExit("the benchmark needs squad/corpus.jsonl; set ALMANAC_BENCH_DIR")
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [row for row in rows if row["_id"].partition("#")[0] not in LEFT_OUT]


def _write_lines(path: Path, records: list[dict[str, object]] | list[dict[str, str]]) -> None:
    path.write_text("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
