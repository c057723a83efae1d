"""Retrieval quality of full-text, vector and hybrid search, through Almanac's own refresh and search.

    python -m benchmarks.retrieval scifact cranfield squad packages
    python -m benchmarks.retrieval packages --search rerank=none --save before.json
    python -m benchmarks.retrieval packages --against before.json

Each set is indexed by the refresh flow with the project's `params.yaml` into a home of its own below `--home`, once:
a second run embeds nothing. Public sets: nDCG@10, recall@10 and recall@3 of documents, ranked by their best chunk.
`packages`, the default corpus with its golden questions: nDCG@10, recall@8 and recall@3 of the passage that holds the
answer; and, where the questions of `answers/drafts.jsonl` are at hand, whether all that an answer needs stands in the
first three and in the first eight passages.
`--search fusion=rrf candidates=50` asks with other search parameters; no index is built anew for it.
The last column is hybrid minus the better single leg, with `--against` hybrid minus that run's hybrid: mean and 95 %
interval of a paired bootstrap over questions.
"""

import argparse
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from benchmarks.answers import Wanted, answers_file, load_wanted
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
DEPTH, MANY, FEW = 10, 8, 3
FROZEN = "corpus.jsonl"
"""In the home of `packages`, takes the place of what is installed, so that two runs see the same documents."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What one subset of questions found.

    Attributes:
        metrics: names of the metrics.
        values: (num_metrics, num_questions) by mode, the questions in one order.
    """

    name: str
    metrics: tuple[str, ...]
    values: Mapping[Mode, npt.NDArray[np.float64]]


def main() -> None:
    """Print one Markdown row for each subset of each set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="*", default=[*REPORTED, "packages"], choices=[*REPORTED, "packages"])
    parser.add_argument("--home", type=Path, default=Path("var") / "benchmarks")
    parser.add_argument("--tuning", action="store_true", help="ask the questions that defaults are tuned on")
    parser.add_argument("--search", nargs="*", default=[], metavar="NAME=VALUE", help="other search parameters")
    parser.add_argument("--hybrid", action="store_true", help="ask in hybrid mode only")
    parser.add_argument("--save", type=Path, help="keep the values of this run in a file")
    parser.add_argument("--against", type=Path, help="compare hybrid with that of a run that was saved")
    arguments = parser.parse_args()
    changes = dict(change.split("=", 1) for change in arguments.search)
    modes: tuple[Mode, ...] = ("hybrid",) if arguments.hybrid else MODES
    before = json.loads(arguments.against.read_text(encoding="utf-8")) if arguments.against else None
    saved: dict[str, list[list[float]]] = {}
    quiet_environment()
    print(f"| questions | n | metrics | {' | '.join(modes)} | hybrid - {'before' if before else 'best leg'} |")
    print("|---" * (len(modes) + 4) + "|")
    for name in arguments.sets:
        home = arguments.home.resolve() / name
        for measured in measure(name, home, changes, modes=modes, tuning=arguments.tuning):
            saved[measured.name] = measured.values["hybrid"].tolist()
            print(row(measured, before), flush=True)
    if arguments.save:
        arguments.save.write_text(json.dumps(saved), encoding="utf-8")


def measure(
    name: str, home: Path, search: Mapping[str, str], *, modes: Sequence[Mode], tuning: bool
) -> Iterator[Measured]:
    """Index a set and ask its questions."""
    if name != "packages" and bench_file(f"{name}/corpus.jsonl") is None:
        print(f"| {name}: skipped, it is not at hand; set ALMANAC_BENCH_DIR |")
        return
    params, settings = prepare(name, home)
    refresh(settings)
    if name == "packages":
        index, access = open_champion(params, settings, search)
        for split in ("validation", "train") if tuning else ("test",):
            yield measure_golden(settings, index, access, split, modes)
        if (drafts := answers_file("drafts.jsonl")) is not None:
            yield measure_answers(load_wanted(drafts), index, access, modes)
        return
    index, access = open_champion(params, settings, {"max_chunks_per_document": 1, **search})
    for subset in (TUNED if tuning else REPORTED)[name]:
        yield measure_judged(name, load_judged(name, subset), index, access, modes)


def prepare(name: str, home: Path) -> tuple[Params, Settings]:
    """The project's parameters with the set as the one source, written into the home that they are for."""
    import yaml

    params = load_params(PROJECT / "params.yaml")
    raw = params.model_dump(mode="json")
    raw["index_gate"]["golden"] = None
    if name != "packages":
        raw["sources"] = [records_source(name, bench_file(f"{name}/corpus.jsonl"))]
    elif (home / FROZEN).exists():
        raw["sources"] = [records_source(name, home / FROZEN)]
    home.mkdir(parents=True, exist_ok=True)
    (home / "params.yaml").write_text(yaml.safe_dump(raw), encoding="utf-8")
    return load_params(home / "params.yaml"), Settings(home=home, params=home / "params.yaml")


