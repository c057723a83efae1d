"""The quarterly retrain: from the live index to gated challengers, or to the reasons why there are none.

examples ─▶ example gate ─▶ DVC ─┬▶ tune the embedder ─▶ its gate ─▶ register
                                 └▶ train ─▶ evaluate base, champion, candidate ─▶ model gate ─▶ card ─▶ register
"""

import time
from dataclasses import replace
from pathlib import Path

from prefect import flow

from flows.progress import LISTENER, report_to, show_report, tell
from flows.steps import step
from tasks.answer.answerer import BASE
from tasks.errors import ConfigurationError, GateError
from tasks.lease import hold_training
from tasks.model.answerer import candidate as candidates
from tasks.model.answerer.candidate import CANDIDATE, TrainedCandidate
from tasks.model.answerer.card import Facts, metrics_table, verdict
from tasks.model.answerer.register import write_signature
from tasks.model.embedder.pairs import write_example_pairs
from tasks.model.embedder.registry import judge_embedder, register_embedder
from tasks.model.embedder.result import EmbedderResult
from tasks.model.embedder.training import train_embedder
from tasks.model.evaluation.evaluate import Evaluation
from tasks.model.evaluation.model_gate import GateDecision, decide
from tasks.model.examples.training_set import TrainingSet, version_training_set
from tasks.model.retrain import log
from tasks.model.retrain.inputs import (
    RetrainInputs,
    earlier_result,
    keep_result,
    make_training_set,
    read_inputs,
    retrain_key,
)
from tasks.model.retrain.log import LoggedRuns
from tasks.model.retrain.outcome import Outcome, outcome_report, untried_answerer, untried_embedder
from tasks.model.retrain.result import RetrainResult, answerer_result, embedder_result
from tasks.model.training.report import cost_line, curve_points, training_report
from tasks.model.training.run_log import Curves, system_metrics
from tasks.model.training.trainer import TrainingProgress
from tasks.params import embedder_params
from tasks.params.fine_tuning import Method
from tasks.registry.data_registry import Revision
from tasks.releases.tags import Tag
from tasks.settings import Settings
from tasks.telemetry import in_trace


@step(retries=2)
def examples(inputs: RetrainInputs) -> TrainingSet:
    """Build the training set and show what its gate said."""
    training_set = make_training_set(inputs)
    show_report("examples", (training_set.path.parent / "report" / "gate.md").read_text(encoding="utf-8"))
    return training_set


@step(retries=2)
def version(training_set: TrainingSet, inputs: RetrainInputs) -> Revision:
    """Put the training set into the data registry."""
    return version_training_set(inputs.settings, training_set)


@step(retries=2)
def begin_log(training_set: TrainingSet, revision: Revision, key: str, inputs: RetrainInputs) -> LoggedRuns:
    """Open the runs in MLflow and log what goes in; tell what the training will cost."""
    documents = candidates.documents_of(inputs.folder, inputs.params, inputs.settings)
    if cost := cost_line(training_set, documents, inputs.params, inputs.settings):
        tell(cost)
    return log.begin_runs(training_set, revision, key, inputs)


@step()
def train(training_set: TrainingSet, logged: LoggedRuns, inputs: RetrainInputs) -> TrainedCandidate:
    """Train, from the last checkpoint if there is one; curves appear in MLflow as they grow."""
    curves = Curves(inputs.settings, logged.training_run_id)
    report = report_to("train")

    def listen(progress: TrainingProgress) -> None:
        report(progress.step, progress.num_steps)
        curves.add(progress.step, curve_points(progress))

    with system_metrics(inputs.settings, logged.training_run_id):
        return candidates.train_candidate(
            training_set, inputs.folder, inputs.params, inputs.settings, lineage=logged.lineage, listener=listen
        )


@step(retries=2)
def log_training(trained: TrainedCandidate, logged: LoggedRuns, inputs: RetrainInputs) -> None:
    """Log the whole curves, and what the training took."""
    log.log_training(trained.result, logged, inputs.settings)
    show_report("training", training_report(trained.result))


@step(retries=2)
def evaluate(trained: TrainedCandidate, inputs: RetrainInputs) -> dict[str, Evaluation]:
    """Ask base, champion and candidate the same held-out questions; what was asked before is not asked again.

    A candidate that is surely worse in the headline is asked no more (`model_gate.stop_early`).
    """
    return candidates.evaluate_answerers(
        trained.folder, inputs.champion, inputs.params, inputs.settings, LISTENER.get()
    )


@step()
def judge(evaluations: dict[str, Evaluation], inputs: RetrainInputs) -> GateDecision:
    """Judge the candidate beside the base and what serves."""
    serves = candidates.served(evaluations)
    return decide(evaluations[CANDIDATE], evaluations[BASE], serves, inputs.params.model_gate)


@step()
def write_card(trained: TrainedCandidate, facts: Facts, inputs: RetrainInputs) -> Path:
    """Write the folder of the answerer with its card."""
    show_report("model-gate", f"{verdict(facts.reasons)}\n\n{metrics_table(facts, inputs.params.model_gate)}")
    return candidates.write_answerer(
        trained, facts, inputs.folder / "answerer", inputs.params, inputs.settings, signature=write_signature
    )


@step(retries=2)
def publish(answerer: Path, facts: Facts, logged: LoggedRuns, inputs: RetrainInputs) -> str | None:
    """Register the challenger, or log a run with the reasons; return the version that was registered."""
    return log.publish_answerer(answerer, facts, logged, inputs)


