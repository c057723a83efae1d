"""Retrieval quality of full-text, vector and hybrid search, through Almanac's own refresh and search.

    python -m benchmarks.retrieval scifact cranfield squad packages

Each set is indexed by the refresh flow with the project's `params.yaml` into a home of its own below `--home`, once:
a second run embeds nothing. Public sets: nDCG@10 and recall@10 of documents, a document ranked by its best chunk.
`packages`, the default corpus with its golden questions: recall@8 and MRR@8 of the passage that holds the answer.
`--search fusion=rrf candidates=50` asks with other search parameters; no index is built anew for it.
The last column is hybrid minus the better single leg, with the 95 % interval of a paired bootstrap over questions.
"""

import argparse
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from benchmarks.data import bench_file
from benchmarks.judgements import REPORTED, TUNED, Judged, load_judged
from tasks.bootstrap import paired_difference
from tasks.index.access import AccessMap
from tasks.index.search import Index, Mode, Request
from tasks.params import Params, SearchParams, load_params
from tasks.settings import Settings, quiet_environment

if TYPE_CHECKING:
    from tasks.index.golden import Located

PROJECT = Path(__file__).parents[1]
MODES: tuple[Mode, ...] = ("full_text", "vector", "hybrid")
DEPTH = 10
GOLDEN_DEPTH = 8


@dataclass(frozen=True, slots=True)
class Measured:
    """What one subset of questions found.

    Attributes:
        metrics: names of the two metrics.
        values: (2, num_questions) by mode, the questions in one order.
    """

    name: str
    metrics: tuple[str, str]
    values: Mapping[Mode, npt.NDArray[np.float64]]


def main() -> None:
    """Print one Markdown row for each subset of each set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="*", default=[*REPORTED, "packages"], choices=[*REPORTED, "packages"])
    parser.add_argument("--home", type=Path, default=Path("var") / "benchmarks")
    parser.add_argument("--tuning", action="store_true", help="ask the questions that defaults are tuned on")
    parser.add_argument("--search", nargs="*", default=[], metavar="NAME=VALUE", help="other search parameters")
    arguments = parser.parse_args()
    changes = dict(change.split("=", 1) for change in arguments.search)
    quiet_environment()
    print(f"| questions | n | metrics | {' | '.join(MODES)} | hybrid - best leg |")
    print("|---" * (len(MODES) + 4) + "|")
    for name in arguments.sets:
        for measured in measure(name, arguments.home.resolve() / name, changes, tuning=arguments.tuning):
            print(row(measured), flush=True)


def measure(name: str, home: Path, search: Mapping[str, str], *, tuning: bool) -> Iterator[Measured]:
    """Index a set and ask its questions."""
    if name != "packages" and bench_file(f"{name}/corpus.jsonl") is None:
        print(f"| {name}: skipped, it is not at hand; set ALMANAC_BENCH_DIR |")
        return
    params, settings = prepare(name, home)
    refresh(settings)
    if name == "packages":
        index, access = open_champion(params, settings, search)
        for split in ("validation", "train") if tuning else ("test",):
            yield measure_golden(settings, index, access, split)
        return
    index, access = open_champion(params, settings, {"max_chunks_per_document": 1, **search})
    for subset in (TUNED if tuning else REPORTED)[name]:
        yield measure_judged(name, load_judged(name, subset), index, access)


def prepare(name: str, home: Path) -> tuple[Params, Settings]:
    """The project's parameters with the set as the one source, written into the home that they are for."""
    import yaml

    params = load_params(PROJECT / "params.yaml")
    raw = params.model_dump(mode="json")
    raw["index_gate"]["golden"] = None
    if name != "packages":
        raw["sources"] = [records_source(name)]
    home.mkdir(parents=True, exist_ok=True)
    (home / "params.yaml").write_text(yaml.safe_dump(raw), encoding="utf-8")
    return load_params(home / "params.yaml"), Settings(home=home, params=home / "params.yaml")


def records_source(name: str) -> dict[str, Any]:
    return {
        "name": name,
        "kind": "records",
        "url": str(bench_file(f"{name}/corpus.jsonl")),
        "mode": "snapshot",
        "fields": {"id": "_id"},
        "knowledge_base": name,
        "access": ["everyone"],
        "max_removed_fraction": 1.0,
    }


def refresh(settings: Settings) -> None:
    """Bring the home up to its source; does nothing where it is."""
    os.environ |= {"ALMANAC_HOME": str(settings.home), "ALMANAC_PARAMS": str(settings.params)}
    from flows.refresh import refresh as flow

    flow.fn()