def records_source(name: str, path: Path | None) -> dict[str, Any]:
    return {
        "name": name,
        "kind": "records",
        "url": str(path),
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


def measure_judged(name: str, judged: Judged, index: Index, access: AccessMap, modes: Sequence[Mode]) -> Measured:
    """NDCG@10, recall@10 and recall@3 of documents."""
    from ir_measures import R, iter_calc, nDCG

    wanted = {nDCG @ DEPTH: 0, R @ DEPTH: 1, R @ FEW: 2}
    column = {key: position for position, key in enumerate(judged.grades)}
    values: dict[Mode, npt.NDArray[np.float64]] = {}
    for mode in modes:
        ranked = {key: documents(index, access, text, mode) for key, text in judged.questions.items()}
        values[mode] = np.zeros((len(wanted), len(column)))
        for metric in iter_calc(list(wanted), judged.grades, ranked):
            values[mode][wanted[metric.measure], column[metric.query_id]] = metric.value
    return Measured(f"{name} {judged.subset}", (f"nDCG@{DEPTH}", f"recall@{DEPTH}", f"recall@{FEW}"), values)


def documents(index: Index, access: AccessMap, question: str, mode: Mode) -> dict[str, float]:
    """Document keys with a score that falls with the rank."""
    found = index.search(Request(question, mode=mode, top_k=DEPTH), access)
    return {passage.document_id.split(":", 1)[1]: float(-rank) for rank, passage in enumerate(found)}


def measure_golden(settings: Settings, index: Index, access: AccessMap, split: str, modes: Sequence[Mode]) -> Measured:
    """NDCG@10, recall@8 and recall@3 of the passages that hold the anchors of the golden questions."""
    located = located_questions(settings, split)
    values: dict[Mode, npt.NDArray[np.float64]] = {}
    for mode in modes:
        ranks = np.array([golden_rank(index, access, entry, mode) for entry in located])
        gain = np.where(ranks > 0, 1 / np.log2(1 + np.maximum(ranks, 1)), 0.0)
        values[mode] = np.array([gain, (ranks > 0) & (ranks <= MANY), (ranks > 0) & (ranks <= FEW)])
    return Measured(f"packages {split}", (f"nDCG@{DEPTH}", f"recall@{MANY}", f"recall@{FEW}"), values)


def golden_rank(index: Index, access: AccessMap, entry: "Located", mode: Mode) -> int:
    from tasks.index.golden import support_rank

    found = index.search(Request(entry.question.question, mode=mode, top_k=DEPTH), access)
    return support_rank(entry, found) or 0


def measure_answers(wanted: Sequence[Wanted], index: Index, access: AccessMap, modes: Sequence[Mode]) -> Measured:
    """Whether everything that an answer needs stands in the first passages, whole ones, and how long those are."""
    values: dict[Mode, npt.NDArray[np.float64]] = {}
    for mode in modes:
        rows = []
        for entry in wanted:
            found = index.search(Request(entry.question, mode=mode, top_k=MANY), access)
            texts = [(passage.document_id, passage.text) for passage in found]
            size = sum(len(text) for _, text in texts) / 1000
            rows.append([entry.stands_in(texts[:FEW]), entry.stands_in(texts), size])
        values[mode] = np.array(rows, dtype=np.float64).T
    return Measured("packages answers", (f"complete@{FEW}", f"complete@{MANY}", "1000 characters"), values)


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


def row(measured: Measured, before: Mapping[str, Sequence[Sequence[float]]] | None) -> str:
    """One Markdown row; the better leg is found for each metric by itself."""
    cells = [" / ".join(f"{value:.3f}" for value in values.mean(axis=1)) for values in measured.values.values()]
    hybrid = measured.values["hybrid"]
    baselines = [
        np.array(before[measured.name][place]) if before else better_leg(measured.values, place)
        for place in range(len(measured.metrics))
    ]
    gains = " / ".join(gain(values, baseline) for values, baseline in zip(hybrid, baselines, strict=True))
    return f"| {measured.name} | {hybrid.shape[1]} | {', '.join(measured.metrics)} | {' | '.join(cells)} | {gains} |"


def better_leg(values: Mapping[Mode, npt.NDArray[np.float64]], metric: int) -> npt.NDArray[np.float64] | None:
    """The leg that is better by this metric; None where only hybrid was asked."""
    legs = [entry[metric] for mode, entry in values.items() if mode != "hybrid"]
    return max(legs, key=lambda leg: float(leg.mean()), default=None)


def gain(values: npt.NDArray[np.float64], baseline: npt.NDArray[np.float64] | None) -> str:
    if baseline is None:
        return "-"
    found = paired_difference(values, baseline, confidence=0.95, num_resamples=10000)
    return f"{found.mean:+.3f} [{found.low:+.3f}, {found.high:+.3f}]"


if __name__ == "__main__":
    main()
