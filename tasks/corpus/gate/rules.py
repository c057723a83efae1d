"""Rules of the gates on documents and examples: run by Great Expectations on pandas, failing closed.

The only module beside `expectations` that talks to Great Expectations; it is imported inside (some four CPU seconds).
Of each result only row numbers and plain numbers are kept, since its lists and messages repeat the values that failed.
"""

import logging
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tasks.corpus.gate.measures import COLUMNS
from tasks.errors import ConfigurationError
from tasks.params.checks import GateRule
from tasks.settings import quiet_environment

if TYPE_CHECKING:
    import pandas as pd
    from great_expectations.core import ExpectationSuite, ExpectationValidationResult
    from great_expectations.datasource.fluent.interfaces import Batch
    from great_expectations.expectations.expectation import Expectation

_NULL_RULES = frozenset({"expect_column_values_to_be_null", "expect_column_values_to_not_be_null"})
_COMPARING_RULES = frozenset({"expect_column_values_to_be_unique"})
_REFUSED = frozenset({"row_condition", "condition_parser", "catch_exceptions", "result_format", "meta", "batch_id"})
_EXCEPTION = re.compile(r"^(?:\w+\.)*(\w+(?:Error|Exception|Warning))\b", re.M)


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule whose expectation, arguments and columns are known to exist.

    Attributes:
        given: as in `params.yaml`.
        expectation: built, with defaults filled in.
        columns: the columns that it judges.
        of_rows: whether it judges row by row; else all rows at once.
    """

    given: GateRule
    expectation: "Expectation"
    columns: tuple[str, ...]
    of_rows: bool

    @property
    def sees_text(self) -> bool:
        """Whether it judges texts, which are seen in batches."""
        return "text" in self.columns

    @property
    def column(self) -> str | None:
        """Its column, if it judges one."""
        return self.columns[0] if len(self.columns) == 1 else None


@dataclass(slots=True)
class Tally:
    """What a rule found so far, batch by batch.

    Attributes:
        rows: numbers of the rows that failed, ascending.
        success: whether it held, `mostly` considered, on every batch.
        value: the number that a rule without rows observed, if it is a number.
        error: the kind of exception, if it raised.
    """

    rows: list[int] = field(default_factory=list)
    success: bool = True
    value: float | None = None
    error: str | None = None


def resolve(
    rules: Sequence[GateRule], *, columns: Collection[str] = COLUMNS, block: str = "document_gate"
) -> list[Rule]:
    """Build the expectations.

    Args:
        rules: as in `params.yaml`.
        columns: what a rule may name.
        block: of `params.yaml`, for messages.

    Raises:
        ConfigurationError: a rule names an unknown expectation, argument or column, or asks what batches cannot answer.
    """
    quiet_environment()
    return [_resolved(rule, f"{block}.rules[{index}]: `{rule.expect}`", columns) for index, rule in enumerate(rules)]


def _resolved(given: GateRule, where: str, columns: Collection[str]) -> Rule:
    expectation = _expectation(given, where)
    rule = Rule(given, expectation, _columns_of(expectation), _judges_rows(expectation))
    unknown = sorted(set(rule.columns) - set(columns))
    if unknown:
        raise ConfigurationError(
            f"{where} must name a known column, found {unknown[0]!r}; known are {', '.join(sorted(columns))}"
        )
    if not rule.of_rows and given.on_fail == "quarantine":
        raise ConfigurationError(
            f"{where} judges all rows at once, so `on_fail` must be stop or warn, found quarantine"
        )
    compares = not rule.of_rows or len(rule.columns) > 1 or given.expect in _COMPARING_RULES
    if rule.sees_text and compares:
        raise ConfigurationError(
            f"{where} must judge one text at a time, since texts are seen in batches; name a measure such as num_words"
        )
    return rule


def _expectation(given: GateRule, where: str) -> "Expectation":
    from great_expectations.exceptions.exceptions import ExpectationNotFoundError, GreatExpectationsError
    from great_expectations.expectations.registry import get_expectation_impl

    import tasks.corpus.gate.expectations  # noqa: F401  (registers ours)

    refused = sorted(_REFUSED & given.arguments.keys())
    if refused:
        raise ConfigurationError(f"{where} must not set `{refused[0]}`, which is the gate's own; remove it")
    try:
        kind = get_expectation_impl(given.expect)
    except ExpectationNotFoundError as error:
        raise ConfigurationError(
            f"{where} must be an expectation of Great Expectations or of Almanac; check its spelling"
        ) from error
    try:
        return kind(**given.arguments)
    except (ValueError, TypeError, GreatExpectationsError) as error:
        raise ConfigurationError(f"{where} has a wrong argument: {' '.join(str(error).split())}") from error


def _columns_of(expectation: "Expectation") -> tuple[str, ...]:
    named = [getattr(expectation, name, None) for name in ("column", "column_A", "column_B")]
    listed = getattr(expectation, "column_list", None) or getattr(expectation, "column_set", None) or ()
    return tuple(name for name in (*named, *listed) if isinstance(name, str))


def _judges_rows(expectation: "Expectation") -> bool:
    from great_expectations.expectations.expectation import (
        ColumnMapExpectation,
        ColumnPairMapExpectation,
        MulticolumnMapExpectation,
    )

    return isinstance(expectation, ColumnMapExpectation | ColumnPairMapExpectation | MulticolumnMapExpectation)


def validate(frame: "pd.DataFrame", rules: Sequence[tuple[Rule, Tally]], *, offset: int) -> None:
    """Run the rules on one frame and add what they found to their tallies, rows numbered from `offset`."""
    if not rules:
        return
    outcome = _batch(frame).validate(
        _suite([rule for rule, _ in rules]),
        result_format={"result_format": "COMPLETE", "return_unexpected_index_query": False},
    )
    results = {
        result.expectation_config.meta["rule"]: result for result in outcome.results if result.expectation_config
    }
    for index, (rule, tally) in enumerate(rules):
        _add(tally, rule, results.get(index), _null_rows(frame, rule), offset)


def _suite(rules: Sequence[Rule]) -> "ExpectationSuite":
    from great_expectations.core import ExpectationSuite

    expectations = [rule.expectation.copy(update={"meta": {"rule": index}}) for index, rule in enumerate(rules)]
    return ExpectationSuite(name="gate", expectations=expectations)


def _batch(frame: "pd.DataFrame") -> "Batch":
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig

    # This one sets its own level, and tells of a temporary folder.
    logging.getLogger("great_expectations.data_context.types.base").setLevel(logging.WARNING)
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    asset = context.data_sources.add_pandas("rows").add_dataframe_asset("rows")
    return asset.add_batch_definition_whole_dataframe("all").get_batch(batch_parameters={"dataframe": frame})


def _null_rows(frame: "pd.DataFrame", rule: Rule) -> list[int]:
    """Great Expectations passes over nulls; here they fail."""
    if not rule.of_rows or rule.given.expect in _NULL_RULES:
        return []
    nulls = frame[list(rule.columns)].isna().any(axis=1).to_numpy().nonzero()[0]
    return [int(row) for row in nulls]


def _add(
    tally: Tally, rule: Rule, result: "ExpectationValidationResult | None", nulls: Sequence[int], offset: int
) -> None:
    error = "no result" if result is None else _error(result.exception_info or {})
    if result is None or error:
        tally.error, tally.success = error, False
        return
    failed = result.result.get("unexpected_index_list")
    if rule.of_rows and failed is None and result.result.get("unexpected_count", 1):
        tally.error, tally.success = "no row numbers", False
        return
    tally.rows += sorted({offset + int(row) for row in [*(failed or ()), *nulls]})
    tally.success = tally.success and bool(result.success) and not nulls
    tally.value = _number(result.result.get("observed_value"))


def _error(info: Mapping[str, Any]) -> str | None:
    """The kind of exception; two shapes exist: one flat, one keyed by metric. The message may hold a text: left out."""
    raised = [part for part in _exception_infos(info) if part.get("raised_exception")]
    if not raised:
        return None
    kinds = _EXCEPTION.findall(str(raised[0].get("exception_traceback") or ""))
    return kinds[-1] if kinds else "exception"


def _exception_infos(info: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield info
    yield from (part for part in info.values() if isinstance(part, Mapping))


def _number(value: object) -> float | None:
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
