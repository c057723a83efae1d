"""A retrain's candidate: what it is made from, its folder with manifest and card, and who is compared with it.

Knows neither the order of the steps nor what becomes of the candidate.
"""

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.answer.answerer import (
    BASE,
    EXCERPT,
    Answerer,
    excerpt_answerer,
    load_answerer,
    trainable_base,
    write_manifest,
)
from tasks.corpus.document import DOCUMENT_SCHEMA
from tasks.corpus.snapshot import read_documents
from tasks.files import whole_file, whole_folder
from tasks.model.answerer.card import Facts, count_examples, draw_plots, model_card
from tasks.model.evaluation.evaluate import Evaluation, evaluate
from tasks.model.evaluation.house_style import open_style
from tasks.model.evaluation.metrics import MODES, Mode, modes_of
from tasks.model.evaluation.model_gate import GateDecision, TopicChange, by_topic, is_surely_worse
from tasks.model.evaluation.probes import PROBES
from tasks.model.evaluation.questions import held_out, open_retrieval
from tasks.model.examples.example import read_examples
from tasks.model.examples.release_data import open_release_data
from tasks.model.examples.training_set import TrainingSet
from tasks.model.training.result import TrainingResult
from tasks.model.training.train import answerer_manifest, train
from tasks.model.training.trainer import Listener
from tasks.params import Params
from tasks.releases.folder import release_folder
from tasks.releases.version import ReleaseVersion
from tasks.settings import Settings

CANDIDATE = "candidate"
CHAMPION = "champion"
DOCUMENTS = "documents.parquet"
Progress = Callable[[str, int, int], None]


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

    What serves is the `champion`, a knowledge base's own or the general one; where none was promoted, the `excerpt`, or
    `base` if `generation.answerer` says so. All are asked with their own passages first: where the candidate's headline
    is surely worse than that of what serves, nothing else is asked of any (`model_gate.stop_early`).
    """
    # A knowledge base's own is judged as it will serve: beside the base's weights.
    is_own = params.knowledge_bases.only is not None
    generation = params.generation
    retrieval = open_retrieval(params, settings)
    questions, _ = held_out(params, retrieval)
    style = open_style(params, settings)
    loaders: dict[str, Callable[[], Answerer]] = {BASE: lambda: trainable_base(generation, settings)}
    if champion is not None:
        loaders[CHAMPION] = partial(
            load_answerer,
            release_folder(settings, champion),
            generation,
            settings,
            version=champion.label,
            shares_base=champion.kind.knowledge_base is not None,
        )
    elif generation.is_excerpt:
        loaders[EXCERPT] = lambda: excerpt_answerer(generation)
    loaders[CANDIDATE] = partial(load_answerer, candidate, generation, settings, version=CANDIDATE, shares_base=is_own)

    def judged(modes: Sequence[Mode], probes: Sequence[str]) -> dict[str, Evaluation]:
        return {
            name: evaluate(
                load(),
                questions,
                params,
                settings,
                retrieval=retrieval,
                modes=modes,
                probes=() if name == EXCERPT else probes,
                style=style,
                progress=progress,
            )
            for name, load in loaders.items()
        }

    if params.model_gate.stop_early:
        evaluations = judged(modes_of(params.model_gate.headline), ())
        if is_surely_worse(evaluations[CANDIDATE], served(evaluations), params.model_gate):
            return evaluations
    return judged(MODES, tuple(PROBES))


def served(evaluations: Mapping[str, Evaluation]) -> Evaluation:
    """Return the evaluation of what serves: a champion, else the excerpt, else the base."""
    return evaluations.get(CHAMPION) or evaluations.get(EXCERPT) or evaluations[BASE]


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