@step()
def tune_embedder(training_set: TrainingSet, revision: Revision, inputs: RetrainInputs) -> EmbedderResult:
    """Tune the embedding model on the questions and their chunks, from the last checkpoint if there is one."""
    params = embedder_params(inputs.params)
    pairs, pool = inputs.folder / "pairs.jsonl", inputs.folder / "pool.jsonl"
    if not pairs.exists():
        write_example_pairs(training_set.path, pairs, pool, params, inputs.settings)
    report = report_to("embedder")
    return train_embedder(
        pairs,
        inputs.folder / "embedder",
        params,
        inputs.settings,
        pool=pool,
        lineage=log.embedder_lineage(training_set, revision, inputs),
        listener=lambda progress: report(progress.step, progress.num_steps),
    )


@step(retries=2)
def publish_embedder(result: EmbedderResult, revision: Revision, key: str, settings: Settings) -> str:
    """Register the embedder's challenger."""
    return register_embedder(settings, result.folder, key=key, tags={str(Tag.TRAINING_SET): revision.tag})


@flow(name="retrain")
@in_trace("retrain")
def retrain(
    profile: str | None = None,
    method: Method | None = None,
    wait_seconds: float = 0,
    knowledge_base: str | None = None,
) -> RetrainResult:
    """Train candidates and let their gates decide; one serves only when a person sets the alias `champion`.

    Args:
        profile: of `params.profiles`, as `quick`.
        method: in place of `fine_tuning.method`, and alone.
        wait_seconds: how long to wait for another retrain. A refresh may run meanwhile.
        knowledge_base: whose own answerer is trained, alone; None: the general one, then those of
            `knowledge_bases.answerers`.
    """
    started = time.monotonic()
    settings = Settings()
    with hold_training(settings, wait_seconds=wait_seconds):
        inputs = read_inputs(settings, profile, method, knowledge_base)
        result = retrain_once(inputs)
        if knowledge_base is None and method != "embedder":
            own = [retrain_own(name, settings, profile, method) for name in inputs.params.knowledge_bases.answerers]
            result = replace(result, outcomes=(*result.outcomes, *(outcome for entry in own for outcome in entry)))
        show_report("retrain", outcome_report(result.outcomes))
        return replace(result, seconds=_seconds_since(started))


def retrain_once(inputs: RetrainInputs) -> RetrainResult:
    """Do one retrain, or return what it found when nothing was new since."""
    started = time.monotonic()
    training_set = examples(inputs)
    key = retrain_key(training_set, inputs)
    result = earlier_result(key, inputs)
    if result is not None:
        tell("nothing is new since a retrain that ended: this is what it found")
        return result
    revision = version(training_set, inputs)
    result = replace(retrain_both(training_set, revision, key, inputs), seconds=_seconds_since(started))
    keep_result(result, key, inputs)
    return result


def retrain_own(
    knowledge_base: str, settings: Settings, profile: str | None, method: Method | None
) -> tuple[Outcome, ...]:
    """Train the answerer of one knowledge base; what it lacks is said, and keeps no other from being trained."""
    tell(f"the answerer of {knowledge_base}")
    try:
        return retrain_once(read_inputs(settings, profile, method, knowledge_base)).outcomes
    except (GateError, ConfigurationError) as error:
        return (untried_answerer(method or "as params.yaml says", knowledge_base, str(error)),)


def retrain_both(training_set: TrainingSet, revision: Revision, key: str, inputs: RetrainInputs) -> RetrainResult:
    """Try the embedder, which takes minutes, and then the answerer; or one alone, where a method is named."""
    if inputs.params.fine_tuning.method == "embedder":
        return retrain_embedder(training_set, revision, key, inputs)
    tried: tuple[Outcome, ...] = ()
    if inputs.tries_embedder:
        try:
            tried = retrain_embedder(training_set, revision, key, inputs).outcomes
        except GateError as error:  # too few questions for an embedder may still be enough for an answerer
            tried = (untried_embedder(str(error)),)
    answerer = retrain_answerer(training_set, revision, key, inputs)
    return replace(answerer, outcomes=(*tried, *answerer.outcomes))


def retrain_answerer(training_set: TrainingSet, revision: Revision, key: str, inputs: RetrainInputs) -> RetrainResult:
    """Train an answerer, judge it beside base and champion, and register it where it is better."""
    logged = begin_log(training_set, revision, key, inputs)
    trained = train(training_set, logged, inputs)
    log_training(trained, logged, inputs)
    evaluations = evaluate(trained, inputs)
    decision = judge(evaluations, inputs)
    facts = candidates.card_facts(trained, training_set, evaluations, decision, logged.lineage)
    number = publish(write_card(trained, facts, inputs), facts, logged, inputs)
    return answerer_result(
        trained,
        evaluations,
        decision,
        inputs.params.model_gate,
        training_set,
        tag=revision.tag,
        profile=inputs.profile,
        version=number,
        run_id=logged.run_id,
        knowledge_base=inputs.kind.knowledge_base,
    )


def retrain_embedder(training_set: TrainingSet, revision: Revision, key: str, inputs: RetrainInputs) -> RetrainResult:
    """Tune the embedder; it makes a new index at the next refresh, which the index gate judges: docs/retrain.md."""
    tuned = tune_embedder(training_set, revision, inputs)
    reasons = judge_embedder(tuned)
    number = None if reasons else publish_embedder(tuned, revision, key, inputs.settings)
    return embedder_result(tuned, reasons, training_set, tag=revision.tag, profile=inputs.profile, version=number)


def _seconds_since(started: float) -> float:
    return round(time.monotonic() - started, 2)
