"""What MLflow is told of a retrain: a run of it, nested in it one of the training, and the version that came of it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from tasks.answer.answerer import weights_identity
from tasks.answer.generators.transformers import load_base
from tasks.answer.prompt import load_prompt
from tasks.index.candidate import git_commit
from tasks.model.answerer.candidate import CANDIDATE
from tasks.model.answerer.card import Facts, description, verdict
from tasks.model.answerer.register import register_answerer
from tasks.model.examples.tokens import TRAINED_PROMPT
from tasks.model.examples.training_set import TrainingSet
from tasks.model.retrain.inputs import RetrainInputs
from tasks.model.retrain.result import metric_tags
from tasks.model.training import run_log
from tasks.model.training.report import training_numbers
from tasks.model.training.result import TrainingResult
from tasks.registry.data_registry import Revision
from tasks.releases.kind import ANSWERER
from tasks.releases.tags import GATE_PASSED, GATE_REFUSED, Tag
from tasks.settings import Settings
from tasks.tenant import of_tenant


@dataclass(frozen=True, slots=True)
class LoggedRuns:
    """The runs in MLflow: one of the retrain, nested in it one of the training."""

    key: str
    run_id: str
    training_run_id: str
    lineage: Mapping[str, str]


def begin_runs(training_set: TrainingSet, revision: Revision, key: str, inputs: RetrainInputs) -> LoggedRuns:
    """Open the runs, those of a retrain that was killed too, and log what goes in."""
    params, settings = inputs.params, inputs.settings
    own = inputs.kind.knowledge_base
    name = f"retrain {revision.tag}" if own is None else f"retrain {revision.tag} of {own}"
    run_id = run_log.open_run(settings, ANSWERER.model, key, name=name)
    method = params.fine_tuning.method
    nested = run_log.open_run(settings, ANSWERER.model, f"{key}-{method}", name=method, parent=run_id)
    prompt = run_log.log_prompt(settings, run_id, load_prompt(TRAINED_PROMPT))
    lineage = _lineage(training_set, revision, inputs, run_id) | {str(Tag.PROMPT): prompt}
    blocks = params.model_dump(mode="json", include={"examples", "fine_tuning", "evaluation", "model_gate"})
    for one in (run_id, nested):
        run_log.log_params(settings, one, blocks | lineage | {"profile": str(inputs.profile)})
        run_log.log_dataset(settings, one, _training_data(training_set, revision, settings.registry))
    return LoggedRuns(key, run_id, nested, lineage)


def log_training(result: TrainingResult, logged: LoggedRuns, settings: Settings) -> None:
    """Log the whole curves, and what the training took."""
    curves = run_log.Curves(settings, logged.training_run_id)
    for name, points in (("train_loss", result.train_loss), ("validation_loss", result.validation_loss)):
        for at, loss in points:
            curves.add(at, {name: loss})
    curves.flush()
    run_log.log_metrics(settings, logged.training_run_id, training_numbers(result))
    run_log.end_run(settings, logged.training_run_id)


def publish_answerer(answerer: Path, facts: Facts, logged: LoggedRuns, inputs: RetrainInputs) -> str | None:
    """Register the challenger, or log a run with the reasons; return the version that was registered."""
    settings = inputs.settings
    metrics = {
        f"{name}.{metric}": value
        for name, evaluation in facts.evaluations.items()
        for metric, value in evaluation.metrics().items()
    }
    run_log.log_metrics(settings, logged.run_id, metrics)
    run_log.log_files(settings, logged.run_id, answerer, ANSWERER.artifacts)
    version = None if facts.reasons else _register(answerer, facts, logged, inputs)
    gate = {str(Tag.GATE): GATE_PASSED}
    if facts.reasons:
        gate = {str(Tag.GATE): GATE_REFUSED, str(Tag.REASONS): "; ".join(facts.reasons)}
    run_log.end_run(settings, logged.run_id, tags=gate | {str(Tag.NOTE): verdict(facts.reasons)})
    return version


def _register(answerer: Path, facts: Facts, logged: LoggedRuns, inputs: RetrainInputs) -> str:
    headline = metric_tags(facts.evaluations[CANDIDATE].metrics(), inputs.params.model_gate)
    return register_answerer(
        inputs.settings,
        inputs.kind,
        key=logged.key,
        run_id=logged.run_id,
        folder=answerer,
        tags={**facts.lineage, str(Tag.METHOD): facts.method, **headline},
        description=description(facts, inputs.params, {"run and files": f"#/runs/{logged.run_id}/artifacts"}),
    )


def _lineage(training_set: TrainingSet, revision: Revision, inputs: RetrainInputs, run_id: str) -> dict[str, str]:
    """Return where an answerer comes from."""
    own = inputs.kind.knowledge_base
    return {
        str(Tag.BASE): weights_identity(load_base(inputs.params.generation, inputs.settings)),
        str(Tag.TRAINING_SET): revision.tag,
        "training_set_md5": revision.md5,
        "training_set_commit": revision.commit,
        str(Tag.CORPUS): training_set.corpus,
        str(Tag.INDEX_RELEASE): inputs.release,
        str(Tag.GIT_COMMIT): str(git_commit()),
        "run_id": run_id,
    } | ({} if own is None else {str(Tag.KNOWLEDGE_BASE): own})


def embedder_lineage(training_set: TrainingSet, revision: Revision, inputs: RetrainInputs) -> dict[str, str]:
    """Return where a tuned embedder comes from."""
    return {
        str(Tag.TRAINING_SET): revision.tag,
        str(Tag.CORPUS): training_set.corpus,
        str(Tag.INDEX_RELEASE): inputs.release,
    }


def _training_data(training_set: TrainingSet, revision: Revision, registry: Path) -> run_log.TrainingData:
    """Return the training set as MLflow's dataset."""
    counts = {
        "num_train": training_set.num_train,
        "num_validation": training_set.num_validation,
        "num_documents": len(training_set.document_ids),
    }
    source = {"registry": str(registry), **asdict(revision)}
    return run_log.TrainingData(
        of_tenant("almanac-examples"), revision.md5.removesuffix(".dir"), source, counts, revision.commit
    )
