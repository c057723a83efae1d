"""Walks from one thing to all that it was made from, and to all that was made from it.

document ─▶ chunk ─▶ release ─▶ answer ─▶ rating
        └─▶ corpus ─┘    chunk ─▶ example ─▶ training set ─▶ model ─▶ answer

For the operator: it names documents that not everyone may read, but shows no text of them.
"""

import datetime as dt
import re
from collections.abc import Iterable

from tasks.answer.inspection.find import Name, find_document
from tasks.corpus.snapshot import fold_state
from tasks.errors import ConfigurationError
from tasks.index.release import Release
from tasks.lineage.graph import Graph, Kind, Lineage, Node
from tasks.lineage.records import MAX_ANSWERS, KeptExamples, Records, TracedAnswer
from tasks.model.examples.example import Example
from tasks.releases.kind import ANSWERER, EMBEDDER, INDEX, ReleaseKind, answerer_of
from tasks.releases.tags import Tag
from tasks.releases.version import ReleaseVersion
from tasks.settings import Settings

_TRACE = re.compile(r"tr-[0-9a-f]{32}")
_EXAMPLE = re.compile(r"[0-9a-f]{16}")
_VERSION = re.compile(r"(?i:(?:almanac-)?(release|index|embedder|answerer)(?:(?<=answerer)\.(\S+[ :#]))?)[ :#]?(\d+)")
_ON_TEXTS = "continual_pretraining"


def trace_lineage(settings: Settings, wanted: str) -> Lineage:
    """Return the lineage of a document, an answer, an example, a model or a release.

    Args:
        settings: whose home.
        wanted: a document's id, path or address; a trace's id, `tr-…`; an example's id; `answerer 3`; `release 3`.

    Raises:
        ConfigurationError: nothing of that name is kept.
        DependencyError: a store does not answer.
    """
    records = Records(settings)
    try:
        return _Walk(records).lineage(wanted.strip())
    finally:
        records.close()


