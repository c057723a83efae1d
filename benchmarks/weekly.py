"""Real weeks of documentation through the refresh, each week beside an index built from nothing.

    python -m benchmarks.weekly prometheus
    python -m benchmarks.weekly otel

The feed is a `records` source of changes, as the weeks came; the index from nothing gets the folded state of the week
as a snapshot, in a home of its own that shares the embedding cache, so that only new texts cost. Rules that quarantine
are left out: a document whose new version is set aside keeps its old one, which an index from nothing cannot know.
"""

import argparse
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from benchmarks.data import bench_file

Row = dict[str, Any]
FIELDS = {
    "id": "_id",
    "version": "blob",
    "title": None,
    "uri": None,
    "updated_at": None,
    "expires_at": None,
    "access": None,
    "knowledge_base": None,
}


@dataclass(frozen=True, slots=True)
class Week:
    """What one week brought.

    Attributes:
        changed: documents that the feed adds, modifies or deletes.
        changed_texts: texts of chunks in the index from nothing that last week's did not have.
        embedded: texts that the refresh embedded.
        release: its number; None: nothing was released.
        equal: whether the index holds, row for row, what an index from nothing holds.
        seconds: of the refresh alone.
    """

    week: int
    changed: int
    documents: int
    chunks: int
    changed_texts: int
    embedded: int
    release: int | None
    equal: bool
    seconds: float


def main() -> None:
    """Run all weeks and print one Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", choices=("prometheus", "otel"))
    corpus = bench_file(f"weekly_{parser.parse_args().corpus}")
    if corpus is None:
        print("skipped: the weeks are not at hand; set ALMANAC_BENCH_DIR")
        return
    raw = yaml.safe_load(Path("params.yaml").read_text(encoding="utf-8"))
    rules = [rule for rule in raw["document_gate"]["rules"] if rule["on_fail"] != "quarantine"]
    raw["document_gate"]["rules"] = rules
    raw["index_gate"]["golden"] = None
    print(f"| {' | '.join(field.name for field in fields(Week))} |\n|{'---|' * len(fields(Week))}")
    with tempfile.TemporaryDirectory() as folder:
        for week in run(corpus, Path(folder), raw):
            print(f"| {' | '.join(map(str, astuple(week)))} |", flush=True)


def run(
    corpus: Path, folder: Path, params: dict[str, Any], *, keep: Callable[[str], bool] = bool, num_weeks: int = 100
) -> Iterator[Week]:
    """Refresh week by week, each time beside an index from nothing.

    Args:
        corpus: folder of `week_00.jsonl` and `week_NN.changes.jsonl`.
        folder: for feeds and homes.
        params: of `params.yaml`; its sources are replaced.
        keep: which ids take part.
        num_weeks: at most so many, week 0 included.
    """
    state: dict[str, Row] = {}
    before: set[str] = set()
    for number, path in enumerate(sorted(corpus.glob("week_*.jsonl"))[:num_weeks]):
        changes = [row for row in map(json.loads, path.open(encoding="utf-8")) if keep(row["_id"])]
        _write(folder / "feed" / path.name, [{"op": "add"} | change for change in changes])
        _fold(state, changes)
        started = time.monotonic()
        result = _refresh(folder / "home", params, _source(folder / "feed", "changes"))
        seconds = round(time.monotonic() - started, 1)
        found = serving_rows(folder / "home")
        wanted = _from_nothing(folder, state, params)
        keys = {row["text_key"] for row in wanted}
        yield Week(
            number,
            len(changes),
            result["documents"],
            len(found),
            len(keys - before),
            result["embedded"],
            result["release"],
            same_rows(found, wanted),
            seconds,
        )
        before = keys


def _fold(state: dict[str, Row], changes: list[Row]) -> None:
    for change in changes:
        if change.get("op") == "delete":
            del state[change["_id"]]
        else:
            state[change["_id"]] = {name: change[name] for name in ("_id", "blob", "text")}


def _from_nothing(folder: Path, state: dict[str, Row], params: dict[str, Any]) -> list[Row]:
    home = folder / "scratch"
    shutil.rmtree(home, ignore_errors=True)
    _write(folder / "state" / "state.jsonl", list(state.values()))
    shutil.copytree(folder / "home" / "cache", home / "cache")
    result = _refresh(home, params, _source(folder / "state", "snapshot"))
    if result["embedded"]:
        raise RuntimeError(f"the shared cache must hold every text, found {result['embedded']} that it did not")
    return serving_rows(home)


def _write(path: Path, rows: list[Row]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def _source(feed: Path, mode: str) -> dict[str, Any]:
    return {
        "name": "docs",
        "kind": "records",
        "url": str(feed),
        "mode": mode,
        "fields": FIELDS,
        "front_matter": True,
        "knowledge_base": "docs",
        "access": ["everyone"],
        "max_removed_fraction": 0.5,
    }


def _refresh(home: Path, params: dict[str, Any], source: dict[str, Any]) -> dict[str, Any]:
    from tasks.settings import quiet_environment

    quiet_environment()
    from flows.refresh import refresh

    home.mkdir(parents=True, exist_ok=True)
    path = home.with_suffix(".params.yaml")
    path.write_text(yaml.safe_dump(params | {"sources": [source]}), encoding="utf-8")
    _prepare_mlflow(home)
    os.environ |= {"ALMANAC_HOME": str(home), "ALMANAC_PARAMS": str(path)}
    result: dict[str, Any] = refresh.fn().as_json()
    return result


def _prepare_mlflow(home: Path) -> None:
    """Tables of an empty MLflow database take seconds to make, none to copy."""
    from mlflow import MlflowClient

    kept = home.with_name("mlflow.db")
    if not kept.exists():
        MlflowClient(tracking_uri=f"sqlite:///{kept}").search_experiments(max_results=1)
    target = home / "mlflow.db"
    if not target.exists():
        shutil.copy(kept, target)
        # MLflow keeps connections to a file that stood here before.
        from mlflow.store.model_registry.sqlalchemy_store import SqlAlchemyStore as Models
        from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore as Runs

        for store in (Models, Runs):
            for engine in getattr(store, "_engine_map", {}).values():
                engine.dispose()


def serving_rows(home: Path) -> list[Row]:
    """All rows of the release that serves, by chunk id."""
    from tasks.index.live import serving
    from tasks.index.table import connect, open_at
    from tasks.settings import Settings

    settings = Settings(home=home)
    table = open_at(connect(settings), serving(settings).release.lance_tag)
    return sorted(table.to_arrow().to_pylist(), key=lambda row: str(row["chunk_id"]))


def same_rows(rows_of_index: list[Row], wanted: list[Row]) -> bool:
    """Whether two indexes hold the same rows: vectors within 1e-4, all else exactly."""
    if [_bare(row) for row in rows_of_index] != [_bare(row) for row in wanted]:
        return False
    vectors = [np.array([row["vector"] for row in rows]) for rows in (rows_of_index, wanted)]
    return bool(np.allclose(*vectors, atol=1e-4))


def _bare(row: Row) -> Row:
    return {name: value for name, value in row.items() if name != "vector"}


if __name__ == "__main__":
    main()
