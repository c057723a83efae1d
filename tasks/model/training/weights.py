"""The network that is trained: a copy of the base with an adapter or with free weights, and its files."""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.answer.generators.transformers import TransformersGenerator
from tasks.errors import ConfigurationError
from tasks.model.training.checkpoint import save_tensors
from tasks.model.training.four_bits import to_four_bits
from tasks.model.training.sharding import gather, part_of, place
from tasks.params.fine_tuning import FineTuningParams

if TYPE_CHECKING:
    import torch
    from accelerate import Accelerator

ADAPTER = "adapter"
MODEL = "model"


def trainable(base: TransformersGenerator, params: FineTuningParams) -> Any:
    """Return a copy of the base's network, in training mode, of which only what the method trains asks for gradients.

    float16 has too few exponents for gradients, bfloat16 too few digits for small updates of whole weights: there the
    copy is float32. Eager attention is the faster one on a CPU.
    """
    import torch

    network = copy.deepcopy(base.model)
    if params.method == "full" or network.dtype == torch.float16:
        network = network.float()
    if params.gradient_checkpointing:
        network.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    network.set_attn_implementation("eager" if network.device.type == "cpu" else "sdpa")
    torch.manual_seed(params.seed)
    if params.method == "full":
        return network.requires_grad_(True).train()
    from peft import LoraConfig, get_peft_model

    if params.quantization:
        network = to_four_bits(network)
    config = LoraConfig(
        r=params.lora_r,
        lora_alpha=params.lora_alpha,  # type: ignore[arg-type]
        lora_dropout=0.0,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
    return get_peft_model(network, config).train()


def over_whole_weights(
    network: Any, base: TransformersGenerator, params: FineTuningParams, accelerator: "Accelerator"
) -> Any:
    """Return an adapter that was trained over four bits over the base's weights as they are, where it will serve."""
    import torch

    if not params.quantization:
        return network
    whole = place(trainable(base, params.model_copy(update={"quantization": None})), accelerator)
    trained = trained_tensors(network)
    with torch.no_grad():
        for name, parameter in trained_tensors(whole).items():
            parameter.copy_(trained[name])
    return whole


def trained_tensors(network: Any) -> dict[str, "torch.nn.Parameter"]:
    """Return what is trained, by name."""
    return {name: parameter for name, parameter in network.named_parameters() if parameter.requires_grad}


def keep_share(network: Any, base: TransformersGenerator, share: float) -> None:
    """Leave the trained network `base + share * (trained - base)`: it forgets less, and keeps most of what it learnt.

    Interpolation of weights as in WiSE-FT (Wortsman et al. 2022, arXiv:2109.01903); of an adapter, its scale.
    """
    import torch
    from peft import PeftModel

    if share == 1:
        return
    is_adapter = isinstance(network, PeftModel)
    with torch.no_grad():
        for name, parameter in trained_tensors(network).items():
            if not is_adapter:
                parameter.lerp_(part_of(base.model.get_parameter(name).detach(), parameter), 1 - share)
            elif "lora_B" in name:
                parameter.mul_(share)


def whole_weights(network: Any, *, keep: bool) -> dict[str, "torch.Tensor"]:
    """Return what is written of a network: an adapter's tensors or all; processes that share it out call this together.

    Args:
        network: as it was trained.
        keep: whether this process writes them; the others get none.
    """
    from peft import PeftModel, get_peft_model_state_dict

    weights = network.state_dict(keep_vars=True)
    if isinstance(network, PeftModel):
        weights = get_peft_model_state_dict(network, weights, save_embedding_layers=False)
    return gather(weights, keep=keep)


def write_weights(
    network: Any, weights: Mapping[str, "torch.Tensor"], base: TransformersGenerator, folder: Path
) -> None:
    """Write `adapter/` or, of a network trained whole, `model/` with the tokenizer; the weights of `whole_weights`."""
    from peft import PeftModel

    if not isinstance(network, PeftModel):
        network.save_pretrained(folder / MODEL, state_dict=dict(weights))
        base.tokenizer.save_pretrained(folder / MODEL)
        return
    config = copy.copy(network.peft_config["default"])
    config.inference_mode = True
    # Where the base lay on this machine; the manifest names it.
    config.base_model_name_or_path = None
    config.save_pretrained(str(folder / ADAPTER))
    save_tensors(folder / ADAPTER / "adapter_model.safetensors", weights)


def check_base(base: TransformersGenerator, answer: str) -> None:
    """Refuse a base whose tokenizer cannot end an answer.

    Raises:
        ConfigurationError: the tokenizer has no end-of-turn token, or the text gives no token.
    """
    if base.tokenizer.eos_token_id is None or not base.tokenizer(answer, add_special_tokens=False)["input_ids"]:
        raise ConfigurationError(
            f"a model that is trained needs a tokenizer with an end of turn, {base.identity} has none; take another"
        )
