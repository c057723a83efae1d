"""What the stores say of releases, snapshots, training sets, models and answers, read once for one lineage.

No store of its own: manifests, the index, the data registry, and MLflow's versions and traces.
"""

import json
import shutil
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.answer.trace_search import answer_traces
from tasks.home import make_private
from tasks.index.lance_errors import rows_of
from tasks.index.release import Release, load_release, release_numbers
from tasks.index.table import connect, open_at
from tasks.model.examples.example import Example, read_examples
from tasks.model.examples.training_set import FILE, FOLDER, TrainingSet, read_training_set
from tasks.registry.shared import open_registry
from tasks.releases.answerers import answerer_kinds
from tasks.releases.kind import EMBEDDER, INDEX, ReleaseKind, answerer_of
from tasks.releases.lifecycle import versions
from tasks.releases.model_registry import mlflow_client, none_if_absent
from tasks.releases.version import ReleaseVersion
from tasks.settings import Settings

if TYPE_CHECKING:
    from mlflow.entities import Trace

MAX_ANSWERS = 100
"""The newest answers that are read of a document, a release or a model."""
_CHUNK_COLUMNS = ["chunk_id", "ordinal", "start", "end", "headings"]


@dataclass(frozen=True, slots=True)
class KeptExamples:
    """A training set of the data registry."""

    tag: str
    commit: str
    record: TrainingSet
    examples: tuple[Example, ...]


@dataclass(frozen=True, slots=True)
class Shown:
    """A chunk that an answer was given, and whether the answer cites its document."""

    chunk_id: str
    document_id: str
    title: str
    cited: bool


@dataclass(frozen=True, slots=True)
class TracedAnswer:
    """An answer by its trace; neither its question nor its text.

    Attributes:
        ratings: who rated (a pseudonym) and how, in order.
    """

    trace_id: str
    asked_at_ms: int
    index_version: str
    answerer_version: str
    prompt: str
    outcome: str
    shown: tuple[Shown, ...]
    ratings: tuple[tuple[str, str], ...] = field(default=())


class Records:
    """Reads each store once; close it behind the last read."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._folder = settings.work / f"lineage-{uuid.uuid4().hex}"

    def close(self) -> None:
        """Remove the files that were brought from the registry."""
        shutil.rmtree(self._folder, ignore_errors=True)

    @cached_property
    def releases(self) -> dict[int, Release]:
        """Return the manifests of all releases that are kept."""
        return {number: load_release(self._settings, number) for number in release_numbers(self._settings)}

    @cached_property
    def versions(self) -> list[ReleaseVersion]:
        """Return every version of index, answerer and embedder that MLflow knows."""
        kinds = (INDEX, *answerer_kinds(self._settings), EMBEDDER)
        return [version for kind in kinds for version in versions(self._settings, kind)]

    def models(self) -> list[ReleaseVersion]:
        """Return the versions that were trained."""
        return [version for version in self.versions if version.kind is not INDEX]

    def version(self, kind: ReleaseKind, number: str) -> ReleaseVersion | None:
        """Return the version of this number."""
        return next((entry for entry in self.versions if entry.kind == kind and entry.version == number), None)

    def answerer(self, label: str) -> ReleaseVersion | None:
        """Return the answerer that traces call so: `3`, or `handbook/3` of a knowledge base's own."""
        own, _, number = label.rpartition("/")
        return self.version(answerer_of(own or None), number)

    def index_version(self, release: int) -> ReleaseVersion | None:
        """Return an index release as MLflow knows it."""
        return next((entry for entry in self.versions if entry.kind is INDEX and entry.number == release), None)

    @cached_property
    def training_sets(self) -> dict[str, KeptExamples]:
        """Return every training set by tag, oldest first."""
        registry = open_registry(self._settings, folder=FOLDER)
        make_private(self._settings.work)
        kept = {}
        for tag in sorted(registry.tags(f"{FOLDER}-[0-9]*")):
            folder = self._folder / tag
            registry.restore(tag, folder)
            examples = tuple(read_examples(folder / FILE))
            kept[tag] = KeptExamples(tag, registry.revision(tag).commit, read_training_set(folder), examples)
        return kept

    def chunks(self, release: Release, document_id: str) -> list[Mapping[str, Any]]:
        """Return what a release holds of a document, in its order; no text."""
        from lancedb.expr import col

        table = open_at(connect(self._settings), release.lance_tag)
        rows = table.search().where(col("document_id").isin([document_id])).select(_CHUNK_COLUMNS)
        found = rows_of(rows.limit(release.num_chunks + 1), str(release.lance_tag))
        return sorted(found, key=lambda row: int(row["ordinal"]))

    def snapshot(self, release: Release) -> list[Path]:
        """Return the corpus files of a release."""
        tag = release.corpus.tag
        restored = open_registry(self._settings, tag=tag).restore(tag, self._folder / tag)
        by_name = {path.name: path for path in restored}
        return [by_name[name] for name in release.corpus.files]

    def answer(self, trace_id: str) -> TracedAnswer | None:
        """Return an answer by the id of its trace; None: MLflow has none."""
        with mlflow_client(self._settings) as client:
            trace = none_if_absent(client.get_trace, trace_id)
        return None if trace is None else _answer(trace)

    def answers_by_tag(self, tag: str, value: str, *, is_part: bool = False) -> list[TracedAnswer]:
        """Return the newest answers whose tag is, or holds, a value; `MAX_ANSWERS` + 1 where there are more."""
        part = value.replace("'", "_")  # `_` stands for any sign
        wanted = f"tags.`{tag}` LIKE '%{part}%'" if is_part else f"tags.`{tag}` = '{part}'"
        return [_answer(trace) for trace in answer_traces(self._settings, wanted, limit=MAX_ANSWERS + 1)]


def _answer(trace: "Trace") -> TracedAnswer:
    tags, root = trace.info.tags, next((span for span in trace.data.spans if span.parent_id is None), None)
    assessments: list[Any] = trace.info.assessments or []
    outputs: Mapping[str, Any] = (root.outputs if root else None) or {}
    cited = {str(entry.get("document_id")) for entry in outputs.get("citations") or []}
    retrieved = [entry for span in trace.data.spans if span.name == "retrieve" for entry in span.outputs or []]
    return TracedAnswer(
        trace_id=trace.info.trace_id,
        asked_at_ms=int(trace.info.request_time),
        index_version=tags.get("almanac.index_version", ""),
        answerer_version=tags.get("almanac.answerer_version", ""),
        prompt=tags.get("almanac.prompt", ""),
        outcome=str(outputs.get("outcome") or ""),
        shown=tuple(_shown(entry, cited) for entry in retrieved)
        or tuple(Shown("", name, "", name in cited) for name in json.loads(tags.get("almanac.document_ids", "[]"))),
        ratings=tuple(
            (str(entry.source.source_id if entry.source else ""), "up" if entry.value else "down")
            for entry in assessments
            if entry.name == "user_rating"
        ),
    )


def _shown(entry: Mapping[str, Any], cited: set[str]) -> Shown:
    metadata = entry.get("metadata") or {}
    document_id = str(metadata.get("document_id", ""))
    return Shown(str(entry.get("id") or ""), document_id, str(metadata.get("title", "")), document_id in cited)