def open_champion(params: Params, settings: Settings, search: Mapping[str, Any]) -> tuple[Index, AccessMap]:
    """The release that serves, with changed search parameters."""
    from tasks.index.access_tables import load_access
    from tasks.index.live import open_index, serving
    from tasks.index.table import connect

    db = connect(settings)
    changed = params.model_copy(update={"search": SearchParams(**(params.search.model_dump() | dict(search)))})
    return open_index(db, serving(settings).release, changed, settings), load_access(db)


def measure_judged(name: str, judged: Judged, index: Index, access: AccessMap) -> Measured:
    """NDCG@10 and recall@10 of documents."""
    from ir_measures import R, iter_calc, nDCG

    wanted = {nDCG @ DEPTH: 0, R @ DEPTH: 1}
    column = {key: position for position, key in enumerate(judged.grades)}
    values: dict[Mode, npt.NDArray[np.float64]] = {}
    for mode in MODES:
        ranked = {key: documents(index, access, text, mode) for key, text in judged.questions.items()}
        values[mode] = np.zeros((len(wanted), len(column)))
        for metric in iter_calc(list(wanted), judged.grades, ranked):
            values[mode][wanted[metric.measure], column[metric.query_id]] = metric.value
    return Measured(f"{name} {judged.subset}", (f"nDCG@{DEPTH}", f"recall@{DEPTH}"), values)


def documents(index: Index, access: AccessMap, question: str, mode: Mode) -> dict[str, float]:
    """Document keys with a score that falls with the rank."""
    found = index.search(Request(question, mode=mode, top_k=DEPTH), access)
    return {passage.document_id.split(":", 1)[1]: float(-rank) for rank, passage in enumerate(found)}


def measure_golden(settings: Settings, index: Index, access: AccessMap, split: str) -> Measured:
    """Recall@8 and MRR@8 of the passages that hold the anchors of the golden questions."""
    located = located_questions(settings, split)
    ranks = {mode: [golden_rank(index, access, entry, mode) for entry in located] for mode in MODES}
    values = {mode: np.array([[rank > 0 for rank in ranks[mode]], reciprocal(ranks[mode])]) for mode in MODES}
    return Measured(f"packages {split}", (f"recall@{GOLDEN_DEPTH}", f"MRR@{GOLDEN_DEPTH}"), values)


def golden_rank(index: Index, access: AccessMap, entry: "Located", mode: Mode) -> int:
    from tasks.index.golden import support_rank

    found = index.search(Request(entry.question.question, mode=mode, top_k=GOLDEN_DEPTH), access)
    return support_rank(entry, found) or 0


def reciprocal(ranks: Sequence[int]) -> list[float]:
    return [1 / rank if rank else 0.0 for rank in ranks]


def located_questions(settings: Settings, split: str) -> list["Located"]:
    """Golden questions of a split whose anchors stand in the corpus of the release that serves."""
    from tasks.index.golden import load_golden, locate
    from tasks.index.live import serving
    from tasks.index.snapshots import snapshot_files, texts_of

    questions = load_golden(PROJECT / "golden" / "packages.jsonl", split)
    wanted = {question.document for question in questions if question.document is not None}
    located, missing = locate(questions, texts_of(snapshot_files(settings, serving(settings).release), wanted))
    if missing:
        print(f"{len(missing)} golden questions have no support in the installed packages")
    return located


def row(measured: Measured) -> str:
    """One Markdown row; the better leg is found for each metric by itself."""
    cells = [" / ".join(f"{value:.3f}" for value in measured.values[mode].mean(axis=1)) for mode in MODES]
    gains = " / ".join(gain(measured.values, position) for position in range(len(measured.metrics)))
    num_questions = measured.values["hybrid"].shape[1]
    metrics = ", ".join(measured.metrics)
    return f"| {measured.name} | {num_questions} | {metrics} | {' | '.join(cells)} | {gains} |"


def gain(values: Mapping[Mode, npt.NDArray[np.float64]], metric: int) -> str:
    """Hybrid minus the leg that is better by this metric."""
    legs = [values[mode][metric] for mode in MODES if mode != "hybrid"]
    best = max(legs, key=lambda leg: float(leg.mean()))
    found = paired_difference(values["hybrid"][metric], best, confidence=0.95, num_resamples=10000)
    return f"{found.mean:+.3f} [{found.low:+.3f}, {found.high:+.3f}]"


if __name__ == "__main__":
    main()
