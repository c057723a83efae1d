"""Documents on tools, some for finance alone, and golden questions on them."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tasks.index.passage import Passage
from tasks.model.examples.build import build_training_set
from tasks.model.examples.example import Example, read_examples
from tasks.params import Params
from tasks.settings import QUIET_ENVIRONMENT, Settings
from tests.conftest import BASE_PARAMS, files_source, merged

TOOLS = (
    "Harrow",
    "Lintel",
    "Mosaic",
    "Quorum",
    "Tinder",
    "Vellum",
    "Wicket",
    "Zephyr",
    "Cobalt",
    "Dynamo",
    "Easel",
    "Fathom",
)
MAKERS = ("Ada", "Boole", "Curie", "Dirac", "Euler", "Fermi", "Gauss", "Hertz", "Ising", "Joule", "Kelvin", "Laue")
SECRET = "Obsidian"


def index_once(folder: Path) -> None:
    """Refresh the home of a folder by its own parameters, outside of any test."""
    from flows.refresh import refresh

    with pytest.MonkeyPatch.context() as patch:
        for name, value in QUIET_ENVIRONMENT.items():
            patch.setenv(name, value)
        patch.setenv("ALMANAC_HOME", str(folder / "home"))
        patch.setenv("ALMANAC_PARAMS", str(folder / "params.yaml"))
        refresh.fn()


def page(number: int) -> str:
    tool, maker = TOOLS[number], MAKERS[number]
    return f"""# {tool}

{tool} is a workbench for sorting {maker.lower()} records by their age. It was first shown at a fair in the harbour.

## Use

The `{tool.lower()}_limit` option sets the largest number of records that are read at once.

{tool} requires a disk of {number + 3} gigabytes. The {tool} archive was written by {maker} Research.

## Install

```
pip install {tool.lower()}
```
"""


def question(id_: str, number: int, split: str, text: str | None = None) -> dict[str, Any]:
    tool = TOOLS[number]
    return {
        "id": id_,
        "question": text or f"How much room on a disk must there be before {tool} runs?",
        "answer": f"A disk of {number + 3} gigabytes",
        "document": f"notes:{tool.lower()}.md",
        "anchor": f"{number + 3} gigabytes",
        "topic": "tools",
        "split": split,
    }


def unanswerable(id_: str, text: str) -> dict[str, Any]:
    return dict.fromkeys(("answer", "document", "anchor")) | {
        "id": id_,
        "question": text,
        "topic": "tools",
        "split": "train",
    }


GOLDEN = [
    question("g-train-0", 0, "train"),
    question("g-train-1", 1, "train"),
    question("g-validation-2", 2, "validation"),
    question("g-test-3", 3, "test"),
    unanswerable("g-none", "Which colour has the roof of the Harrow office?"),
]


def write_golden(folder: Path, lines: Sequence[dict[str, Any]]) -> None:
    (folder / "golden.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def raw_params(folder: Path) -> dict[str, Any]:
    private = files_source(folder / "private", name="private", access=["finance"])
    changes = {
        "sources": [files_source(folder / "notes"), private],
        "generation": {"model": str(folder / "model"), "gguf_file": None, "max_passage_tokens": 600},
        "evaluation": {"golden": str(folder / "golden.jsonl")},
        "examples": {"num_synthetic": 24, "replay_fraction": 0.0},
    }
    return merged(BASE_PARAMS, changes)


def params(folder: Path, **changes: Any) -> Params:
    return Params.model_validate(merged(raw_params(folder), changes))


def build(folder: Path, **changes: Any) -> list[Example]:
    built = build_training_set(params(folder, **changes), Settings(), folder / "out")
    return list(read_examples(built.path))


# --- rules and teacher ---


def passage(text: str, title: str = "Zephyr") -> Passage:
    return Passage("c1", "notes:z", "notes", "", title, "", text, 0, len(text), 0.0, None, None)
