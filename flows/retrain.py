"""The quarterly retrain: from the live index to a gated challenger, or to the reasons why there is none.

examples ─▶ example gate ─▶ DVC ─▶ train ─▶ evaluate base, champion, candidate ─▶ model gate ─▶ card ─▶ register
"""

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

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
from tasks.model.answerer.card import Facts, card_metrics, description, metrics_table, verdict
from tasks.model.answerer.register import register_answerer, write_signature
from tasks.model.embedder.pairs import write_example_pairs
from tasks.model.embedder.registry import judge_embedder, register_embedder
from tasks.model.embedder.result import EmbedderResult
from tasks.model.embedder.training import train_embedder
from tasks.model.evaluation.evaluate import Evaluation
from tasks.model.evaluation.model_gate import GateDecision, decide
from tasks.model.examples.build import build_training_set
from tasks.model.examples.training_set import TrainingSet, read_training_set, version_training_set
from tasks.model.training import run_log
from tasks.model.training.estimate import estimate
from tasks.model.training.result import TrainingResult
from tasks.model.training.sequences import TRAINED_PROMPT
from tasks.model.training.trainer import TrainingProgress
from tasks.params import Method, Params, load_params
from tasks.registry.data_registry import Revision
from tasks.releases.kind import ANSWERER
from tasks.releases.lifecycle import champion
from tasks.releases.tags import GATE_PASSED, METRIC, Tag
from tasks.releases.version import ReleaseVersion
from tasks.settings import Settings

OUTCOME = "outcome.json"


@dataclass(slots=True)
class _Run:
    """What the steps of one retrain share."""

    params: Params
    settings: Settings
    profile: str | None
    release: str
    champion: ReleaseVersion | None
    folder: Path
    started: float = field(default_factory=time.monotonic)

    @property
    def outcomes(self) -> Path:
        return self.folder.parent / "outcomes"


@dataclass(slots=True)
class _Logged:
    """The runs in MLflow: one of the retrain, nested in it one of the training."""

    key: str
    run_id: str
    training_run_id: str
    lineage: dict[str, str]


@step(retries=2)
def examples(run: _Run) -> TrainingSet:
    """Build the training set; that of a retrain which was killed is found again."""
    folder = run.folder / "examples"
    if (folder / "manifest.json").exists() and not (run.folder / OUTCOME).exists():
        return read_training_set(folder)
    return build_training_set(run.params, run.settings, folder)


@step(retries=2)
def version(training_set: TrainingSet, run: _Run) -> Revision:
    """Put the training set into the data registry."""
    return version_training_set(run.settings, training_set)


@step(retries=2)
def begin_log(training_set: TrainingSet, revision: Revision, key: str, run: _Run) -> _Logged:
    """Open the runs in MLflow and say there what goes in."""
    params, settings = run.params, run.settings
    run_id = run_log.open_run(settings, ANSWERER.model, key, name=f"retrain {revision.tag}")
    method = params.fine_tuning.method
    nested = run_log.open_run(settings, ANSWERER.model, f"{key}-{method}", name=method, parent=run_id)
    lineage = candidates.lineage_of(training_set, revision, params, settings, release=run.release, run_id=run_id)
    prompt = run_log.log_prompt(settings, run_id, load_prompt(TRAINED_PROMPT))
    blocks = params.model_dump(mode="json", include={"examples", "fine_tuning", "evaluation", "model_gate"})
    for one in (run_id, nested):
        run_log.log_params(settings, one, blocks | lineage | {"prompt": prompt, "profile": str(run.profile)})
        run_log.log_dataset(settings, one, candidates.training_data(training_set, revision, settings))
    return _Logged(key, run_id, nested, lineage | {"prompt": prompt})


@step()
def train(training_set: TrainingSet, logged: _Logged, run: _Run) -> TrainedCandidate:
    """Train, from the last checkpoint if there is one; curves appear in MLflow as they grow."""
    curves = run_log.Curves(run.settings, logged.training_run_id)
    report = report_to("train")

    def listen(progress: TrainingProgress) -> None:
        report(progress.step, progress.num_steps)
        curves.add(progress.step, _points(progress))

    with run_log.system_metrics(run.settings, logged.training_run_id):
        return candidates.train_candidate(
            training_set, run.folder, run.params, run.settings, lineage=logged.lineage, listener=listen
        )


@step(retries=2)
def log_training(made: TrainedCandidate, logged: _Logged, run: _Run) -> None:
    """The whole curves, and what the training took."""
    curves = run_log.Curves(run.settings, logged.training_run_id)
    for name, points in (("train_loss", made.result.train_loss), ("validation_loss", made.result.validation_loss)):
        for at, loss in points:
            curves.add(at, {name: loss})
    curves.flush()
    run_log.log_metrics(run.settings, logged.training_run_id, _numbers(made.result))
    run_log.end_run(run.settings, logged.training_run_id)


