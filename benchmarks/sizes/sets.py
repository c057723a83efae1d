"""SQuAD and PubMedQA as homes: sources, golden questions with splits, and parameters to train by."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import yaml

from benchmarks.data import bench_file
from benchmarks.squad.data import golden_questions, load_data, records_source
from tasks.answer.generators.transformers import load_base
from tasks.answer.sentences import sentences
from tasks.errors import ConfigurationError
from tasks.files import whole_file
from tasks.index.golden import GoldenQuestion
from tasks.params import load_params
from tasks.settings import Settings

PROJECT = Path(__file__).parents[2]
SetName = Literal["squad", "pubmedqa"]
LABELS = ("yes", "no", "maybe")
NUM_TEST, NUM_VALIDATION = 140, 60
MAX_ANCHOR = 120
PROMPT = Path(__file__).parent / "yes-no-maybe.md"


def write_home(name: SetName, folder: Path, settings: Settings) -> Path:
    """Write golden questions and `params.yaml` of a set into `folder`; return the parameters' path.

    Raises:
        ConfigurationError: the set is absent.
    """
    corpus = _file(f"{name}/corpus.jsonl")
    golden = folder.resolve() / "golden.jsonl"
    folder.mkdir(parents=True, exist_ok=True)
    with whole_file(golden) as beside:
        questions = _squad(settings) if name == "squad" else list(_pubmedqa())
        beside.write_text("".join(json.dumps(asdict(one), ensure_ascii=False) + "\n" for one in questions), "utf-8")
    raw = yaml.safe_load((PROJECT / "params.yaml").read_text(encoding="utf-8"))
    raw["sources"] = [records_source(name, corpus)]
    raw["index_gate"] |= {"golden": str(golden), "split": "validation"}
    raw["evaluation"] |= {"golden": str(golden), "split": "test", "max_questions": NUM_TEST}
    raw["examples"] |= {"feedback": False, "num_synthetic": 0 if name == "pubmedqa" else 300}
    if name == "pubmedqa":
        raw["generation"] |= {"prompt": str(PROMPT), "max_passage_tokens": 300}
        raw["fine_tuning"] |= {"max_length": 1152}  # the longest of its examples has 1,046 tokens
        raw["profiles"]["laptop"]["generation"] |= {"prompt": str(PROMPT), "num_passages": 3, "max_new_tokens": 120}
    with whole_file(folder / "params.yaml") as beside:
        beside.write_text(yaml.safe_dump(raw, sort_keys=False), encoding="utf-8")
    return folder / "params.yaml"


def label_of(text: str) -> str | None:
    """Return the answer that a text begins with, of `LABELS`; None: with none of them."""
    words = text.lower().lstrip(" *_\"'#>").split(maxsplit=1)
    first = words[0].strip(".,;:!*_\"'") if words else ""
    return first if first in LABELS else None


def _squad(settings: Settings) -> list[GoldenQuestion]:
    params = load_params(PROJECT / "params.yaml")
    base = load_base(params.generation, settings)
    return golden_questions(load_data(params, settings, base.count_tokens, params.generation.max_passage_tokens))


def _pubmedqa() -> Iterator[GoldenQuestion]:
    """Yield each question with its label; the anchor is the abstract's last sentence, where results stand."""
    texts = {record["_id"]: record["text"] for record in _records("pubmedqa/corpus.jsonl")}
    records = sorted(_records("pubmedqa/qa.jsonl"), key=lambda record: hashlib.sha256(record["id"].encode()).digest())
    for place, record in enumerate(records):
        text = texts[record["context_ids"][0]]
        last = [text[span.start : span.end] for span in sentences(text)][-1]
        yield GoldenQuestion(
            id=f"pubmedqa-{record['id']}",
            question=record["question"],
            answer=record["answer"],
            document=f"pubmedqa:{record['context_ids'][0]}",
            anchor=last[:MAX_ANCHOR].strip(),
            topic="pubmedqa",
            split="test" if place < NUM_TEST else "validation" if place < NUM_TEST + NUM_VALIDATION else "train",
        )


def _records(name: str) -> list[dict[str, Any]]:
    with _file(name).open(encoding="utf-8") as lines:  # not splitlines: texts hold other signs that end a line
        return [json.loads(line) for line in lines]


def _file(name: str) -> Path:
    path = bench_file(name)
    if path is None:
        raise ConfigurationError(f"the benchmark needs {name}, found none; set ALMANAC_BENCH_DIR")
    return path
