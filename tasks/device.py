"""Where tensors lie and in which precision: one choice for the generator, the embedder and training."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


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
