"""Where tensors lie, in which precision and with what room: one choice for generator, embedder and training."""

import json
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from tasks.errors import UnavailableError

if TYPE_CHECKING:
    import torch

_CONTAINER = Path("/sys/fs/cgroup")


def torch_device(device: str) -> str:
    """Return the device that `Settings.device` means: for `auto`, the fastest that this machine has."""
    import torch

    if device != "auto":
        return device
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def fastest_dtype(device: str) -> "torch.dtype":
    """Return half precision where the hardware multiplies it: without such units bfloat16 is six times slower here."""
    import torch

    if device.startswith("cuda"):
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    if device == "mps":
        return torch.float16
    native = torch.cpu.get_capabilities()
    return torch.bfloat16 if native.get("avx512_bf16") or native.get("amx_bf16") else torch.float32


@contextmanager
def one_core_a_thread() -> Iterator[Callable[[], None]]:
    """Yield what each thread of a pool calls first; torch's number of threads is as before afterwards."""
    import torch

    # Torch keeps the number by thread, but hands the last one set to threads that start later.
    before = torch.get_num_threads()
    try:
        yield lambda: torch.set_num_threads(1)
    finally:
        torch.set_num_threads(before)


def require_memory(what: str, num_parameters: int, dtype: "torch.dtype", device: str) -> None:
    """Say before weights are read that they have no room: a system without memory ends the process, and what serves.

    Raises:
        UnavailableError: the weights alone are larger than what is free.
    """
    wanted, free = num_parameters * dtype.itemsize, free_memory(device)
    if wanted > free:
        raise UnavailableError(
            f"{what} needs {wanted / 1e9:.1f} GB of memory for {num_parameters / 1e6:,.0f} million parameters in "
            f"{str(dtype).removeprefix('torch.')}, found {free / 1e9:.1f} GB free; give this machine more, or put "
            "the model behind an endpoint (generation.endpoint)"
        )


def free_memory(device: str) -> int:
    """Return the bytes that are free on a device; for the CPU also within the limit of a container."""
    if device.startswith("cuda"):
        import torch

        return int(torch.cuda.mem_get_info(device)[0])
    available = int(psutil.virtual_memory().available)
    try:
        limit, used = (int((_CONTAINER / name).read_text()) for name in ("memory.max", "memory.current"))
        lines = (_CONTAINER / "memory.stat").read_text().splitlines()
    except (OSError, ValueError):  # no limit, or another system
        return available
    cached = sum(int(line.split()[1]) for line in lines if line.split()[0] in ("active_file", "inactive_file"))
    return min(available, limit - used + cached)


def num_parameters_of(folder: Path) -> int:
    """Return how many numbers the safetensors files of a folder hold, by their headers; 0 where there are none."""
    total = 0
    for path in folder.glob("*.safetensors"):
        with path.open("rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        total += sum(math.prod(tensor["shape"]) for name, tensor in header.items() if name != "__metadata__")
    return total
