"""Expectations that Great Expectations lacks, on the columns that the document gate measures.

Importing this module imports Great Expectations (some four CPU seconds) and registers them by name, so only the gate
does. They judge measures (counts, shares, a language code), never texts, so no result of a validation can hold one.
"""

from typing import Any, ClassVar

import pandas as pd
from great_expectations.execution_engine.pandas_execution_engine import PandasExecutionEngine
from great_expectations.expectations.expectation import ColumnMapExpectation
from great_expectations.expectations.metrics.map_metric_provider.column_condition_partial import (
    column_condition_partial,
)
from great_expectations.expectations.metrics.map_metric_provider.column_map_metric_provider import (
    ColumnMapMetricProvider,
)


class ColumnValuesAtMost(ColumnMapMetricProvider):
    """Whether each value is at most `max_value`."""

    condition_metric_name = "column_values.at_most"
    condition_value_keys = ("max_value",)

    @column_condition_partial(engine=PandasExecutionEngine)
    def _pandas(cls, column: "pd.Series[float]", max_value: float, **_: Any) -> "pd.Series[bool]":  # noqa: N805
        return column <= max_value


class ColumnValuesBelow(ColumnMapMetricProvider):
    """Whether each similarity to an earlier document is below `min_similarity`."""

    condition_metric_name = "column_values.below_similarity"
    condition_value_keys = ("min_similarity",)

    @column_condition_partial(engine=PandasExecutionEngine)
    def _pandas(cls, column: "pd.Series[float]", min_similarity: float, **_: Any) -> "pd.Series[bool]":  # noqa: N805
        return column < min_similarity


class ColumnValuesInLanguage(ColumnMapMetricProvider):
    """Whether each language code is one of `languages`, or undetermined."""

    condition_metric_name = "column_values.in_language"
    condition_value_keys = ("languages",)

    @column_condition_partial(engine=PandasExecutionEngine)
    def _pandas(cls, column: "pd.Series[str]", languages: list[str], **_: Any) -> "pd.Series[bool]":  # noqa: N805
        from tasks.corpus.gate.signals import UNDETERMINED

        return column.isin([*languages, UNDETERMINED])


class AtMost(ColumnMapExpectation):
    """Base of the expectations that allow a measure up to `max_value`."""

    max_value: float = 0.0
    map_metric: ClassVar[str | None] = "column_values.at_most"
    success_keys: ClassVar[tuple[str, ...]] = ("max_value", "mostly")


class ExpectColumnValuesToHaveNoEncodingDamage(AtMost):
    """At most `max_value` of a text is U+FFFD or text read in a wrong encoding (a share, 0 by default)."""

    column: str = "encoding_damage"


class ExpectColumnValuesToHaveNoHiddenText(AtMost):
    """At most `max_value` characters are invisible to a reader (0 by default)."""

    column: str = "hidden_characters"


class ExpectColumnValuesToHaveLittleBoilerplate(AtMost):
    """At most `max_value` of a text is links, badges, stock phrases (a share, a half by default)."""

    column: str = "boilerplate_share"
    max_value: float = 0.5


class ExpectColumnValuesToHaveNoSecrets(AtMost):
    """At most `max_value` strings have the shape of a credential (0 by default)."""

    column: str = "num_secrets"


class ExpectColumnValuesToHaveNoPersonalData(AtMost):
    """At most `max_value` e-mail addresses, telephone, bank, card or social security numbers (0 by default)."""

    column: str = "num_personal_data"


class ExpectColumnValuesToBeInLanguage(ColumnMapExpectation):
    """The text is in one of `languages` (ISO 639-1 codes), or too short to tell."""

    column: str = "language"
    languages: list[str]
    map_metric: ClassVar[str | None] = "column_values.in_language"
    success_keys: ClassVar[tuple[str, ...]] = ("languages", "mostly")


class ExpectColumnValuesToHaveNoNearDuplicate(ColumnMapExpectation):
    """No earlier document of the batch is as similar as `min_similarity`; the first copy passes, the others fail."""

    column: str = "near_duplicate_similarity"
    min_similarity: float = 0.9
    map_metric: ClassVar[str | None] = "column_values.below_similarity"
    success_keys: ClassVar[tuple[str, ...]] = ("min_similarity", "mostly")
