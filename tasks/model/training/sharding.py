"""A network whose weights, gradients and moments are shared out over the processes of a training: FSDP2, by torch.

Asked for by the configuration of `accelerate launch` (`infra/accelerate/fsdp.yaml`). Each process keeps its part of
each layer and gathers a layer whole while it computes it; what is frozen may have another precision than what trains.
Whatever passes a network that is shared out, or gathers from it, is done by all processes together, equally often.
"""

import logging
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tasks.errors import ConfigurationError

if TYPE_CHECKING:
    import torch
    from accelerate import Accelerator

logger = logging.getLogger(__name__)

EXAMPLE = "infra/accelerate/fsdp.yaml"
NEEDED = {
    "FSDP_VERSION": "2",
    "FSDP_AUTO_WRAP_POLICY": "transformer_based_wrap",
    "FSDP_RESHARD_AFTER_FORWARD": "true",
    "FSDP_OFFLOAD_PARAMS": "false",
    "FSDP_ACTIVATION_CHECKPOINTING": "false",
    "FSDP_CPU_RAM_EFFICIENT_LOADING": "false",
    "ACCELERATE_MIXED_PRECISION": "no",
}
"""What the configuration must say, by the variables in which `accelerate launch` hands it on; other values would do
nothing, or leave weights whole where the training reads its part, or all processes but the first without weights."""


def sharding_is_asked_for() -> bool:
    """Return whether the configuration of `accelerate launch` says FSDP."""
    return os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true"


def check_sharding() -> None:
    """Refuse a configuration of FSDP that the training cannot follow.

    Raises:
        ConfigurationError: a setting is another one than what the training does.
    """
    for name, value in NEEDED.items():
        given = os.environ.get(name, "nothing")
        if given.lower() != value:
            setting = name.removeprefix("ACCELERATE_").lower()
            raise ConfigurationError(
                f"a training by FSDP must have {setting}: {value} in the configuration of `accelerate launch`, found "
                f"{given}; take {EXAMPLE}"
            )


def place(network: Any, accelerator: "Accelerator") -> Any:
    """Return a network on this process's device: whole, or its part where FSDP is asked for.

    Raises:
        ConfigurationError: the model does not say which of its classes are layers.
    """
    import torch

    # One process alone on a CPU has nobody to share with.
    if not sharding_is_asked_for() or not torch.distributed.is_initialized():
        return network.to(accelerator.device)
    shard(network, accelerator)
    return network


def shard(network: Any, accelerator: "Accelerator") -> None:
    """Share a network out over all processes, layer by layer, each onto its device; in place.

    Raises:
        ConfigurationError: the model does not say which of its classes are layers.
    """
    from peft import PeftModel
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    root: Any = network.get_base_model() if isinstance(network, PeftModel) else network
    names = os.environ.get("FSDP_TRANSFORMER_CLS_TO_WRAP", "").split(",")
    kinds = {name.strip() for name in names if name.strip()} or set(root._no_split_modules or ())
    # Bottom up: a layer inside another must be shared out before it.
    layers = [module for module in reversed(list(root.modules())) if type(module).__name__ in kinds]
    if not layers:
        raise ConfigurationError(
            f"a training by FSDP must know the model's layers, found none of {', '.join(sorted(kinds)) or 'any'}; "
            "set fsdp_transformer_layer_cls_to_wrap in the configuration of `accelerate launch`"
        )
    if accelerator.device.type != "cpu":
        root.set_attn_implementation("sdpa")
    for module in root.modules():
        if scales := getattr(module, "quant_state", None):
            scales.to(accelerator.device)
    mesh = init_device_mesh(accelerator.device.type, (accelerator.num_processes,))
    for module in (*layers, root):
        fully_shard(module, mesh=mesh, reshard_after_forward=True)
    kept, total = size_bytes(network)
    logger.info("process %d keeps %d of the network's %d bytes", accelerator.process_index, kept, total)


def is_sharded(network: Any) -> bool:
    """Return whether a network is shared out."""
    from torch.distributed.tensor import DTensor

    return any(isinstance(parameter, DTensor) for parameter in network.parameters())


def size_bytes(network: Any) -> tuple[int, int]:
    """Return the bytes of the parameters that this process keeps, and of all."""
    from torch.distributed.tensor import DTensor

    parameters = list(network.parameters())
    local = (entry.to_local() if isinstance(entry, DTensor) else entry for entry in parameters)
    return sum(entry.nbytes for entry in local), sum(entry.numel() * entry.itemsize for entry in parameters)


def gather(tensors: Mapping[str, "torch.Tensor"], *, keep: bool) -> dict[str, "torch.Tensor"]:
    """Return whole tensors on the CPU, one that has two names once; all processes call it, for the same names.

    Args:
        tensors: by name; one that is not shared out is whole already.
        keep: whether this process wants them; the others get none.
    """
    from torch.distributed.tensor import DTensor

    whole: dict[int, torch.Tensor] = {}
    for tensor in {id(tensor): tensor for tensor in tensors.values()}.values():
        value = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
        if keep:
            whole[id(tensor)] = value.detach().cpu()
    return {name: whole[id(tensor)] for name, tensor in tensors.items()} if keep else {}


def part_of(tensor: "torch.Tensor", parameter: "torch.Tensor") -> "torch.Tensor":
    """Return what this process keeps of a whole tensor, laid out as a parameter is."""
    from torch.distributed.tensor import DTensor, distribute_tensor

    placed = tensor.to(parameter.device, parameter.dtype)
    if not isinstance(parameter, DTensor):
        return placed
    # Each process has it whole, none need send it; a copy, since a view of it would keep all of it in memory.
    return distribute_tensor(placed, parameter.device_mesh, parameter.placements, src_data_rank=None).clone()
