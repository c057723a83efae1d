"""The state of an unfinished training: safetensors and one JSON file, written last, that says which of them count.

Nothing is pickled. Killed at any line, the folder holds the last complete checkpoint.
"""

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.files import whole_file, write_json

if TYPE_CHECKING:
    import torch

STATE = "state.json"


@dataclass(frozen=True, slots=True)
class State:
    """How far a training has come.

    Attributes:
        key: digest of everything that it is made from; another key, another training.
        step: steps that are done.
        best_step: after which the validation loss was least.
        patience_used: evaluations since then.
        train_loss: (step, loss) pairs; `validation_loss` likewise.
    """

    key: str
    step: int = 0
    best_step: int = 0
    best_loss: float | None = None
    patience_used: int = 0
    num_tokens: int = 0
    num_learnt: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    train_loss: tuple[tuple[int, float], ...] = ()
    validation_loss: tuple[tuple[int, float], ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)


def save(folder: Path, state: State, tensors: Mapping[str, "torch.Tensor"]) -> State:
    """Write a checkpoint; the one before it goes once this one is whole."""
    name = f"step-{state.step:06d}.safetensors"
    save_tensors(folder / name, tensors)
    state = replace(state, files=dict(state.files) | {"step": name})
    write_json(folder / STATE, asdict(state))
    for path in folder.glob("*.safetensors"):
        if path.name not in state.files.values():
            path.unlink()
    return state


def save_best(folder: Path, state: State, tensors: Mapping[str, "torch.Tensor"]) -> State:
    """Write the best weights so far; they count from the next checkpoint on."""
    save_tensors(folder / best_name(state), tensors)
    return replace(state, files=dict(state.files) | {"best": best_name(state)})


def best_name(state: State) -> str:
    """Return where the best weights of a state are."""
    return f"best-{state.best_step:06d}.safetensors"


def load(folder: Path, key: str) -> State:
    """Return the state to go on from; a fresh one where there is none, or one of another training, which is removed."""
    path = folder / STATE
    if path.is_file():
        raw = json.loads(path.read_text(encoding="utf-8"))
        if raw["key"] == key:
            curves = {
                name: tuple((int(s), float(x)) for s, x in raw[name]) for name in ("train_loss", "validation_loss")
            }
            return State(**raw | curves)
    shutil.rmtree(folder, ignore_errors=True)
    return State(key)


def save_tensors(path: Path, tensors: Mapping[str, "torch.Tensor"]) -> None:
    """Write tensors whole or not at all."""
    from safetensors.torch import save_file

    with whole_file(path) as beside:
        plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        # transformers refuses weights that do not say whose they are.
        save_file(plain, beside, metadata={"format": "pt"})


def load_tensors(path: Path) -> dict[str, "torch.Tensor"]:
    """Return tensors on the CPU."""
    from safetensors.torch import load_file

    return dict(load_file(path))