class _Walk:
    """One walk: `_into_…` goes back to what a node was made from, `_out_of_…` forth."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self._graph = Graph()

    def lineage(self, wanted: str) -> Lineage:
        version = _VERSION.fullmatch(wanted)
        what, own = (version[1].casefold(), version[2][:-1] if version[2] else None) if version else ("", None)
        if _TRACE.fullmatch(wanted):
            root = self._of_answer(wanted)
        elif version and what in ("release", "index"):
            root = self._of_release(int(version[3]))
        elif version:
            root = self._of_model(EMBEDDER if what == "embedder" else answerer_of(own), version[3])
        elif (example := self._example(wanted)) is not None:
            root = self._of_example(*example)
        else:
            root = self._of_document(wanted)
        return self._graph.lineage(root)

    # A document.

    def _of_document(self, wanted: str) -> Node:
        holding: dict[str, list[Release]] = {}
        names: dict[str, Name] = {}
        for release in self._records.releases.values():
            state = fold_state(self._records.snapshot(release))
            columns = (state.column(name).to_pylist() for name in ("document_id", "title", "uri"))
            for entry in zip(*columns, strict=True):
                names[entry[0]] = Name(*entry)
                holding.setdefault(entry[0], []).append(release)
        named = find_document(wanted, names)
        document = _document(named.document_id, named.title, named.uri)
        source = Node("source", named.document_id.partition(":")[0])
        self._graph.join(source, document)
        for release in holding[named.document_id]:
            self._out_of_document(document, release)
        examples = list(self._examples_of(named.document_id))
        for kept, example in examples:
            self._join_example(kept, example, only=named.document_id)
        for tag in dict.fromkeys(kept.tag for kept, _ in examples):
            self._out_of_training_set(self._records.training_sets[tag])
        self._add_answers(
            self._records.answers_by_tag("almanac.document_ids", named.document_id, is_part=True),
            only=named.document_id,
        )
        return document

    def _out_of_document(self, document: Node, release: Release) -> None:
        corpus = self._corpus(release)
        self._graph.join(document, corpus)
        target = self._release(release)
        self._graph.join(corpus, target)
        for row in self._records.chunks(release, document.name):
            chunk = Node("chunk", row["chunk_id"], {"characters": f"{row['start']}-{row['end']}"})
            self._graph.join(document, chunk)
            self._graph.join(chunk, target)
        for model in self._records.models():
            if model.tags.get(Tag.METHOD) == _ON_TEXTS and model.tags.get(Tag.CORPUS) == release.corpus.tag:
                self._graph.join(corpus, _model(model), "trained on its texts")

    # An answer.

    def _of_answer(self, trace_id: str) -> Node:
        answer = self._records.answer(trace_id)
        if answer is None:
            raise ConfigurationError(
                f"an answer must have its trace in MLflow, found none of id {trace_id}; retention or `almanac forget` "
                "may have removed it; `almanac ask --json` and the API name the traces of new ones"
            )
        node = self._add_answer(answer)
        for name in dict.fromkeys(shown.document_id for shown in answer.shown):
            self._graph.join(Node("source", name.partition(":")[0]), _document(name))
        if release := self._records.releases.get(_number(answer.index_version)):
            self._into_release(release)
        if version := self._records.answerer(answer.answerer_version):
            self._into_model(version)
        for kept in self._records.training_sets.values():
            for example in kept.examples:
                if example.origin == "feedback" and trace_id in example.how:
                    self._graph.join(node, _example(example), "rated")
                    self._graph.join(_example(example), _training_set(kept))
        return node

    def _add_answers(self, answers: list[TracedAnswer], *, only: str) -> None:
        """Add answers with what they were shown of one document; an empty name: without what they were shown."""
        for answer in answers[:MAX_ANSWERS]:
            if not only or only in {shown.document_id for shown in answer.shown}:
                self._add_answer(answer, only=only)
        if len(answers) > MAX_ANSWERS:
            self._graph.left_out["answer"] = 1

    def _add_answer(self, answer: TracedAnswer, *, only: str | None = None) -> Node:
        asked = dt.datetime.fromtimestamp(answer.asked_at_ms // 1000, dt.UTC).isoformat()
        node = self._graph.add(
            Node("answer", answer.trace_id, {"asked": asked, "outcome": answer.outcome, "prompt": answer.prompt})
        )
        for shown in answer.shown:
            if only not in (None, shown.document_id):
                continue
            document = self._graph.add(_document(shown.document_id, shown.title))
            how = "cited" if shown.cited else "shown"
            if shown.chunk_id:
                chunk = Node("chunk", shown.chunk_id)
                self._graph.join(document, chunk)
                self._graph.join(chunk, node, how)
            else:
                self._graph.join(document, node, how)
        release = self._records.releases.get(_number(answer.index_version))
        gone = Node("release", answer.index_version, {"kept": "no"})
        self._graph.join(self._release(release) if release else gone, node)
        version = self._records.answerer(answer.answerer_version)
        self._graph.join(_model(version) if version else Node("model", f"answerer {answer.answerer_version}"), node)
        for number, (user, value) in enumerate(answer.ratings, start=1):
            self._graph.join(node, Node("rating", f"{answer.trace_id} {number}", {"value": value, "user": user}))
        return node

    # A release.

    def _of_release(self, number: int) -> Node:
        release = self._records.releases.get(number)
        if release is None:
            kept = ", ".join(map(str, self._records.releases)) or "none"
            raise ConfigurationError(f"release {number} must be kept, found {kept}; see `almanac releases`")
        node = self._into_release(release)
        for later in self._records.releases.values():
            if later.base == number:
                self._graph.join(node, self._release(later), "base")
        for model in self._records.models():
            if model.tags.get(Tag.INDEX_RELEASE) == str(number):
                self._graph.join(node, _model(model), "its passages trained it")
        self._add_answers(self._records.answers_by_tag("almanac.index_version", str(number)), only="")
        return node

    def _into_release(self, release: Release) -> Node:
        node, corpus = self._release(release), self._corpus(release)
        self._graph.join(corpus, node)
        if (base := self._records.releases.get(release.base or 0)) is not None:
            self._graph.join(self._release(base), node, "base")
        state = fold_state(self._records.snapshot(release))
        for name in sorted(state["source"].unique().to_pylist()):
            self._graph.join(Node("source", name), corpus)
        return node

    def _release(self, release: Release) -> Node:
        version = self._records.index_version(release.number)
        facts = {
            "created": release.created_at,
            "documents": str(release.num_documents),
            "chunks": str(release.num_chunks),
            "params": release.params_digest,
            "code": release.git_commit or "",
            "embedder": release.fingerprint.embedder,
        }
        return self._graph.add(Node("release", str(release.number), facts | _standing(version)))

    def _corpus(self, release: Release) -> Node:
        corpus = release.corpus
        return self._graph.add(Node("corpus", corpus.tag, {"commit": corpus.commit, "md5": corpus.md5}))

    # A model.

    def _of_model(self, kind: ReleaseKind, number: str) -> Node:
        version = self._records.version(kind, number)
        if version is None:
            numbers = ", ".join(entry.version for entry in self._records.versions if entry.kind == kind) or "none"
            raise ConfigurationError(
                f"{kind.model} must have version {number}, found: {numbers}; see `almanac releases`"
            )
        node = self._into_model(version)
        if kind.artifacts == ANSWERER.artifacts:
            self._add_answers(self._records.answers_by_tag("almanac.answerer_version", version.label), only="")
        return node

    def _into_model(self, version: ReleaseVersion) -> Node:
        node = self._graph.add(_model(version))
        kept = self._records.training_sets.get(version.tags.get(Tag.TRAINING_SET, ""))
        if kept is not None:
            self._graph.join(self._into_training_set(kept), node)
        release = self._records.releases.get(_number(version.tags.get(Tag.INDEX_RELEASE, "")))
        if release is not None:
            self._graph.join(self._into_release(release), node, "its passages trained it")
        if version.tags.get(Tag.METHOD) == _ON_TEXTS and (tag := version.tags.get(Tag.CORPUS)):
            self._graph.join(Node("corpus", tag), node, "trained on its texts")
        return node

    # Examples.

    def _into_training_set(self, kept: KeptExamples) -> Node:
        node = self._graph.add(_training_set(kept))
        self._graph.join(Node("corpus", kept.record.corpus), node)
        for name in kept.record.document_ids:
            self._graph.join(_document(name), node)
        return node

    def _out_of_training_set(self, kept: KeptExamples) -> None:
        for version in self._records.models():
            if version.tags.get(Tag.TRAINING_SET) == kept.tag:
                self._graph.join(_training_set(kept), _model(version))
                if version.kind.artifacts == ANSWERER.artifacts:
                    tag, label = "almanac.answerer_version", version.label
                    self._add_answers(self._records.answers_by_tag(tag, label), only="")

    def _of_example(self, kept: KeptExamples, example: Example) -> Node:
        self._join_example(kept, example)
        self._graph.join(Node("corpus", example.corpus), _example(example))
        if example.origin == "feedback" and (match := _TRACE.search(example.how)):
            self._graph.join(Node("answer", match[0]), _example(example), "rated")
        self._out_of_training_set(kept)
        return _example(example)

    def _join_example(self, kept: KeptExamples, example: Example, *, only: str | None = None) -> None:
        node = _example(example)
        for number, passage in enumerate(example.passages, start=1):
            if only not in (None, passage.document_id):
                continue
            chunk = Node("chunk", passage.chunk_id)
            self._graph.join(_document(passage.document_id, passage.title), chunk)
            self._graph.join(chunk, node, "supports" if number in example.support else "beside it")
        self._graph.join(node, _training_set(kept))

    def _examples_of(self, document_id: str) -> Iterable[tuple[KeptExamples, Example]]:
        for kept in self._records.training_sets.values():
            if document_id in kept.record.document_ids:
                yield from ((kept, example) for example in kept.examples if document_id in example.document_ids)

    def _example(self, wanted: str) -> tuple[KeptExamples, Example] | None:
        """Return the newest training set's example of that id; None: the name is of something else."""
        tag, _, identifier = wanted.rpartition("#")
        if not _EXAMPLE.fullmatch(identifier):
            return None
        for kept in reversed(self._records.training_sets.values()):
            for example in kept.examples:
                if example.example_id == identifier and tag in ("", kept.tag):
                    return kept, example
        return None


