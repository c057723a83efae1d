"""The example gate on hand-made examples, with the real Great Expectations."""

from typing import Any

import pytest

from tasks.answer.prompt import NOT_FOUND
from tasks.corpus.gate.report import EXAMPLES, to_html, to_markdown
from tasks.errors import ConfigurationError
from tasks.model.examples.example import Example, ExamplePassage, example_id
from tasks.model.examples.gate import check_examples
from tasks.params.examples import ExampleGateParams

RULES: list[dict[str, Any]] = [
    {"expect": "expect_column_values_to_be_unique", "column": "example_id", "on_fail": "stop"},
    {
        "expect": "expect_column_values_to_be_between",
        "column": "num_answer_characters",
        "min_value": 2,
        "max_value": 60,
        "on_fail": "quarantine",
    },
    {
        "expect": "expect_column_values_to_be_in_set",
        "column": "citations_exist",
        "value_set": [True],
        "on_fail": "quarantine",
    },
    {
        "expect": "expect_column_values_to_be_in_set",
        "column": "question_holds_answer",
        "value_set": [False],
        "on_fail": "quarantine",
    },
    {"expect": "expect_column_values_to_have_no_personal_data", "column": "text", "on_fail": "quarantine"},
    {"expect": "expect_column_values_to_have_no_secrets", "on_fail": "quarantine"},
]
ABSTENTION = {"expect": "expect_column_mean_to_be_between", "column": "abstains", "min_value": 0.05, "max_value": 0.5}


def gate(*rules: dict[str, Any], **changes: Any) -> ExampleGateParams:
    limits = {"max_quarantined_fraction": 0.9, "min_examples": 1} | changes
    return ExampleGateParams.model_validate(limits | {"rules": rules or RULES})


def example(number: int = 1, **changes: Any) -> Example:
    passages = (ExamplePassage("c1", "d:1", "Ledger", "Snapshots are kept for ninety days."),)
    fields: dict[str, Any] = {
        "question": f"How long are snapshots of ledger {number} kept?",
        "passages": passages,
        "answer": "ninety days [1]",
        "rejected": None,
        "support": (1,),
        "origin": "synthetic",
        "how": "value",
        "topic": "notes",
        "corpus": "corpus-0001",
        "cluster": "d:1",
        "split": "train",
    } | changes
    return Example(example_id=example_id(fields["question"], fields["passages"], fields["answer"]), **fields)


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"answer": "ninety days [2]"}, "citations_exist"),
        ({"answer": "ninety days"}, "citations_exist"),
        ({"answer": "n [1]"}, "num_answer_characters"),
        ({"question": "Are snapshots kept for ninety days?"}, "question_holds_answer"),
        ({"question": "May john.smith@acme-corp.com delete snapshots of the ledger?"}, "num_personal_data"),
        ({"question": "Does ghp_a8Fj3kLmQ9zXcV7bN2wErT5yUiO1pS4dGhJk open it?"}, "num_secrets"),
    ],
)
def test_bad_example_is_quarantined_with_the_rule_that_it_failed(changes: dict[str, Any], rule: str) -> None:
    good, bad = example(1), example(2, **changes)
    gated = check_examples([good, bad], gate())
    assert gated.accepted == (good,)
    [(held, _, reason)] = gated.quarantined
    assert held == bad
    assert rule in reason
    assert not gated.report.stopped


def test_same_example_twice_stops() -> None:
    gated = check_examples([example(1), example(1)], gate())
    assert gated.report.stopped
    assert "expect_column_values_to_be_unique" in gated.report.reasons[0]


def test_too_few_abstentions_stop() -> None:
    rule = ABSTENTION | {"on_fail": "stop"}
    answered = [example(number) for number in range(20)]
    assert check_examples(answered, gate(rule)).report.stopped
    abstaining = [example(number, answer=NOT_FOUND, support=()) for number in range(20, 25)]
    assert not check_examples([*answered, *abstaining], gate(rule)).report.stopped


def test_rule_that_raises_stops() -> None:
    rule = {
        "expect": "expect_column_values_to_be_between",
        "column": "question",
        "min_value": 3,
        "on_fail": "quarantine",
    }
    gated = check_examples([example(1)], gate(rule))
    assert gated.report.stopped
    assert "must run" in gated.report.reasons[0]


def test_too_large_a_share_in_quarantine_stops() -> None:
    bad = [example(number, answer="ninety days [3]") for number in range(5)]
    assert check_examples([example(9), *bad], gate(max_quarantined_fraction=0.5)).report.stopped


def test_no_example_at_all_stops() -> None:
    gated = check_examples([], gate())
    assert gated.report.stopped
    assert "at least 1 examples" in gated.report.reasons[0]


def test_unknown_column_is_a_configuration_error() -> None:
    rule = {"expect": "expect_column_values_to_not_be_null", "column": "num_words", "on_fail": "stop"}
    with pytest.raises(ConfigurationError, match=r"example_gate.rules\[0\].*num_words"):
        check_examples([example(1)], gate(rule))


def test_report_is_one_page_about_examples_that_needs_no_network() -> None:
    gated = check_examples([example(1), example(2, answer="ninety days [2]")], gate())
    held = [(entry.example_id, rule, reason) for entry, rule, reason in gated.quarantined]
    page = to_html(gated.report, held, EXAMPLES)
    assert "Example gate" in page
    assert held[0][0] in page
    assert "://" not in page
    assert "2 examples, 1 accepted, 1 quarantined" in to_markdown(gated.report, EXAMPLES)
