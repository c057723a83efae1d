"""A retrain's candidate: what it is made from, its folder with manifest and card, and who is compared with it.

Knows neither the order of the steps nor what becomes of the candidate.
"""

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import get_args

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.answer.answerer import (
    BASE,
    EXCERPT,
    Answerer,
    excerpt_answerer,
    load_answerer,
    trainable_base,
    weights_identity,
    write_manifest,
)
from tasks.answer.generators.transformers import load_base
from tasks.corpus.document import DOCUMENT_SCHEMA, sha256
from tasks.corpus.snapshot import read_documents
from tasks.errors import ConfigurationError
from tasks.files import sha256_of_file, whole_file, whole_folder
from tasks.index.candidate import git_commit
from tasks.model.answerer.card import Facts, count_examples, draw_plots, model_card
from tasks.model.evaluation.evaluate import Evaluation, evaluate
from tasks.model.evaluation.model_gate import GateDecision, TopicChange, by_topic
from tasks.model.evaluation.questions import held_out, open_retrieval
from tasks.model.examples.example import read_examples
from tasks.model.examples.release_data import open_release_data
from tasks.model.examples.training_set import TrainingSet
from tasks.model.training.result import TrainingResult
from tasks.model.training.run_log import TrainingData
from tasks.model.training.train import answerer_manifest, train
from tasks.model.training.trainer import Listener
from tasks.params import Method, Params, digest
from tasks.registry.data_registry import Revision
from tasks.releases.folder import release_folder
from tasks.releases.version import ReleaseVersion
from tasks.settings import Settings

CANDIDATE = "candidate"
CHAMPION = "champion"
DOCUMENTS = "documents.parquet"
Progress = Callable[[str, int, int], None]


def checked_method(method: str | None) -> Method | None:
    """Return a method by its name.

    Raises:
        ConfigurationError: there is no such method.
    """
    methods: dict[str, Method] = {name: name for name in get_args(Method)}
    if method is not None and method not in methods:
        raise ConfigurationError(f"a method must be one of {sorted(methods)}, found {method!r}; correct its spelling")
    return methods[method] if method else None


def with_method(params: Params, method: Method | None) -> Params:
    """Return `params` with another training method."""
    if method is None:
        return params
    return params.model_copy(update={"fine_tuning": params.fine_tuning.model_copy(update={"method": method})})


def inputs_digest(params: Params, release: str) -> str:
    """Name the work of a retrain before its training set is known: equal, and a killed one is gone on with."""
    blocks = (params.examples, params.example_gate, params.generation, params.fine_tuning, params.search)
    return sha256(release, params.evaluation.golden, _golden(params), *map(digest, blocks))[:16]


def retrain_key(
    training_set: TrainingSet, params: Params, settings: Settings, *, release: str, champion: ReleaseVersion | None
) -> str:
    """Name a retrain by everything that its outcome depends on: the same key has the same outcome."""
    base = load_base(params.generation, settings)
    blocks = (params.fine_tuning, params.generation, params.evaluation, params.model_gate, params.search)
    return sha256(
        training_set.sha256,
        release,
        champion.run_id if champion else BASE,
        base.identity,
        params.examples.audience,
        _golden(params),
        *map(digest, blocks),
    )[:16]


def _golden(params: Params) -> str:
    path = Path(params.evaluation.golden)
    if not path.is_file():
        raise ConfigurationError(
            f"the held-out questions must be at {path}, found no file; set evaluation.golden to their path"
        )
    return sha256_of_file(path)


@dataclass(frozen=True, slots=True)
class TrainedCandidate:
    """A trained candidate: its folder is an answerer without a card."""

    folder: Path
    result: TrainingResult


def train_candidate(
    training_set: TrainingSet,
    folder: Path,
    params: Params,
    settings: Settings,
    *,
    lineage: Mapping[str, str],
    listener: Listener | None = None,
) -> TrainedCandidate:
    """Train by the method that `fine_tuning` names; killed, the same call goes on from the last checkpoint."""
    output = folder / "training"
    documents = documents_of(folder, params, settings)
    result = train(training_set.path, output, params, settings, lineage=lineage, documents=documents, listener=listener)
    write_manifest(output, answerer_manifest(result, params, settings, lineage=lineage))
    return TrainedCandidate(output, result)