@step(retries=2)
def evaluate(made: TrainedCandidate, run: _Run) -> dict[str, Evaluation]:
    """Base, champion and candidate on the same held-out questions; what was asked before is not asked again."""
    return candidates.evaluate_answerers(made.folder, run.champion, run.params, run.settings, LISTENER.get())


@step()
def judge(evaluations: dict[str, Evaluation], run: _Run) -> GateDecision:
    """The model gate."""
    return decide(
        evaluations[CANDIDATE],
        evaluations[BASE],
        evaluations.get(CHAMPION) or evaluations.get(EXCERPT),
        run.params.model_gate,
    )


@step()
def write_card(made: TrainedCandidate, facts: Facts, run: _Run) -> Path:
    """The folder of the answerer with its card."""
    return candidates.write_answerer(
        made, facts, run.folder / "answerer", run.params, run.settings, signature=write_signature
    )


@step(retries=2)
def publish(answerer: Path, facts: Facts, logged: _Logged, run: _Run) -> str | None:
    """The challenger, or a run with its reasons; the version that was registered."""
    settings, evaluations = run.settings, facts.evaluations
    for name, found in evaluations.items():
        run_log.log_metrics(settings, logged.run_id, {f"{name}.{key}": value for key, value in found.metrics().items()})
    run_log.log_files(settings, logged.run_id, answerer, ANSWERER.artifacts)
    number = None
    if not facts.reasons:
        number = register_answerer(
            settings,
            key=logged.key,
            run_id=logged.run_id,
            folder=answerer,
            tags=dict(facts.lineage) | {"method": facts.method} | _headline(facts, run.params),
            description=description(facts, run.params, {"run and files": f"#/runs/{logged.run_id}/artifacts"}),
        )
    gate = (
        {str(Tag.GATE): "refused", "reasons": "; ".join(facts.reasons)}
        if facts.reasons
        else {str(Tag.GATE): GATE_PASSED}
    )
    run_log.end_run(settings, logged.run_id, tags=gate | {"mlflow.note.content": verdict(facts.reasons)})
    return number


@flow(name="retrain")
def retrain(profile: str | None = None, method: Method | None = None, wait_seconds: float = 0) -> dict[str, Any]:
    """Train a candidate and let the model gate decide; it serves only when a person sets the alias `champion`.

    Args:
        profile: of `params.profiles`, as `quick`.
        method: in place of `fine_tuning.method`.
        wait_seconds: how long to wait for another retrain. A refresh may run meanwhile.

    Returns:
        The fields of `almanac retrain --json`.
    """
    settings = Settings()
    params = candidates.with_method(load_params(settings.params, profile or settings.profile), method)
    with hold(settings.home.resolve() / "retrain", purpose="retrain", wait_seconds=wait_seconds):
        run = begin(params, settings, profile)
        training_set = examples(run)
        show_report("examples", (training_set.path.parent / "report" / "gate.md").read_text(encoding="utf-8"))
        key = candidates.retrain_key(training_set, params, settings, release=run.release, champion=run.champion)
        known = candidates.read_outcome(run.outcomes / f"{key}.json")
        if known is not None:
            tell("nothing is new since a retrain that ended: this is what it found")
            return known | {"seconds": _seconds(run)}
        result = _retrain(run, training_set, key)
        write_json(run.outcomes / f"{key}.json", result)
        write_json(run.folder / OUTCOME, result)
        candidates.prune(run.folder.parent, keep=[run.folder])
        return result


def begin(params: Params, settings: Settings, profile: str | None) -> _Run:
    """Find what serves, and the folder in which an equal retrain that was killed left its work."""
    release = str(serving(settings).release.number)
    folder = settings.home.resolve() / "retrain" / f"work-{candidates.inputs_digest(params, release)}"
    return _Run(params, settings, profile, release, champion(settings, ANSWERER), folder)


def _retrain(run: _Run, training_set: TrainingSet, key: str) -> dict[str, Any]:
    revision = version(training_set, run)
    if run.params.fine_tuning.method == "embedder":
        return _retrain_embedder(run, training_set, revision, key)
    logged = begin_log(training_set, revision, key, run)
    _tell_cost(training_set, run)
    made = train(training_set, logged, run)
    log_training(made, logged, run)
    show_report("training", _training_report(made.result))
    evaluations = evaluate(made, run)
    decision = judge(evaluations, run)
    facts = candidates.card_facts(made, training_set, evaluations, decision, logged.lineage)
    show_report("model-gate", f"{verdict(facts.reasons)}\n\n{metrics_table(facts, run.params.model_gate)}")
    number = publish(write_card(made, facts, run), facts, logged, run)
    return _result(run, training_set, revision) | {
        "train_seconds": round(made.result.seconds, 2),
        "metrics": evaluations[CANDIDATE].metrics(),
        "baseline": evaluations[BASE].metrics(),
        "champion": evaluations[CHAMPION].metrics() if CHAMPION in evaluations else None,
        "gate": "passed" if decision.passed else "refused",
        "registered": number is not None,
        "version": number,
        "reasons": list(decision.reasons),
        "notes": list(decision.notes),
        "shown": list(card_metrics(run.params.model_gate)),
        "run_id": logged.run_id,
    }