def _document(document_id: str, title: str = "", uri: str = "") -> Node:
    return Node("document", document_id, {"title": title, "address": uri} if title or uri else {})


def _example(example: Example) -> Node:
    return Node("example", example.example_id, {"origin": example.origin, "by": example.how, "split": example.split})


def _training_set(kept: KeptExamples) -> Node:
    record = kept.record
    facts = {
        "train": str(record.num_train),
        "validation": str(record.num_validation),
        "documents": str(len(record.document_ids)),
        "params": record.params_digest,
        "commit": kept.commit,
    }
    return Node("training set", kept.tag, facts)


def _model(version: ReleaseVersion) -> Node:
    names = (Tag.METHOD, Tag.BASE, Tag.PROMPT, Tag.GIT_COMMIT, Tag.CREATED_AT, Tag.TRAINED_ON_FORGOTTEN)
    facts = {name.value.replace("_", " "): version.tags.get(name, "") for name in names}
    kind: Kind = "model"
    return Node(kind, f"{version.kind.name} {version.version}", facts | {"run": version.run_id} | _standing(version))


def _standing(version: ReleaseVersion | None) -> dict[str, str]:
    """Return how a version came to serve, and whether it still does."""
    if version is None:
        return {"in MLflow": "no"}
    tags = version.tags
    facts = {"gate": version.gate, "served": tags.get(Tag.SERVED, ""), "promotion": tags.get(Tag.PROMOTION, "")}
    if version.kind is INDEX and not version.served:
        facts["served"] = ""
    return facts | {"serves": "now" if version.is_champion else "", "taken back": tags.get(Tag.ROLLED_BACK, "")}


def _number(text: str) -> int:
    return int(text) if text.isdigit() else 0
