"""Whether answers follow documents that changed after training: retrieval, fine-tuning, both, neither.

    python -m benchmarks.freshness FOLDER [--set max_steps=100 num_train_epochs=4]

An index and a training set of documentation at week 0, a short training, then the documents as later weeks left them
and with values changed on purpose. The same questions are asked before and after the refresh that brings the changes.
All of it as the product does it; a run that was stopped goes on.
"""

import argparse
import json
import resource
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from benchmarks.data import home_in
from benchmarks.freshness.sayings import Answered, Phase, tables
from benchmarks.freshness.world import (
    changed_texts,
    choose_facts,
    documents_to_teach,
    golden_questions,
    load_documentation,
    read_facts,
    read_json_lines,
    write_documents,
    write_facts,
    write_golden,
    write_home,
)
from benchmarks.squad.train import train_answerer, with_fine_tuning
from tasks.answer.answerer import excerpt_answerer
from tasks.files import write_json_lines
from tasks.model.comparison.answerers import Compared, compared_answerers
from tasks.model.comparison.strategies import EXCERPT
from tasks.model.evaluation.evaluate import evaluate
from tasks.model.evaluation.metrics import Mode
from tasks.model.evaluation.questions import held_out, open_retrieval
from tasks.model.examples.build import build_training_set
from tasks.model.examples.example import read_examples
from tasks.params import load_params
from tasks.settings import Settings


def main() -> None:
    """Run all steps that are not done yet, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--set", dest="changes", nargs="*", default=[], metavar="NAME=VALUE", help="of fine_tuning")
    parser.add_argument("--until", choices=["make", "train", "before", "change", "after"], default="after")
    arguments = parser.parse_args()
    folder = arguments.folder.resolve()
    settings = home_in(folder)
    steps: dict[str, tuple[Path, Callable[[], None]]] = {
        "make": (folder / "examples" / "manifest.json", lambda: make(folder, settings)),
        "train": (folder / "answerer" / "answerer.json", lambda: train(folder, settings, arguments.changes)),
        "before": (folder / "before.jsonl", lambda: ask(folder, settings, "before")),
        "change": (folder / "changed", lambda: change(folder)),
        "after": (folder / "after.jsonl", lambda: ask(folder, settings, "after")),
    }
    for name, (output, step) in steps.items():
        if not output.exists():
            began = _cpu_seconds()
            step()
            print(f"{name}: {_cpu_seconds() - began:.0f} CPU seconds", flush=True)
        if name == arguments.until:
            break
    answered = [Answered(**row) for phase in ("before", "after") for row in _rows(folder / f"{phase}.jsonl")]
    if answered:
        print("\n".join(tables(answered, read_facts(folder), taught_facts(folder))))


def make(folder: Path, settings: Settings) -> None:
    """Refresh the documents of week 0, choose facts, and build the training set with those that are taught."""
    documentation = load_documentation()
    write_home(folder, documentation.before)
    _refresh()
    facts = choose_facts(folder, documentation, settings)
    write_facts(folder, facts)
    write_golden(folder, golden_questions(facts, taught=documents_to_teach(facts), changed=False))
    made = build_training_set(load_params(folder / "params.yaml"), settings, folder / "examples")
    print(json.dumps(asdict(made), default=str), flush=True)


def train(folder: Path, settings: Settings, changes: Sequence[str]) -> None:
    """Train on the examples of week 0."""
    params = with_fine_tuning(load_params(folder / "params.yaml"), changes)
    examples = folder / "examples" / "examples.jsonl"
    corpus = next(read_examples(examples)).corpus
    train_answerer(examples, folder / "answerer", params, settings, benchmark="freshness", corpus=corpus)


def change(folder: Path) -> None:
    """Bring the changes by one refresh."""
    write_documents(folder, changed_texts(load_documentation(), read_facts(folder)))
    _refresh()
    (folder / "changed").touch()


def ask(folder: Path, settings: Settings, phase: Phase) -> None:
    """Ask every question of the index as it is; closed-book once, since no refresh reaches it."""
    facts = read_facts(folder)
    write_golden(folder, golden_questions(facts, taught=(), changed=phase == "after"))
    modes: tuple[Mode, ...] = ("retrieval",) if phase == "before" else ("closed_book", "retrieval")
    write_json_lines(folder / f"{phase}.jsonl", list(_answered(folder, settings, phase, modes)))


def _answered(folder: Path, settings: Settings, phase: Phase, modes: Sequence[Mode]) -> Iterator[Answered]:
    params = load_params(folder / "params.yaml")
    retrieval = open_retrieval(params, settings)
    questions, missing = held_out(params, retrieval)
    print(
        f"{len(questions)} questions, {len(missing)} cannot be asked: {[reason for _, reason in missing]}", flush=True
    )
    excerpt = Compared(EXCERPT.answerer, excerpt_answerer(params.generation))
    for each in (excerpt, *compared_answerers(["base", str(folder / "answerer")], params, settings)):
        asked = ("retrieval",) if each is excerpt else modes
        evaluation = evaluate(
            each.answerer, questions, params, settings, retrieval=retrieval, modes=asked, probes=(), progress=_tell
        )
        for row in evaluation.rows:
            strategy = each.name if each is excerpt else f"{each.name}_{row.mode}"
            yield Answered(phase, strategy, row.question_id, row.draft, row.answer, bool(row.holding))


def taught_facts(folder: Path) -> set[str]:
    """Return ids of the facts that an example of the split `train` teaches."""
    examples = read_examples(folder / "examples" / "examples.jsonl")
    return {one.how for one in examples if one.origin == "golden" and one.split == "train" and one.answerable}


def _refresh() -> None:
    from flows.refresh import refresh

    print(json.dumps(refresh.fn().as_json()), flush=True)


def _cpu_seconds() -> float:
    used = [resource.getrusage(whose) for whose in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def _rows(path: Path) -> list[dict[str, str]]:
    return read_json_lines(path) if path.exists() else []


def _tell(stage: str, done: int, total: int) -> None:
    print(f"{stage} {done}/{total}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
