"""Each kind of file in a home, damaged in each way: one line says what to do, nobody reads more, nothing else goes.

`ALMANAC_FAULT_FILES=/ python -m pytest tests/faults/test_damaged_files.py` damages all of them, each in five ways;
`ALMANAC_FAULT_FILES=quarantine/` those whose path holds that.
"""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.faults.damaged_files import COMMANDS, DAMAGES, SECRET, answers, files_of, make_home, write_params
from tests.forked import Forked

pytestmark = pytest.mark.slow
ONLY = os.environ.get("ALMANAC_FAULT_FILES")
EVERY = 1 if ONLY else 24
"""Of all pairs of a file and a damage, one of so many is tried."""


@dataclass(frozen=True)
class World:
    """A whole home, and a warm process that runs commands."""

    folder: Path
    forked: Forked

    def run(self, folder: Path, *lines: list[str]) -> list[dict[str, Any]]:
        return self.forked.commands(folder / "home", folder / "params.yaml", *lines)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, migrated_mlflow: Path) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("whole")
    make_home(folder, migrated_mlflow)
    forked = Forked(folder / "params.yaml")
    try:
        found = World(folder, forked)
        lines = (["refresh"], ["keys", "add", "ann", "--groups", "payroll"], COMMANDS["ask"])
        assert [outcome["code"] for outcome in found.run(folder, *lines)] == [0, 0, 0]
        (folder / "notes" / "more.md").write_text("# More\n\nThe second note of all.\n", encoding="utf-8")
        whole = found.run(folder, ["refresh"], *COMMANDS.values())
        assert [outcome["code"] for outcome in whole] == [0] * (len(COMMANDS) + 1)
        yield found
    finally:
        forked.close()


def test_damaged_file_is_named_and_harms_nothing_else(world: World, tmp_path: Path) -> None:
    wrong = list[str]()
    pairs = [(name, damage) for name in files_of(world.folder / "home") for damage in DAMAGES]
    pairs = [pair for pair in pairs if ONLY is None or ONLY in f"/{pair[0]}"]
    for name, damage in pairs[::EVERY]:
        folder = tmp_path / "place"
        shutil.copytree(world.folder, folder, copy_function=shutil.copy2)
        write_params(folder, world.folder / "model")
        DAMAGES[damage](folder / "home" / name)
        outcomes = dict(zip(COMMANDS, world.run(folder, *COMMANDS.values()), strict=True))
        wrong += [f"{name}, {damage}, {command}: {fault}" for command, fault in faults(outcomes)]
        print(name, damage, {command: outcome["code"] for command, outcome in outcomes.items() if outcome["code"]})
        if not answers(outcomes["search"]):
            put_back(folder / "home" / name, world.folder / "home" / name)
            (again,) = world.run(folder, COMMANDS["search"])
            if not answers(again):
                wrong.append(f"{name}, {damage}: what was good does not come back: {again['err'][-300:]}")
        shutil.rmtree(folder)

    print(f"{len(pairs[::EVERY])} of {len(pairs)} pairs of a file and a damage, {len(COMMANDS)} commands each")
    assert wrong == [], "\n".join(wrong)


def faults(outcomes: dict[str, dict[str, Any]]) -> Iterator[tuple[str, str]]:
    """Yield each command that did not end as one should, and why."""
    for command, outcome in outcomes.items():
        said = [line for line in outcome["err"].splitlines() if line.startswith("almanac: ")]
        if SECRET in outcome["out"]:
            yield command, "showed what the asker may not read"
        if outcome["code"] not in range(6):
            yield command, f"ended with a traceback: {outcome['err'][-300:]}"
        elif outcome["code"] and command != "doctor" and len(said) != 1:
            yield command, f"ended with {outcome['code']} and {len(said)} lines: {outcome['err'][-300:]}"
        elif any(len(line) > 700 for line in said):
            yield command, f"said {max(map(len, said))} characters"


def put_back(path: Path, original: Path) -> None:
    """Bring a file back in place of whatever stands there."""
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    shutil.copy2(original, path)
