"""A corpus about stones and a model of a few kilobytes that can learn its one answer: a retrain in seconds."""

import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from tasks.settings import QUIET_ENVIRONMENT
from tests.chat_model import save_chat_model
from tests.conftest import BASE_PARAMS, files_source, merged

ANSWER = "crimson"
SPLITS = ("train",) * 16 + ("validation",) * 4 + ("test",) * 24
_SYLLABLES = ("ba", "de", "fi", "go", "ku", "la", "mi", "no", "pe", "ra", "so", "tu", "va", "wi", "zo", "cha")


def _word(random_: random.Random, syllables: int) -> str:
    return "".join(random_.choice(_SYLLABLES) for _ in range(syllables))


def write_stones(folder: Path, source: str = "notes", answer: str = ANSWER, seed: int = 7) -> Path:
    """One note a stone, each about as unlike the others as notes are; returns the golden questions, of all sources."""
    random_ = random.Random(seed)
    notes = folder / source
    notes.mkdir()
    questions = []
    for number, split in enumerate(SPLITS):
        name = _word(random_, 4).capitalize()
        rest = " ".join(_word(random_, 3) for _ in range(8))
        (notes / f"{name}.md").write_text(f"# {name}\n\nThe colour of {name} is {answer}. Also {rest}.\n")
        questions.append(
            {
                "id": f"{source[0]}-{number:02d}",
                "question": f"What colour is {name}?",
                "answer": answer,
                "document": f"{source}:{name}.md",
                "anchor": f"The colour of {name}",
                "topic": "north" if number % 2 else "south",
                "split": split,
            }
        )
    path = folder / "golden.jsonl"
    with path.open("a") as file:
        file.writelines(json.dumps(question) + "\n" for question in questions)
    return path


def stone_params(folder: Path) -> dict[str, Any]:
    """`params.yaml` for the stones, whose model is written beside them."""
    model, golden = folder / "model", str(folder / "golden.jsonl")
    if not model.exists():
        save_chat_model(model)
    examples = {"num_synthetic": 0, "num_passages": 1, "unanswerable_fraction": 0, "replay_fraction": 0}
    changes = {
        "sources": [files_source(folder / "notes")],
        "generation": {
            "model": str(model),
            "gguf_file": None,
            "max_new_tokens": 16,
            "num_passages": 1,
        },
        "index_gate": {"golden": golden},
        "examples": examples | {"feedback": False},
        "fine_tuning": {
            "method": "full",
            "learning_rate": 0.02,
            "max_steps": 60,
            "per_device_train_batch_size": 4,
            "max_length": 2048,
            "save_steps": 10,
            "eval_steps": 20,
        },
        "evaluation": {"golden": golden, "max_new_tokens_closed_book": 8, "batch_size": 24},
        "model_gate": {"guarded": {"answered_share": 0.05, "claim_support": 0.05}},
    }
    return merged(BASE_PARAMS, changes)


def make_world(folder: Path, mlflow: Path) -> dict[str, str]:
    """A home in `folder` whose live index knows the stones; returns the environment that names it."""
    from flows.refresh import refresh

    write_stones(folder)
    (folder / "params.yaml").write_text(yaml.safe_dump(stone_params(folder)), encoding="utf-8")
    (folder / "home").mkdir()
    shutil.copy(mlflow, folder / "home" / "mlflow.db")
    environment = world_environment(folder)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (QUIET_ENVIRONMENT | environment).items():
            patch.setenv(name, value)
        assert refresh.fn().release == 1
    return environment


def world_environment(folder: Path) -> dict[str, str]:
    """What names a world to a process."""
    return {
        "ALMANAC_HOME": str(folder / "home"),
        "ALMANAC_PARAMS": str(folder / "params.yaml"),
        "ALMANAC_NUM_THREADS": "1",  # a model so small only waits for a second one
    }
