"""The quarterly retrain: from the live index to a gated challenger, or to the reasons why there is none.

examples ─▶ example gate ─▶ DVC ─▶ train ─▶ evaluate base, champion, candidate ─▶ model gate ─▶ card ─▶ register
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from prefect import flow

from flows.progress import LISTENER, report_to, show_report, tell
from flows.steps import step
from tasks.answer.answerer import BASE, EXCERPT
from tasks.answer.prompt import load_prompt
from tasks.files import write_json
from tasks.index.live import serving
from tasks.lease import hold
from tasks.model.answerer import candidate as candidates
from tasks.model.answerer.candidate import CANDIDATE, CHAMPION, TrainedCandidate
from tasks.model.answerer.card import Facts, description, metrics_table, verdict
from tasks.model.answerer.register import register_answerer, write_signature
from tasks.model.answerer.retrain_result import (
    RetrainResult,
    answerer_result,
    embedder_result,
    metric_tags,
    read_result,
)
from tasks.model.embedder.pairs import write_example_pairs
from tasks.model.embedder.registry import judge_embedder, register_embedder
from tasks.model.embedder.result import EmbedderResult
from tasks.model.embedder.training import train_embedder
from tasks.model.evaluation.evaluate import Evaluation
from tasks.model.evaluation.model_gate import GateDecision, decide
from tasks.model.examples.build import build_training_set
from tasks.model.examples.training_set import TrainingSet, read_training_set, version_training_set
from tasks.model.training import run_log
from tasks.model.training.report import cost_line, curve_points, training_numbers, training_report
from tasks.model.training.sequences import TRAINED_PROMPT
from tasks.model.training.trainer import TrainingProgress
from tasks.params import Method, Params, load_params
from tasks.registry.data_registry import Revision
from tasks.releases.kind import ANSWERER
from tasks.releases.lifecycle import champion
from tasks.releases.tags import GATE_PASSED, Tag
from tasks.releases.version import ReleaseVersion
from tasks.settings import Settings

OUTCOME = "outcome.json"


@dataclass(frozen=True, slots=True)
class RetrainInputs:
    """What the steps of one retrain share.

    Attributes:
        release: number of the index release that serves.
        folder: where an equal retrain that was killed left its work.
    """

    params: Params
    settings: Settings
    profile: str | None
    release: str
    champion: ReleaseVersion | None
    folder: Path


@dataclass(frozen=True, slots=True)
class LoggedRuns:
    """The runs in MLflow: one of the retrain, nested in it one of the training."""

    key: str
    run_id: str
    training_run_id: str
    lineage: Mapping[str, str]


@step(retries=2)
def examples(inputs: RetrainInputs) -> TrainingSet:
    """Build the training set; that of a retrain which was killed is found again."""
    folder = inputs.folder / "examples"
    if (folder / "manifest.json").exists() and not (inputs.folder / OUTCOME).exists():
        return read_training_set(folder)
    return build_training_set(inputs.params, inputs.settings, folder)


@step(retries=2)
def version(training_set: TrainingSet, inputs: RetrainInputs) -> Revision:
    """Put the training set into the data registry."""
    return version_training_set(inputs.settings, training_set)


@step(retries=2)
def begin_log(training_set: TrainingSet, revision: Revision, key: str, inputs: RetrainInputs) -> LoggedRuns:
    """Open the runs in MLflow and say there what goes in."""
    params, settings = inputs.params, inputs.settings
    run_id = run_log.open_run(settings, ANSWERER.model, key, name=f"retrain {revision.tag}")
    method = params.fine_tuning.method
    nested = run_log.open_run(settings, ANSWERER.model, f"{key}-{method}", name=method, parent=run_id)
    lineage = candidates.lineage_of(training_set, revision, params, settings, release=inputs.release, run_id=run_id)
    prompt = run_log.log_prompt(settings, run_id, load_prompt(TRAINED_PROMPT))
    blocks = params.model_dump(mode="json", include={"examples", "fine_tuning", "evaluation", "model_gate"})
    for one in (run_id, nested):
        run_log.log_params(settings, one, blocks | lineage | {"prompt": prompt, "profile": str(inputs.profile)})
        run_log.log_dataset(settings, one, candidates.training_data(training_set, revision, settings))
    return LoggedRuns(key, run_id, nested, {**lineage, "prompt": prompt})


@step()
def train(training_set: TrainingSet, logged: LoggedRuns, inputs: RetrainInputs) -> TrainedCandidate:
    """Train, from the last checkpoint if there is one; curves appear in MLflow as they grow."""
    curves = run_log.Curves(inputs.settings, logged.training_run_id)
    report = report_to("train")

    def listen(progress: TrainingProgress) -> None:
        report(progress.step, progress.num_steps)
        curves.add(progress.step, curve_points(progress))

    with run_log.system_metrics(inputs.settings, logged.training_run_id):
        return candidates.train_candidate(
            training_set, inputs.folder, inputs.params, inputs.settings, lineage=logged.lineage, listener=listen
        )


@step(retries=2)
def log_training(trained: TrainedCandidate, logged: LoggedRuns, inputs: RetrainInputs) -> None:
    """Log the whole curves, and what the training took."""
    curves = run_log.Curves(inputs.settings, logged.training_run_id)
    for name, points in (
        ("train_loss", trained.result.train_loss),
        ("validation_loss", trained.result.validation_loss),
    ):
        for at, loss in points:
            curves.add(at, {name: loss})
    curves.flush()
    run_log.log_metrics(inputs.settings, logged.training_run_id, training_numbers(trained.result))
    run_log.end_run(inputs.settings, logged.training_run_id)


@step(retries=2)
def evaluate(trained: TrainedCandidate, inputs: RetrainInputs) -> dict[str, Evaluation]:
    """Ask base, champion and candidate the same held-out questions; what was asked before is not asked again."""
    return candidates.evaluate_answerers(
        trained.folder, inputs.champion, inputs.params, inputs.settings, LISTENER.get()
    )


@step()
def judge(evaluations: dict[str, Evaluation], inputs: RetrainInputs) -> GateDecision:
    """Judge the candidate."""
    return decide(
        evaluations[CANDIDATE],
        evaluations[BASE],
        evaluations.get(CHAMPION) or evaluations.get(EXCERPT),
        inputs.params.model_gate,
    )


@step()
def write_card(trained: TrainedCandidate, facts: Facts, inputs: RetrainInputs) -> Path:
    """Write the folder of the answerer with its card."""
    return candidates.write_answerer(
        trained, facts, inputs.folder / "answerer", inputs.params, inputs.settings, signature=write_signature
    )


@step(retries=2)
def publish(answerer: Path, facts: Facts, logged: LoggedRuns, inputs: RetrainInputs) -> str | None:
    """Register the challenger, or log a run with the reasons; return the version that was registered."""
    settings, evaluations = inputs.settings, facts.evaluations
    for name, evaluation in evaluations.items():
        metrics = {f"{name}.{key}": value for key, value in evaluation.metrics().items()}
        run_log.log_metrics(settings, logged.run_id, metrics)
    run_log.log_files(settings, logged.run_id, answerer, ANSWERER.artifacts)
    headline = metric_tags(evaluations[CANDIDATE].metrics(), inputs.params.model_gate)
    number = None
    if not facts.reasons:
        number = register_answerer(
            settings,
            key=logged.key,
            run_id=logged.run_id,
            folder=answerer,
            tags=dict(facts.lineage) | {"method": facts.method} | headline,
            description=description(facts, inputs.params, {"run and files": f"#/runs/{logged.run_id}/artifacts"}),
        )
    gate = {str(Tag.GATE): GATE_PASSED}
    if facts.reasons:
        gate = {str(Tag.GATE): "refused", "reasons": "; ".join(facts.reasons)}
    run_log.end_run(settings, logged.run_id, tags=gate | {"mlflow.note.content": verdict(facts.reasons)})
    return number


@step()
def tune_embedder(training_set: TrainingSet, revision: Revision, inputs: RetrainInputs) -> EmbedderResult:
    """Tune the embedding model on the questions and their chunks, from the last checkpoint if there is one."""
    pairs = inputs.folder / "pairs.jsonl"
    if not pairs.exists():
        write_example_pairs(training_set.path, pairs, inputs.params, inputs.settings)
    report = report_to("train")
    return train_embedder(
        pairs,
        inputs.folder / "embedder",
        inputs.params,
        inputs.settings,
        lineage={"training_set": revision.tag, "corpus": training_set.corpus, "index_release": inputs.release},
        listener=lambda progress: report(progress.step, progress.num_steps),
    )


@step(retries=2)
def publish_embedder(result: EmbedderResult, revision: Revision, key: str, settings: Settings) -> str:
    """Register the embedder's challenger."""
    return register_embedder(settings, result.folder, key=key, tags={"training_set": revision.tag})


