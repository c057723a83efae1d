"""A parameter that would fail at night is refused when it is read, by name and with its remedy."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from tasks.errors import ConfigurationError
from tasks.params import ScheduleParams, load_params
from tasks.params.checks import OWN_EXPECTATIONS, GateRule
from tasks.params.sources import FilesSource
from tests.conftest import BASE_PARAMS


@pytest.mark.parametrize(
    ("cron", "zone"),
    [
        ("61 3 * * 1", "UTC"),
        ("0 3 31 2 *", "UTC"),
        ("0 0 3 * * 1", "UTC"),
        ("0 3 * *", "UTC"),
        ("", "UTC"),
        ("daily", "UTC"),
        ("0 3 * * 1", "CET+1"),
        ("0 3 * * 1", "PST"),
        ("0 3 * * 1", ""),
    ],
)
def test_a_schedule_that_never_runs_is_refused(cron: str, zone: str) -> None:
    with pytest.raises(ValidationError):
        ScheduleParams(refresh_cron=cron, retrain_cron="0 3 1 */3 *", timezone=zone)


@pytest.mark.parametrize("cron", ["0 3 * * 1", "*/5 * * * *", "0 3 29 2 *", "0 3 1 jan,jul *", "0 3 * * mon-fri"])
def test_a_schedule_that_runs_some_day_is_taken(cron: str) -> None:
    ScheduleParams(refresh_cron=cron, retrain_cron=cron, timezone="Europe/Berlin")


def test_a_plain_date_in_a_rule_is_taken_as_utc() -> None:
    rule = {"expect": "expect_column_values_to_be_between", "column": "updated_at", "on_fail": "warn"}

    assert GateRule.model_validate(rule | {"min_value": "2021-01-01"}).arguments == {
        "column": "updated_at",
        "min_value": "2021-01-01T00:00:00+00:00",
    }
    with pytest.raises(ValidationError, match="min_value"):
        GateRule.model_validate(rule | {"min_value": "last year"})


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({"expect": "expect_columns_to_sparkle"}, "check its spelling"),
        ({"min_value": 9, "max_value": 1}, "min_value must not be above max_value"),
        ({"expect": "expect_column_values_to_match_regex", "regex": "("}, "must be a regular expression"),
        ({"expect": "expect_column_values_to_not_match_regex_list", "regex_list": ["a", "["]}, "found '\\['"),
    ],
)
def test_a_rule_that_could_never_be_judged_is_refused(rule: dict[str, Any], message: str) -> None:
    whole = {"expect": "expect_column_values_to_be_between", "column": "num_words", "on_fail": "warn"} | rule
    with pytest.raises(ValidationError, match=message):
        GateRule.model_validate(whole)


@pytest.mark.slow
def test_our_own_expectations_are_those_that_can_be_named() -> None:
    from great_expectations.util import camel_to_snake

    from tasks.corpus.gate import expectations

    ours = {camel_to_snake(name) for name in vars(expectations) if name.startswith("ExpectColumn")}
    assert ours == OWN_EXPECTATIONS


def test_a_prompt_that_is_not_there_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(BASE_PARAMS | {"generation": BASE_PARAMS["generation"] | {"prompt": "no-such"}}))
    with pytest.raises(ConfigurationError, match=r"`generation.prompt`.*must be one of cited-answer"):
        load_params(path)


@pytest.mark.parametrize("glob", ["/etc/*", "", "../*.md"])
def test_a_glob_that_matches_nothing_is_refused(glob: str) -> None:
    source = {"kind": "files", "name": "a", "url": ".", "knowledge_base": "k", "access": [], "max_removed_fraction": 1}

    with pytest.raises(ValidationError, match="globs"):
        FilesSource.model_validate(source | {"include": [glob]})


def test_a_key_that_stands_twice_is_refused_with_its_name(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(BASE_PARAMS) + "\nsources: []\n")

    with pytest.raises(ConfigurationError, match="`sources` stands twice"):
        load_params(path)


def test_the_message_names_the_parameter_and_the_remedy(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    schedule = {"refresh_cron": "61 3 * * 1", "retrain_cron": "0 4 1 1,4,7,10 *", "timezone": "UTC"}
    path.write_text(yaml.safe_dump(BASE_PARAMS | {"schedule": schedule}))

    with pytest.raises(ConfigurationError, match=r"`schedule.refresh_cron`.*`0 3 \* \* 1`") as caught:
        load_params(path)

    assert caught.value.exit_code == 2
