"""The command line in the process of a test."""

import sys
from collections.abc import Callable

import pytest

import cli
from tests.flows.bad_input_world import Outcome


@pytest.fixture
def almanac(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Run a command in this process."""

    def run(*arguments: str) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["almanac", *arguments])
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            cli.main()
            sys.exit(0)
        captured = capsys.readouterr()
        return Outcome(int(end.value.code or 0), captured.out, captured.err)

    return run