@flow(name="retrain")
def retrain(profile: str | None = None, method: Method | None = None, wait_seconds: float = 0) -> RetrainResult:
    """Train a candidate and let the model gate decide; it serves only when a person sets the alias `champion`.

    Args:
        profile: of `params.profiles`, as `quick`.
        method: in place of `fine_tuning.method`.
        wait_seconds: how long to wait for another retrain. A refresh may run meanwhile.
    """
    started = time.monotonic()
    settings = Settings()
    params = candidates.with_method(load_params(settings.params, profile or settings.profile), method)
    with hold(settings.layout.retrain, purpose="retrain", wait_seconds=wait_seconds):
        inputs = read_inputs(params, settings, profile)
        training_set = examples(inputs)
        show_report("examples", (training_set.path.parent / "report" / "gate.md").read_text(encoding="utf-8"))
        key = candidates.retrain_key(training_set, params, settings, release=inputs.release, champion=inputs.champion)
        outcome = inputs.folder.parent / "outcomes" / f"{key}.json"
        result = read_result(outcome)
        if result is not None:
            tell("nothing is new since a retrain that ended: this is what it found")
            return replace(result, seconds=_seconds_since(started))
        revision = version(training_set, inputs)
        train_one = retrain_embedder if params.fine_tuning.method == "embedder" else retrain_answerer
        result = replace(train_one(training_set, revision, key, inputs), seconds=_seconds_since(started))
        write_json(outcome, result.as_json())
        write_json(inputs.folder / OUTCOME, result.as_json())
        candidates.prune(inputs.folder.parent, keep=[inputs.folder])
        return result


