"""The base's weights in four bits while an adapter is trained over them: QLoRA, by bitsandbytes.

NF4 as in Dettmers et al. 2023 (arXiv:2305.14314). Needs the extra `qlora`; runs on the CPU too, slower than in bfloat16
(docs/retrain.md has the figures). Only the training sees four bits: an adapter is calibrated, compared and served over
the weights as they are.
"""

from importlib import import_module
from typing import Any

from tasks.errors import ConfigurationError


def to_four_bits(network: Any) -> Any:
    """Put NF4 weights in the place of a network's linear layers, but for its output; return the network.

    Raises:
        ConfigurationError: bitsandbytes is not installed.
    """
    try:
        bitsandbytes: Any = import_module("bitsandbytes.nn")
    except ImportError as error:
        raise ConfigurationError(
            "fine_tuning.quantization nf4 must have bitsandbytes, found none; pip install -c constraints.txt "
            "'.[qlora]' in the project's folder, or set it to null"
        ) from error
    from torch.nn import Linear

    output = network.get_output_embeddings()
    for parent in list(network.modules()):
        for name, layer in list(parent.named_children()):
            if type(layer) is not Linear or layer is output:
                continue
            small = bitsandbytes.Linear4bit(
                layer.in_features,
                layer.out_features,
                bias=layer.bias is not None,
                compute_dtype=layer.weight.dtype,
                quant_type="nf4",
            )
            small.weight = bitsandbytes.Params4bit(layer.weight.data, requires_grad=False, quant_type="nf4")
            small.bias = layer.bias
            # Else each validation on a CPU packs them for inference, as multiples of 32 alone, and the next step back.
            small.support_avx512bf16_for_cpu = False
            small = small.to(layer.weight.device)
            # A weight that is shared out (`sharding`) and gathered again has lost its scales: the layer keeps them.
            small.quant_state = small.weight.quant_state
            setattr(parent, name, small)
    network.is_loaded_in_4bit = True  # by it PEFT knows
    return network