def documents_of(folder: Path, params: Params, settings: Settings) -> Path | None:
    """Write the documents that `continual_pretraining` reads, which the audience may read now; None: not needed."""
    if params.fine_tuning.method != "continual_pretraining":
        return None
    path = folder / DOCUMENTS
    if not path.exists():
        release = open_release_data(params, settings)
        batches = read_documents(release.snapshot, release.topics.keys())
        with whole_file(path) as beside, pq.ParquetWriter(beside, DOCUMENT_SCHEMA) as writer:
            for batch in batches:
                writer.write_table(pa.Table.from_batches([batch]).select(DOCUMENT_SCHEMA.names).cast(DOCUMENT_SCHEMA))
    return path


def evaluate_answerers(
    candidate: Path,
    champion: ReleaseVersion | None,
    params: Params,
    settings: Settings,
    progress: Progress | None = None,
) -> dict[str, Evaluation]:
    """Evaluate `base`, what serves and `candidate` on the same questions over the release of now.

    What serves is the `champion`; where none was promoted, the `excerpt`, or `base` if `generation.answerer` says so.
    """
    retrieval = open_retrieval(params, settings)
    questions, _ = held_out(params, retrieval)

    def judged(answerer: Answerer) -> Evaluation:
        return evaluate(answerer, questions, params, settings, retrieval=retrieval, progress=progress)

    evaluations = {BASE: judged(trainable_base(params.generation, settings))}
    if champion is not None:
        folder = release_folder(settings, champion)
        evaluations[CHAMPION] = judged(load_answerer(folder, params.generation, settings, version=champion.version))
    elif params.generation.is_excerpt:
        excerpt = excerpt_answerer(params.generation)
        evaluations[EXCERPT] = evaluate(excerpt, questions, params, settings, retrieval=retrieval, probes=())
    evaluations[CANDIDATE] = judged(load_answerer(candidate, params.generation, settings, version=CANDIDATE))
    return evaluations


def lineage_of(
    training_set: TrainingSet, revision: Revision, params: Params, settings: Settings, *, release: str, run_id: str
) -> dict[str, str]:
    """Return where an answerer comes from."""
    return {
        "base": weights_identity(load_base(params.generation, settings)),
        "training_set": revision.tag,
        "training_set_md5": revision.md5,
        "training_set_commit": revision.commit,
        "corpus": training_set.corpus,
        "index_release": release,
        "git_commit": str(git_commit()),
        "run_id": run_id,
    }


def training_data(training_set: TrainingSet, revision: Revision, settings: Settings) -> TrainingData:
    """Return the training set as MLflow's dataset."""
    counts = {
        "num_train": training_set.num_train,
        "num_validation": training_set.num_validation,
        "num_documents": len(training_set.document_ids),
    }
    source = {"registry": str(settings.registry), **asdict(revision)}
    return TrainingData("almanac-examples", revision.md5.removesuffix(".dir"), source, counts, revision.commit)


def card_facts(
    candidate: TrainedCandidate,
    training_set: TrainingSet,
    evaluations: Mapping[str, Evaluation],
    decision: GateDecision,
    lineage: Mapping[str, str],
) -> Facts:
    """Return what the card says of a candidate."""
    serves = evaluations.get(CHAMPION, evaluations[BASE])
    return Facts(
        method=candidate.result.method,
        data=count_examples(read_examples(training_set.path)),
        training=candidate.result,
        evaluations=evaluations,
        reasons=decision.reasons,
        notes=decision.notes,
        changes=[_change(entry) for entry in by_topic(evaluations[CANDIDATE], serves)],
        lineage=lineage,
    )


def _change(entry: TopicChange) -> str:
    names = [f"{what} {', '.join(ids)}" for what, ids in (("gained", entry.gained), ("lost", entry.lost)) if ids]
    return f"- {entry.topic} ({entry.num_questions} questions): {'; '.join(names) or 'as before'}"


def write_answerer(
    candidate: TrainedCandidate,
    facts: Facts,
    output: Path,
    params: Params,
    settings: Settings,
    *,
    signature: Callable[[Path], None],
) -> Path:
    """Write the folder that is registered: the trained files, the card, the signature, the manifest over them all."""
    with whole_folder(output) as beside:
        shutil.copytree(candidate.folder, beside, dirs_exist_ok=True)
        (beside / "README.md").write_text(model_card(facts, params), encoding="utf-8")
        draw_plots(facts, beside / "plots")
        signature(beside)
        write_manifest(beside, answerer_manifest(candidate.result, params, settings, lineage=facts.lineage))
    return output


def prune(folder: Path, keep: Sequence[Path]) -> None:
    """Remove the work of other retrains."""
    for path in folder.glob("work-*"):
        if path not in keep:
            shutil.rmtree(path)
