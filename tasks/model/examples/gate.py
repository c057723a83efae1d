"""The example gate: rules of `params.yaml` on all examples, with Great Expectations, failing closed.

Unlike documents, examples fit into one table, so every rule sees them all. Columns that a rule may name:

| Column | What it holds |
|---|---|
| `example_id` `question` `answer` `origin` `split` `topic` `how` | as in the example |
| `text` | question, answer and passages |
| `num_question_characters`, `num_answer_characters` | lengths; the answer's without its markers |
| `num_passages` | 0 for replayed prompts |
| `citations_exist` | whether the answer's markers are exactly the supporting passages |
| `question_holds_answer` | whether the question gives the answer away |
| `abstains` | whether the answer is the abstention |
| `num_secrets`, `num_personal_data` | found in `text`; rules about these may name `text` |
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tasks.answer.draft import cited_numbers, without_markers
from tasks.answer.prompt import NOT_FOUND
from tasks.corpus.gate.document_gate import MAX_FAILED_IDS, GateReport, RuleResult, broken_rules
from tasks.corpus.gate.rules import Rule, Tally, resolve, validate
from tasks.corpus.gate.sensitive import find_personal_data, find_secrets
from tasks.model.examples.example import Example
from tasks.model.examples.synthetic import holds_span
from tasks.params.checks import GateRule
from tasks.params.examples import ExampleGateParams

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = frozenset(
    {
        *("example_id", "question", "answer", "origin", "split", "topic", "how", "text", "num_question_characters"),
        *("num_answer_characters", "num_passages", "citations_exist", "question_holds_answer", "abstains"),
        *("num_secrets", "num_personal_data"),
    }
)
_COUNTED_IN_TEXT = {
    "expect_column_values_to_have_no_secrets": "num_secrets",
    "expect_column_values_to_have_no_personal_data": "num_personal_data",
}


@dataclass(frozen=True, slots=True)
class GatedExamples:
    """What the gate decided; where it stopped, nothing may be trained on.

    Attributes:
        quarantined: example with the first rule that it failed and all reasons in a sentence.
    """

    accepted: tuple[Example, ...]
    quarantined: tuple[tuple[Example, str, str], ...]
    report: GateReport


def check_examples(examples: Sequence[Example], params: ExampleGateParams) -> GatedExamples:
    """Judge the examples. A null fails every rule but those about nulls; a rule that raises stops.

    Raises:
        ConfigurationError: a rule names an unknown expectation, argument or column.
    """
    rules = resolve([_on_counts(rule) for rule in params.rules], columns=COLUMNS, block="example_gate")
    findings = [(rule, Tally()) for rule in rules]
    if examples:
        validate(example_frame(examples), findings, offset=0)
    failed: dict[int, list[Rule]] = {}
    for rule, tally in findings:
        for row in tally.rows if rule.given.on_fail == "quarantine" else ():
            failed.setdefault(row, []).append(rule)
    results = tuple(_result(rule, tally, examples) for rule, tally in findings)
    accepted = tuple(example for row, example in enumerate(examples) if row not in failed)
    reasons = (
        *broken_rules(results, block="example_gate", what="sources"),
        *_passed_limits(params, len(examples), len(failed)),
    )
    quarantined = tuple(
        (examples[row], broken[0].given.expect, _reason(broken)) for row, broken in sorted(failed.items())
    )
    report = GateReport(len(examples), len(accepted), len(failed), bool(reasons), reasons, results)
    return GatedExamples(accepted, quarantined, report)


def example_frame(examples: Sequence[Example]) -> "pd.DataFrame":
    """Return one row an example, with the columns that rules may name."""
    import pandas as pd

    return pd.DataFrame([_row(example) for example in examples], columns=sorted(COLUMNS))


def _row(example: Example) -> dict[str, Any]:
    answer = without_markers(example.answer)
    abstains = example.answer == NOT_FOUND
    text = "\n".join((example.question, example.answer, *(passage.text for passage in example.passages)))
    kept = ("example_id", "question", "answer", "origin", "split", "topic", "how")
    return {name: getattr(example, name) for name in kept} | {
        "text": text,
        "num_question_characters": len(example.question),
        "num_answer_characters": len(answer),
        "num_passages": len(example.passages),
        "citations_exist": _citations_exist(example),
        "question_holds_answer": not abstains and holds_span(example.question, answer),
        "abstains": int(abstains),
        "num_secrets": len(find_secrets(text)),
        "num_personal_data": len(find_personal_data(text)),
    }


def _citations_exist(example: Example) -> bool:
    cited = cited_numbers(example.answer)
    within = all(1 <= number <= len(example.passages) for number in cited)
    return within and sorted(cited) == sorted(example.support)


def _on_counts(rule: GateRule) -> GateRule:
    """Return the rule on counts: about secrets and personal data, named on `text`, it means what was counted there."""
    counted = _COUNTED_IN_TEXT.get(rule.expect)
    if counted is None or rule.arguments.get("column") != "text":
        return rule
    return GateRule.model_validate(rule.model_dump() | {"column": counted})


def _result(rule: Rule, tally: Tally, examples: Sequence[Example]) -> RuleResult:
    if tally.error:
        observed = "the rule raised"
    elif rule.of_rows:
        observed = f"{len(tally.rows)} of {len(examples)} examples fail"
    else:
        observed = "no number to show" if tally.value is None else f"{tally.value:.6g}"
    return RuleResult(
        expect=rule.given.expect,
        column=rule.column,
        on_fail=rule.given.on_fail,
        success=tally.success,
        num_failed=len(tally.rows),
        failed_ids=tuple(examples[row].example_id for row in tally.rows[:MAX_FAILED_IDS]),
        observed=observed,
        error=tally.error,
    )


def _passed_limits(params: ExampleGateParams, num_examples: int, num_quarantined: int) -> Iterator[str]:
    share = num_quarantined / max(num_examples, 1)
    if share > params.max_quarantined_fraction:
        yield (
            f"at most {params.max_quarantined_fraction:.1%} of the examples may be quarantined, found "
            f"{num_quarantined} of {num_examples} ({share:.1%}); read report/quarantine.jsonl, then correct "
            "the documents, the rules or example_gate.max_quarantined_fraction"
        )
    if num_examples - num_quarantined < params.min_examples:
        yield (
            f"there must be at least {params.min_examples} examples, found {num_examples - num_quarantined}; add "
            "golden questions or documents, raise examples.num_synthetic, or lower example_gate.min_examples"
        )


def _reason(broken: Sequence[Rule]) -> str:
    return "; ".join(
        f"{', '.join(rule.columns)} fails {rule.given.expect}"
        + "".join(f", {name} {value}" for name, value in rule.given.arguments.items() if name != "column")
        for rule in broken
    )
