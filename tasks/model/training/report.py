"""What a training says while it runs and at its end: its cost beforehand, points of its curves, its numbers."""

from pathlib import Path

from tasks.markdown_table import markdown_table
from tasks.model.examples.training_set import TrainingSet
from tasks.model.training.estimate import estimate
from tasks.model.training.result import TrainingResult
from tasks.model.training.trainer import TrainingProgress
from tasks.params import Params
from tasks.settings import Settings


def cost_line(training_set: TrainingSet, documents: Path | None, params: Params, settings: Settings) -> str | None:
    """Say what a training will cost; None for a method whose steps the estimate does not know.

    Args:
        training_set: what is learnt.
        documents: what `continual_pretraining` reads.
        params: `fine_tuning` names the method; a step of `dpo` reads two answers, the estimate counts one.
        settings: the machine.
    """
    if params.fine_tuning.method == "dpo":
        return None
    cost = estimate(training_set.path, params, settings, documents=documents)
    return (
        f"training by {params.fine_tuning.method}: {training_set.num_train} examples, {cost.num_steps} steps, "
        f"{cost.num_tokens} tokens and {cost.num_anchor_tokens} of replay: about {cost.seconds / 60:.0f} minutes, "
        "then the evaluation"
    )


def curve_points(progress: TrainingProgress) -> dict[str, float]:
    """Return what a step adds to the curves."""
    named = {
        "train_loss": progress.train_loss,
        "validation_loss": progress.validation_loss,
        "learning_rate": progress.learning_rate,
        "tokens_per_second": progress.tokens_per_second,
    }
    return {name: value for name, value in named.items() if value is not None}


def training_numbers(result: TrainingResult) -> dict[str, float]:
    """Return what a training took, as metrics."""
    return {
        "steps": result.steps,
        "best_step": result.best_step,
        "num_tokens": result.num_tokens,
        "num_learnt": result.num_learnt,
        "train_seconds": result.seconds,
        "train_cpu_seconds": result.cpu_seconds,
        "refusal_bias": result.refusal_bias,
    }


def training_report(result: TrainingResult) -> str:
    """Return what a training took and its validation losses, as Markdown."""
    numbers = markdown_table(("", ""), ((name, f"{value:.6g}") for name, value in training_numbers(result).items()))
    losses = markdown_table(("step", "validation loss"), ((at, f"{loss:.4f}") for at, loss in result.validation_loss))
    return f"# Training\n\n{numbers}\n\n{losses}\n"
