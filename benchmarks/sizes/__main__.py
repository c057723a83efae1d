"""Whether a small tuned answerer reaches a model ten times its size, both with retrieval, on SQuAD or PubMedQA.

    python -m benchmarks.sizes make    squad FOLDER                       # index and training set, as a retrain does
    python -m benchmarks.sizes train   squad FOLDER --set max_steps=240
    python -m benchmarks.sizes compare squad FOLDER --answerers base laptop FOLDER/answerer [--questions 120]

All of it as the product does it: `refresh`, the training set of a retrain, its trainer, `compare` with retrieval.
`laptop` is the profile of 1.5 billion parameters; its file lies in FOLDER/home/models (`ALMANAC_HOME=FOLDER/home make
laptop-model`). What a model wrote is kept in FOLDER, so a run that was stopped goes on. On PubMedQA the label that an
answer begins with is counted beside the metrics of `compare`.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from benchmarks.data import home_in
from benchmarks.sizes.sets import LABELS, label_of, write_home
from benchmarks.squad.train import train_answerer, with_fine_tuning
from tasks.bootstrap import paired_difference
from tasks.model.comparison.answerers import compared_answerers
from tasks.model.comparison.compare import compare_strategies
from tasks.model.comparison.report import Report, markdown
from tasks.model.evaluation.metrics import EvaluationRow
from tasks.model.examples.build import build_training_set
from tasks.params import load_params
from tasks.settings import Settings

CONFIDENCE, NUM_RESAMPLES = 0.95, 10_000


def main() -> None:
    """Run one of the steps."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=["make", "train", "compare"])
    parser.add_argument("set", choices=["squad", "pubmedqa"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--set", dest="changes", nargs="*", default=[], metavar="NAME=VALUE", help="of fine_tuning")
    parser.add_argument("--answerers", nargs="*", default=["base"], help="as of `almanac compare --answerer`")
    parser.add_argument("--questions", type=int, help="of the test split; default: all")
    arguments = parser.parse_args()
    folder = arguments.folder.resolve()
    settings = home_in(folder)
    if arguments.step == "make":
        make(arguments.set, folder, settings)
        return
    params = load_params(folder / "params.yaml")
    if arguments.step == "train":
        examples, params = folder / "examples" / "examples.jsonl", with_fine_tuning(params, arguments.changes)
        train_answerer(examples, folder / "answerer", params, settings, benchmark="sizes")
        return
    asked = params.evaluation.model_copy(update={"max_questions": arguments.questions})
    params = params.model_copy(update={"evaluation": asked})
    answerers = compared_answerers(arguments.answerers, params, settings)
    report = compare_strategies(params, settings, answerers, modes=("retrieval",), progress=_tell)
    print(markdown(report), flush=True)
    if arguments.set == "pubmedqa":
        print("\n".join(label_table(report)), flush=True)


def make(name: str, folder: Path, settings: Settings) -> None:
    """Index the set's documents, and build the training set of its golden questions."""
    write_home("squad" if name == "squad" else "pubmedqa", folder, settings)
    from flows.refresh import refresh

    print(json.dumps(refresh.fn().as_json()), flush=True)
    made = build_training_set(load_params(folder / "params.yaml"), settings, folder / "examples")
    print(json.dumps(asdict(made), default=str), flush=True)


def label_table(report: Report) -> Iterator[str]:
    """Yield Markdown: labels of each answerer's drafts beside the questions' own, and differences to the first one."""
    rows = {name: _answerable(evaluation.rows) for name, evaluation in report.evaluations.items()}
    golds = [row.reference for row in next(iter(rows.values()))]
    right = {name: [float(label_of(row.draft) == row.reference) for row in answers] for name, answers in rows.items()}
    for label in LABELS:
        right[f"always {label!r}"] = [float(gold == label) for gold in golds]
    yield f"| {len(golds)} questions | label right | macro F1 | with a label | as served: label right |"
    yield "|---|---|---|---|---|"
    for name, values in right.items():
        answers = rows.get(name)
        labels = [label_of(row.draft) for row in answers] if answers else [name.split("'")[1]] * len(golds)
        served = np.mean([label_of(row.answer) == row.reference for row in answers]) if answers else None
        cells = [np.mean(values), _macro_f1(labels, golds), np.mean([label is not None for label in labels]), served]
        yield f"| {name} | {' | '.join('-' if cell is None else f'{cell:.3f}' for cell in cells)} |"
    yield ""
    names = [name for name in right if name in rows]
    for place, name in enumerate(names):
        for other in names[:place]:
            gain = paired_difference(
                right[name], right[other], confidence=CONFIDENCE, num_resamples=NUM_RESAMPLES, seed=1
            )
            yield f"- label right, {name} over {other}: {gain.mean:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}]"


def _answerable(rows: Sequence[EvaluationRow]) -> list[EvaluationRow]:
    return sorted((row for row in rows if row.mode == "retrieval" and row.answerable), key=lambda row: row.question_id)


def _macro_f1(labels: Sequence[str | None], golds: Sequence[str | None]) -> float:
    """Return the mean over `LABELS` of 2 TP / (2 TP + FP + FN)."""
    scores = []
    for label in LABELS:
        hits = sum(one == gold == label for one, gold in zip(labels, golds, strict=True))
        total = sum(one == label for one in labels) + sum(gold == label for gold in golds)
        scores.append(2 * hits / total if total else 0.0)
    return float(np.mean(scores))


def _tell(stage: str, done: int, total: int) -> None:
    print(f"{stage} {done}/{total}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