@step()
def tune_embedder(training_set: TrainingSet, revision: Revision, run: _Run) -> EmbedderResult:
    """Tune the embedding model on the questions and their chunks, from the last checkpoint if there is one."""
    pairs = run.folder / "pairs.jsonl"
    if not pairs.exists():
        write_example_pairs(training_set.path, pairs, run.params, run.settings)
    report = report_to("train")
    return train_embedder(
        pairs,
        run.folder / "embedder",
        run.params,
        run.settings,
        lineage={"training_set": revision.tag, "corpus": training_set.corpus, "index_release": run.release},
        listener=lambda progress: report(progress.step, progress.num_steps),
    )


@step(retries=2)
def publish_embedder(result: EmbedderResult, revision: Revision, key: str, run: _Run) -> str:
    """The embedder's challenger."""
    return register_embedder(run.settings, result.folder, key=key, tags={"training_set": revision.tag})


def _retrain_embedder(run: _Run, training_set: TrainingSet, revision: Revision, key: str) -> dict[str, Any]:
    """A tuned embedder makes a new index at the next refresh, which the index gate judges: docs/retrain.md."""
    tuned = tune_embedder(training_set, revision, run)
    reasons = judge_embedder(tuned)
    number = None if reasons else publish_embedder(tuned, revision, key, run)
    return _result(run, training_set, revision) | {
        "train_seconds": round(tuned.seconds, 2),
        "metrics": dict(tuned.after),
        "baseline": dict(tuned.before),
        "champion": None,
        "gate": "refused" if reasons else "passed",
        "registered": number is not None,
        "version": number,
        "reasons": list(reasons),
        "notes": [],
        "shown": list(tuned.after),
        "run_id": None,
    }


def _result(run: _Run, training_set: TrainingSet, revision: Revision) -> dict[str, Any]:
    return {
        "method": run.params.fine_tuning.method,
        "profile": run.profile,
        "examples": training_set.num_train + training_set.num_validation,
        "quarantined": training_set.quarantined,
        "training_set": revision.tag,
        "corpus": training_set.corpus,
        "seconds": _seconds(run),
    }


def _seconds(run: _Run) -> float:
    return round(time.monotonic() - run.started, 2)


def _tell_cost(training_set: TrainingSet, run: _Run) -> None:
    if run.params.fine_tuning.method == "dpo":  # its steps read two answers each: the estimate knows one
        return
    documents = candidates.documents_of(run.folder, run.params, run.settings)
    cost = estimate(training_set.path, run.params, run.settings, documents=documents)
    tell(
        f"training by {run.params.fine_tuning.method}: {training_set.num_train} examples, {cost.num_steps} steps, "
        f"{cost.num_tokens} tokens at {cost.tokens_per_second:.0f} a second: about {cost.seconds / 60:.1f} minutes, "
        "then the evaluation"
    )


def _points(progress: TrainingProgress) -> dict[str, float]:
    named = {
        "train_loss": progress.train_loss,
        "validation_loss": progress.validation_loss,
        "learning_rate": progress.learning_rate,
        "tokens_per_second": progress.tokens_per_second,
    }
    return {name: value for name, value in named.items() if value is not None}


def _numbers(result: TrainingResult) -> dict[str, float]:
    return {
        "steps": result.steps,
        "best_step": result.best_step,
        "num_tokens": result.num_tokens,
        "num_learnt": result.num_learnt,
        "train_seconds": result.seconds,
        "train_cpu_seconds": result.cpu_seconds,
        "refusal_bias": result.refusal_bias,
    }


def _training_report(result: TrainingResult) -> str:
    rows = "\n".join(f"| {name} | {value:.6g} |" for name, value in _numbers(result).items())
    losses = "\n".join(f"| {at} | {loss:.4f} |" for at, loss in result.validation_loss)
    return f"# Training\n\n| | |\n|---|---|\n{rows}\n\n| step | validation loss |\n|---|---|\n{losses}\n"


def _headline(facts: Facts, params: Params) -> dict[str, str]:
    """The gate's metrics as tags of the version."""
    found = facts.evaluations[CANDIDATE].metrics()
    names = dict.fromkeys((params.model_gate.headline, *params.model_gate.guarded))
    return {f"{METRIC}{name}": f"{found[name]:.4f}" for name in names if name in found}
