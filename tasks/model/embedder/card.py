"""The model card of a tuned embedder, in Markdown."""

from collections.abc import Mapping
from typing import Any

from tasks.markdown_table import markdown_table
from tasks.model.embedder.result import EmbedderResult

CARD = "README.md"


def card(result: EmbedderResult, base: str, lineage: Mapping[str, Any]) -> str:
    """Return data, metrics with intervals, limits and lineage, for a person who decides."""
    metrics = markdown_table(
        ("metric", "before", "after", "difference"),
        (
            (
                name,
                f"{result.before[name]:.3f}",
                f"{result.after[name]:.3f}",
                f"{gain.mean:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}]",
            )
            for name, gain in result.gain.items()
        ),
    )
    golden = ", ".join(
        f"{name} {gain.mean:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}]" for name, gain in result.golden.items()
    )
    origins = "\n".join(f"- {name}: `{value}`" for name, value in sorted(lineage.items())) or "- none given"
    return f"""# Tuned embedder

Tuned from `{base}` on {result.num_pairs} pairs of a question and its chunk, with hard negatives from the live index.
{result.num_steps} steps, the weights of step {result.best_step} were kept ({_verdict(result)}).

Measured on {result.num_questions} questions on documents that neither trained it nor chose the step, each ranked over
{result.pool} chunks of the index.

{metrics}

On {result.num_golden} golden questions, over the same chunks, after - before: {golden or "not measured"}.

## Limits

- Better on questions like those that it was tuned on; on other subjects it may be worse than its base.
- Its vectors are comparable with its own only: an index is rebuilt before it serves, and the index gate judges the
  rebuilt index against the live one.

## Lineage

{origins}
"""


def _verdict(result: EmbedderResult) -> str:
    if result.best_step == 0:
        return "no step was better than the model as it was"
    return "an improvement" if result.improved else "no improvement that the questions can tell from chance"
