"""Each command's help shows an example and comes at once."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Outcome
from tests.flows.bad_input_world import run_program

pytestmark = pytest.mark.slow


COMMANDS = [
    ["plan"],
    ["refresh"],
    ["ask"],
    ["search"],
    ["releases"],
    ["rollback", "index"],
    ["quarantine", "list"],
    ["quarantine", "show"],
    ["quarantine", "release"],
    ["status"],
    ["doctor"],
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_shows_an_example(command: list[str], almanac: Callable[..., Outcome]) -> None:
    outcome = almanac(*command, "--help")

    assert outcome.code == 0
    assert "Example" in outcome.out
    assert f"almanac {' '.join(command)}" in " ".join(outcome.out.split())


def test_help_answers_at_once() -> None:
    outcome, seconds = run_program("--help", NO_COLOR="1")
    assert outcome.code == 0
    assert seconds < 1.5
    assert "\x1b[" not in outcome.out


def test_wrong_variable_is_named(almanac: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALMANAC_PORT", "eight")

    outcome = almanac("status")

    assert outcome.code == 2
    assert "the variable ALMANAC_PORT must be a valid integer" in outcome.line
    assert "'eight'" in outcome.line


def test_home_of_newer_software_is_refused_and_left_alone(home: Path) -> None:
    (home / "home.json").write_text('{"format": 2, "root": "/elsewhere"}', encoding="utf-8")
    before = sorted(home.rglob("*"))

    outcome, _ = run_program("status", ALMANAC_HOME=str(home))

    assert outcome.code == 2
    assert "must have a format up to 1" in outcome.line
    assert sorted(home.rglob("*")) == before
