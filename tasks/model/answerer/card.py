"""The model card: data, training, metrics with intervals, limits, lineage, for the person who decides; its pictures.

Markdown, as MLflow and a folder on GitHub show it. Knows no registry.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tasks.answer.prompt import NOT_FOUND
from tasks.bootstrap import Interval
from tasks.markdown_table import markdown_table
from tasks.model.answerer.card_plots import plot_confusion, plot_loss, plot_topics
from tasks.model.evaluation.evaluate import Evaluation
from tasks.model.evaluation.metrics import interval_of, metric_parts, ratio
from tasks.model.examples.example import Example
from tasks.model.training.result import TrainingResult
from tasks.params import ModelGateParams, Params
from tasks.params.fine_tuning import FineTuningParams

MAX_DESCRIPTION_CHARACTERS = 4800
"""MLflow's databases keep 5000."""
SHOWN = ("f1", "contains", "citation_accuracy", "always_first_accuracy", "groundedness", "false_refusals")
"""Metrics of a card beside those of the gate."""
PLOTS = ("loss.png", "topics.png", "confusion.png")

_LIMITS = """\
- It answers from passages only. Its own memory of the corpus is no source: without passages it is the base model with
  another tone.
- It was measured on the questions above, in the language and the topics of this corpus. Beyond them nothing is known.
- Answers are short by training, which raises F1 by itself: read `contains` beside it.
- Facts change with the documents, and the weights do not: it must follow the passages of now (`follows_passage`).
- It can be talked into things by what stands in a passage; citations are checked after it, and so is support."""


@dataclass(frozen=True, slots=True)
class Data:
    """Counts of a training set."""

    num_train: int
    num_validation: int
    num_abstaining: int
    num_documents: int
    origins: Mapping[str, int]
    topics: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Facts:
    """What a card says.

    Attributes:
        evaluations: of `base`, `champion` (where one serves) and `candidate`.
        reasons: why the gate refused; empty where it passed.
        notes: what a person should know in any case.
        changes: lines of Markdown on what was gained and lost, by topic.
        lineage: training set and its DVC revision, corpus, index release, base, prompt, run, code.
    """

    method: str
    data: Data
    training: TrainingResult
    evaluations: Mapping[str, Evaluation]
    reasons: Sequence[str]
    notes: Sequence[str]
    changes: Sequence[str]
    lineage: Mapping[str, str]


def count_examples(examples: Iterable[Example]) -> Data:
    """Return counts of a training set, replay included."""
    listed = list(examples)
    return Data(
        num_train=sum(example.split == "train" for example in listed),
        num_validation=sum(example.split == "validation" for example in listed),
        num_abstaining=sum(example.answer == NOT_FOUND for example in listed),
        num_documents=len({document for example in listed for document in example.document_ids}),
        origins=dict(sorted(Counter(example.origin for example in listed).items())),
        topics=dict(sorted(Counter(example.topic for example in listed if example.topic).items())),
    )


def model_card(facts: Facts, params: Params) -> str:
    """Return the whole card."""
    return "\n\n".join(
        [
            f"# Answerer: {facts.method} on {facts.lineage['base']}",
            verdict(facts.reasons),
            "## Metrics\n\n" + metrics_table(facts, params.model_gate),
            *(["## Gained and lost\n\n" + "\n".join(facts.changes)] if facts.changes else []),
            "## Data\n\n" + _data(facts.data, params.examples.audience),
            "## Training\n\n" + _training(facts.training, params.fine_tuning),
            "## Limits\n\n" + _LIMITS,
            "## Lineage\n\n" + markdown_table(("", ""), facts.lineage.items()),
            "![loss](plots/loss.png) ![quality by topic](plots/topics.png) ![abstention](plots/confusion.png)\n",
        ]
    )


def description(facts: Facts, params: Params, links: Mapping[str, str]) -> str:
    """Return what a person needs to decide, in the space that MLflow gives a version."""
    training, data = facts.training, facts.data
    parts = [
        verdict(facts.reasons),
        metrics_table(facts, params.model_gate),
        *(["**Gained and lost**\n\n" + "\n".join(facts.changes)] if facts.changes else []),
        f"**Made by** `{facts.method}` in {training.steps} steps from {data.num_train} examples on "
        f"{data.num_documents} documents that `{params.examples.audience}` may read.",
        "**Limits**: answers from passages only; measured on this corpus; short answers raise F1 by themselves, "
        "`contains` does not reward them.",
        "**Lineage**\n\n" + markdown_table(("", ""), facts.lineage.items()),
        " · ".join(f"[{name}]({address})" for name, address in links.items()),
    ]
    text = "\n\n".join(part for part in parts if part)
    return text if len(text) <= MAX_DESCRIPTION_CHARACTERS else text[: MAX_DESCRIPTION_CHARACTERS - 1] + "…"


