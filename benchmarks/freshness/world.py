"""A home over documentation as it stood at week 0, its training set, and the same documents changed.

The documents are all of prometheus.io and those of opentelemetry.io that its six weeks change. Half of the documents
with a fact may teach: their questions stand in the training set with the old values; the other half is held out.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from benchmarks.data import bench_file
from benchmarks.freshness.facts import Fact, natural_facts, purposeful_facts, with_value
from benchmarks.weekly import FIELDS
from tasks.corpus.document import sha256
from tasks.corpus.parsing.front_matter import split_front_matter
from tasks.errors import ConfigurationError
from tasks.files import whole_file
from tasks.index.golden import GoldenQuestion, locate
from tasks.model.examples.release_data import open_release_data
from tasks.params import load_params
from tasks.settings import Settings

PROJECT = Path(__file__).parents[2]
SOURCE = "docs"
CORPORA = {"prometheus": True, "otel": False}
"""Whether the documents that no week changes take part."""
NUM_PURPOSEFUL, SEED = 56, 7
FACTS = "facts.jsonl"
Texts = dict[str, str]


@dataclass(frozen=True, slots=True)
class Documentation:
    """Texts by document, at week 0 and at the last week."""

    before: Texts
    after: Texts


def load_documentation() -> Documentation:
    """Read both corpora.

    Raises:
        ConfigurationError: they are not at hand.
    """
    before, after = {}, {}
    for name, unchanged in CORPORA.items():
        folder = bench_file(f"weekly_{name}")
        if folder is None:
            raise ConfigurationError(f"the benchmark needs weekly_{name}, found none; set ALMANAC_BENCH_DIR")
        first, last = _weeks(folder)
        kept = {document for document in first if unchanged or first[document] != last.get(document)}
        before |= {f"{name}/{document}": first[document] for document in kept}
        after |= {f"{name}/{document}": last[document] for document in kept & last.keys()}
    return Documentation(before, after)


def _weeks(folder: Path) -> tuple[Texts, Texts]:
    state: Texts = {}
    first: Texts = {}
    for path in sorted(folder.glob("week_*.jsonl")):
        for change in read_json_lines(path):
            if change.get("op") == "delete":
                del state[change["_id"]]
            else:
                state[change["_id"]] = change["text"]
        first = first or dict(state)
    return first, state


# --- the home ---


def write_home(folder: Path, texts: Mapping[str, str]) -> Path:
    """Write documents and `params.yaml` into `folder`; return the parameters' path.

    Rules that quarantine are left out: a document whose new version is set aside keeps its old one. Prompts are short,
    and the training set is little more than the questions on facts, so that a training of minutes teaches them.
    """
    write_documents(folder, texts)
    raw = yaml.safe_load((PROJECT / "params.yaml").read_text(encoding="utf-8"))
    golden = str(folder / "golden.jsonl")
    rules = [rule for rule in raw["document_gate"]["rules"] if rule["on_fail"] != "quarantine"]
    raw["sources"] = [_source(folder)]
    raw["document_gate"]["rules"] = rules
    raw["index_gate"]["golden"] = None
    raw["generation"] |= {"max_passage_tokens": 100, "max_new_tokens": 32}
    raw["examples"] |= {"feedback": False, "num_synthetic": 16, "unanswerable_fraction": 0.1}
    raw["examples"] |= {"validation_fraction": 0.1, "replay_fraction": 0.05}
    raw["example_gate"]["min_examples"] = 20
    raw["fine_tuning"] |= {"max_steps": 40, "num_train_epochs": 2, "max_validation_examples": 8, "eval_steps": 40}
    raw["evaluation"] |= {"golden": golden, "reviewed_golden": None, "split": "test", "max_new_tokens_closed_book": 32}
    with whole_file(folder / "params.yaml") as beside:
        beside.write_text(yaml.safe_dump(raw, sort_keys=False), encoding="utf-8")
    return folder / "params.yaml"


def _source(folder: Path) -> dict[str, Any]:
    return {
        "name": SOURCE,
        "kind": "records",
        "url": str(folder / "documents.jsonl"),
        "mode": "snapshot",
        "fields": FIELDS,
        "front_matter": True,
        "knowledge_base": SOURCE,
        "access": ["everyone"],
        "max_removed_fraction": 0.5,
    }


def write_documents(folder: Path, texts: Mapping[str, str]) -> None:
    """Write the feed as it stands now."""
    rows = [{"_id": document, "blob": sha256(text), "text": text} for document, text in sorted(texts.items())]
    _write(folder / "documents.jsonl", rows)


# --- facts ---


def choose_facts(folder: Path, documentation: Documentation, settings: Settings) -> list[Fact]:
    """Return the facts whose place is in the index's text: those of the weeks, and those to change on purpose.

    Documents with a natural fact are not changed on purpose, nor those that the weeks change otherwise.
    """
    titles = {document: _title(document, text) for document, text in documentation.before.items()}
    natural = natural_facts(documentation.before, documentation.after, titles)
    same = {name: text for name, text in documentation.before.items() if documentation.after.get(name) == text}
    release = open_release_data(load_params(folder / "params.yaml"), settings)
    passages = release.chunks([f"{SOURCE}:{document}" for document in sorted(same)])
    purposeful = purposeful_facts(passages, same, count=NUM_PURPOSEFUL, seed=SEED)
    facts = {fact.id: fact for fact in (*natural, *purposeful)}
    questions = golden_questions(list(facts.values()), taught=(), changed=False)
    located, _ = locate(questions, release.texts({question.document or "" for question in questions}))
    return [facts[entry.question.id] for entry in located]


def _title(document: str, text: str) -> str:
    return str(split_front_matter(text)[0].get("title") or document.rpartition("/")[2])


def changed_texts(documentation: Documentation, facts: Iterable[Fact]) -> Texts:
    """Return the documents as the weeks and the changes on purpose left them."""
    texts = dict(documentation.after)
    for fact in facts:
        if fact.kind == "on_purpose":
            texts[fact.document] = with_value(texts[fact.document], fact.old, fact.new)
    return texts


def documents_to_teach(facts: Sequence[Fact]) -> set[str]:
    """Return every second document with a fact, in an order that no result can have steered."""
    return set(sorted({fact.document for fact in facts}, key=lambda name: sha256("teach", name))[::2])


def golden_questions(facts: Sequence[Fact], *, taught: Iterable[str], changed: bool) -> list[GoldenQuestion]:
    """Return a golden question for each fact.

    Args:
        facts: all.
        taught: documents whose questions are of split `train`; the others are of `test`.
        changed: whether the new values are the answers.
    """
    teaching = set(taught)
    return [
        GoldenQuestion(
            id=fact.id,
            question=fact.question,
            answer=fact.new if changed else fact.old,
            document=f"{SOURCE}:{fact.document}",
            anchor=fact.new_anchor if changed else fact.old_anchor,
            topic=fact.kind,
            split="train" if fact.document in teaching else "test",
        )
        for fact in facts
    ]


# --- files ---


def write_golden(folder: Path, questions: Iterable[GoldenQuestion]) -> None:
    """Write the golden questions that the parameters name."""
    _write(folder / "golden.jsonl", [asdict(question) for question in questions])


def write_facts(folder: Path, facts: Iterable[Fact]) -> None:
    """Write `facts.jsonl`."""
    _write(folder / FACTS, [asdict(fact) for fact in facts])


def read_facts(folder: Path) -> list[Fact]:
    """Read what `write_facts` wrote."""
    return [Fact(**record) for record in read_json_lines(folder / FACTS)]


def read_json_lines(path: Path) -> list[dict[str, Any]]:
    """Read records, one a line."""
    with path.open(encoding="utf-8") as lines:  # not splitlines: texts hold other signs that end a line
        return [json.loads(line) for line in lines]


def _write(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    with whole_file(path) as beside:
        beside.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