def read_inputs(params: Params, settings: Settings, profile: str | None) -> RetrainInputs:
    """Find what serves, and the folder in which an equal retrain that was killed left its work."""
    release = str(serving(settings).release.number)
    folder = settings.layout.retrain / f"work-{candidates.inputs_digest(params, release)}"
    return RetrainInputs(params, settings, profile, release, champion(settings, ANSWERER), folder)


def retrain_answerer(training_set: TrainingSet, revision: Revision, key: str, inputs: RetrainInputs) -> RetrainResult:
    """Train an answerer, judge it beside base and champion, and register it where it is better."""
    params, settings = inputs.params, inputs.settings
    logged = begin_log(training_set, revision, key, inputs)
    documents = candidates.documents_of(inputs.folder, params, settings)
    if cost := cost_line(training_set, documents, params, settings):
        tell(cost)
    trained = train(training_set, logged, inputs)
    log_training(trained, logged, inputs)
    show_report("training", training_report(trained.result))
    evaluations = evaluate(trained, inputs)
    decision = judge(evaluations, inputs)
    facts = candidates.card_facts(trained, training_set, evaluations, decision, logged.lineage)
    show_report("model-gate", f"{verdict(facts.reasons)}\n\n{metrics_table(facts, params.model_gate)}")
    return answerer_result(
        trained,
        evaluations,
        decision,
        params.model_gate,
        training_set,
        tag=revision.tag,
        profile=inputs.profile,
        version=publish(write_card(trained, facts, inputs), facts, logged, inputs),
        run_id=logged.run_id,
    )


def retrain_embedder(training_set: TrainingSet, revision: Revision, key: str, inputs: RetrainInputs) -> RetrainResult:
    """Tune the embedder; it makes a new index at the next refresh, which the index gate judges: docs/retrain.md."""
    tuned = tune_embedder(training_set, revision, inputs)
    reasons = judge_embedder(tuned)
    number = None if reasons else publish_embedder(tuned, revision, key, inputs.settings)
    return embedder_result(tuned, reasons, training_set, tag=revision.tag, profile=inputs.profile, version=number)


def _seconds_since(started: float) -> float:
    return round(time.monotonic() - started, 2)