def card_metrics(gate: ModelGateParams) -> tuple[str, ...]:
    """Return the metrics that a person sees, the headline first."""
    return tuple(dict.fromkeys((gate.headline, *SHOWN, *gate.guarded)))


def verdict(reasons: Sequence[str]) -> str:
    """Return what the gate said."""
    if not reasons:
        return "**Gate passed.** A person sets the alias `champion` to let it serve."
    return "**Gate refused:**\n\n" + "\n".join(f"- {reason}" for reason in reasons)


def draw_plots(facts: Facts, folder: Path) -> None:
    """Draw loss, quality by topic, answers and abstentions, as PNG."""
    loss, topics, confusion = (folder / name for name in PLOTS)
    plot_loss({"train": facts.training.train_loss, "validation": facts.training.validation_loss}, loss)
    plot_topics(
        {name: _by_topic(evaluation) for name, evaluation in facts.evaluations.items()}, topics, metric="useful_share"
    )
    plot_confusion({name: _confusion(evaluation) for name, evaluation in facts.evaluations.items()}, confusion)


def metrics_table(facts: Facts, gate: ModelGateParams) -> str:
    """Return headline, guarded and other metrics of each answerer, with intervals."""
    names = card_metrics(gate)
    rows = [[name, *(_cell(evaluation, name, gate) for evaluation in facts.evaluations.values())] for name in names]
    measured = [row for row in rows if any(row[1:])]
    num_questions = len({row.question_id for evaluation in facts.evaluations.values() for row in evaluation.rows})
    note = f"{num_questions} held-out questions; intervals of {gate.confidence:.0%} by bootstrap over questions."
    return "\n\n".join(
        [markdown_table(("metric", *facts.evaluations), measured), note, *(f"Note: {line}." for line in facts.notes)]
    )


def _cell(evaluation: Evaluation, name: str, gate: ModelGateParams) -> str:
    parts = list(evaluation.parts(name).values())
    interval = interval_of(parts, confidence=gate.confidence, num_resamples=gate.num_resamples) if parts else None
    if interval is None:
        return ""
    if name.startswith("perplexity"):
        interval = Interval(math.exp(interval.mean), math.exp(interval.low), math.exp(interval.high))
    return f"{interval.mean:.3g} [{interval.low:.3g}, {interval.high:.3g}]"


def _data(data: Data, audience: str) -> str:
    rows = [
        ("train examples", data.num_train),
        ("validation examples", data.num_validation),
        ("answered by an abstention", data.num_abstaining),
        ("documents", data.num_documents),
        *((f"origin: {name}", count) for name, count in data.origins.items()),
        *((f"topic: {name}", count) for name, count in data.topics.items()),
    ]
    return (
        markdown_table(("", "count"), rows)
        + f"\n\nOnly documents that `{audience}` may read, neither forgotten nor in quarantine. Licences: those of the "
        "documents; weights may repeat sentences of them, so share them only with those who may read the documents."
    )


def _training(training: TrainingResult, fine_tuning: FineTuningParams) -> str:
    tuning = fine_tuning
    rows = [
        ("method", training.method),
        ("steps", f"{training.steps} of {training.num_steps}, weights of step {training.best_step}"),
        ("tokens computed, learnt", f"{training.num_tokens}, {training.num_learnt}"),
        ("seconds, CPU seconds", f"{training.seconds:.0f}, {training.cpu_seconds:.0f}"),
        ("learning rate, sequences a step", f"{tuning.learning_rate}, {tuning.per_device_train_batch_size}"),
        ("LoRA rank, alpha", f"{tuning.lora_r}, {tuning.lora_alpha}"),
        ("share of the training that is kept", tuning.trained_share),
        ("validation loss", _ends(training.validation_loss)),
        ("refusal bias", f"{training.refusal_bias:.3g}"),
        ("seed", tuning.seed),
    ]
    return markdown_table(("", ""), rows)


def _ends(curve: Sequence[tuple[int, float]]) -> str:
    return f"{curve[0][1]:.4f} to {min(value for _, value in curve):.4f}" if curve else "not measured"


def _by_topic(evaluation: Evaluation) -> dict[str, float]:
    topics = sorted({row.topic for row in evaluation.rows})
    values = {
        topic: ratio(metric_parts((row for row in evaluation.rows if row.topic == topic), "useful_share").values())
        for topic in topics
    }
    return {topic: value for topic, value in values.items() if value is not None}


def _confusion(evaluation: Evaluation) -> list[list[int]]:
    """Return `[answered, abstained]` of the answerable and of the others, with retrieval and with support left out."""
    asked = [row for row in evaluation.rows if row.mode in ("retrieval", "removed")]
    counts = Counter((row.answerable, row.abstained) for row in asked)
    return [[counts[answerable, abstained] for abstained in (False, True)] for answerable in (True, False)]
